from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import assert_close, available_isas, check_op, each_isa, use_isa, use_threads
from nonet import nn
from nonet.nn import functional as F
from nonet.ops.conv import pooled_convolve
from nonet.ops.matmul import ACTIVATIONS
from reference import conv, pool

rng = np.random.default_rng(0)
EPS = float(np.finfo(np.float32).eps)


def random(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


# images, channels in, size, out, kernel, stride, padding, dilation, groups; of the pool: kernel, stride, padding, ceil
MAXIMA = [
    (3, 1, (12, 13), 6, (5, 5), (1, 1), (2, 2), (1, 1), 1, (2, 2), (2, 2), (0, 0), False),
    (18, 6, (10, 9), 16, (5, 5), (1, 1), (0, 0), (1, 1), 1, (2, 2), (2, 2), (0, 0), False),
    (2, 3, (13, 11), 9, (3, 3), (2, 1), (1, 1), (2, 1), 1, (2, 3), (2, 3), (1, 1), True),
    (2, 5, (12, 12), 17, (7, 3), (1, 1), (1, 2), (1, 1), 1, (3, 2), (4, 3), (0, 0), False),
    (1, 40, (8, 8), 5, (2, 4), (1, 2), (0, 0), (1, 1), 1, (1, 4), (1, 4), (0, 1), True),
    (2, 2, (6, 22), 3, (1, 11), (1, 1), (0, 3), (1, 1), 1, (2, 2), (2, 2), (1, 0), True),
]
PLANES = [  # plain images to few channels: vectors of pixels
    (2, 1, (20, 33), 8, (5, 5), (1, 1), (2, 2), (1, 1), 1, (2, 2), (2, 2), (0, 0), False),
    (3, 3, (9, 37), 3, (2, 4), (1, 1), (0, 3), (1, 1), 1, (2, 2), (2, 2), (0, 0), False),
    (2, 4, (7, 34), 7, (3, 3), (1, 1), (1, 1), (1, 1), 1, (2, 2), (2, 2), (0, 0), False),
    (1, 1, (6, 80), 1, (1, 1), (1, 1), (0, 0), (1, 1), 1, (2, 2), (2, 2), (0, 0), True),
]
OTHERS = [
    (2, 3, (8, 9), 4, (3, 3), (1, 1), (1, 1), (1, 2), 1, (2, 2), (2, 2), (0, 0), False),
    (2, 4, (8, 9), 4, (3, 3), (1, 1), (1, 1), (1, 1), 2, (2, 2), (2, 2), (0, 0), False),
    (2, 3, (8, 9), 4, (3, 3), (1, 1), (1, 1), (1, 1), 1, (3, 3), (2, 2), (1, 1), False),
    (1, 60, (6, 6), 40, (3, 3), (1, 1), (1, 1), (1, 1), 1, (2, 2), (2, 2), (0, 0), False),
]


def windows_of(case, shape):
    _, _, _, _, _, _, _, _, _, kernel, stride, padding, ceil = case
    return [
        pool.regular(n, k, s, p, 1, ceil, True)
        for n, k, s, p in zip(shape[-2:], kernel, stride, padding, strict=True)
    ]


def run(case, activation, x, w, b):
    _, _, _, _, _, stride, padding, dilation, groups, *pooling = case
    kernel, step, margin, ceil = pooling
    margins = (padding[0], padding[0], padding[1], padding[1])
    windows = (kernel, step, margin, (1, 1), ceil)
    return pooled_convolve(x, w, b, stride, margins, dilation, groups, ACTIVATIONS[activation], windows)


def images(case, activation, x, w, b):
    _, _, _, _, _, stride, padding, dilation, groups, *_ = case
    y = conv.conv2d(x, w, b, stride, padding, dilation, groups)
    return np.maximum(y, 0) if activation else y


def gradients(case, activation, dy, x, w, b):
    _, _, _, _, _, stride, padding, dilation, groups, *_ = case
    y = images(case, activation, x, w, b)
    windows = windows_of(case, y.shape)
    full = np.zeros((*y.shape[:2], y.shape[2] * y.shape[3]))
    at = pool.positions(y, *windows).reshape(*y.shape[:2], -1)
    np.put_along_axis(full, at, dy.reshape(at.shape), axis=2)  # windows without a common maximum
    return conv.gradients(
        full.reshape(y.shape) * (y > 0 if activation else 1), x, w, b, stride, padding, dilation, groups
    )


def operands(case):
    n, c, size, o, kernel, _, _, _, groups, *_ = case
    return random(n, c, *size), random(o, c // groups, *kernel), random(o)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("case", MAXIMA + PLANES + OTHERS[:2] + OTHERS[3:])
def test_against_float64(case, activation):
    x, w, b = operands(case)
    pixels = x[:, 0].size
    check_op(
        lambda *t: run(case, activation, *t),
        lambda *t: pool.pool2d(y := images(case, activation, *t), *windows_of(case, y.shape), pool.maximum),
        [x, w, b],
        rtol=4 * EPS,
        atol=4 * EPS * (w[0].size + 4),
        grad_rtol=4 * EPS,
        grad_atol=4 * EPS * (max(pixels, w.shape[0] * w[0, 0].size) + 4),
        reference_gradient=lambda dy, *t: gradients(case, activation, dy, *t),
    )


def separate(case, activation, x, w, b):
    _, _, _, _, _, stride, padding, dilation, groups, *pooling = case
    y = F.conv2d(x, w, b, stride, padding, dilation, groups)
    kernel, step, margin, ceil = pooling
    return F.max_pool2d(F.relu(y) if activation else y, kernel, step, margin, 1, ceil)


def results(function, arrays, dtype="float32", format="plain"):
    t = [nonet.tensor(a, dtype=dtype, requires_grad=True) for a in arrays]
    t[0].array = t[0].array.to_format(format)
    y = function(*t)
    y.backward(nonet.tensor(np.cos(np.arange(y.numel())).reshape(y.shape), dtype=dtype))
    return [v.to("float32").numpy() for v in (y.detach(), *(v.grad for v in t))]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", MAXIMA[:3] + OTHERS)
def test_like_the_two_ops(case, dtype):
    arrays = operands(case)
    got = results(lambda *t: run(case, "relu", *t), arrays, dtype)
    want = results(lambda *t: separate(case, "relu", *t), arrays, dtype)
    np.testing.assert_array_equal(got[0], want[0])
    for a, b in zip(got[1:], want[1:], strict=True):
        error = (
            2.0**-6 if dtype == "bfloat16" else 64 * EPS
        )  # bfloat16: other maxima where values became equal
        assert np.sqrt(np.mean((a - b) ** 2)) <= error * np.sqrt(np.mean(b**2))


@each_isa
@pytest.mark.parametrize("case", MAXIMA + PLANES[:1])
def test_formats_and_threads(isa, case):
    arrays = operands(case)
    with use_isa(isa):
        got = set()
        for threads in (1, 3):
            with use_threads(threads):
                for format in ("plain", "nhwc"):
                    values = results(lambda *t: run(case, "relu", *t), arrays, format=format)
                    got.add(tuple(v.tobytes() for v in values))
    assert len(got) == 1


@each_isa
def test_special_values(isa):
    """Of several NaN the last, of equal values the first, and -inf is a maximum."""
    case = (1, 1, (4, 40), 2, (1, 1), (1, 1), (0, 0), (1, 1), 1, (2, 2), (2, 2), (0, 0), False)
    x = rng.choice(np.array([np.nan, -np.inf, -1, 0, 2, np.inf], np.float32), (1, 1, 4, 40))
    w, b = np.array([1, -3], np.float32).reshape(2, 1, 1, 1), np.zeros(2, np.float32)
    with use_isa(isa):
        for activation in (None, "relu"):
            got = results(lambda *t, a=activation: run(case, a, *t), [x, w, b])
            want = results(lambda *t, a=activation: separate(case, a, *t), [x, w, b])
            np.testing.assert_array_equal(got[0], want[0])
            if activation is None:  # nothing is multiplied by an infinity
                np.testing.assert_array_equal(got[1], want[1])


def test_infinite_gradients_stay_where_they_are():
    """Of one pixel: nothing of the zeros that fill vectors is multiplied by it."""
    case = (1, 1, (12, 12), 6, (5, 5), (1, 1), (2, 2), (1, 1), 1, (2, 2), (2, 2), (0, 0), False)
    arrays = operands(case)
    for isa in available_isas():
        with use_isa(isa):
            t = [nonet.tensor(a, requires_grad=True) for a in arrays]
            y = run(case, None, *t)
            dy = np.zeros(y.shape, np.float32)
            dy[0, 0, 0, 0] = np.inf
            y.backward(nonet.tensor(dy))
            dx = t[0].grad.numpy()
            assert np.isfinite(dx[0, 0, 4:]).all()
            assert np.isfinite(dx[0, 0, :, 4:]).all()
            assert np.isinf(dx[0, 0, 0, 0])


@pytest.mark.parametrize("n", [0, 1])
def test_sizes(n):
    case = (n, 2, (4, 4), 3, (3, 3), (1, 1), (1, 1), (1, 1), 1, (2, 2), (2, 2), (0, 0), False)
    got = results(lambda *t: run(case, "relu", *t), operands(case))
    assert [v.shape for v in got] == [(n, 3, 2, 2), (n, 2, 4, 4), (3, 2, 3, 3), (3,)]
    if n == 0:
        assert not got[2].any()
        assert not got[3].any()


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_layers(mode):
    """A Sequential computes the three of them in one op, and with return_indices or one image by themselves."""
    net = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1, padding_mode=mode), nn.ReLU(), nn.MaxPool2d(2))
    x = nonet.tensor(random(3, 2, 9, 8))
    want = net[2](net[1](net[0](x)))
    assert len(net._plan or []) == 0
    np.testing.assert_array_equal(net(x).numpy(), want.numpy())
    assert len(net._plan) == 1
    assert_close(net(x[0]), want[0].numpy(), 4 * EPS, 64 * EPS, "one image")
    net[2].return_indices = True
    y, index = net(x)
    np.testing.assert_array_equal(y.numpy(), want.numpy())
    assert index.dtype == "int64"


def test_errors_name_the_layer():
    net = nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.MaxPool2d(9))
    with pytest.raises(ValueError, match="max_pool2d: kernel_size") as error:
        net(nonet.zeros(1, 2, 6, 6))
    assert "MaxPool2d" in "".join(getattr(error.value, "__notes__", [])) + str(error.value)
    with pytest.raises(ValueError, match="conv2d: weight must have shape"):
        net(nonet.zeros(1, 3, 6, 6))
