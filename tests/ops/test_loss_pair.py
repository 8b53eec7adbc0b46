from __future__ import annotations

import warnings

import numpy as np
import pytest

import nonet
from helpers import EPS, GPU, check_op, each_place, shuffle_threads, use_place, use_threads
from nonet.nn import functional as F
from reference import loss as ref

SHAPES = [(), (0, 2), (1,), (19,)]
REDUCTIONS = ["mean", "sum", "none"]


def normal(rng, shape):
    return rng.standard_normal(shape) * 2


def unit(rng, shape):
    return rng.uniform(0.05, 0.95, shape)


def signs(rng, shape):
    return np.asarray(rng.integers(0, 2, shape) * 2.0 - 1.0)


def counts(rng, shape):
    return np.asarray(rng.integers(1, 9, shape) + 0.5)


def positive(rng, shape):
    return rng.uniform(0.2, 3, shape)


# op, reference, what the inputs are drawn from, attributes, inputs that have a gradient
CASES = [
    (F.l1_loss, ref.l1, (normal, normal), {}, True),
    (F.mse_loss, ref.mse, (normal, normal), {}, True),
    (F.smooth_l1_loss, ref.smooth_l1, (normal, normal), {}, True),
    (F.smooth_l1_loss, ref.smooth_l1, (normal, normal), {"beta": 0.3}, True),
    (F.smooth_l1_loss, ref.smooth_l1, (normal, normal), {"beta": 0.0}, True),
    (F.huber_loss, ref.huber, (normal, normal), {"delta": 0.7}, True),
    (F.kl_div, ref.kl_div, (normal, unit), {}, True),
    (F.kl_div, ref.kl_div, (normal, normal), {"log_target": True}, True),
    (F.binary_cross_entropy, ref.bce, (unit, unit), {}, True),
    (F.binary_cross_entropy, ref.bce, (unit, unit, positive), {}, True),
    (F.binary_cross_entropy_with_logits, ref.bce_logits, (normal, unit), {}, True),
    (F.binary_cross_entropy_with_logits, ref.bce_logits, (normal, unit, positive), {}, True),
    (F.poisson_nll_loss, ref.poisson, (normal, counts), {}, True),
    (F.poisson_nll_loss, ref.poisson, (positive, counts), {"log_input": False, "eps": 0.1}, True),
    (F.poisson_nll_loss, ref.poisson, (normal, counts), {"full": True}, True),
    (F.gaussian_nll_loss, ref.gaussian, (normal, normal, positive), {}, True),
    (F.gaussian_nll_loss, ref.gaussian, (normal, normal, positive), {"full": True}, True),
    (F.soft_margin_loss, ref.soft_margin, (normal, signs), {}, True),
    (F.hinge_embedding_loss, ref.hinge_embedding, (normal, signs), {"margin": 1.5}, [0]),
    (F.margin_ranking_loss, ref.margin_ranking, (normal, normal, signs), {"margin": 0.2}, True),
]


