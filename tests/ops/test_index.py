from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, GPU, check_op, use_place, use_threads

DTYPES = ("float32", "bfloat16")
A = np.array
INDICES = [
    0,
    -1,
    (0, 1),
    (slice(None), -1),
    (..., 2),
    (None, 0),
    (slice(None), slice(None, None, -1), slice(3, 0, -2)),
    (slice(5, 1),),
    (slice(1, None, 3), ..., None),
    np.int64(1),
    (slice(None), [0, 2, 2]),
    ([1, 0], slice(None), [3, 1]),
    (0, slice(None), [1, 1]),
    ([0, 1], [1, 2], [2, 3]),
    (A([[0, 1], [1, 1]]), ..., None, [[2], [0]]),
    (..., A([-1, 0, -1])),
    (slice(None), A([True, False, True])),
    (A([[True, False, True], [False, False, True]]),),
    (A([[True, False, True], [False, False, True]]), A([0, 1, 3])),
    (slice(0, 1), A([True, False, True]), [1, 2]),
    [],
    (slice(None), A([], dtype=np.int32)),
    np.zeros((2, 3, 4), dtype=bool),
]


@pytest.mark.parametrize("index", INDICES, ids=range(len(INDICES)))
def test_getitem(index):
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    key = np.zeros(0, dtype=np.int64) if isinstance(index, list) else index
    check_op(lambda x: x[index], lambda x: x[key], [x], rtol=0, atol=0, dtypes=DTYPES)


def test_getitem_by_tensors():
    x = nonet.tensor(np.arange(12).reshape(3, 4))
    assert x[nonet.tensor(1)].tolist() == [4, 5, 6, 7]
    assert x[nonet.tensor([2, 0]), nonet.tensor(3)].tolist() == [11, 3]
    assert x[nonet.tensor(x.numpy() % 5 == 0)].tolist() == [0, 5, 10]


BAD_INDICES = [
    ((0, 7), IndexError, "index: index 7 is out of range for axis 1 of size 5"),
    (-4, IndexError, "index: index -4 is out of range for axis 0 of size 3"),
    ((0, 0, 0), IndexError, r"index: 3 indices for shape \[3, 5\]"),
    (([0, 1], [4, 5]), IndexError, "index: index 5 is out of range for axis 1 of size 5"),
    (([0, 1], [0, 1, 2]), ValueError, "do not broadcast"),
    ((..., ...), IndexError, "at most one Ellipsis"),
    (A([True, False]), IndexError, r"mask at axis 0 must have shape \[3\], got \[2\]"),
    (A([0.5]), TypeError, "int64, int32 or bool, got float32"),
]


@pytest.mark.parametrize(("index", "error", "text"), BAD_INDICES)
def test_getitem_errors(index, error, text):
    with pytest.raises(error, match=text):
        nonet.tensor(np.zeros((3, 5)))[index]


@pytest.mark.parametrize("inner", [1, 3, 16, 67])
def test_repeated_rows_sum_the_same_for_any_number_of_threads(inner):
    rng = np.random.default_rng(inner)
    index = rng.integers(0, 40, 5000)
    dy = rng.standard_normal((5000, inner)).astype(np.float32)
    want = np.zeros((40, inner))
    np.add.at(want, index, dy.astype(np.float64))
    results = []
    for threads in (1, 2, 3):
        with use_threads(threads):
            x = nonet.tensor(np.zeros((40, inner)), requires_grad=True)
            x[index].backward(dy)
            results.append(x.grad.numpy())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    # A sum of n floats is within n * eps / 2 * sum |terms|; about 125 terms of size about 1 per row.
    np.testing.assert_allclose(results[0], want, rtol=0, atol=125 * 125 * 6e-8)


@pytest.mark.parametrize("inner", [1, 3, 16, 67])
@pytest.mark.parametrize("kinds", [1, 40])
def test_repeated_rows_on_a_device(inner, kinds):
    """Twice the same bytes, however the threads run. More than 4096 rows are ordered digit by digit."""
    rng = np.random.default_rng(inner)
    for count in (700, 5000) if inner == 3 else (700,):
        index = rng.integers(0, kinds, count)
        dy = rng.standard_normal((2, count, inner)).astype(np.float32)
        want, bound = np.zeros((2, 40, inner)), np.zeros((2, 40, inner))
        np.add.at(want, (slice(None), index), dy.astype(np.float64))
        np.add.at(bound, (slice(None), index), np.abs(dy).astype(np.float64))
        results = []
        with use_place(GPU) as device:
            for _ in range(2):
                x = nonet.zeros(2, 40, inner, device=device, requires_grad=True)
                x[:, index].backward(dy)
                results.append(x.grad.cpu().numpy())
        np.testing.assert_array_equal(results[0], results[1])
        assert np.all(np.abs(results[0] - want) <= count * EPS * bound)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "int32", "uint8", "bool"])
