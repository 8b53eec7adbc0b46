from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

import nonet
from helpers import EPS, check_op, each_isa, use_isa, use_threads
from nonet import nn
from nonet.nn import functional as F
from nonet.ops.loss_linear import LinearCrossEntropyOptions
from reference import loss as ref


def reference(x, w, b, target, **attrs):
    classes, *more, features = w.shape
    z = x @ w.reshape(-1, features).T + b.reshape(-1)
    return ref.cross_entropy(z.reshape(*x.shape[:-1], classes, *more), target, **attrs)


def op(x, w, b, target, chunk=None, **attrs):
    options = None if chunk is None else LinearCrossEntropyOptions(batch_chunk_size=chunk)
    return F.linear_cross_entropy(x, w, target, linear_bias=b, options=options, **attrs)


def sample(rows, features, outputs):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((features,) if rows is None else (rows, features))
    w = rng.standard_normal((*outputs, features))
    positions = outputs[1:] if rows is None else (rows, *outputs[1:])
    return [x, w, rng.standard_normal(outputs)], rng.integers(0, outputs[0], positions)


SIZES = [(None, 5, (4,)), (7, 5, (4,)), (7, 5, (4, 2)), (3, 4, (3, 2, 2)), (0, 3, (4,)), (0, 3, (4, 2))]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("chunk", [None, 2])
def test_indices(sizes, reduction, chunk):
    inputs, t = sample(*sizes)
    weight = np.linspace(0.5, 2, sizes[2][0]).astype(np.float32)
    attrs = {"target": t, "reduction": reduction, "weight": weight, "ignore_index": 1, "label_smoothing": 0.1}
    with np.errstate(invalid="ignore"):
        check_op(
            lambda *x, **kw: op(*x, chunk=chunk, **kw),
            reference,
            inputs,
            attrs=attrs,
            rtol=64 * EPS,
            atol=64 * EPS,
            grad=sizes[0] != 0 or reduction != "mean",  # differences of NaN
        )


