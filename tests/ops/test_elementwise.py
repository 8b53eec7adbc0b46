from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, check_op, each_isa, use_isa, use_threads
from nonet import _core

# Same shape, number-like, rows, columns, both broadcast, middle axes, leading axes, empty, single, odd.
PAIRS = [
    ((5,), (5,)),
    ((), ()),
    ((3, 5), ()),
    ((), (3, 5)),
    ((4, 7), (7,)),
    ((7,), (4, 7)),
    ((4, 7), (4, 1)),
    ((4, 1), (1, 7)),
    ((2, 3, 4), (3, 1)),
    ((2, 1, 4), (1, 3, 1)),
    ((2, 3, 2, 5), (1, 3, 1, 1)),
    ((1, 1), (1,)),
    ((0, 3), (3,)),
    ((2, 0), (2, 1)),
    ((3, 37), (3, 37)),
]

ARITHMETIC = {
    "add": (nonet.add, np.add),
    "sub": (nonet.sub, np.subtract),
    "mul": (nonet.mul, np.multiply),
    "div": (nonet.div, np.divide),
    "maximum": (nonet.maximum, np.maximum),
    "minimum": (nonet.minimum, np.minimum),
}


def two(shapes, seed=0):
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(s) for s in shapes)
    return a, np.where(b < 0, b - 0.5, b + 0.5)  # away from 0, for divisions


@pytest.mark.parametrize("shapes", PAIRS, ids=str)
@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(name, shapes):
    op, reference = ARITHMETIC[name]
    check_op(op, reference, two(shapes), rtol=EPS, atol=0, dtypes=("float32", "bfloat16"))


@pytest.mark.parametrize("name", ARITHMETIC)
def test_large_and_special_values(name):
    op, reference = ARITHMETIC[name]
    a, b = two([(3, 70001)] * 2)
    a, b = a.astype(np.float32), b.astype(np.float32)
    special = np.float32([np.inf, -np.inf, np.nan, 0, -0.0, 1e30, 1e-30, -1e38, 1e-45, 3])
    a[0, :100], b[0, :100] = np.repeat(special, 10), np.tile(special, 10)
    with np.errstate(all="ignore"):
        want = reference(a, b)
    for isa in ("scalar", _core.detected_isa()):
        with use_isa(isa):
            np.testing.assert_array_equal(op(a, b), want)  # one rounded operation: the same bits as NumPy


@pytest.mark.parametrize("shapes", [((4, 5), (4, 5)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((3,), ())], ids=str)
def test_pow(shapes):
    a, b = two(shapes)
    check_op(nonet.pow, np.power, [np.abs(a) + 0.3, b], rtol=2 * EPS, dtypes=("float32", "bfloat16"))


@pytest.mark.parametrize("exponent", [2, 3, 0.5, -1, -0.5, 1, 0, 4, -2.5])
def test_pow_of_a_number(exponent):
    x = np.abs(two([(3, 9)] * 2)[0]) + 0.3
    check_op(
        lambda t: t**exponent,
        lambda x: np.power(x, exponent),
        [x],
        rtol=3 * EPS,
        dtypes=("float32", "bfloat16"),
    )


def test_pow_of_integers_and_limits():
    assert (nonet.tensor([-2, 3, 5]) ** 3).tolist() == [-8, 27, 125]
    assert (nonet.tensor([1, -1, 2]) ** nonet.tensor([-3, -3, -1])).tolist() == [1, -1, 0]
    with pytest.raises(ValueError, match="pow: an integer to a negative power"):
        nonet.tensor([2]) ** -1
    x = nonet.tensor([0.0, 0.0, -8.0], requires_grad=True)
    y = x ** nonet.tensor([0.0, 2.0, 3.0])
    y.backward(np.ones(3, np.float32))
    assert x.grad is not None and x.grad.tolist() == [0.0, 0.0, 192.0]
    np.testing.assert_array_equal(2.0 ** nonet.tensor([0.0, -1.0, 10.0]), np.float32([1, 0.5, 1024]))


def test_maximum_splits_ties():
    a = nonet.tensor([1.0, 2.0, 3.0], requires_grad=True)
    b = nonet.tensor([1.0, 3.0, 2.0], requires_grad=True)
    nonet.maximum(a, b).backward([1.0, 1.0, 1.0])
    assert a.grad is not None and a.grad.tolist() == [0.5, 0.0, 1.0]
    assert b.grad is not None and b.grad.tolist() == [0.5, 1.0, 0.0]


# ---------------------------------------------------------------------------------------- dtypes and operators


@pytest.mark.parametrize(
    ("a", "b", "want"),
    [
        ("float32", "bfloat16", "float32"),
        ("bfloat16", "int64", "bfloat16"),
        ("int64", "int32", "int64"),
        ("int32", "uint8", "int32"),
        ("uint8", "bool", "uint8"),
        ("bool", "float32", "float32"),
        ("bool", "bool", "bool"),
    ],
)
def test_promotion(a, b, want):
    x, z = nonet.tensor([1, 0, 1], dtype=a), nonet.tensor([1, 1, 0], dtype=b)
    assert (x + z).dtype == (z + x).dtype == want
    assert (x * z).tolist() == [1, 0, 0]
    assert (x / z).dtype == (want if want in ("float32", "bfloat16") else "float32")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "int32", "uint8", "bool"])