def test_dtypes_on_a_device(dtype):
    rng = np.random.default_rng(0)
    x = nonet.tensor(rng.integers(0, 2 if dtype == "bool" else 9, (3, 5, 2)), dtype=dtype)
    source = nonet.tensor(rng.integers(0, 2 if dtype == "bool" else 9, (3, 7, 2)), dtype=dtype)
    index = rng.integers(0, 5, (3, 7, 2))
    rows = index[0, :, 0]
    with use_place(GPU) as device:
        t, s = x.to(device), source.to(device)
        cases = [
            (nonet.gather(t, 1, index), nonet.gather(x, 1, index)),
            (nonet.scatter(t, 1, index, s), nonet.scatter(x, 1, index, source)),  # the last one stays
            (nonet.scatter(t, 1, index, 1), nonet.scatter(x, 1, index, 1)),
            (nonet.scatter_add(t, 1, index, s), nonet.scatter_add(x, 1, index, source)),
            (t[:, rows], x[:, rows]),
            (t[rows % 3, :, 1], x[rows % 3, :, 1]),
            (t[t > 0] if dtype != "bool" else t[t], x[x > 0] if dtype != "bool" else x[x]),
            (nonet.nonzero(t), nonet.nonzero(x)),
        ]
        if dtype != "bool":
            cases.append(
                (nonet.index_add(t, 1, rows, s, alpha=3), nonet.index_add(x, 1, rows, source, alpha=3))
            )
        for got, want in cases:
            assert got.device == device and got.dtype == want.dtype
            np.testing.assert_array_equal(got.cpu().to("float32").numpy(), want.to("float32").numpy())


def test_positions_on_a_device():
    rng = np.random.default_rng(0)
    with use_place(GPU) as device:
        for shape in [(), (0, 2), (3, 3000), (1, 4096), (70, 7, 19)]:
            x = rng.integers(0, 3, shape)
            got = nonet.nonzero(nonet.tensor(x, device=device))
            np.testing.assert_array_equal(got.cpu().numpy(), nonet.nonzero(x).numpy())
        i = nonet.tensor([[1, 0, 2]], dtype="int32", device=device)
        assert nonet.one_hot(i).tolist() == [[[0, 1, 0], [1, 0, 0], [0, 0, 1]]]
        assert nonet.one_hot(i, 2).tolist() == [[[0, 1], [1, 0], [0, 0]]]
        x = nonet.tensor([[1.0, 2.0]], device=device)
        assert nonet.gather(x, 1, [[1, 2, -1]]).tolist() == [[2, 0, 0]]  # out of range: not reported
        assert nonet.scatter_add(x, 1, [[1, 2]], [[5.0, 5.0]]).tolist() == [[1, 7]]
        with pytest.raises(RuntimeError, match=f"index: arrays are on different devices, {GPU} and cpu"):
            x[nonet.tensor([0])]


def test_few_rows_of_a_large_table():
    x = nonet.tensor(np.zeros((100000, 2)), requires_grad=True)
    x[[99999, 5, 99999]].backward(np.ones((3, 2)))
    assert x.grad.numpy().sum() == 6
    assert x.grad.numpy()[99999].tolist() == [2, 2]


def test_gather():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 5, 3))
    for dim, shape in [(0, (7, 5, 3)), (1, (4, 2, 3)), (-1, (4, 5, 6)), (1, (2, 3, 1)), (0, (0, 5, 3))]:
        index = rng.integers(0, x.shape[dim], shape)

        def reference(x, index, dim=dim, shape=shape):
            part = x[tuple(slice(None) if a == dim % 3 else slice(n) for a, n in enumerate(shape))]
            return np.take_along_axis(part, index, dim)

        check_op(
            lambda x, i, dim=dim: nonet.gather(x, dim, i),
            reference,
            [x, index],
            rtol=0,
            atol=0,
            dtypes=DTYPES,
        )
    index = rng.integers(0, 5, (1, 2, 3))
    check_op(
        lambda x, i: nonet.take_along_dim(x, i, 1),
        lambda x, i: np.take_along_axis(x, np.broadcast_to(i, (4, 2, 3)), 1),
        [x, index],
        rtol=0,
        atol=0,
    )
    assert nonet.take_along_dim(x.astype(np.float32), [3, 3]).numpy()[0] == np.float32(x.flat[3])