@pytest.mark.parametrize(("op", "reference", "draws", "attrs", "grad"), CASES)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(op, reference, draws, attrs, grad, shape):
    rng = np.random.default_rng(3)
    inputs = [np.asarray(draw(rng, shape)) for draw in draws]
    for reduction in REDUCTIONS:
        # Elements differ from the float64 value by a few eps of their largest term (at most about 60 here); a sum adds
        # them up exactly.
        bound = 64 * EPS * (max(1, int(np.prod(shape))) if reduction == "sum" else 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            check_op(
                op,
                reference,
                inputs,
                attrs={**attrs, "reduction": reduction},
                rtol=8 * EPS,
                atol=bound,
                grad=grad,
            )


@pytest.mark.parametrize("op", [F.mse_loss, F.binary_cross_entropy_with_logits, F.kl_div])
def test_bfloat16(op):
    reference = {F.mse_loss: ref.mse, F.kl_div: ref.kl_div}.get(op, ref.bce_logits)
    rng = np.random.default_rng(0)
    check_op(
        op,
        reference,
        [normal(rng, (5, 7)), unit(rng, (5, 7))],
        dtypes=("bfloat16",),
        attrs={"reduction": "none"},
    )


@pytest.mark.parametrize(
    ("op", "reference"), [(F.l1_loss, ref.l1), (F.mse_loss, ref.mse), (F.huber_loss, ref.huber)]
)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights(op, reference, reduction):
    rng = np.random.default_rng(0)
    inputs = [normal(rng, (4, 3)), normal(rng, (4, 3)), positive(rng, (4, 3))]
    check_op(
        lambda x, y, w, reduction: op(x, y, weight=w, reduction=reduction),
        lambda x, y, w, reduction: reference(x, y, w, reduction),
        inputs,
        attrs={"reduction": reduction},
        rtol=32 * EPS,
    )


def test_extreme_logits():
    x = np.array([1e4, -1e4, np.inf, -np.inf, np.inf, -np.inf, np.nan, 0.0])
    y = np.array([1.0, 0, 1, 0, 0, 1, 1, 0.5])
    with np.errstate(invalid="ignore"):
        check_op(
            F.binary_cross_entropy_with_logits,
            ref.bce_logits,
            [x, y],
            attrs={"reduction": "none"},
            grad=False,
        )


@each_place
def test_gradient_of_extreme_logits(place):
    x = np.array([1e4, -1e4, np.inf, -np.inf, np.inf, -np.inf, np.nan, 0.0])
    y = np.array([1.0, 0, 1, 0, 0, 1, 1, 0.5])
    with use_place(place) as device:
        t = nonet.tensor(x, requires_grad=True, device=device)
        F.binary_cross_entropy_with_logits(t, y, reduction="sum").backward()
        assert t.grad is not None
        np.testing.assert_array_equal(t.grad.cpu(), np.float32([0, 0, 0, 0, 1, -1, np.nan, 0]))


@each_place
def test_probabilities_of_zero_and_one(place):
    with use_place(place) as device:

        def on(*values):
            return nonet.tensor(values, dtype="float32", device=device)

        x, y = on(0, 1, 0, 1), on(0, 1, 1, 0)
        np.testing.assert_array_equal(F.binary_cross_entropy(x, y, reduction="none").cpu(), [0, 0, 100, 100])
        assert F.kl_div(on(-np.inf, 0), on(0, 1)).item() == 0
        assert F.kl_div(on(-np.inf, 0), on(-np.inf, 0), log_target=True).item() == 0


@pytest.mark.parametrize(("op", "reference", "draws", "attrs", "grad"), CASES[::2])
def test_many_elements_on_a_device(op, reference, draws, attrs, grad):
    rng = np.random.default_rng(3)
    inputs = [np.asarray(draw(rng, (11, 1001))).astype(np.float32) for draw in draws]
    with use_place(GPU) as device:
        for reduction in ("mean", "none"):
            results = []
            for place in ("cpu", device):
                # Rows 1 … 10, which do not begin at a multiple of 16 bytes.
                tensors = [nonet.tensor(v, device=place)[1:].detach().requires_grad_() for v in inputs]
                loss = op(*tensors, **attrs, reduction=reduction)
                loss.backward(nonet.full(loss.shape, 3.0, device=place))
                grads = [t.grad.cpu().numpy() for t in tensors if t.grad is not None]
                results.append([loss.detach().cpu().numpy(), *grads])
            for got, want in zip(results[1], results[0], strict=True):
                np.testing.assert_allclose(got, want, rtol=16 * EPS, atol=32 * EPS * np.abs(want).max())


def test_sums_do_not_depend_on_the_order_of_blocks():
    with use_place(GPU) as device:
        x = nonet.tensor(np.random.default_rng(0).standard_normal(50_001).astype(np.float32), device=device)
        results = set()
        for seed in range(3):
            shuffle_threads(seed)
            results.add(F.mse_loss(x, 0 * x).item())
        assert len(results) == 1
        np.testing.assert_allclose(results.pop(), (x.cpu().numpy().astype(np.float64) ** 2).mean(), rtol=EPS)


def test_pos_weight_and_broadcast_weight():
    rng = np.random.default_rng(0)
    x, y, w, b = normal(rng, (4, 3)), unit(rng, (4, 3)), positive(rng, (3,)), positive(rng, (4, 1))
    w, b = w.astype(np.float32), b.astype(np.float32)
    check_op(
        F.binary_cross_entropy_with_logits,
        ref.bce_logits,
        [x, y],
        attrs={"weight": w, "pos_weight": b},
        rtol=32 * EPS,
    )


def test_broadcasting_sums_gradients():
    rng = np.random.default_rng(0)
    check_op(F.soft_margin_loss, ref.soft_margin, [normal(rng, (4, 3)), signs(rng, (3,))], rtol=32 * EPS)
    with pytest.warns(UserWarning, match=r"mse_loss: input \[4, 3\] and target \[3\] have different shapes"):
        assert F.mse_loss(np.ones((4, 3)), np.zeros(3)).item() == 1.0


@pytest.mark.parametrize("shape", [(4, 3), (4, 1), (4,), (1, 3), ()])
def test_gaussian_variance_shapes(shape):
    rng = np.random.default_rng(0)
    x, y, var = normal(rng, (4, 3)), normal(rng, (4, 3)), positive(rng, shape)
    if shape == ():
        got = F.gaussian_nll_loss(x, y, float(var))
        np.testing.assert_allclose(got.item(), ref.gaussian(x, y, var), rtol=1e-6)
        return
    column = (lambda v: v[:, None]) if shape == (4,) else (lambda v: v)
    check_op(F.gaussian_nll_loss, lambda x, y, v: ref.gaussian(x, y, column(v)), [x, y, var], rtol=32 * EPS)


def test_variance_below_eps():
    v = nonet.tensor(np.zeros(3), requires_grad=True)
    F.gaussian_nll_loss(np.zeros(3), np.zeros(3), v, eps=0.25, reduction="sum").backward()
    assert v.grad is not None
    np.testing.assert_array_equal(v.grad.numpy(), [2, 2, 2])  # as if v were eps


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_multilabel_soft_margin(reduction):
    rng = np.random.default_rng(0)
    for shape in [(5, 4), (4,)]:
        w = positive(rng, (4,)).astype(np.float32)
        inputs = [normal(rng, shape), unit(rng, shape)]
        attrs = {"weight": w, "reduction": reduction}
        check_op(
            F.multilabel_soft_margin_loss, ref.multilabel_soft_margin, inputs, attrs=attrs, rtol=32 * EPS
        )


def test_batchmean():
    rng = np.random.default_rng(0)
    check_op(F.kl_div, ref.kl_div, [normal(rng, (5, 7)), unit(rng, (5, 7))], attrs={"reduction": "batchmean"})


def test_mean_of_many_is_exact():
    x = np.random.default_rng(0).standard_normal(200_003).astype(np.float32)
    got = F.mse_loss(x, np.zeros_like(x)).item()
    np.testing.assert_allclose(got, (x.astype(np.float64) ** 2).mean(), rtol=EPS)


def test_mean_of_nothing():
    assert np.isnan(F.mse_loss(np.zeros((0, 3)), np.zeros((0, 3))).item())
    assert F.mse_loss(np.zeros((0, 3)), np.zeros((0, 3)), reduction="sum").item() == 0


def test_threads():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 100_001)).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        with use_threads(threads):
            t = nonet.tensor(x, requires_grad=True)
            loss = F.huber_loss(t, y)
            loss.backward()
            assert t.grad is not None
            results.append(loss.numpy().tobytes() + t.grad.numpy().tobytes())
    assert results[0] == results[1] == results[2]