@pytest.mark.parametrize("sizes", [(1, 9, (33,)), (5, 40, (100,)), (50, 33, (70,)), (40, 64, (300,))])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_many_classes(sizes, smoothing):
    """Softmax starts from what the product found of each 32 logits; among them rows with infinities."""
    (x, w, b), t = sample(*sizes)
    b[32] = -20.0
    if smoothing == 0:  # else the loss would be infinite
        b[1] = -np.inf
        t[t == 1] = 0

    def gradient(d, x, w, b):
        with np.errstate(divide="ignore"):
            z = x @ w.T + b
            p = np.exp(z - z.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
        classes = w.shape[0]
        q = np.full(p.shape, smoothing / classes)
        q[np.arange(len(t)), t] += 1 - smoothing
        dz = d * (p - q) / len(t)
        return dz @ w, dz.T @ x, dz.sum(axis=0)

    check_op(
        lambda x, w, b: op(x, w, b, t, label_smoothing=smoothing),
        lambda x, w, b: reference(x, w, b, t, label_smoothing=smoothing),
        [x, w, b],
        reference_gradient=gradient,
        rtol=64 * EPS,
        atol=64 * EPS,
    )


@pytest.mark.parametrize("sizes", SIZES[:4])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_probabilities(sizes, reduction):
    inputs, _ = sample(*sizes)
    q = np.random.default_rng(1).random((*inputs[0].shape[:-1], *sizes[2]))
    check_op(
        lambda x, w, b, q: op(x, w, b, q, chunk=2, reduction=reduction),
        lambda x, w, b, q: reference(x, w, b, q, reduction=reduction),
        [*inputs, q],
        rtol=64 * EPS,
        atol=64 * EPS,
    )


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_bfloat16(reduction):
    inputs, t = sample(7, 5, (4,))
    attrs = {"target": t, "reduction": reduction}
    check_op(op, reference, inputs, attrs=attrs, dtypes=("bfloat16",), rtol=1e-2)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_chunks_and_threads(reduction):
    """Large enough for several chunks: equal to the two ops one by one, whatever the number of threads."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 16)).astype(np.float32)
    w = rng.standard_normal((1500, 16)).astype(np.float32)
    t = rng.integers(0, 1500, 400)
    a, b = nonet.tensor(x, requires_grad=True), nonet.tensor(w, requires_grad=True)
    F.cross_entropy(F.linear(a, b), t, reduction=reduction).sum().backward()
    results = []
    for threads in (1, 2, 3):
        with use_threads(threads):
            p, q = nonet.tensor(x, requires_grad=True), nonet.tensor(w, requires_grad=True)
            F.linear_cross_entropy(p, q, t, reduction=reduction).sum().backward()
            results.append((p.grad.numpy(), q.grad.numpy()))
    # Up to eps * sum |d| |w| and eps * sum |d| |x| each way, where d is the gradient of the logits.
    d = np.exp(ref.log_softmax(x.astype(float) @ w.T, 1)) + ref.one_hot(t, 1500, 1)
    scale = 8 * EPS / (400 if reduction == "mean" else 1)
    for got in results:
        np.testing.assert_allclose(got[0], a.grad.numpy(), rtol=0, atol=scale * (d @ np.abs(w)).max())
        np.testing.assert_allclose(got[1], b.grad.numpy(), rtol=0, atol=scale * (d.T @ np.abs(x)).max())
        assert [g.tobytes() for g in got] == [g.tobytes() for g in results[0]]


def test_no_rows():
    w = nonet.tensor(np.ones((4, 3)), requires_grad=True)
    loss = F.linear_cross_entropy(np.ones((0, 3)), w, np.zeros(0, int))
    assert np.isnan(loss.item())
    loss.backward()
    assert w.grad is not None
    np.testing.assert_array_equal(w.grad.numpy(), np.zeros((4, 3)))


def test_memory_stays_below_the_logits():
    rng = np.random.default_rng(0)
    x = nonet.tensor(rng.standard_normal((2048, 8)).astype(np.float32), requires_grad=True)
    w = nonet.tensor(rng.standard_normal((4096, 8)).astype(np.float32), requires_grad=True)
    t = rng.integers(0, 4096, 2048)
    nonet._core.reset_peak_memory()
    before = nonet.memory_stats()["in_use"]
    F.linear_cross_entropy(x, w, t).backward()
    logits = 2048 * 4096 * 4
    assert nonet.memory_stats()["peak"] - before < logits / 4


# Of the logits, in units of |x||w| of row and column: what the rounding of the operands gives.
LIMITS = {"highest": 8 * EPS, "ieee": 8 * EPS, "high": 2.0**-14, "medium": 2.0**-7}


def loss_and_gradients(x, w, t, reduction, around, **kw):
    """In one of several ways; the backward pass runs outside of `around`."""
    a, b = nonet.tensor(x, requires_grad=True), nonet.tensor(w, requires_grad=True)
    with around:
        loss = F.linear_cross_entropy(a, b, t, reduction=reduction, **kw)
    loss.sum().backward()
    return [v.numpy() for v in (loss.detach(), a.grad, b.grad)]


@each_isa
@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_precision(isa, precision, reduction):
    """The argument and the setting are one thing, reach all three products, and keep within the precision's limit."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal((rows, 64)).astype(np.float32) for rows in (70, 50))
    t = rng.integers(0, 50, 70)
    with use_isa(isa):
        got = loss_and_gradients(x, w, t, reduction, nullcontext(), precision=precision)
        same = loss_and_gradients(x, w, t, reduction, nonet.set_matmul_precision(precision))
        fma = loss_and_gradients(x, w, t, reduction, nullcontext(), precision="ieee")
    for one, other in zip(got, same, strict=True):
        np.testing.assert_array_equal(one, other)
    if isa == "amx" and precision != "ieee":
        assert all((one != other).any() for one, other in zip(got[1:], fma[1:], strict=True))
    # A logit moves by `moved` at most, a row's loss by twice that, and so does each number of the logits' gradient,
    # which sums to 2 at most in magnitude; a product with it adds its own error.
    moved = LIMITS[precision] * np.linalg.norm(x, axis=1).max() * np.linalg.norm(w, axis=1).max()
    allowed = (2 * moved * (70 if reduction == "sum" else 1) + 64 * EPS * np.abs(fma[0]).max(),)
    allowed += tuple((2 * moved + 2 * LIMITS[precision]) * np.abs(v).sum(0).max() for v in (w, x))
    for one, want, limit in zip(got, fma, allowed, strict=True):
        np.testing.assert_allclose(one, want, rtol=0, atol=limit)
    with pytest.raises(
        ValueError, match="precision: expected one of ieee, highest, high, medium, got 'fast'"
    ):
        F.linear_cross_entropy(x, w, t, precision="fast")


@each_isa
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_autocast(isa, reduction):
    """bfloat16 activations and float32 parameters together; logits and loss stay float32."""
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((40, 64), (50, 64), (50,)))
    t = rng.integers(0, 50, 40)
    with use_isa(isa):
        short = nonet.tensor(x, dtype="bfloat16", requires_grad=True)
        operands = [short, *(nonet.tensor(v, requires_grad=True) for v in (w, b))]
        with nonet.autocast():
            loss = F.linear_cross_entropy(
                operands[0], operands[1], t, linear_bias=operands[2], reduction=reduction
            )
        assert loss.dtype == "float32"
        loss.sum().backward()
        wide = [nonet.tensor(v.detach().to("float32"), requires_grad=True) for v in operands]
        want = F.linear_cross_entropy(wide[0], wide[1], t, linear_bias=wide[2], reduction=reduction)
        want.sum().backward()
    np.testing.assert_allclose(loss.detach().numpy(), want.detach().numpy(), rtol=1e-5)
    for got, same in zip(operands, wide, strict=True):
        assert got.grad.dtype == got.dtype
        np.testing.assert_allclose(
            got.grad.to("float32").numpy(),
            same.grad.numpy(),
            rtol=2.0**-8 if got is short else 1e-4,
            atol=1e-5,
        )
    with pytest.raises(TypeError, match="linear_weight must be bfloat16 like input, got float32"):
        F.linear_cross_entropy(operands[0], operands[1], t)
    with pytest.raises(TypeError, match="linear_bias must be float32 like input, got bfloat16"):
        F.linear_cross_entropy(x, w, t, linear_bias=nonet.tensor(b, dtype="bfloat16"))


