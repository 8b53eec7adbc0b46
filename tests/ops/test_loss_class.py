from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, GPU, check_op, each_place, use_place, use_threads
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


@each_place
@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("classes", [3, 20_000])
def test_gradient_of_extreme_logits(place, column, classes):
    t = np.array([0, 0, 0, 1, 0, 1, 1, 1, 2])
    x = np.full((9, classes), -np.inf)
    x[:, :3] = EXTREME
    if column:
        x, t = x.T[None], t[None]
    with use_place(place) as device:
        tensor = nonet.tensor(x, requires_grad=True, device=device)
        F.cross_entropy(tensor, t, reduction="sum").backward()
        assert tensor.grad is not None
        d = tensor.grad.cpu().numpy()
    d = d[0].T if column else d
    np.testing.assert_array_equal(d[:5, 3:], 0)
    d = d[:, :3]
    np.testing.assert_array_equal(d[:3], [[0, 0, 0], [-1, 0, 1], [0, 0, 0]])
    p = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(d[3:5], [[0, -p, p], [-1, 1 - p, p]], rtol=1e-6)
    assert np.isnan(d[5:8]).all()


@each_place
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_everything_ignored(place, smoothing):
    with use_place(place) as device:
        for shape in [(4, 3), (2, 3, 5), (2, 20_000)]:
            x = nonet.tensor(np.full(shape, np.nan, np.float32), requires_grad=True, device=device)
            t = np.full((shape[0], *shape[2:]), -100)
            loss = F.cross_entropy(x, t, label_smoothing=smoothing)
            assert np.isnan(loss.item())
            assert F.cross_entropy(x, t, reduction="sum", label_smoothing=smoothing).item() == 0
            loss.backward()
            assert x.grad is not None
            np.testing.assert_array_equal(x.grad.cpu(), np.zeros(shape))


DEVICE_SHAPES = [
    *((200, n) for n in (2, 33, 128, 200)),
    *((4, n) for n in (512, 1000, 1500, 3000, 5000, 20_001)),
    (64, 9000),
    (2, 21, 132),
    (2, 300, 5),
    (1, 9000, 7),
]


@pytest.mark.parametrize("shape", DEVICE_SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["indices", "smoothed", "probabilities"])
def test_cross_entropy_every_way_on_a_device(shape, kind):
    x, t = sample(shape)
    q = np.random.default_rng(1).random(shape)
    with use_place(GPU) as device:
        for dtype, reduction in (("float32", "none"), ("float32", "mean"), ("bfloat16", "mean")):
            results = []
            for place in ("cpu", device):
                tensor = nonet.tensor(x * 3, dtype=dtype, device=place, requires_grad=True)
                target = (
                    nonet.tensor(q, dtype="float32", device=place, requires_grad=True)
                    if kind == "probabilities"
                    else nonet.tensor(t, device=place)
                )
                attrs = {} if kind == "indices" else {"weight": class_weight(shape), "label_smoothing": 0.1}
                if kind != "probabilities":
                    attrs["ignore_index"] = 1
                loss = F.cross_entropy(tensor, target, reduction=reduction, **attrs)
                g = np.random.default_rng(2).standard_normal(loss.shape)
                loss.backward(nonet.tensor(g, dtype=dtype, device=place))
                grads = [v.grad.cpu() for v in (tensor, target) if v.grad is not None]
                results.append([v.to("float32").numpy() for v in (loss.detach().cpu(), *grads)])
            error = 64 * EPS if dtype == "float32" else 2.0**-6
            for got, want in zip(results[1], results[0], strict=True):
                np.testing.assert_allclose(got, want, rtol=error, atol=error * np.abs(want).max())


@pytest.mark.parametrize("shape", [(4, 3), (1, 20_000), (3, 7, 5)])
def test_a_class_out_of_range_on_a_device(shape):
    """Nobody looks at the values, so nothing is raised; the loss tells."""
    x, t = sample(shape)
    with use_place(GPU) as device:
        for bad in (shape[1], -1, 2**40):
            wrong = t.copy()
            wrong.reshape(-1)[0] = bad
            ops = [F.cross_entropy, F.nll_loss]
            if len(shape) == 2:
                ops.append(F.multi_margin_loss)
            for op in ops:
                tensor = nonet.tensor(x, device=device, requires_grad=True)
                loss = op(tensor, wrong, reduction="none")
                values = loss.detach().cpu().numpy().reshape(-1)
                assert np.isnan(values[0]) and np.isfinite(values[1:]).all()
                loss.backward(nonet.ones(loss.shape, device=device))
        if len(shape) == 2:
            rows = np.full(shape, -1)
            rows[0, :2] = 1, shape[1]
            tensor = nonet.tensor(x, device=device, requires_grad=True)
            loss = F.multilabel_margin_loss(tensor, rows, reduction="none")
            assert np.isnan(loss.detach().cpu().numpy()[0])


@pytest.mark.parametrize("p", [1, 2])
def test_margins_of_long_rows_on_a_device(p):
    x, t = sample((3, 10_001))
    rows = np.full((2, 301), -1)
    rows[0, :4], rows[1, :300] = (3, 200, 3, 7), np.arange(300)
    with use_place(GPU) as device:
        for op, data, target, attrs in (
            (F.multi_margin_loss, x, t, {"p": p}),
            (F.multilabel_margin_loss, sample((2, 301))[0], rows, {}),
        ):
            results = []
            for place in ("cpu", device):
                tensor = nonet.tensor(data, device=place, requires_grad=True)
                loss = op(tensor, target, **attrs)
                loss.backward()
                results.append([v.cpu().numpy() for v in (loss.detach(), tensor.grad)])
            for got, want in zip(results[1], results[0], strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


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


@each_place
def test_mean_of_many_is_exact(place):
    x, t = sample((70_001, 3))
    x = x.astype(np.float32)
    with use_place(place) as device:
        got = F.cross_entropy(nonet.tensor(x, device=device), t).item()
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
