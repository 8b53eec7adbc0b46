from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, check_op, use_threads
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
