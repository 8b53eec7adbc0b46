from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, check_op
from nonet import nn
from nonet.nn import functional as F


def cosine(a, b, dim=1, eps=1e-8):
    a, b = np.broadcast_arrays(a, b)
    length = [np.maximum(np.sqrt((x * x).sum(dim)), eps) for x in (a, b)]
    return (a * b).sum(dim) / (length[0] * length[1])


def distance(a, b, p=2.0, eps=1e-6, keepdim=False):
    return np.linalg.norm(a - b + eps, p, axis=-1, keepdims=keepdim)


def unit(x, p=2.0, dim=1, eps=1e-12):
    a = np.abs(x)
    length = a.max(dim, keepdims=True) if p == np.inf else (a**p).sum(dim, keepdims=True) ** (1 / p)
    return x / np.maximum(length, eps)


@pytest.mark.parametrize(
    ("shape", "dim"), [((3, 4), 1), ((2, 5, 3), 0), ((2, 5, 3), (0, -1)), ((7,), -1), ((0, 3), 1)]
)
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, np.inf])
def test_normalize(shape, dim, p):
    x = np.random.default_rng(0).standard_normal(shape)
    check_op(
        F.normalize, unit, [x], attrs={"p": p, "dim": dim}, rtol=16 * EPS, dtypes=("float32", "bfloat16")
    )


def test_normalize_short_and_long_vectors():
    check_op(F.normalize, unit, [np.full((2, 3), 0.1)], attrs={"eps": 0.5})
    np.testing.assert_allclose(F.normalize(np.full((1, 4), 1e30, np.float32)), [[0.5] * 4], rtol=4 * EPS)
    zero = nonet.tensor(np.zeros((1, 3)), requires_grad=True)
    y = F.normalize(zero)
    assert y.tolist() == [[0, 0, 0]]
    y.backward(np.ones((1, 3)))
    assert np.isfinite(zero.grad.numpy()).all()
    with pytest.raises(TypeError, match="int64"):
        F.normalize(np.ones((2, 3), np.int64))
    with pytest.raises(IndexError, match="axis"):
        F.normalize(np.ones(3))


@pytest.mark.parametrize(
    ("a", "b", "dim"), [((3, 4), (3, 4), 1), ((2, 5, 3), (5, 1), 1), ((7,), (7,), 0), ((2, 0), (2, 0), 0)]
)
def test_cosine_similarity(a, b, dim):
    rng = np.random.default_rng(0)
    check_op(
        F.cosine_similarity, cosine, [rng.standard_normal(a), rng.standard_normal(b)], attrs={"dim": dim}
    )


@pytest.mark.parametrize(("a", "b"), [((3, 4), (3, 4)), ((2, 5, 3), (5, 1)), ((7,), (7,))])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, np.inf])
@pytest.mark.parametrize("keepdim", [False, True])
def test_pairwise_distance(a, b, p, keepdim):
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal(a), rng.standard_normal(b)]
    # Rounding x1 - x2 + eps costs an ulp of the largest term, and the sum of n powers n more.
    check_op(
        F.pairwise_distance, distance, xs, attrs={"p": p, "keepdim": keepdim}, rtol=16 * EPS, atol=16 * EPS
    )


def test_zero_and_extreme_vectors():
    zero = nonet.tensor(np.zeros((1, 3)), requires_grad=True)
    one = nonet.tensor(np.ones((1, 3)), requires_grad=True)
    y = F.cosine_similarity(zero, one)
    assert y.tolist() == [0]
    y.backward(np.ones(1))
    assert np.isfinite(zero.grad.numpy()).all()
    np.testing.assert_array_equal(one.grad.numpy(), np.zeros((1, 3)))
    same = F.pairwise_distance(zero, zero.detach(), eps=0.0)
    assert same.tolist() == [0]
    zero.grad = None
    same.backward(np.ones(1))
    np.testing.assert_array_equal(zero.grad.numpy(), np.zeros((1, 3)))
    huge = np.full((1, 4), 1e18)
    np.testing.assert_allclose(F.cosine_similarity(huge, -huge).numpy(), [-1], rtol=8 * EPS)


def test_layers():
    a, b = np.eye(3)[None], np.ones((1, 3, 3))
    np.testing.assert_allclose(
        nn.CosineSimilarity(dim=2)(a, b).numpy(), np.full((1, 3), 3**-0.5), rtol=8 * EPS
    )
    np.testing.assert_allclose(
        nn.PairwiseDistance(p=1, eps=0.0, keepdim=True)(a, b).numpy(), np.full((1, 3, 1), 2.0)
    )
    with pytest.raises(ValueError, match=r"cosine_similarity: shapes \[2\] and \[3\] do not broadcast"):
        F.cosine_similarity(np.zeros(2), np.zeros(3), 0)
