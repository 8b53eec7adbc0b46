from __future__ import annotations

import itertools

import numpy as np
import pytest

import nonet
from helpers import GPU, check_op, each_place, use_place, use_threads
from nonet import _core
from nonet.ops.matmul import linear_act, matmul_flags
from reference.matmul import bound

rng = np.random.default_rng(0)


def product(
    a: np.ndarray, b: np.ndarray, transpose_a: bool = False, transpose_b: bool = False, device: str = "cpu"
) -> np.ndarray:
    x, y = nonet.tensor(a, device=device), nonet.tensor(b, device=device)
    return matmul_flags(x, y, transpose_a, transpose_b).cpu().numpy()


def random(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


FLAGS = [(False, False), (False, True), (True, False), (True, True)]
# One size on either side of every tile, panel, block and path limit.
M = [1, 2, 5, 12, 13, 29, 33, 135]
N = [1, 7, 16, 33, 70, 130]
K = [1, 2, 9, 17, 40, 260]


@each_place
@pytest.mark.parametrize("transpose", FLAGS)
def test_every_path(place, transpose):
    sizes = (M, N, K) if place != GPU else (M[::2] + M[-1:], N[::2] + N[-1:], K[::2] + K[-1:])
    with use_place(place) as device:
        for m, n, k in itertools.product(*sizes):
            a, b = random(m, k), random(k, n)
            got = product(
                np.ascontiguousarray(a.T) if transpose[0] else a,
                np.ascontiguousarray(b.T) if transpose[1] else b,
                *transpose,
                device,
            )
            a, b = a.astype(np.float64), b.astype(np.float64)
            assert (np.abs(got - a @ b) <= bound(a, b)).all(), (m, n, k)


@each_place
@pytest.mark.parametrize("transpose", FLAGS)
def test_row_statistics(place, transpose):
    """Per row and 32 columns of the result its largest value, and the sum of exponentials beyond it."""
    sizes = [
        *itertools.product((1, 4, 13, 40), (1, 33, 48, 130), (1, 17, 260)),
        (2, 1030, 300),
        (40, 70, 1500),
    ]
    with use_place(place) as device:
        for m, n, k in sizes:
            a = random(k, m) if transpose[0] else random(m, k)
            b = random(n, k) if transpose[1] else random(k, n)
            a[0, 0] = -np.inf if m > 1 else a[0, 0]
            arrays = nonet.tensor(a, device=device).array, nonet.tensor(b, device=device).array
            outputs = _core.matmul_row_statistics(*arrays, *transpose, 1)
            c, largest, sums = (np.asarray(x.to_device("cpu")) for x in outputs)
            for part in range(largest.shape[1]):
                z = c[:, 32 * part : 32 * part + 32].astype(np.float64)
                np.testing.assert_array_equal(largest[:, part], z.max(axis=1))
                with np.errstate(invalid="ignore"):
                    want = np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)
                np.testing.assert_allclose(sums[:, part], want, rtol=2e-6)


def stored(x: np.ndarray, dtype: str, device: str) -> tuple[nonet.Tensor, np.ndarray]:
    """The tensor, and its values in float64."""
    t = nonet.tensor(x, dtype=dtype)
    return t.to(device), t.to("float32").numpy().astype(np.float64)


@each_place
@pytest.mark.parametrize("transpose", FLAGS)
@pytest.mark.parametrize(
    "dtypes", [("bfloat16", "bfloat16"), ("bfloat16", "float32"), ("float32", "bfloat16")]
)
def test_bfloat16_storage(place, transpose, dtypes):
    """Both operands, or one of them, and the result: read and written as they are stored, summed in float32."""
    sizes = [
        *itertools.product((1, 4, 13, 33, 135), (1, 33, 130), (1, 17, 260)),
        (2, 1030, 300),
        (40, 70, 1500),
    ]
    with use_place(place) as device, nonet.set_matmul_precision("highest"), nonet.autocast("bfloat16"):
        for m, n, k in sizes:
            a, x = stored(random(k, m) if transpose[0] else random(m, k), dtypes[0], device)
            b, y = stored(random(n, k) if transpose[1] else random(k, n), dtypes[1], device)
            x, y = x.T if transpose[0] else x, y.T if transpose[1] else y
            got = matmul_flags(a, b, *transpose)
            assert got.dtype == "bfloat16"
            want = x @ y
            error = np.abs(got.to("float32").cpu().numpy() - want)
            assert (error <= 1.01 * bound(x, y) + 2.0**-8 * np.abs(want)).all(), (m, n, k)


