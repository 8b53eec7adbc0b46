from __future__ import annotations

import math

import numpy as np
import pytest

import nonet
from helpers import (
    EPS,
    GPU,
    available_isas,
    check_op,
    each_isa,
    each_place,
    shuffle_threads,
    use_isa,
    use_place,
    use_threads,
)

# Every kind of view: contiguous, outer axis, middle axis, separate axes, sizes of 1 and 0, many columns, many rows.
CASES = [
    ((), None),
    ((1,), 0),
    ((5,), None),
    ((3, 5), 0),
    ((3, 5), -1),
    ((3, 5), None),
    ((2, 3, 4), 1),
    ((2, 3, 11), 1),
    ((2, 3, 4), (0, 2)),
    ((2, 3, 4, 2), (1, 3)),
    ((2, 1, 4), (0, 2)),
    ((2, 3, 2, 3), (0, 2)),
    ((9, 3), (0,)),
]
EMPTY = [((0, 3), 0), ((0, 3), 1), ((2, 0), None)]
LARGE = [
    ((3, 40_001), 1),
    ((1000, 33), 0),
    ((300, 700), 0),
    ((2, 257, 65), 1),
    ((33_000,), None),
    ((5, 130, 3), (0, 1)),
]


def rng(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def axes(dim):
    return tuple(dim) if isinstance(dim, tuple) else dim


def np_logsumexp(x, dim, keepdim=False):
    m = np.max(x, axis=axes(dim), keepdims=True, initial=-np.inf)
    m = np.where(np.isinf(m), 0, m)
    with np.errstate(divide="ignore"):
        out = np.log(np.sum(np.exp(x - m), axis=axes(dim), keepdims=True)) + m
    return out if keepdim else np.sum(out, axis=axes(dim))


def np_norm(x, dim, p, keepdim=False):
    a = np.abs(x)
    if p == math.inf:
        return np.max(a, axis=axes(dim), keepdims=keepdim, initial=0)
    if p == -math.inf:
        return np.min(a, axis=axes(dim), keepdims=keepdim)
    if p == 0:
        return np.sum(a != 0, axis=axes(dim), keepdims=keepdim).astype(float)
    return np.sum(a**p, axis=axes(dim), keepdims=keepdim) ** (1 / p)


REFERENCES = {
    nonet.sum: lambda x, dim, keepdim=False: np.sum(x, axis=axes(dim), keepdims=keepdim),
    nonet.mean: lambda x, dim, keepdim=False: np.mean(x, axis=axes(dim), keepdims=keepdim),
    nonet.prod: lambda x, dim, keepdim=False: np.prod(x, axis=axes(dim), keepdims=keepdim),
    nonet.amax: lambda x, dim, keepdim=False: np.max(x, axis=axes(dim), keepdims=keepdim),
    nonet.amin: lambda x, dim, keepdim=False: np.min(x, axis=axes(dim), keepdims=keepdim),
    nonet.logsumexp: np_logsumexp,
}
BOTH = ("float32", "bfloat16")


@pytest.mark.parametrize("op", REFERENCES)
@pytest.mark.parametrize(("shape", "dim"), CASES)
def test_reductions(op, shape, dim):
    for keepdim in (False, True):
        attrs = {"dim": dim, "keepdim": keepdim}
        reference = REFERENCES[op] if shape else (lambda x, dim, keepdim: REFERENCES[op](x, None))
        check_op(op, reference, [rng(shape)], attrs=attrs, dtypes=BOTH)


@pytest.mark.parametrize("op", REFERENCES)
@pytest.mark.parametrize(("shape", "dim"), LARGE)
def test_large(op, shape, dim):
    x = rng(shape) if op is not nonet.prod else 1 + rng(shape) * 1e-4
    # Products of n factors are off by n roundings at most, sums by those of the tree's depth, times sum |x|.
    n = x.size // REFERENCES[op](x, dim).size
    error = EPS * (n if op is nonet.prod else 40)
    check_op(op, REFERENCES[op], [x], attrs={"dim": dim}, rtol=error, atol=error * n**0.5, grad=False)


@pytest.mark.parametrize("op", [nonet.sum, nonet.prod, nonet.logsumexp])
@pytest.mark.parametrize(("shape", "dim"), EMPTY)
def test_empty(op, shape, dim):
    check_op(op, REFERENCES[op], [np.zeros(shape)], attrs={"dim": dim})


def test_empty_slices_without_a_value():
    assert np.isnan(nonet.mean(np.zeros((0, 2)), 0).numpy()).all()
    assert np.isnan(nonet.var(np.zeros((0, 2), np.float32), 0).numpy()).all()
    assert nonet.amax(np.zeros((2, 0, 0)), 1).shape == (2, 0)
    assert nonet.max(np.zeros((2, 0)), 0).values.shape == (0,)
    for op in (nonet.amax, nonet.amin):
        with pytest.raises(ValueError, match=r"an empty slice has no m\w+, got shape \[0, 2\]"):
            op(np.zeros((0, 2)), 0)
    for op in (nonet.argmax, nonet.min):
        with pytest.raises(ValueError, match="an empty slice has no"):
            op(np.zeros((0, 2)), 0)


@each_isa
def test_sums_of_ten_million(isa):
    n = 10_000_000
    x = np.random.default_rng(1).random(n, np.float32)
    with use_isa(isa):
        for shape, dim in (((n,), None), ((n // 50, 50), 0)):
            got = nonet.sum(x.reshape(shape), dim).numpy().astype(np.float64)
            want = x.reshape(shape).sum(axis=dim, dtype=np.float64)
            # 16 adds in a run, 2 + 5 + 4 levels, 19 + 5 + 4 over partial results: below 64 roundings of eps / 2.
            assert (np.abs(got - want) <= 32 * EPS * want).all()
        assert abs(nonet.mean(x).item() - x.mean(dtype=np.float64)) < 1e-6
        assert nonet.mean(np.full(n, 0.1, np.float32)).item() == pytest.approx(np.float32(0.1), rel=32 * EPS)


@pytest.mark.parametrize(("shape", "dim"), [*CASES[1:], ((2, 3, 65), 1), ((1, 30_000), 1)])
@pytest.mark.parametrize("correction", [0, 1, 0.5])
def test_var(shape, dim, correction):
    def count(x):
        return x.size / np.sum(x, axis=axes(dim)).size

    def var(x, dim, correction, keepdim=False):
        total = np.sum((x - x.mean(axis=axes(dim), keepdims=True)) ** 2, axis=axes(dim), keepdims=keepdim)
        free = max(0.0, count(x) - correction)
        with np.errstate(divide="ignore", invalid="ignore"):
            return total / np.float64(free)

    x = rng(shape) + 3
    if count(x) <= correction:
        return
    grad = x.size < 1000
    attrs = {"dim": dim, "correction": correction}
    check_op(nonet.var, var, [x], attrs=attrs, dtypes=BOTH, grad=grad, rtol=1e-5)
    check_op(
        nonet.var_mean,
        lambda x, **kw: (var(x, **kw), np.mean(x, axis=axes(dim))),
        [x],
        attrs=attrs,
        grad=grad,
    )
    if count(x) > 1:
        check_op(
            nonet.std,
            lambda x, **kw: np.sqrt(var(x, **kw)),
            [x],
            attrs=attrs,
            dtypes=BOTH,
            grad=grad,
            rtol=1e-5,
        )


@each_place
def test_var_far_from_zero(place):
    x = 1e4 + rng((5, 1000))
    x32 = x.astype(np.float32)
    with use_place(place) as device:
        t = nonet.tensor(x32, device=device)
        np.testing.assert_allclose(
            nonet.var(t, 1).cpu(), x32.astype(np.float64).var(axis=1, ddof=1), rtol=1e-4
        )
        for scale in (1e-30, 1e-22, 1e22, 1e36):  # the squares are no float32 numbers, the root is
            y = np.float32(rng((3, 7)) * scale)
            for dim in (0, 1):
                want = y.astype(np.float64).std(axis=dim, ddof=1)
                got = nonet.std(nonet.tensor(y, device=device), dim)
                np.testing.assert_allclose(got.cpu(), want, rtol=1e-5)


def test_var_of_equal_numbers():
    x32 = rng((5, 1000)).astype(np.float32)
    t = nonet.tensor(np.full((2, 3), 2.0), requires_grad=True)
    nonet.std(t, 1).sum().backward()
    assert (t.grad.numpy() == 0).all()
    assert nonet.var(x32, 1, unbiased=False).tolist() == nonet.var(x32, 1, correction=0).tolist()
    assert np.isnan(nonet.var(np.zeros((3, 1), np.float32), 1).numpy()).all()
    with pytest.raises(ValueError, match="unbiased or correction"):
        nonet.var(x32, 1, True, correction=1)


@pytest.mark.parametrize("p", [0, 0.5, 1, 2, 3, -1, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("shape", "dim"), [((7,), None), ((2, 3, 4), 1), ((2, 3, 4), (0, 2)), ((2, 9001), 1)]
)
def test_norm(p, shape, dim):
    x = rng(shape) + 0.1
    attrs = {"dim": dim, "p": p}
    check_op(nonet.norm, np_norm, [x], attrs=attrs, dtypes=BOTH, grad=x.size < 100)


def test_norm_of_extremes():
    assert nonet.norm(np.array([3e30, 4e30], np.float32)).item() == pytest.approx(5e30, rel=EPS)
    assert nonet.norm(np.array([3e-30, 4e-30], np.float32)).item() == pytest.approx(5e-30, rel=EPS)
    assert math.isnan(nonet.norm(np.array([1, np.nan]), math.inf).item())
    assert nonet.vector_norm(np.array([3.0, 4.0])).item() == 5
    assert nonet.norm(np.array([3.0, -4.0]), "inf").item() == 4
    for p in (1, 2, 3, math.inf):  # no NaN at the origin
        x = nonet.tensor(np.zeros((2, 3)), requires_grad=True)
        nonet.norm(x, p, 1).sum().backward()
        assert (x.grad.numpy() == 0).all()
    with pytest.raises(ValueError, match="norm: p must be"):
        nonet.norm(np.zeros(2), "nuc")


def test_special_values():
    x = np.array(
        [
            [1, np.nan, 3],
            [np.inf, 1, 2],
            [-np.inf] * 3,
            [np.inf, -np.inf, 0],
            [1e30, 1e30, -1e30],
            [1e-30] * 3,
        ]
    )
    with np.errstate(invalid="ignore", over="ignore"):
        for op, reference in REFERENCES.items():
            x32 = x[:4] if op is nonet.prod else x
            for layout, dim in ((x32, 1), (np.repeat(x32.T[:, :, None], 9, 2), 0)):
                check_op(op, reference, [layout], attrs={"dim": dim}, grad=False)
    x = nonet.tensor(np.full((1, 3), -np.inf), requires_grad=True)
    nonet.logsumexp(x, 1).sum().backward()
    assert (x.grad.numpy() == 0).all()


def test_ties_share_the_gradient_without_dim_and_not_with_it():
    data = np.array([[1.0, 3, 3], [3, 0, 3]])
    for reduce, want in (
        (lambda x: nonet.max(x), (data == 3) / 4),
        (lambda x: nonet.amax(x, 1).sum(), np.array([[0, 0.5, 0.5], [0.5, 0, 0.5]])),
        (lambda x: nonet.max(x, 1).values.sum(), np.array([[0, 1, 0], [1, 0, 0]])),
        (lambda x: nonet.min(x, 0)[0].sum(), np.array([[1, 0, 1], [0, 1, 0]])),
    ):
        x = nonet.tensor(data, requires_grad=True)
        reduce(x).backward()
        np.testing.assert_array_equal(x.grad.numpy(), want)


@each_place
@pytest.mark.parametrize(
    ("shape", "dim"),
    [
        ((1,), 0),
        ((3, 7), 0),
        ((3, 7), 1),
        ((2, 70, 3), 1),
        ((2, 1001), -1),
        ((4, 5), None),
        ((5, 40), 0),
        ((2, 9, 600), 1),
        ((2, 20_001), 1),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "int64", "int32", "uint8"])
def test_positions(place, shape, dim, dtype):
    x = np.random.default_rng(3).integers(0, 50, shape).astype(dtype)
    with use_place(place) as device:
        t = nonet.tensor(x, device=device)
        for op, extreme, want, value in (
            (nonet.argmax, nonet.max, np.argmax, np.max),
            (nonet.argmin, nonet.min, np.argmin, np.min),
        ):
            for keepdim in (False, True):
                got = op(t, dim, keepdim)
                assert got.dtype == "int64"
                np.testing.assert_array_equal(got.cpu(), want(x, axis=dim, keepdims=keepdim))
            if dim is not None:
                values, indices = extreme(t, dim)
                np.testing.assert_array_equal(values.cpu(), value(x, axis=dim))
                np.testing.assert_array_equal(indices.cpu(), want(x, axis=dim))
                assert values.dtype == dtype


@each_place
def test_position_of_nan_and_infinity(place):
    with use_place(place) as device:
        for n in (3, 40):
            for at in (0, 1, n - 1):
                x = np.zeros((2, n), np.float32)
                x[0, at] = np.nan
                x[1, at] = -np.inf
                rows = nonet.tensor(x, device=device)
                assert nonet.argmax(rows, 1).tolist()[0] == at
                assert nonet.argmin(rows, 1).tolist() == [at, at]
                assert math.isnan(nonet.max(rows, 1).values.tolist()[0])
                columns = nonet.tensor(np.repeat(x.T, 5, axis=1), device=device)
                assert nonet.argmin(columns, 0).tolist() == [at] * 10
                assert nonet.argmax(columns, 0).tolist() == [at] * 5 + [int(at == 0)] * 5
        assert nonet.argmax(nonet.full((5,), -np.inf, device=device)).item() == 0


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_max_along_gradient(dim):
    check_op(
        lambda x, dim: nonet.max(x, dim).values,
        lambda x, dim: x.max(axis=dim),
        [rng((4, 5, 3))],
        attrs={"dim": dim},
    )
    check_op(
        lambda x, dim: nonet.min(x, dim).values,
        lambda x, dim: x.min(axis=dim),
        [rng((4, 5, 3))],
        attrs={"dim": dim},
    )


@pytest.mark.parametrize(
    ("shape", "dim"), [((5,), 0), ((3, 4), 0), ((3, 4), 1), ((2, 3, 4), 1), ((0, 3), 0), ((2, 0), 1)]
)
def test_running(shape, dim):
    check_op(
        nonet.cumsum, lambda x, dim: np.cumsum(x, axis=dim), [rng(shape)], attrs={"dim": dim}, dtypes=BOTH
    )
    x = rng(shape)
    if x.size:
        x.flat[1] = 0  # the gradient has no division
    check_op(nonet.cumprod, lambda x, dim: np.cumprod(x, axis=dim), [x], attrs={"dim": dim}, dtypes=BOTH)


def test_product_with_zeros():
    x = np.array([[2.0, 3, 0, 4], [0, 1, 0, 2], [1, 2, 3, 4]])
    check_op(nonet.prod, REFERENCES[nonet.prod], [x], attrs={"dim": 1})
    check_op(nonet.prod, REFERENCES[nonet.prod], [x], attrs={"dim": 0})


def test_max_of_two():
    a, b = rng((3, 4)), rng((4,), 1)
    check_op(nonet.max, np.maximum, [a, b])
    check_op(nonet.min, np.minimum, [a, b])


def test_integers_and_truth():
    x = np.array([[1, 2, 0], [2**60, 2**61, -5]])
    assert nonet.sum(x).item() == x.sum() and nonet.sum(x).dtype == "int64"
    assert nonet.sum(x > 0, 1).tolist() == [2, 2]
    assert nonet.prod(x.astype(np.uint8)[:1, :2]).dtype == "int64"
    assert nonet.amax(x).item() == 2**61 and nonet.amin(x, 0).tolist() == [1, 2, -5]
    assert nonet.amax(x.astype(np.uint8), 1).dtype == "uint8"
    assert nonet.cumsum(x[0] > 0, 0).tolist() == [1, 2, 2]
    assert nonet.mean(x[:1], dtype="float32").item() == 1
    for data in (x, x.astype(np.float32), x != 0):
        assert nonet.any(data, 1).tolist() == [True, True]
        assert nonet.all(data, 1, keepdim=True).tolist() == [[False], [True]]
        assert nonet.count_nonzero(data, 0).tolist() == [2, 2, 1]
    assert nonet.all(np.zeros((0,))).item() is True and nonet.any(np.zeros((0,))).item() is False
    assert nonet.any(np.array([np.nan])).item() is True
    assert nonet.tensor([[1.0, 2.0]]).sum(1).tolist() == [3] and nonet.tensor([1.0, 2.0]).max().item() == 2


def test_dtype_argument_and_its_gradient():
    x = nonet.tensor(np.ones((2, 3)), dtype="bfloat16", requires_grad=True)
    y = nonet.sum(x, 1, dtype="float32")
    assert y.dtype == "float32"
    y.sum().backward()
    assert x.grad.dtype == "bfloat16"


@pytest.mark.parametrize("shape", [(100_003,), (70_000, 2), (3000, 40), (3, 50_000), (2, 600, 70)])
def test_threads(shape):
    x = rng(shape).astype(np.float32)
    dims = [None, *range(len(shape))]

    def run() -> list[bytes]:
        out = []
        for dim in dims:
            for op in (nonet.sum, nonet.var, nonet.logsumexp, nonet.amax, nonet.norm):
                t = nonet.tensor(x, requires_grad=True)
                y = op(t, dim=dim)
                nonet.backward([y], [nonet.ones_like(y)])
                out += [y.detach().numpy().tobytes(), t.grad.numpy().tobytes()]
        return out

    for isa in available_isas():
        with use_isa(isa):
            results = []
            for threads in (1, 2, 3):
                with use_threads(threads):
                    results.append(run())
        assert results[0] == results[1] == results[2]


ON_DEVICE = {
    "sum": lambda x, dim: nonet.sum(x, dim),
    "mean": lambda x, dim: nonet.mean(x, dim, True),
    "prod": lambda x, dim: nonet.prod(x * 1e-3 + 1.0, dim),
    "amin": lambda x, dim: nonet.amin(x, dim),
    "max": lambda x, dim: nonet.max(x, dim).values,
    "logsumexp": lambda x, dim: nonet.logsumexp(x * 20.0, dim),
    "var": lambda x, dim: nonet.var(x, dim),
    "std": lambda x, dim: nonet.std(x + 5.0, dim),
    "norm": lambda x, dim: nonet.norm(x, 2, dim),
    "norm of 3": lambda x, dim: nonet.norm(x, 3, dim),
    "largest": lambda x, dim: nonet.norm(x, math.inf, dim),
    "cumsum": lambda x, dim: nonet.cumsum(x, dim),
    "cumprod": lambda x, dim: nonet.cumprod(x * 1e-3 + 1.0, dim),
}


@pytest.mark.parametrize("op", ON_DEVICE)
@pytest.mark.parametrize(
    ("shape", "dim"), [((3, 30_001), 1), ((5000, 2), 0), ((2, 1300, 36), 1), ((70, 64), 1), ((300, 3), 1)]
)
def test_parts_on_a_device(op, shape, dim):
    """Rows and columns that are cut into parts, or share a block; the order of blocks and threads is of no account."""
    with use_place(GPU):
        data, g = rng(shape).astype(np.float32), None
        results = []
        for device, seed in (("cpu", 0), (GPU, 1), (GPU, 2)):
            shuffle_threads(seed)
            x = nonet.tensor(data, device=device, requires_grad=True)
            y = ON_DEVICE[op](x, dim)
            g = rng(y.shape, 1).astype(np.float32) if g is None else g
            y.backward(nonet.tensor(g, device=device))
            assert x.grad is not None
            results.append((y.detach().cpu().numpy(), x.grad.cpu().numpy()))
        for got, again, want in zip(results[1], results[2], results[0], strict=True):
            np.testing.assert_array_equal(got, again)
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "int32", "uint8", "bool"])
def test_exact_folds_on_a_device(dtype):
    with use_place(GPU):
        data = np.random.default_rng(0).integers(0, 7, (3, 1300, 6)) - (dtype in ("int64", "int32"))
        here = nonet.tensor(data, dtype=dtype)
        there = here.to(GPU)
        ops = [nonet.count_nonzero, nonet.any, nonet.all]
        if dtype not in ("float32", "bfloat16"):
            ops += [nonet.sum, nonet.prod, nonet.amax, nonet.amin]
            for dim in (0, 1, 2):
                got, want = nonet.cumsum(there, dim), nonet.cumsum(here, dim)
                assert got.dtype == want.dtype == "int64"
                np.testing.assert_array_equal(got.cpu(), want)
        for op in ops:
            for dim in (None, 0, 1, 2, (0, 2), (1, 2)):
                got, want = op(there, dim), op(here, dim)
                assert got.device == GPU and got.dtype == want.dtype
                np.testing.assert_array_equal(got.cpu(), want, err_msg=f"{op.__name__} {dim}")
        for op in (nonet.max, nonet.min):
            got, want = op(there, 1), op(here, 1)
            assert got.values.dtype == dtype
            np.testing.assert_array_equal(got.values.cpu().to("float32"), want.values.to("float32"))
            np.testing.assert_array_equal(got.indices.cpu(), want.indices)


def test_views_on_a_device():
    """Rows that begin anywhere: packs start where memory is aligned."""
    with use_place(GPU):
        for dtype in ("float32", "bfloat16"):
            x = nonet.tensor(rng((6, 5 * 130)), dtype=dtype, device=GPU)
            for n in (1, 3, 5, 13, 130):
                t = x.reshape(6 * 650 // n, n)[1:5]
                want = t.cpu().to("float32").numpy().sum(axis=1, dtype=np.float64)
                np.testing.assert_allclose(t.sum(1, dtype="float32").cpu(), want, rtol=1e-5, atol=1e-5)


def test_bad_input():
    with pytest.raises(IndexError, match=r"sum: axis must be in \[-2, 1\], got 2"):
        nonet.sum(np.zeros((2, 2)), 2)
    with pytest.raises(ValueError, match="sum: axis 1 is named twice"):
        nonet.sum(np.zeros((2, 2)), (1, -1))
    with pytest.raises(TypeError, match="mean: input must be float32 or bfloat16, got int64"):
        nonet.mean(np.zeros((2, 2), np.int64))
    for op in (nonet.logsumexp, nonet.var, nonet.norm):
        with pytest.raises(TypeError, match="must be float32 or bfloat16"):
            op(np.zeros((2, 2), np.int64))
    with pytest.raises(IndexError, match="argmax|max: axis"):
        nonet.argmax(np.zeros(2), 1)
