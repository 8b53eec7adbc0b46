from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import GPU, check_op, use_place, use_threads

DTYPES = ["float32", "int64", "int32", "uint8", "bool"]
each_device = pytest.mark.parametrize("place", ["scalar", GPU])


@pytest.mark.parametrize(
    ("shape", "dim"),
    [((), -1), ((1,), 0), ((7,), -1), ((4, 5), 0), ((3, 40, 2), 1), ((0, 3), 0), ((2, 0), 1)],
)
@pytest.mark.parametrize("dtype", DTYPES)
@each_device
def test_sort_is_stable(shape, dim, dtype, place):
    x = np.random.default_rng(0).integers(-4 if dtype[0] in "fi" else 0, 5, shape).astype(dtype)
    rows = x.reshape(1) if x.ndim == 0 else x
    up = np.argsort(rows, axis=dim, kind="stable")
    down = np.argsort(-rows.astype(np.float64), axis=dim, kind="stable")
    with use_place(place) as device:
        t = nonet.tensor(x, device=device)
        for descending, want in ((False, up), (True, down)):
            values, indices = nonet.sort(t, dim, descending)
            assert values.dtype == dtype and indices.dtype == "int64" and indices.device == device
            np.testing.assert_array_equal(indices.cpu().numpy(), want.reshape(shape))
            np.testing.assert_array_equal(
                values.cpu().numpy(), np.take_along_axis(rows, want, dim).reshape(shape)
            )
            np.testing.assert_array_equal(
                nonet.argsort(t, dim, descending).cpu().numpy(), want.reshape(shape)
            )


@pytest.mark.parametrize("n", [511, 512, 4096, 4097, 9000])
@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16"])
def test_long_rows_on_a_device(n, dtype):
    """In the memory of a block, and behind it digit by digit."""
    rng = np.random.default_rng(n)
    x = rng.integers(0, 2**63 if dtype == "int64" else 250, (2, n)).astype(
        "float32" if dtype == "bfloat16" else dtype
    )
    if dtype[0] in "fbi" and dtype != "bool":
        x *= rng.choice([-1, 1], x.shape).astype(x.dtype)
    with use_place(GPU) as device:
        t = nonet.tensor(x, dtype=dtype, device=device)
        for descending in (False, True):
            values, indices = nonet.sort(t, -1, descending)
            # int64 does not fit into a float: turned around, the order of equal elements is turned around too
            want = (
                n - 1 - np.argsort(x[:, ::-1], -1, kind="stable")[:, ::-1]
                if descending
                else np.argsort(x, -1, kind="stable")
            )
            np.testing.assert_array_equal(indices.cpu().numpy(), want)
            np.testing.assert_array_equal(
                values.cpu().to("float32" if dtype == "bfloat16" else dtype).numpy(),
                np.take_along_axis(x, want, -1),
            )


@pytest.mark.parametrize("k", [1, 7, 1000, 2000])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_topk_of_long_rows_on_a_device(k, dtype):
    """Small k in rounds, of which 20 000 elements need two if k is 1000."""
    x = np.random.default_rng(k).integers(-3000, 3000, (2, 20000)).astype(dtype)
    with use_place(GPU) as device:
        for largest in (False, True):
            values, indices = nonet.topk(nonet.tensor(x, device=device), k, largest=largest)
            want = np.argsort(-x if largest else x, -1, kind="stable")[:, :k]
            np.testing.assert_array_equal(indices.cpu().numpy(), want)
            np.testing.assert_array_equal(values.cpu().numpy(), np.take_along_axis(x, want, -1))


@each_device
def test_extreme_values(place):
    x = np.array([0.0, np.nan, -0.0, np.inf, -np.inf, 1e-30, -1e-45, np.nan, -1e30], np.float32)
    with use_place(place) as device:

        def on(x, **kw):
            return nonet.tensor(x, device=device, **kw)

        assert nonet.argsort(on(x)).tolist() == [4, 8, 6, 0, 2, 5, 3, 1, 7]
        assert nonet.argsort(on(x), descending=True).tolist() == [1, 7, 3, 5, 0, 2, 6, 8, 4]
        # the values themselves are copied
        assert np.signbit(nonet.sort(on(x)).values.cpu().numpy()[4])
        big = np.array([2**63 - 1, -(2**63), 0, 2**53 + 1, 2**53])
        assert nonet.sort(on(big)).values.tolist() == sorted(big.tolist())
        half = on(np.array([2.0, -1, 0.5, np.nan, -0.0, 0.0]), dtype="bfloat16")
        assert nonet.argsort(half).tolist() == [1, 4, 5, 2, 0, 3]


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(
    ("shape", "k", "dim"),
    [((9,), 3, -1), ((9,), 0, 0), ((4, 9), 9, 1), ((9, 4), 2, 0), ((2, 100, 3), 7, 1), ((), 1, 0)],
)
@each_device
def test_topk(shape, k, dim, largest, place):
    x = np.random.default_rng(1).integers(0, 20, shape).astype(np.float32)
    rows = x.reshape(1) if x.ndim == 0 else x
    order = np.argsort(-rows if largest else rows, axis=dim, kind="stable")
    want = np.take(order, range(k), axis=dim)
    with use_place(place) as device:
        values, indices = nonet.topk(nonet.tensor(x, device=device), k, dim, largest)
        np.testing.assert_array_equal(indices.cpu().numpy(), want.reshape(indices.shape))
        np.testing.assert_array_equal(
            values.cpu().numpy(), np.take_along_axis(rows, want, dim).reshape(indices.shape)
        )


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