@pytest.mark.parametrize(
    "shape", [(3, 5, 7), (2, 300, 70), (1, 40, 600), (40, 70, 600), (135, 33, 5), (4, 3, 0)]
)
@pytest.mark.parametrize("transposed", [False, True])
def test_scale_and_residual(shape, transposed):
    """In the product's own pass (addmm, baddbmm, linear_act): the same on every path."""
    m, n, k = shape
    both = ("float32", "bfloat16")
    limits = {"rtol": 1e-4, "atol": 1e-4, "dtypes": both}
    if transposed:
        check_op(
            lambda x, w, b, r: linear_act(x, w, b, None, residual=r),
            lambda x, w, b, r: x @ w.T + b + r,
            [random(m, k), random(n, k), random(n), random(m, n)],
            reference_gradient=lambda d, x, w, b, r: (d @ w, d.T @ x, d.sum(0), d),
            **limits,
        )
        return
    check_op(
        lambda c, a, b: nonet.addmm(c, a, b, alpha=-1.5),
        lambda c, a, b: c - 1.5 * (a @ b),
        [random(m, n), random(m, k), random(k, n)],
        reference_gradient=lambda d, c, a, b: (d, -1.5 * d @ b.T, -1.5 * a.T @ d),
        **limits,
    )
    check_op(
        nonet.baddbmm,
        lambda c, a, b: c + a @ b,
        [random(3, m, n), random(3, m, k), random(3, k, n)],
        reference_gradient=lambda d, c, a, b: (d, d @ b.swapaxes(1, 2), a.swapaxes(1, 2) @ d),
        **limits,
    )


@each_place
@pytest.mark.parametrize(
    "shape",
    [
        (3, 5, 5000),
        (40, 70, 5000),
        (64, 1024, 1024),
        (300, 2100, 40),
        (7, 4100, 3),
        (1, 2100, 70),
        (2, 1030, 131),
        (3, 523, 300),
        (4, 600, 253),
    ],
)
@pytest.mark.parametrize("transpose", FLAGS)
def test_large(place, shape, transpose):
    m, n, k = shape
    if place == GPU and m * n * k > 2_000_000:
        pytest.skip("too large for the emulator; test_matmul_tiers.py has its own sizes")
    a = random(k, m) if transpose[0] else random(m, k)
    b = random(n, k) if transpose[1] else random(k, n)
    x, y = (a.T if transpose[0] else a).astype(np.float64), (b.T if transpose[1] else b).astype(np.float64)
    with use_place(place) as device:
        got = product(a, b, *transpose, device)
        assert (np.abs(got - x @ y) <= bound(x, y)).all()
        for threads in (1, 3) if device == "cpu" else (1,):
            with use_threads(threads):
                again = product(a, b, *transpose, device)
                np.testing.assert_array_equal(again.view(np.int32), got.view(np.int32))


BATCHES = [
    ((4,), (4,)),
    ((4,), (4, 3)),
    ((3, 4), (4,)),
    ((3, 4), (4, 5)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (3, 4, 5)),
    ((5, 1, 2, 3), (1, 4, 3, 2)),
    ((1, 2, 3), (3, 1)),
    ((4,), (2, 4, 3)),
    ((2, 3, 4), (4,)),
    ((0, 4), (4, 3)),
    ((3, 0), (0, 2)),
    ((2, 0, 3), (2, 3, 4)),
    ((0, 2, 3), (3, 4)),
    ((2, 3, 4), (2, 4, 0)),
]


@pytest.mark.parametrize("shapes", BATCHES)
def test_batches(shapes):
    check_op(nonet.matmul, np.matmul, [random(*s) for s in shapes], dtypes=("float32", "bfloat16"))


def test_many_large_entries():
    a, b = random(6, 1, 70, 50), random(5, 50, 90)
    got = nonet.matmul(a, b).numpy()
    want = np.matmul(a.astype(np.float64), b.astype(np.float64))
    assert (np.abs(got - want) <= bound(a.astype(np.float64), b.astype(np.float64))).all()
    with use_threads(3):
        np.testing.assert_array_equal(nonet.matmul(a, b).numpy(), got)


@pytest.mark.parametrize("transpose", FLAGS)
def test_gradients_with_flags(transpose):
    def reference(a, b):
        return (np.swapaxes(a, -1, -2) if transpose[0] else a) @ (
            np.swapaxes(b, -1, -2) if transpose[1] else b
        )

    a = random(2, 4, 3) if transpose[0] else random(2, 3, 4)
    b = random(5, 4) if transpose[1] else random(4, 5)
    check_op(lambda a, b: matmul_flags(a, b, *transpose), reference, [a, b])


