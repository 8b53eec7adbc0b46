"""What `nonet doctor` computes: every kernel family once, forward and backward, beside the same in NumPy float64.

A check yields (result, expected) pairs. Shapes are odd and longer than a vector register; a check takes milliseconds.
It shows that kernels work on this machine, not how accurate they are: that is what the tests are for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

import nonet
from nonet import _core, nn
from nonet.ops import boxes as ops_boxes
from nonet.tensor import Tensor, tensor

Check: TypeAlias = "Callable[[Draw], Iterator[tuple[Any, Any]]]"
CHECKS: dict[str, Check] = {}
ONLY_CPU = {"peak"}  # what a device has no kernels for

TOLERANCE = 1e-4  # of the largest expected value


def error_of(result: Any, expected: Any) -> float:
    """Largest difference over the largest expected value (at least 1); infinite for another shape or NaNs."""
    got = np.asarray(result.detach().cpu() if isinstance(result, Tensor) else result, dtype=np.float64)
    want = np.asarray(expected, dtype=np.float64)
    if got.shape != want.shape or not np.isfinite(got).all():
        return math.inf
    return float(np.abs(got - want).max(initial=0.0) / max(1.0, np.abs(want).max(initial=0.0)))


def _check(function: Check) -> Check:
    CHECKS[function.__name__] = function
    return function


class Draw:
    """Random inputs of a check, on a device."""

    def __init__(self, device: str = "cpu") -> None:
        self.rng = np.random.default_rng(0)
        self.device = device

    def tensor(self, values: np.ndarray) -> Tensor:
        return tensor(values, device=self.device)

    def leaf(self, *shape: int) -> tuple[Tensor, np.ndarray]:
        """A leaf and its values in float64."""
        values = self.rng.standard_normal(shape).astype(np.float32)
        return tensor(values, requires_grad=True, device=self.device), values.astype(np.float64)

    def back(self, output: Tensor) -> np.ndarray:
        """Walks back from a random gradient and returns it."""
        gradient = self.rng.standard_normal(output.shape).astype(np.float32)
        output.backward(self.tensor(gradient))
        return gradient.astype(np.float64)


@_check
def elementwise(draw: Draw) -> Iterator[tuple[Any, Any]]:
    (x, a), (y, b) = draw.leaf(7, 33), draw.leaf(33)
    out = (x * y).exp()
    g = draw.back(out)
    yield out, np.exp(a * b)
    yield x.grad, g * np.exp(a * b) * b
    yield y.grad, (g * np.exp(a * b) * a).sum(0)
    yield nonet.where(x > 0.0, x, 0.0), np.where(a > 0, a, 0)


@_check
def activation(draw: Draw) -> Iterator[tuple[Any, Any]]:
    (x, a) = draw.leaf(5, 37)
    out = nn.functional.relu(x) + nn.functional.sigmoid(x) * nn.functional.tanh(x)
    g = draw.back(out)
    s, t = 1 / (1 + np.exp(-a)), np.tanh(a)
    yield out, np.maximum(a, 0) + s * t
    yield x.grad, g * ((a > 0) + s * (1 - s) * t + s * (1 - t * t))


@_check
def reduce(draw: Draw) -> Iterator[tuple[Any, Any]]:
    x, a = draw.leaf(9, 65)
    out = nonet.mean(x, dim=1)
    g = draw.back(out)
    yield out, a.mean(1)
    yield x.grad, np.repeat(g[:, None] / 65, 65, axis=1)
    yield nonet.sum(x), a.sum()
    yield nonet.argmax(x, dim=0), a.argmax(0)


@_check
def sort(draw: Draw) -> Iterator[tuple[Any, Any]]:
    x, a = draw.leaf(3, 50)
    values, indices = nonet.sort(x, dim=1)
    g = draw.back(values)
    yield values, np.sort(a, 1)
    yield indices, np.argsort(a, 1, kind="stable")
    yield x.grad, np.take_along_axis(g, np.argsort(np.argsort(a, 1), 1), 1)


@_check
def matmul(draw: Draw) -> Iterator[tuple[Any, Any]]:
    (x, a), (w, b), (c, d) = draw.leaf(37, 51), draw.leaf(45, 51), draw.leaf(45)
    out = nn.functional.linear(x, w, c)
    g = draw.back(out)
    yield out, a @ b.T + d
    yield x.grad, g @ b
    yield w.grad, g.T @ a
    yield c.grad, g.sum(0)
    m, n = (
        draw.rng.integers(-8, 9, (40, 70)),
        draw.rng.integers(-8, 9, (70, 33)),
    )  # of which bfloat16 loses nothing
    yield nonet.matmul(draw.tensor(m.astype(np.float32)), n.astype(np.float32), precision="medium"), m @ n


@_check
def conv(draw: Draw) -> Iterator[tuple[Any, Any]]:
    (x, a), (w, b) = draw.leaf(2, 3, 11, 10), draw.leaf(5, 3, 3, 3)
    out = nn.functional.conv2d(x, w, padding=1)
    g = draw.back(out)
    wide, back = np.pad(a, ((0, 0), (0, 0), (1, 1), (1, 1))), np.pad(g, ((0, 0), (0, 0), (1, 1), (1, 1)))
    want, dx, dw = np.zeros(out.shape), np.zeros(a.shape), np.zeros(b.shape)
    for i in range(3):
        for j in range(3):
            part = wide[:, :, i : i + 11, j : j + 10]
            want += np.einsum("nchw,oc->nohw", part, b[:, :, i, j])
            dw[:, :, i, j] = np.einsum("nohw,nchw->oc", g, part)
            dx += np.einsum("nohw,oc->nchw", back[:, :, 2 - i : 13 - i, 2 - j : 12 - j], b[:, :, i, j])
    yield out, want
    yield w.grad, dw
    yield x.grad, dx
    yield from _transposed(draw)


def _transposed(draw: Draw) -> Iterator[tuple[Any, Any]]:
    (x, a), (w, b) = draw.leaf(2, 3, 5, 6), draw.leaf(3, 5, 4, 4)
    out = nn.functional.conv_transpose2d(x, w, stride=2)
    g = draw.back(out)
    want, dx, dw = np.zeros(out.shape), np.zeros(a.shape), np.zeros(b.shape)
    for i in range(4):
        for j in range(4):
            at = np.s_[:, :, i : i + 9 : 2, j : j + 11 : 2]
            want[at] += np.einsum("nchw,co->nohw", a, b[:, :, i, j])
            dx += np.einsum("nohw,co->nchw", g[at], b[:, :, i, j])
            dw[:, :, i, j] = np.einsum("nohw,nchw->co", g[at], a)
    yield out, want
    yield w.grad, dw
    yield x.grad, dx


@_check
def fold(draw: Draw) -> Iterator[tuple[Any, Any]]:
    x, a = draw.leaf(2, 3, 6, 19)
    out = nn.functional.unfold(x, 3, padding=1)
    g = draw.back(out)
    wide = np.pad(a, ((0, 0), (0, 0), (1, 1), (1, 1)))
    back = np.zeros(wide.shape)
    parts = []
    for k, (i, j) in enumerate(np.ndindex(3, 3)):
        parts.append(wide[:, :, i : i + 6, j : j + 19])
        back[:, :, i : i + 6, j : j + 19] += g.reshape(2, 3, 9, 6, 19)[:, :, k]
    yield out, np.stack(parts, 2).reshape(out.shape)
    yield x.grad, back[:, :, 1:-1, 1:-1]


@_check
def resize(draw: Draw) -> Iterator[tuple[Any, Any]]:
    x, a = draw.leaf(2, 3, 5, 18)
    out = nn.functional.interpolate(x, (10, 9), mode="bilinear")
    g = draw.back(out)
    rows = np.zeros((10, 5))
    for o in range(10):
        at, far = divmod(max(o / 2 - 0.25, 0), 1)
        rows[o, int(at)] += 1 - far
        rows[o, min(int(at) + 1, 4)] += far
    columns = np.repeat(np.eye(9), 2, axis=1) / 2
    yield out, np.einsum("pi,qj,ncij->ncpq", rows, columns, a)
    yield x.grad, np.einsum("pi,qj,ncpq->ncij", rows, columns, g)


@_check
def boxes(draw: Draw) -> Iterator[tuple[Any, Any]]:
    corners = draw.rng.random((2, 21, 2))
    a, b = np.concatenate([corners, corners + 1], -1).astype(np.float32)
    x = nn.Parameter(draw.tensor(a))
    out = ops_boxes.box_iou(x, draw.tensor(b))
    side = np.maximum(1 - np.abs(a[:, None, :2].astype(np.float64) - b[None, :, :2]), 0)
    yield out, side.prod(-1) / (2 - side.prod(-1))
    out.backward(draw.tensor(np.ones((21, 21), np.float32)))
    yield np.isfinite(np.asarray(x.grad.detach().cpu())).all(), True  # type: ignore[union-attr]
    order = draw.tensor(np.arange(21, dtype=np.float32))
    yield ops_boxes.nms(draw.tensor(np.tile(a[:1], (21, 1))), order, 0.5), [20]


@_check
def pool(draw: Draw) -> Iterator[tuple[Any, Any]]:
    x, a = draw.leaf(2, 3, 8, 18)
    out = nn.functional.max_pool2d(x, 2)
    g = draw.back(out)
    blocks = a.reshape(2, 3, 4, 2, 9, 2)
    top = blocks.max((3, 5), keepdims=True)
    yield out, top.reshape(out.shape)
    yield x.grad, ((blocks == top) * g.reshape(top.shape)).reshape(a.shape)


@_check
def norm(draw: Draw) -> Iterator[tuple[Any, Any]]:
    x, a = draw.leaf(6, 40)
    out = nn.functional.layer_norm(x, (40,))
    g = draw.back(out)
    scale = 1 / np.sqrt(a.var(1, keepdims=True) + 1e-5)
    y = (a - a.mean(1, keepdims=True)) * scale
    yield out, y
    yield x.grad, scale * (g - g.mean(1, keepdims=True) - y * (g * y).mean(1, keepdims=True))


@_check
def batch_norm(draw: Draw) -> Iterator[tuple[Any, Any]]:
    (x, a), (w, b) = draw.leaf(4, 5, 3, 7), draw.leaf(5)
    mean = nonet.zeros(5, device=draw.device)
    out = nn.functional.batch_norm(x, mean, nonet.ones(5, device=draw.device), w, training=True, momentum=1.0)
    g = draw.back(out)
    axes, c = (0, 2, 3), b.reshape(1, 5, 1, 1)
    scale = 1 / np.sqrt(a.var(axes, keepdims=True) + 1e-5)
    h = (a - a.mean(axes, keepdims=True)) * scale
    d = g * c
    yield out, h * c
    yield mean, a.mean(axes)
    yield w.grad, (g * h).sum(axes)
    yield x.grad, scale * (d - d.mean(axes, keepdims=True) - h * (d * h).mean(axes, keepdims=True))
    squares = np.pad(a * a, ((0, 0), (1, 1), (0, 0), (0, 0)))
    near = squares[:, :5] + squares[:, 1:6] + squares[:, 2:]
    yield nn.functional.local_response_norm(x, 3, 1.0), a / (1 + near / 3) ** 0.75


@_check
def softmax(draw: Draw) -> Iterator[tuple[Any, Any]]:
    x, a = draw.leaf(8, 35)
    out = nn.functional.softmax(x, dim=1)
    g = draw.back(out)
    y = np.exp(a) / np.exp(a).sum(1, keepdims=True)
    yield out, y
    yield x.grad, y * (g - (g * y).sum(1, keepdims=True))


@_check
def loss(draw: Draw) -> Iterator[tuple[Any, Any]]:
    x, a = draw.leaf(16, 10)
    labels = draw.rng.integers(0, 10, 16)
    out = nn.functional.cross_entropy(x, labels)
    out.backward()
    p = np.exp(a) / np.exp(a).sum(1, keepdims=True)
    yield out, -np.log(p[np.arange(16), labels]).mean()
    yield x.grad, (p - np.eye(10)[labels]) / 16
    yield nn.functional.mse_loss(x, draw.tensor(np.zeros((16, 10), np.float32))), np.square(a).mean()


@_check
def ctc(draw: Draw) -> Iterator[tuple[Any, Any]]:
    x, a = draw.leaf(5, 1, 6)
    out = nn.functional.ctc_loss(
        nn.functional.log_softmax(x, dim=2), draw.tensor(np.array([[3, 3]])), [5], [2]
    )
    out.backward()
    p = np.exp(a) / np.exp(a).sum(2, keepdims=True)
    paths = [q for q in np.ndindex(2, 2, 2, 2, 2) if str(q).count("1") >= 2]  # 1: the label, 0: the blank
    good = [q for q in paths if sum(b > a for a, b in zip((0, *q), q, strict=False)) == 2]
    shares = np.array([np.prod([p[t, 0, 3 * s] for t, s in enumerate(q)]) for q in good])
    spent = np.zeros(p.shape)
    for q, share in zip(good, shares / shares.sum(), strict=True):
        for t, s in enumerate(q):
            spent[t, 0, 3 * s] += share
    yield out, -np.log(shares.sum()) / 2
    yield x.grad, (p - spent) / 2


@_check
def index(draw: Draw) -> Iterator[tuple[Any, Any]]:
    x, a = draw.leaf(11, 17)
    rows = draw.rng.integers(0, 11, 30)
    out = nonet.index_select(x, 0, rows)
    g = draw.back(out)
    want = np.zeros(a.shape)
    np.add.at(want, rows, g)
    yield out, a[rows]
    yield x.grad, want


@_check
def embedding(draw: Draw) -> Iterator[tuple[Any, Any]]:
    w, a = draw.leaf(11, 17)
    ids = draw.rng.integers(0, 11, (4, 6))
    out = nn.functional.embedding(ids, w)
    g = draw.back(out)
    want = np.zeros(a.shape)
    np.add.at(want, ids, g)
    yield out, a[ids]
    yield w.grad, want


@_check
def recurrent(draw: Draw) -> Iterator[tuple[Any, Any]]:
    layer = nn.GRU(5, 19).to(device=draw.device)
    x, a = draw.leaf(4, 6, 5)
    w_ih, w_hh, b_ih, b_hh = (np.asarray(p.detach().cpu(), np.float64) for p in layer.parameters())
    out, _ = layer(x)
    g = draw.back(out)
    h, tape = np.zeros((6, 19)), []
    for t in range(4):
        gx, gh = a[t] @ w_ih.T + b_ih, h @ w_hh.T + b_hh
        r, u = (1 / (1 + np.exp(-(gx + gh)[:, k * 19 : k * 19 + 19])) for k in (0, 1))
        n = np.tanh(gx[:, 38:] + r * gh[:, 38:])
        tape.append((h, r, u, n, gh[:, 38:]))
        h = (1 - u) * n + u * h
    yield out[-1], h
    dh, dx, dw = np.zeros((6, 19)), np.zeros(a.shape), np.zeros(w_hh.shape)
    for t in reversed(range(4)):
        h, r, u, n, q = tape[t]
        dh = dh + g[t]
        dn, du = dh * (1 - u) * (1 - n * n), dh * (h - n) * u * (1 - u)
        dz = np.concatenate([dn * q * r * (1 - r), du, dn * r], 1)
        dx[t] = np.concatenate([dz[:, :38], dn], 1) @ w_ih
        dw += dz.T @ h
        dh = dh * u + dz @ w_hh
    yield x.grad, dx
    yield layer.weight_hh_l0.grad, dw


@_check
def shape(draw: Draw) -> Iterator[tuple[Any, Any]]:
    x, a = draw.leaf(3, 4, 17)
    out = nonet.cat([nonet.permute(x, 2, 0, 1), nonet.permute(x, 2, 0, 1)], dim=1)
    g = draw.back(out)
    yield out, np.concatenate([a.transpose(2, 0, 1)] * 2, axis=1)
    yield x.grad, (g[:, :3] + g[:, 3:]).transpose(1, 2, 0)


@_check
def pad(draw: Draw) -> Iterator[tuple[Any, Any]]:
    x, a = draw.leaf(2, 5, 9)
    out = nn.functional.pad(x, (1, 2))
    g = draw.back(out)
    yield out, np.pad(a, ((0, 0), (0, 0), (1, 2)))
    yield x.grad, g[:, :, 1:10]


@_check
def random(draw: Draw) -> Iterator[tuple[Any, Any]]:
    # The first known answer of Philox4x32-10 (key and counter 0), as the fractions of its upper 24 bits.
    words = np.array([0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8])
    yield nonet.rand(4, generator=nonet.Generator(0), device=draw.device), (words >> 8) / 2.0**24
    draws = (
        nonet.randn(4096, generator=nonet.Generator(1), device=draw.device).cpu().numpy().astype(np.float64)
    )
    yield abs(draws.mean()) < 0.1 and abs(draws.std() - 1) < 0.1, True


@_check
def dropout(draw: Draw) -> Iterator[tuple[Any, Any]]:
    before = nonet.get_rng_state()
    x, a = draw.leaf(40, 50)
    out = nn.functional.dropout(x, 0.25)
    nonet.set_rng_state(before)
    g = draw.back(out)
    kept = np.asarray(out.detach().cpu()) != 0
    yield out, np.where(kept, a / 0.75, 0)
    yield x.grad, np.where(kept, g / 0.75, 0)
    yield 0.7 < kept.mean() < 0.8, True


@_check
def attention(draw: Draw) -> Iterator[tuple[Any, Any]]:
    (x, q), (y, k), (z, v) = draw.leaf(1, 2, 37, 9), draw.leaf(1, 2, 37, 9), draw.leaf(1, 2, 37, 11)
    out = nn.functional.scaled_dot_product_attention(x, y, z, is_causal=True)
    g = draw.back(out)
    s = np.where(np.tri(37) > 0, np.exp(q @ k.swapaxes(2, 3) / 3), 0)
    p = s / s.sum(3, keepdims=True)
    dp = g @ v.swapaxes(2, 3)
    ds = p * (dp - (dp * p).sum(3, keepdims=True)) / 3
    yield out, p @ v
    yield x.grad, ds @ k
    yield y.grad, ds.swapaxes(2, 3) @ q
    yield z.grad, p.swapaxes(2, 3) @ g


@_check
def optim(draw: Draw) -> Iterator[tuple[Any, Any]]:
    _, a = draw.leaf(5, 13)
    p = nn.Parameter(draw.tensor(a.astype(np.float32)))
    optimizer = nonet.optim.Adam([p], lr=0.1)
    m, v = np.zeros_like(a), np.zeros_like(a)
    for step in (1, 2):
        optimizer.zero_grad()
        g = draw.back(p * 1.0)
        optimizer.step()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        a = a - 0.1 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    yield p, a


@_check
def peak(draw: Draw) -> Iterator[tuple[Any, Any]]:
    x, a = draw.leaf(512)
    y = nonet.zeros(512)
    _core.peak_copy(x.array, y.array, 1, 1)
    yield y, a
    yield _core.peak_read(x.array, 3, 1), 3 * a.sum()
    yield _core.peak_fma(7, 1) == 7 * _core.peak_fma(1, 1), True  # checks its registers itself