def test_the_packed_weight_is_kept_and_never_stale():
    rng = np.random.default_rng(0)
    layer = nn.LinearCrossEntropyLoss(96, 130)
    x, t = rng.standard_normal((64, 96)).astype(np.float32), rng.integers(0, 130, 64)
    nonet.empty_cache()
    first = layer(x, t).item()
    kept = nonet.cache_bytes()
    assert kept > 0
    assert layer(x, t).item() == first and nonet.cache_bytes() == kept
    optimizer = nonet.optim.SGD(layer.parameters(), lr=1.0)
    layer(x, t).backward()
    optimizer.step()
    weight = layer.linear.weight.detach().numpy().copy()
    assert layer(x, t).item() == F.linear_cross_entropy(x, weight, t).item() != first
    assert nonet.cache_bytes() == kept
    del layer, optimizer
    assert nonet.cache_bytes() == 0


def test_options_and_bad_arguments():
    inputs, t = sample(8, 5, (4,))
    x, w, _ = inputs
    want = F.linear_cross_entropy(x, w, t).item()
    for options in (
        LinearCrossEntropyOptions(),
        LinearCrossEntropyOptions(chunking_method="aspect_ratio:4"),
        LinearCrossEntropyOptions(chunking_method=None),
    ):
        np.testing.assert_allclose(
            F.linear_cross_entropy(x, w, t, options=options).item(), want, rtol=4 * EPS
        )
    both = LinearCrossEntropyOptions(batch_chunk_size=3, chunking_method="aspect_ratio")
    for call, error, match in (
        (lambda: F.linear_cross_entropy(x, w, t, options=both), ValueError, "disagree"),
        (
            lambda: LinearCrossEntropyOptions(chunking_method="ratio"),
            ValueError,
            "unknown chunking_method 'ratio'",
        ),
        (
            lambda: LinearCrossEntropyOptions(batch_chunk_size=0),
            ValueError,
            "batch_chunk_size must be at least 1",
        ),
        (lambda: LinearCrossEntropyOptions(acc_policy="x"), ValueError, "unknown acc_policy 'x'"),
        (
            lambda: F.linear_cross_entropy(x, w[:, :3], t),
            ValueError,
            r"linear_weight must have shape .* with F = 5",
        ),
        (
            lambda: F.linear_cross_entropy(x, w, t, linear_bias=np.ones(3)),
            ValueError,
            "linear_bias must have shape",
        ),
        (lambda: F.linear_cross_entropy(x[0], w[:, None], t[0]), ValueError, "needs an input"),
        (lambda: F.linear_cross_entropy(x, w, t + 4), IndexError, r"target must lie in \[0, 4\), got"),
        (
            lambda: F.linear_cross_entropy(x, w, np.ones((8, 4)), ignore_index=1),
            ValueError,
            "not for probabilities",
        ),
    ):
        with pytest.raises(error, match=match):
            call()