def test_legacy_arguments():
    x, y = np.ones(4), np.zeros(4)
    for args, shape, value in (
        ({"size_average": False}, (), 4),
        ({"reduce": False}, (4,), [1] * 4),
        ({"size_average": True}, (), 1),
    ):
        with pytest.warns(UserWarning, match="size_average and reduce are old names"):
            got = F.mse_loss(x, y, **args)
        assert got.shape == shape
        np.testing.assert_array_equal(got.numpy(), value)


def test_bad_arguments():
    x = np.zeros((2, 3), np.float32)
    for call, error, match in (
        (
            lambda: F.mse_loss(x, x, reduction="all"),
            ValueError,
            "mse_loss: reduction must be none, mean or sum, got all",
        ),
        (
            lambda: F.mse_loss(x.astype(int), x),
            TypeError,
            "mse_loss: input must be float32 or bfloat16, got int64",
        ),
        (lambda: F.binary_cross_entropy(x + 2, x), ValueError, r"input must be probabilities in \[0, 1\]"),
        (
            lambda: F.binary_cross_entropy(x + np.nan, x),
            ValueError,
            r"input must be probabilities in \[0, 1\]",
        ),
        (
            lambda: F.binary_cross_entropy(x, x[0]),
            ValueError,
            r"target must have shape .* = \[2, 3\], got \[3\]",
        ),
        (lambda: F.huber_loss(x, x, delta=0), ValueError, "delta must be positive, got 0"),
        (lambda: F.smooth_l1_loss(x, x, beta=-1), ValueError, "beta must be at least 0"),
        (lambda: F.gaussian_nll_loss(x, x, x - 1), ValueError, "var must not be negative"),
        (lambda: F.gaussian_nll_loss(x, x, np.ones((5, 3))), ValueError, "var must have shape"),
        (lambda: F.kl_div(x, np.zeros(5)), ValueError, r"kl_div: shapes \[2, 3\] and \[5\] do not broadcast"),
    ):
        with warnings.catch_warnings(), pytest.raises(error, match=match):
            call()
