from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, check_op, each_isa, use_isa, use_threads
from nonet.nn import functional as F
from reference import loss as ref


def sample(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and class indices for them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * 2
    axis = 0 if len(shape) == 1 else 1
    positions = shape[:axis] + shape[axis + 1 :]
    return x, rng.integers(0, shape[axis], positions)


def class_weight(shape: tuple[int, ...]) -> np.ndarray:
    return np.linspace(0.5, 2, shape[0 if len(shape) == 1 else 1]).astype(np.float32)


SHAPES = [(3,), (1, 1), (5, 4), (2, 3, 7), (2, 3, 2, 5), (0, 3), (2, 3, 0)]
REDUCTIONS = ["mean", "sum", "none"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_indices(shape, reduction, smoothing, weighted):
    x, t = sample(shape)
    weight = class_weight(shape) if weighted else None
    attrs = {
        "target": t,
        "weight": weight,
        "reduction": reduction,
        "label_smoothing": smoothing,
        "ignore_index": 1,
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        check_op(F.cross_entropy, ref.cross_entropy, [x], attrs=attrs, rtol=16 * EPS, atol=16 * EPS)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_probabilities(shape, reduction, weighted):
    x, _ = sample(shape)
    q = np.random.default_rng(1).random(shape)
    attrs = {
        "weight": class_weight(shape) if weighted else None,
        "reduction": reduction,
        "label_smoothing": 0.1,
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        check_op(F.cross_entropy, ref.cross_entropy, [x, q], attrs=attrs, rtol=16 * EPS, atol=16 * EPS)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll_loss(shape, reduction):
    x, t = sample(shape)
    attrs = {"target": t, "weight": class_weight(shape), "reduction": reduction, "ignore_index": 1}
    with np.errstate(invalid="ignore"):
        check_op(F.nll_loss, ref.nll_loss, [x], attrs=attrs)


@pytest.mark.parametrize("classes", [1, 8, 33, 1000])
def test_many_classes(classes):
    x, t = sample((6, classes))

    def gradient(dy, x):
        p = np.exp(ref.log_softmax(x, 1))
        return (dy * (p - ref.one_hot(t, classes, 1)) / len(x),)

    check_op(
        F.cross_entropy,
        ref.cross_entropy,
        [x * 5],
        attrs={"target": t},
        rtol=16 * EPS,
        reference_gradient=lambda dy, x, target: gradient(dy, x),
        grad_rtol=1e-5,
        grad_atol=4 * EPS,
    )


def test_bfloat16():
    x, t = sample((5, 4))
    check_op(F.cross_entropy, ref.cross_entropy, [x], attrs={"target": t}, dtypes=("bfloat16",))
    check_op(F.nll_loss, ref.nll_loss, [x], attrs={"target": t}, dtypes=("bfloat16",))
    check_op(F.multi_margin_loss, ref.multi_margin, [x], attrs={"target": t}, dtypes=("bfloat16",))


EXTREME = np.array(
    [
        [1e4, 0, -1e4],
        [-1e4, 0, 1e4],
        [1e30, -1e30, 0],
        [-np.inf, 0, 1],
        [-np.inf, 0, 1],
        [np.inf, 0, 1],
        [np.nan, 0, 1],
        [-np.inf, -np.inf, -np.inf],
        [88, 89, 90],
    ]
)


@pytest.mark.parametrize("column", [False, True])
def test_extreme_logits(column):
    t = np.array([0, 0, 0, 1, 0, 1, 1, 1, 2])
    x = EXTREME
    if column:  # the same positions, along the last axis
        x, t = EXTREME.T[None], t[None]
    attrs = {"target": t, "reduction": "none"}
    with np.errstate(invalid="ignore", divide="ignore"):
        check_op(F.cross_entropy, ref.cross_entropy, [x], attrs=attrs, rtol=4 * EPS, grad=False)
    tensor = nonet.tensor(x, requires_grad=True)
    F.cross_entropy(tensor, t, reduction="sum").backward()
    assert tensor.grad is not None
    d = tensor.grad.numpy()[0].T if column else tensor.grad.numpy()
    np.testing.assert_array_equal(d[:3], [[0, 0, 0], [-1, 0, 1], [0, 0, 0]])
    p = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(d[3:5], [[0, -p, p], [-1, 1 - p, p]], rtol=1e-6)
    assert np.isnan(d[5:8]).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_everything_ignored(smoothing):
    for shape in [(4, 3), (2, 3, 5)]:
        x = nonet.tensor(np.full(shape, np.nan, np.float32), requires_grad=True)
        t = np.full((shape[0], *shape[2:]), -100)
        loss = F.cross_entropy(x, t, label_smoothing=smoothing)
        assert np.isnan(loss.item())
        assert F.cross_entropy(x, t, reduction="sum", label_smoothing=smoothing).item() == 0
        loss.backward()
        assert x.grad is not None
        np.testing.assert_array_equal(x.grad.numpy(), np.zeros(shape))


def test_integer_dtypes_of_targets():
    x, t = sample((5, 4))
    want = F.cross_entropy(x, t).item()
    for dtype in (np.uint8, np.int32, np.int64):
        assert F.cross_entropy(x, t.astype(dtype)).item() == want


@pytest.mark.parametrize("shape", [(1,), (4,), (1, 1), (5, 4), (3, 19), (0, 3)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("p", [1, 2])
def test_multi_margin(shape, reduction, p):
    x, t = sample(shape)
    attrs = {"target": t, "p": p, "margin": 1.3, "weight": class_weight(shape), "reduction": reduction}
    with np.errstate(invalid="ignore"):
        check_op(F.multi_margin_loss, ref.multi_margin, [x], attrs=attrs, rtol=16 * EPS, atol=32 * EPS)


@pytest.mark.parametrize("shape", [(1,), (4,), (5, 4), (3, 19)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_multilabel_margin(shape, reduction):
    x, _ = sample(shape)
    rng = np.random.default_rng(1)
    rows = [
        np.concatenate([rng.permutation(shape[-1])[: rng.integers(0, shape[-1] + 1)], np.full(shape[-1], -1)])
        for _ in range(1 if len(shape) == 1 else shape[0])
    ]
    t = np.stack([row[: shape[-1]] for row in rows]).reshape(shape)
    attrs = {"target": t, "reduction": reduction}
    check_op(F.multilabel_margin_loss, ref.multilabel_margin, [x], attrs=attrs, rtol=16 * EPS, atol=64 * EPS)


@pytest.mark.parametrize("shape", [(3001, 10), (3, 5, 4001)])
def test_threads(shape):
    x, t = sample(shape)
    results = []
    for threads in (1, 2, 3):
        with use_threads(threads):
            tensor = nonet.tensor(x, requires_grad=True)
            loss = F.cross_entropy(tensor, t)
            loss.backward()
            assert tensor.grad is not None
            results.append(loss.numpy().tobytes() + tensor.grad.numpy().tobytes())
    assert results[0] == results[1] == results[2]


@each_isa
def test_mean_of_many_is_exact(isa):
    x, t = sample((70_001, 3))
    x = x.astype(np.float32)
    with use_isa(isa):
        got = F.cross_entropy(x, t).item()
    np.testing.assert_allclose(got, ref.cross_entropy(x.astype(float), t), rtol=2 * EPS)


def test_bad_arguments():
    x = np.zeros((2, 3), np.float32)
    ok = np.zeros(2, int)
    for call, error, match in (
        (
            lambda: F.cross_entropy(x, [0, 3]),
            IndexError,
            r"cross_entropy: target must lie in \[0, 3\), got 3",
        ),
        (lambda: F.nll_loss(x, [0, -1]), IndexError, r"nll_loss: target must lie in \[0, 3\), got -1"),
        (lambda: F.cross_entropy(x, np.zeros(2)), TypeError, "target must hold class indices"),
        (lambda: F.cross_entropy(x, np.zeros((2, 3), int)), TypeError, "must hold class probabilities"),
        (
            lambda: F.cross_entropy(x.astype(int), ok),
            TypeError,
            "input must be float32 or bfloat16, got int64",
        ),
        (
            lambda: F.cross_entropy(x, np.zeros(3, int)),
            ValueError,
            r"batch size of the input, 2, got shape \[3\]",
        ),
        (
            lambda: F.cross_entropy(x, ok, np.ones(2)),
            ValueError,
            r"weight must have shape \[C\] = \[3\], got \[2\]",
        ),
        (lambda: F.cross_entropy(x, x, ignore_index=1), ValueError, "ignore_index is for class indices"),
        (
            lambda: F.cross_entropy(x, ok, label_smoothing=1.5),
            ValueError,
            r"label_smoothing must be in \[0, 1\]",
        ),
        (lambda: F.cross_entropy(x, ok, reduction="all"), ValueError, "reduction must be none, mean or sum"),
        (lambda: F.multi_margin_loss(x, ok, p=3), ValueError, "multi_margin_loss: p must be 1 or 2, got 3"),
        (lambda: F.multi_margin_loss(x, [0, -1]), IndexError, r"target must lie in \[0, 3\), got -1"),
        (lambda: F.multilabel_margin_loss(x, [[0, 1, 3]] * 2), IndexError, r"must lie in \[-1, 3\), got 3"),
        (
            lambda: F.multilabel_margin_loss(x, ok),
            ValueError,
            r"target must have shape .* = \[2, 3\], got \[2\]",
        ),
    ):
        with pytest.raises(error, match=match):
            call()
