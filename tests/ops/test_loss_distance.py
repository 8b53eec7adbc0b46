from __future__ import annotations

import numpy as np
import pytest

from helpers import EPS, check_op
from nonet.nn import functional as F
from reference import loss as ref

REDUCTIONS = ["mean", "sum", "none"]


@pytest.mark.parametrize("shape", [(6, 5), (5,), (1, 1)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cosine_embedding(shape, reduction):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, *shape))
    target = np.asarray(rng.integers(0, 2, shape[:-1]) * 2.0 - 1)
    attrs = {"target": target, "margin": -0.2, "reduction": reduction}
    check_op(F.cosine_embedding_loss, ref.cosine_embedding, [x, y], attrs=attrs, rtol=16 * EPS, atol=32 * EPS)


def test_cosine_of_zero_vectors():
    got = F.cosine_embedding_loss(np.zeros((2, 3)), np.ones((2, 3)), np.array([1.0, -1]), reduction="none")
    np.testing.assert_array_equal(got.numpy(), [1, 0])


@pytest.mark.parametrize("shape", [(6, 5), (5,)])
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("order", [1.0, 2.0, 3.0])
def test_triplet(shape, swap, order):
    rng = np.random.default_rng(0)
    inputs = list(rng.standard_normal((3, *shape)))
    for reduction in REDUCTIONS:
        check_op(
            lambda a, p, n, reduction: F.triplet_margin_loss(
                a, p, n, margin=1.5, p=order, swap=swap, reduction=reduction
            ),
            lambda a, p, n, reduction: ref.triplet(a, p, n, 1.5, order, swap, reduction),
            inputs,
            attrs={"reduction": reduction},
            rtol=16 * EPS,
            atol=32 * EPS,
        )


def test_triplet_with_own_distance():
    rng = np.random.default_rng(0)
    inputs = list(rng.standard_normal((3, 6, 5)))
    check_op(
        lambda a, p, n: F.triplet_margin_with_distance_loss(
            a, p, n, distance_function=lambda u, v: ((u - v) ** 2).sum(-1), swap=True
        ),
        lambda a, p, n: ref.reduced(
            np.maximum(
                0, 1 + ((a - p) ** 2).sum(-1) - np.minimum(((a - n) ** 2).sum(-1), ((p - n) ** 2).sum(-1))
            ),
            "mean",
        ),
        inputs,
        rtol=32 * EPS,
    )


def test_bad_arguments():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"must have shapes .* got \[2, 3\], \[2, 3\], \[3\]"):
        F.cosine_embedding_loss(x, x, np.ones(3))
    with pytest.raises(ValueError, match="margin must be positive, got 0"):
        F.triplet_margin_loss(x, x, x, margin=0)
    with pytest.raises(ValueError, match="must have the same number of axes"):
        F.triplet_margin_with_distance_loss(x, x, x[0])
