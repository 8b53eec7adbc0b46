"""Products on the emulator of a GPU by each tier of kernels: fused multiply-adds, mma.sync, and TMA with wgmma."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import nonet
from helpers import GPU, check_op, shuffle_threads, why_no_gpu
from nonet import _core
from nonet.ops.matmul import linear_act, matmul_flags
from reference import matmul as reference

rng = np.random.default_rng(3)
TIERS = ["simt", "mma80", "sm90a"]
FLAGS = list(itertools.product([False, True], repeat=2))
PRECISIONS = {"ieee": 0, "highest": 1, "high": 2, "medium": 3}
# What rounding both operands adds to a product, relative to |a||b|: TF32 keeps 11 bits, bfloat16 8.
ROUNDING = {"ieee": 0.0, "highest": 0.0, "high": 1.01 * 2.0**-11 * 2, "medium": 1.01 * 2.0**-8}


@pytest.fixture(autouse=True, params=TIERS)
def tier(request):
    if reason := why_no_gpu():
        pytest.skip(reason)
    before = _core.tier(GPU)
    _core.set_tier(GPU, request.param)
    yield request.param
    _core.set_tier(GPU, before)


def random(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def on(x: np.ndarray, dtype: str = "float32") -> tuple[nonet.Tensor, np.ndarray]:
    """The tensor, and its values in float64."""
    t = nonet.tensor(x, dtype=dtype)
    return t.to(GPU), t.to("float32").numpy().astype(np.float64)


def operands(m: int, n: int, k: int, transpose: tuple[bool, bool], dtypes: tuple[str, str]):
    """Both tensors, and the values of op(a) and op(b)."""
    a, x = on(random(k, m) if transpose[0] else random(m, k), dtypes[0])
    b, y = on(random(n, k) if transpose[1] else random(k, n), dtypes[1])
    return a, b, x.T if transpose[0] else x, y.T if transpose[1] else y


def check(got: nonet.Tensor, x: np.ndarray, y: np.ndarray, precision: str, what: object = None) -> None:
    want = x @ y
    values = got.to("float32").cpu().numpy()
    limit = reference.bound(x, y) + ROUNDING[precision] * (np.abs(x) @ np.abs(y))
    if got.dtype == "bfloat16":
        limit = 1.01 * limit + 2.0**-8 * np.abs(want)
    assert (np.abs(values - want) <= limit).all(), what


# Tiles and rings: exactly full, ragged at every edge, more than twice as many steps along K as a ring has stages, an
# odd number of them, fewer than stages.
BF16_SIZES = [(128, 128, 64), (72, 136, 200), (200, 264, 616), (130, 88, 1000), (64, 64, 16), (16, 40, 72)]
# … and blocks that stay for a second tile.
BF16_SIZES += [(72, 1096, 576)]


@pytest.mark.parametrize("transpose", FLAGS)
def test_bfloat16(transpose):
    for m, n, k in BF16_SIZES:
        a, b, x, y = operands(m, n, k, transpose, ("bfloat16", "bfloat16"))
        check(matmul_flags(a, b, *transpose), x, y, "highest", (m, n, k))


@pytest.mark.parametrize("transpose", FLAGS)
def test_bfloat16_at_any_address(transpose):
    """Odd sizes and odd offsets: copied to where tensor cores can read, or left to fused multiply-adds."""
    for m, n, k in [(65, 77, 131), (7, 9, 33), (66, 130, 70)]:
        a, b, x, y = operands(m, n, k, transpose, ("bfloat16", "bfloat16"))
        check(matmul_flags(a, b, *transpose), x, y, "highest", (m, n, k))
    whole, values = on(random(1 + 80 * 22, 4), "bfloat16")
    part, x = whole[1:].reshape(80, 88), values[1:].reshape(80, 88)
    assert part.array.shares_memory(whole.array)
    check(matmul_flags(part, part, False, True), x, x.T, "highest")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("transpose", FLAGS)
def test_float32(tier, precision, transpose):
    with nonet.set_matmul_precision(precision):
        for m, n, k in [(128, 128, 32), (72, 132, 300), (130, 260, 324), (65, 77, 131), (8, 12, 20)]:
            a, b, x, y = operands(m, n, k, transpose, ("float32", "float32"))
            got = matmul_flags(a, b, *transpose)
            check(got, x, y, precision, (m, n, k))
            rounded = np.abs(got.cpu().numpy() - x @ y).max() > 1e-4 * np.sqrt(k)
            large = min(m, n, k) >= 64
            if large:
                assert rounded == (tier != "simt" and precision in ("high", "medium")), (m, n, k)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("dtypes", [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_mixed(precision, dtypes):
    with nonet.set_matmul_precision(precision), nonet.autocast():
        for transpose in ((False, True), (True, False)):
            a, b, x, y = operands(96, 72, 136, transpose, dtypes)
            got = matmul_flags(a, b, *transpose)
            assert got.dtype == "bfloat16"
            check(got, x, y, precision)


@pytest.mark.parametrize(
    ("dtype", "precision"), [("bfloat16", "highest"), ("float32", "high"), ("float32", "highest")]
)
def test_long_sums_are_split(dtype, precision):
    """A small result of long sums, as the gradient of a weight: several blocks share a sum."""
    with nonet.set_matmul_precision(precision):
        for (m, n, k), transpose in zip(
            [(24, 40, 4104), (64, 136, 2048), (130, 16, 3000)], FLAGS, strict=False
        ):
            a, b, x, y = operands(m, n, k, transpose, (dtype, dtype))
            got = matmul_flags(a, b, *transpose)
            check(got, x, y, precision, (m, n, k))
            again = matmul_flags(a, b, *transpose)
            np.testing.assert_array_equal(got.to("float32").cpu(), again.to("float32").cpu())


@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 72, 80), (3, 80, 64)),
        ((2, 3, 64, 72), (3, 72, 64)),
        ((2, 1, 64, 64), (3, 64, 64)),
        ((2, 2, 2, 2, 64, 64), (2, 1, 2, 64, 64)),
    ],
    ids=str,
)
def test_batches_and_sums_over_them(shapes):
    """Broadcast axes: the gradients of the narrower operand are sums over products."""

    def gradients(d, a, b):
        da, db = d @ np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2) @ d
        return to_shape(da, a.shape), to_shape(db, b.shape)

    def to_shape(x, shape):
        x = x.sum(tuple(range(x.ndim - len(shape))))
        return x.sum(tuple(i for i, n in enumerate(shape) if n != x.shape[i]), keepdims=True)

    for precision, atol in (("highest", 1e-4), ("medium", 0.3)):
        with nonet.set_matmul_precision(precision):
            check_op(
                nonet.matmul,
                np.matmul,
                [random(*s) for s in shapes],
                reference_gradient=gradients,
                rtol=1e-4,
                atol=atol,
                grad_atol=2 * atol,
                dtypes=("float32", "bfloat16") if precision == "highest" else ("float32",),
            )


@pytest.mark.parametrize("act", [None, "relu", "tanh", "sigmoid", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("sizes", [(96, 136, 72), (66, 70, 1100)])
def test_epilogue(act, sizes):
    """Bias, residual, the value before the activation, and the activation, in both storage types."""
    m, n, k = sizes

    def gradients(d, x, w, b, r):
        z = reference.linear(x, w, b) + r
        h = 1e-6
        dz = d * (reference.activation(z + h, act) - reference.activation(z - h, act)) / (2 * h)
        return dz @ w, dz.T @ x, dz.sum(0), dz

    check_op(
        lambda x, w, b, r: linear_act(x, w, b, act, residual=r),
        lambda x, w, b, r: reference.activation(reference.linear(x, w, b) + r, act),
        [random(m, k) / 8, random(n, k) / 4, random(n), random(m, n)],
        reference_gradient=gradients,
        rtol=1e-5,
        atol=2e-5,
        grad_rtol=1e-4,
        grad_atol=3e-4,
        dtypes=("float32", "bfloat16"),
    )


@pytest.mark.parametrize("transpose", FLAGS)
def test_row_statistics_and_accumulation(transpose):
    for (m, n, k), dtype in itertools.product(
        [(72, 104, 96), (40, 72, 1600), (3, 70, 200)], ("float32", "bfloat16")
    ):
        for precision in ("high", "highest"):
            a, b, x, y = operands(m, n, k, transpose, (dtype, dtype))
            arguments = (a.array, b.array, *transpose, PRECISIONS[precision])
            c, largest, sums = (v.to_device("cpu").numpy() for v in _core.matmul_row_statistics(*arguments))
            check(nonet.tensor(c), x, y, precision)
            for part in range(largest.shape[1]):
                z = c[:, 32 * part : 32 * part + 32].astype(np.float64)
                np.testing.assert_array_equal(largest[:, part], z.max(axis=1))
                want = np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)
                np.testing.assert_allclose(sums[:, part], want, rtol=2e-6)
            start = random(m, n)
            total = nonet.tensor(start).to(GPU)
            _core.matmul_accumulate(total.array, *arguments)
            limit = reference.bound(x, y) + ROUNDING[precision] * (np.abs(x) @ np.abs(y)) + 1e-6
            assert (np.abs(total.cpu().numpy() - (start + x @ y)) <= limit).all()


def test_extreme_values():
    """Infinities and NaN stay in their rows and columns; zeros beyond the edges meet nobody."""
    for dtype, precision in (("bfloat16", "highest"), ("float32", "high"), ("float32", "medium")):
        a, b = random(70, 72), random(72, 88)
        a[3, 5], a[69, 71] = np.inf, np.nan
        b[7, 9], b[71, 87] = np.nan, -np.inf
        with nonet.set_matmul_precision(precision), np.errstate(all="ignore"):
            x, y = on(a, dtype), on(b, dtype)
            got = matmul_flags(x[0], y[0], False, False).to("float32").cpu().numpy()
            want = x[1] @ y[1]
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_array_equal(got[np.isinf(want)], want[np.isinf(want)])


@pytest.mark.parametrize("seed", range(3))
def test_under_other_orders_of_threads(seed):
    shuffle_threads(seed)
    for dtype, precision in (("bfloat16", "highest"), ("float32", "high"), ("float32", "highest")):
        with nonet.set_matmul_precision(precision):
            a, b, x, y = operands(136, 200, 712, FLAGS[seed], (dtype, dtype))
            check(matmul_flags(a, b, *FLAGS[seed]), x, y, precision)
