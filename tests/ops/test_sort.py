from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import check_op, use_threads

DTYPES = ["float32", "int64", "int32", "uint8", "bool"]


@pytest.mark.parametrize(
    ("shape", "dim"),
    [((), -1), ((1,), 0), ((7,), -1), ((4, 5), 0), ((3, 40, 2), 1), ((0, 3), 0), ((2, 0), 1)],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sort_is_stable(shape, dim, dtype):
    x = np.random.default_rng(0).integers(-4 if dtype[0] in "fi" else 0, 5, shape).astype(dtype)
    rows = x.reshape(1) if x.ndim == 0 else x
    up = np.argsort(rows, axis=dim, kind="stable")
    down = np.argsort(-rows.astype(np.float64), axis=dim, kind="stable")
    for descending, want in ((False, up), (True, down)):
        values, indices = nonet.sort(x, dim, descending)
        assert values.dtype == dtype and indices.dtype == "int64"
        np.testing.assert_array_equal(indices.numpy(), want.reshape(shape))
        np.testing.assert_array_equal(values.numpy(), np.take_along_axis(rows, want, dim).reshape(shape))
        np.testing.assert_array_equal(nonet.argsort(x, dim, descending).numpy(), want.reshape(shape))


def test_extreme_values():
    x = np.array([0.0, np.nan, -0.0, np.inf, -np.inf, 1e-30, -1e-45, np.nan, -1e30], np.float32)
    assert nonet.argsort(x).tolist() == [4, 8, 6, 0, 2, 5, 3, 1, 7]
    assert nonet.argsort(x, descending=True).tolist() == [1, 7, 3, 5, 0, 2, 6, 8, 4]
    assert np.signbit(nonet.sort(x).values.numpy()[4])  # the values themselves are copied
    big = np.array([2**63 - 1, -(2**63), 0, 2**53 + 1, 2**53])
    assert nonet.sort(big).values.tolist() == sorted(big.tolist())
    half = nonet.tensor(np.array([2.0, -1, 0.5]), dtype="bfloat16")
    assert nonet.argsort(half).tolist() == [1, 2, 0]


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(
    ("shape", "k", "dim"),
    [((9,), 3, -1), ((9,), 0, 0), ((4, 9), 9, 1), ((9, 4), 2, 0), ((2, 100, 3), 7, 1), ((), 1, 0)],
)
def test_topk(shape, k, dim, largest):
    x = np.random.default_rng(1).integers(0, 20, shape).astype(np.float32)
    rows = x.reshape(1) if x.ndim == 0 else x
    order = np.argsort(-rows if largest else rows, axis=dim, kind="stable")
    want = np.take(order, range(k), axis=dim)
    values, indices = nonet.topk(x, k, dim, largest)
    np.testing.assert_array_equal(indices.numpy(), want.reshape(indices.shape))
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(rows, want, dim).reshape(indices.shape))


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_gradients(dim):
    x = np.random.default_rng(2).standard_normal((4, 5, 3))
    both = ("float32", "bfloat16")
    check_op(lambda x: nonet.sort(x, dim).values, lambda x: np.sort(x, axis=dim), [x], dtypes=both)
    check_op(
        lambda x: nonet.topk(x, 2, dim).values,
        lambda x: np.take(np.flip(np.sort(x, axis=dim), dim), range(2), axis=dim),
        [x],
        dtypes=both,
    )


def test_threads():
    x = np.random.default_rng(4).standard_normal((300, 50)).astype(np.float32)
    out = []
    for threads in (1, 2, 3):
        with use_threads(threads):
            out.append([nonet.sort(x, dim).indices.numpy().tobytes() for dim in (0, 1)])
    assert out[0] == out[1] == out[2]


def test_bad_input():
    with pytest.raises(ValueError, match=r"topk: k must be in \[0, 3\], got 4"):
        nonet.topk(np.zeros(3), 4)
    with pytest.raises(ValueError, match="topk: k must be >= 0, got -1"):
        nonet.topk(np.zeros(3), -1)
    with pytest.raises(IndexError, match="sort: axis"):
        nonet.sort(np.zeros(3), 1)