def scattered(x, src, index, dim, add):
    out = x.copy()
    for at in np.ndindex(*index.shape):
        to = tuple(index[at] if a == dim % x.ndim else i for a, i in enumerate(at))
        out[to] = out[to] + src[at] if add else src[at]
    return out


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_scatter(dim):
    rng = np.random.default_rng(dim + 1)
    x, src = rng.standard_normal((4, 5, 3)), rng.standard_normal((4, 5, 3))
    for shape in [(4, 5, 3), (2, 3, 2)]:
        index = rng.integers(0, x.shape[dim], shape)
        check_op(
            lambda x, s, i: nonet.scatter_add(x, dim, i, s),
            lambda x, s, i: scattered(x, s, i, dim, True),
            [x, src, index],
            dtypes=DTYPES,
        )
        # Different positions only: where one occurs twice the gradient is a convention.
        index = np.argsort(rng.standard_normal(x.shape), dim)[tuple(slice(n) for n in shape)]
        check_op(
            lambda x, s, i: nonet.scatter(x, dim, i, s),
            lambda x, s, i: scattered(x, s, i, dim, False),
            [x, src, index],
            rtol=0,
            atol=0,
            dtypes=DTYPES,
        )
    got = nonet.scatter(np.zeros((2, 3), dtype=np.int64), 1, np.array([[0], [2]]), 7)
    assert got.tolist() == [[7, 0, 0], [0, 0, 7]]
    assert nonet.scatter(np.zeros(2), 0, np.array([1, 1]), np.array([3.0, 4.0])).tolist() == [0, 4]


def test_index_add_and_select():
    rng = np.random.default_rng(0)
    x, index = rng.standard_normal((3, 4, 2)), np.array([1, 3, 1, 0, 1])
    source = rng.standard_normal((3, 5, 2))

    def reference(x, s):
        out = x.copy()
        np.add.at(out, (slice(None), index), -2.0 * s)
        return out

    check_op(lambda x, s: nonet.index_add(x, 1, index, s, alpha=-2), reference, [x, source], dtypes=DTYPES)
    check_op(lambda x: nonet.index_select(x, 1, index), lambda x: x[:, index], [x], dtypes=DTYPES)
    ints = nonet.index_add(np.zeros(3, dtype=np.int64), 0, np.array([2, 2]), np.array([5, 6]))
    assert ints.tolist() == [0, 0, 11]


def test_positions():
    x = np.array([[0, 1, 0], [2, 0, np.nan]])
    assert nonet.nonzero(x).tolist() == [[0, 1], [1, 0], [1, 2]]
    assert [t.tolist() for t in nonet.nonzero(x, as_tuple=True)] == [[0, 1, 1], [1, 0, 2]]
    assert nonet.argwhere(np.zeros((0, 2))).shape == (0, 2)
    assert nonet.one_hot([1, 0, 2]).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert nonet.one_hot(np.zeros((2, 0), dtype=np.int32), 3).shape == (2, 0, 3)
    check_op(
        nonet.masked_select,
        lambda x, m: x[np.broadcast_to(m, x.shape)],
        [np.eye(3), np.array([True, False, True])],
    )


BAD = [
    (
        lambda: nonet.gather(np.zeros((2, 3)), 1, [[3]]),
        IndexError,
        "gather: index 3 is out of range for axis 1 of",
    ),
    (lambda: nonet.gather(np.zeros((2, 3)), 1, [[-1]]), IndexError, "gather: index -1 is out of range"),
    (
        lambda: nonet.gather(np.zeros((2, 3)), 1, [0]),
        ValueError,
        "gather: index must have the 2 axes of input",
    ),
    (
        lambda: nonet.gather(np.zeros((2, 3)), 1, np.zeros((3, 1), np.int64)),
        ValueError,
        "must not exceed input",
    ),
    (lambda: nonet.gather(np.zeros(2), 0, [0.5]), TypeError, "index must be int64 or int32, got float32"),
    (
        lambda: nonet.scatter(np.zeros(2), 0, [1], np.array([1])),
        TypeError,
        "src must have the dtype of input",
    ),
    (lambda: nonet.scatter(np.zeros(2), 0, [1, 1], np.zeros(1)), ValueError, "index must not exceed src"),
    (lambda: nonet.index_add(np.zeros(2), 0, [1, 1], np.zeros(1)), ValueError, "source must have shape"),
    (lambda: nonet.index_select(np.zeros(2), 0, [[1]]), ValueError, r"index must have shape \[count\]"),
    (
        lambda: nonet.one_hot([3], 3),
        IndexError,
        r"one_hot: index 3 at position \[0\] is out of range for 3 rows",
    ),
    (lambda: nonet.one_hot([0.5]), TypeError, "one_hot: input must be int64 or int32"),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