def test_numbers_take_the_dtype_of_the_tensor(dtype):
    x = nonet.tensor([1, 0, 1], dtype=dtype)
    floating = dtype in ("float32", "bfloat16")
    assert (x + 1).dtype == ("int64" if dtype == "bool" else dtype)
    assert (x + 0.5).dtype == (dtype if floating else "float32")
    assert (x * True).dtype == dtype
    assert (1 - x).tolist() == [0, 1, 0]


def test_a_number_is_not_rounded_to_bfloat16():
    x = nonet.tensor([256.0, 1000.0], dtype="bfloat16")
    assert (x * 1.0078).numpy().astype(np.float32).tolist() == [258.0, 1008.0]
    assert (1.0078 * x).numpy().astype(np.float32).tolist() == [258.0, 1008.0]


def test_integers():
    x = np.array([-7, 7, -8, 0, 5], np.int64)
    z = np.array([2, -2, 3, 5, -5], np.int64)
    t, u = nonet.tensor(x), nonet.tensor(z)
    for got, want in [
        (t + u, x + z),
        (t - u, x - z),
        (t * u, x * z),
        (t // u, x // z),
        (t % u, x % z),
        (nonet.maximum(t, u), np.maximum(x, z)),
        (nonet.minimum(t, u), np.minimum(x, z)),
        (t & u, x & z),
        (t | u, x | z),
        (t ^ u, x ^ z),
        (~t, ~x),
        (t // 2, x // 2),
        (10 % u, 10 % z),
    ]:
        assert got.dtype == "int64"
        np.testing.assert_array_equal(got, want)
    np.testing.assert_allclose(t / u, x / z, rtol=EPS)
    low = nonet.tensor([-(2**63)])
    assert (low // -1).tolist() == [-(2**63)] and (low % -1).tolist() == [0]
    assert (nonet.tensor([200], dtype="uint8") + 100).tolist() == [44]
    assert (nonet.tensor([200], dtype="uint8") < 300).tolist() == [True]
    assert nonet.maximum(nonet.tensor([3], dtype="uint8"), -5).tolist() == [3]


def test_bool_logic():
    a, b = nonet.tensor([True, True, False, False]), nonet.tensor([True, False, True, False])
    assert (a & b).tolist() == (a * b).tolist() == [True, False, False, False]
    assert (a | b).tolist() == (a + b).tolist() == [True, True, True, False]
    assert (a ^ b).tolist() == [False, True, True, False]
    assert (~a).tolist() == [False, False, True, True]
    assert nonet.logical_xor(nonet.tensor([2.0, 0.0]), nonet.tensor([3, 1])).tolist() == [False, True]
    assert nonet.logical_not(nonet.tensor([0.0, -1.0])).tolist() == [True, False]


def test_division_with_floor():
    rng = np.random.default_rng(0)
    a = np.float32(np.concatenate([rng.standard_normal(200) * 10, [5, -5, 6, 0, 1]]))
    b = np.float32(np.concatenate([rng.standard_normal(200), [0.1, 0.1, -2, 3, 0.2]]))
    np.testing.assert_array_equal(nonet.tensor(a) // b, np.floor_divide(a, b))
    np.testing.assert_array_equal(nonet.tensor(a) % b, np.remainder(a, b))
    for limit in (np.inf, -np.inf):
        np.testing.assert_array_equal(nonet.tensor(a) // limit, np.floor_divide(a, np.float32(limit)))
        np.testing.assert_array_equal(nonet.tensor(a) % limit, np.remainder(a, np.float32(limit)))
    x, z = two([(3, 4)] * 2)
    check_op(nonet.remainder, np.remainder, [x * 5, z], rtol=4 * EPS, atol=8 * EPS)
    for divisor in (2, -2, 7):
        for dtype in ("int64", "int32", "float32"):
            got = nonet.div(nonet.tensor([7, -7, 6, -6, 0], dtype=dtype), divisor, rounding_mode="trunc")
            assert got.dtype == dtype
            assert got.tolist() == [int(n / divisor) for n in (7, -7, 6, -6, 0)]
    big = 2**53 + 1  # beyond what float64, let alone float32, can hold
    assert nonet.div(nonet.tensor([big, -big]), 1, rounding_mode="trunc").tolist() == [big, -big]


@each_isa
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "bool"])
def test_comparisons(isa, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2 if dtype == "bool" else 4, (5, 23)).astype(np.float32)
    z = rng.integers(0, 2 if dtype == "bool" else 4, 23).astype(np.float32)
    if dtype in ("float32", "bfloat16"):
        x[0, :3], z[1] = [np.nan, np.inf, -0.0], np.nan
    t, u = nonet.tensor(x, dtype=dtype), nonet.tensor(z, dtype=dtype)
    with use_isa(isa):
        for got, want in [
            (t == u, x == z),
            (t != u, x != z),
            (t < u, x < z),
            (t <= u, x <= z),
            (t > u, x > z),
            (t >= u, x >= z),
            (u > t, z > x),
            (nonet.logical_and(t, u), np.logical_and(x, z)),
            (nonet.logical_or(t, u), np.logical_or(x, z)),
            (nonet.logical_xor(t, u), np.logical_xor(x, z)),
        ]:
            assert got.dtype == "bool"
            np.testing.assert_array_equal(got, want)
    assert (t == None) is False and (t != "x") is True  # noqa: E711


def test_operators_take_arrays_on_either_side():
    a = np.float32([1, 2, 4])
    t = nonet.tensor(a * 2)
    for got, want in [
        (a + t, 3 * a),
        (a - t, -a),
        (a * t, 2 * a * a),
        (a / t, a / (2 * a)),
        (t / a, np.float32([2, 2, 2])),
        (8 / t, 8 / (2 * a)),
        (-t, -2 * a),
        (abs(-t), 2 * a),
        (2 - t, 2 - 2 * a),
        (7 // t, 7 // (2 * a)),
    ]:
        assert isinstance(got, nonet.Tensor)
        np.testing.assert_array_equal(got, want)
    assert nonet.subtract(t, 1).tolist() == nonet.sub(t, 0.5, alpha=2).tolist() == (2 * a - 1).tolist()
    assert nonet.add(t, t, alpha=3).tolist() == (8 * a).tolist()
    assert nonet.lerp(t, a, 0.5).tolist() == (1.5 * a).tolist()


def test_gradients_between_dtypes():
    a = nonet.tensor([1.0, 2.0], requires_grad=True, dtype="bfloat16")
    b = nonet.tensor([[3.0], [4.0]], requires_grad=True)
    for op in (nonet.add, nonet.sub, nonet.mul, nonet.div, nonet.maximum, nonet.pow):
        a.grad = b.grad = None
        op(a, b).backward(np.ones((2, 2), np.float32))
        assert a.grad is not None and a.grad.dtype == "bfloat16" and a.grad.shape == (2,)
        assert b.grad is not None and b.grad.dtype == "float32" and b.grad.shape == (2, 1)


# ---------------------------------------------------------------------------------------- where, sum_to, formats


@pytest.mark.parametrize(
    "shapes", [((4, 5),) * 3, ((5,), (4, 5), ()), ((4, 1), (5,), (4, 5)), ((0, 2), (2,), ())]
)
def test_where(shapes):
    rng = np.random.default_rng(0)
    c = rng.integers(0, 2, shapes[0]).astype(bool)
    a, b = rng.standard_normal(shapes[1]), rng.standard_normal(shapes[2])
    check_op(nonet.where, np.where, [c, a, b], rtol=0, atol=0, grad=[1, 2], dtypes=("float32", "bfloat16"))


def test_where_of_numbers_and_integers():
    c = nonet.tensor([True, False])
    assert nonet.where(c, nonet.tensor([1, 2]), 7).tolist() == [1, 7]
    assert nonet.where(c, nonet.tensor([1, 2]), 7.5).dtype == "float32"
    assert nonet.where(c, 1.0, 0.0).tolist() == [1.0, 0.0]
    assert nonet.where(c, nonet.tensor([True, True]), False).dtype == "bool"


def test_masked_fill():
    x = np.random.default_rng(0).standard_normal((3, 4))
    mask = np.array([True, False, False, True])
    check_op(
        lambda t: t.masked_fill(mask, -np.inf),
        lambda x: np.where(mask, -np.inf, x),
        [x],
        rtol=0,
        atol=0,
        grad=False,
    )
    t = nonet.tensor(x, requires_grad=True)
    t.masked_fill(mask, 0.0).backward(np.ones((3, 4), np.float32))
    assert t.grad is not None
    np.testing.assert_array_equal(t.grad, np.broadcast_to(~mask, (3, 4)).astype(np.float32))
    with pytest.raises(ValueError, match=r"masked_fill: mask must broadcast to \[4\], got \[3, 4\]"):
        nonet.masked_fill(np.zeros(4), np.ones((3, 4), bool), 1.0)


@pytest.mark.parametrize(
    ("big", "small"),
    [
        ((4, 7), (7,)),
        ((4, 7), (4, 1)),
        ((2, 3, 4, 5), (1, 3, 1, 1)),
        ((2, 3, 4, 5), (3, 1, 5)),
        ((2, 3, 4), ()),
        ((0, 3), (3,)),
        ((3, 0), (3, 1)),
        ((5, 1, 2), (5, 1, 1)),
        ((9000, 5), (5,)),
        ((3, 40001), (3, 1)),
        ((2, 700, 3), (2, 1, 3)),
    ],
)
def test_sum_to(big, small):
    x = np.random.default_rng(0).standard_normal(big).astype(np.float32)
    extra = len(big) - len(small)
    axes = tuple(range(extra)) + tuple(
        extra + i for i, n in enumerate(small) if n == 1 and big[extra + i] != 1
    )
    want = x.astype(np.float64).sum(axis=axes, keepdims=True).reshape(small)
    bound = np.abs(x).astype(np.float64).sum(axis=axes, keepdims=True).reshape(small)
    got = _core.sum_to(nonet.tensor(x).array, small).numpy()
    # a tree of depth d errs by at most d eps sum |x|; 8 in a row within, then spans
    assert np.all(np.abs(got - want) <= 24 * EPS * bound)


@pytest.mark.parametrize("other", ["nhwc", "plain", "number", "channel", "element"])
def test_formats(other):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    z = {"channel": rng.standard_normal((3, 1, 1)), "element": rng.standard_normal((1, 1))}.get(
        other, rng.standard_normal(x.shape)
    )
    z = z.astype(np.float32)
    t = nonet.Tensor(nonet.tensor(x).array.to_format("nhwc"), True)
    array = nonet.tensor(z).array
    u = (
        2.5
        if other == "number"
        else nonet.Tensor(array.to_format("nhwc") if other == "nhwc" else array, True)
    )
    values = 2.5 if other == "number" else z
    y = t * u
    assert y.array.format == ("plain" if other == "channel" else "nhwc")
    np.testing.assert_array_equal(y, x * values)
    np.testing.assert_array_equal(u - t, values - x)
    np.testing.assert_array_equal(nonet.where(t > 0, t, u), np.where(x > 0, x, values))
    dy = rng.standard_normal(x.shape).astype(np.float32)
    y.backward(dy)
    assert t.grad is not None
    np.testing.assert_array_equal(t.grad, dy * values)
    if other in ("nhwc", "plain"):
        np.testing.assert_array_equal(u.grad, dy * x)
    d = nonet.div(t, u)
    t.grad = None
    d.backward(dy)
    np.testing.assert_allclose(t.grad, dy / values, rtol=2 * EPS)


def test_add_into():
    a, b = nonet.tensor([1.0, 2.0]), nonet.tensor([0.5, 0.25], dtype="bfloat16")
    version = a.array.version
    _core.add_into(a.array, b.array)
    assert a.tolist() == [1.5, 2.25] and a.array.version == version + 1
    with pytest.raises(ValueError, match=r"add_into: expected two arrays of one shape, got \[2\] and \[1\]"):
        _core.add_into(a.array, nonet.tensor([1.0]).array)


def test_any_number_of_threads_gives_the_same_bytes():
    rng = np.random.default_rng(0)
    x, z = (
        rng.standard_normal((5, 40000)).astype(np.float32),
        rng.standard_normal((40000,)).astype(np.float32),
    )
    results = []
    for threads in (1, 2, 3):
        with use_threads(threads):
            t, u = nonet.tensor(x, requires_grad=True), nonet.tensor(z, requires_grad=True)
            y = nonet.div(t * u, u + 5.0)
            y.backward(x)
            results.append([np.asarray(v).tobytes() for v in (y.detach(), t.grad, u.grad)])
    assert results[0] == results[1] == results[2]


def test_bad_input():
    a = nonet.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=r"add: shapes \[2\] and \[3\] do not broadcast"):
        a + np.zeros(3, np.float32)
    with pytest.raises(TypeError, match="bitwise_and: not defined for float32"):
        a & 1
    with pytest.raises(TypeError, match="sub: not defined for two bool tensors"):
        nonet.tensor([True]) - nonet.tensor([True])
    with pytest.raises(ValueError, match="floor_divide: division of integers by zero"):
        nonet.tensor([1]) // 0
    with pytest.raises(ValueError, match="rounding_mode must be None, 'trunc' or 'floor', got 'up'"):
        nonet.div(a, 2, rounding_mode="up")
    with pytest.raises(TypeError, match="expected numbers"):
        a + "b"