def test_named_products():
    check_op(nonet.mm, np.matmul, [random(3, 4), random(4, 2)])
    check_op(nonet.bmm, np.matmul, [random(2, 3, 4), random(2, 4, 2)])
    check_op(nonet.mv, np.matmul, [random(3, 4), random(4)])
    check_op(nonet.dot, np.dot, [random(7), random(7)])
    check_op(nonet.outer, np.outer, [random(3), random(4)])
    check_op(nonet.outer, np.outer, [random(0), random(4)])
    check_op(
        nonet.addmm,
        lambda c, a, b, beta, alpha: beta * c + alpha * (a @ b),
        [random(2), random(3, 4), random(4, 2)],
        attrs={"beta": 0.5, "alpha": 2.0},
    )
    check_op(nonet.baddbmm, lambda c, a, b: c + a @ b, [random(3, 2), random(2, 3, 4), random(2, 4, 2)])
    nan = np.full((3, 2), np.nan, np.float32)
    assert np.isfinite(nonet.addmm(nan, random(3, 4), random(4, 2), beta=0).numpy()).all()
    a = nonet.tensor(random(2, 3))
    assert (a @ np.ones((3, 1), np.float32)).shape == (2, 1)
    assert (np.ones((1, 2), np.float32) @ a).shape == (1, 3)


@each_place
@pytest.mark.parametrize("sizes", [(1, 9, 5), (2, 33, 40), (40, 33, 9), (64, 70, 30)])
@pytest.mark.parametrize("transpose", FLAGS)
def test_extreme_values(place, sizes, transpose):
    m, n, k = sizes
    a, b = random(m, k), random(k, n)
    a[0, 0], b[1, 1] = np.inf, 0.0
    a[m - 1, 2] = (
        1e30 if m > 1 else 1.0
    )  # beside the infinity, a product that overflows would add NaN without FMA
    b[k - 1, n - 1] = np.nan
    b[2, 0], b[3, 2] = 1e30, 1e-40
    with np.errstate(all="ignore"):
        x, y = a.astype(np.float64), b.astype(np.float64)
        want = (x @ y).astype(np.float32).astype(np.float64)
    limit = bound(np.where(np.isfinite(x), x, 0), np.where(np.isfinite(y), y, 0))
    with use_place(place) as device:
        got = product(
            np.ascontiguousarray(a.T) if transpose[0] else a,
            np.ascontiguousarray(b.T) if transpose[1] else b,
            *transpose,
            device,
        )
    ok = np.isfinite(want)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(got[np.isinf(want)], want[np.isinf(want)])
    assert (np.abs(got[ok] - want[ok]) <= limit[ok]).all()


@each_place
def test_denormals_survive(place):
    small = np.full((1, 1), 1e-20, np.float32)
    with use_place(place) as device:
        np.testing.assert_allclose(product(small, small, device=device), 1e-40, rtol=1e-4)


def test_bad_input():
    with pytest.raises(
        ValueError, match=r"matmul: inner sizes must be equal, got shapes \[2, 3\] and \[2, 3\]"
    ):
        nonet.matmul(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"matmul: shapes \[2\] and \[3\] do not broadcast"):
        nonet.matmul(np.zeros((2, 3, 3), np.float32), np.zeros((3, 3, 3), np.float32))
    with pytest.raises(ValueError, match="matmul: arguments must have at least one axis"):
        nonet.matmul(1.0, np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="matmul: input must be float32 or bfloat16, got int64"):
        nonet.matmul(np.zeros((2, 2), np.int64), np.zeros((2, 2), np.float32))
    with pytest.raises(
        TypeError, match="matmul: both arguments must have one dtype, got float32 and bfloat16"
    ):
        nonet.matmul(np.zeros((2, 2), np.float32), nonet.zeros(2, 2, dtype="bfloat16"))
    with pytest.raises(
        ValueError, match=r"mm: arguments must have 2 and 2 axes, got shapes \[2\] and \[2, 2\]"
    ):
        nonet.mm(np.zeros(2, np.float32), np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match=r"addmm: input must broadcast to \[2, 2\], got \[1, 2, 2\]"):
        nonet.addmm(
            np.zeros((1, 2, 2), np.float32), np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32)
        )
    with pytest.raises(ValueError, match=r"bmm: both arguments must have one batch size"):
        nonet.bmm(np.zeros((1, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32))
