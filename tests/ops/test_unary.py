from __future__ import annotations

import math

import numpy as np
import pytest

import nonet
from helpers import EPS, check_op, each_isa, use_isa, use_threads
from nonet import _core

erf = np.vectorize(math.erf, otypes=[float])


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1 + e)


# name: (reference, input range of the gradient check, bound in ulp)
FUNCTIONS = {
    "exp": (np.exp, (-2, 2), 2),
    "expm1": (np.expm1, (-2, 2), 2),
    "log": (np.log, (0.3, 3), 2),
    "log1p": (np.log1p, (-0.6, 3), 2),
    "log2": (np.log2, (0.3, 3), 2),
    "sqrt": (np.sqrt, (0.3, 3), 0.5001),
    "rsqrt": (lambda x: 1 / np.sqrt(x), (0.3, 3), 1.6),
    "reciprocal": (lambda x: 1 / x, (0.5, 3), 0.5001),
    "sin": (np.sin, (-3, 3), 2),
    "cos": (np.cos, (-3, 3), 2),
    "tanh": (np.tanh, (-2, 2), 2),
    "sigmoid": (sigmoid, (-3, 3), 4),
    "erf": (erf, (-2, 2), 2.5),
    "square": (np.square, (-2, 2), 0.5001),
}
LIMITS = (0, -0.0, np.inf, -np.inf, np.nan, 1.1754944e-38, 1e-45, -1e-45, 3.4028235e38, -3.4028235e38, 1, -1)
EDGES = (
    88.72283,
    88.72284,
    -87.33655,
    -103.9,
    -104.1,
    524288,
    524287.94,
    1e10,
    -1e30,
    0.625,
    0.92,
    1.5707964,
)
SPECIAL = np.float32([*LIMITS, *EDGES])


def sweep(name):
    """Floats of every sign and exponent, evenly over their bits, and a denser range around 1."""
    count = 20000 if name == "erf" else 100000
    bits = np.linspace(0, 2**32 - 1, count).astype(np.uint32).view(np.float32)
    near = np.random.default_rng(0).uniform(-8, 8, count).astype(np.float32)
    return np.concatenate([SPECIAL, bits, near])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_accuracy_over_all_floats(name):
    reference, _, bound = FUNCTIONS[name]
    x = sweep(name)
    with np.errstate(all="ignore"):
        want = reference(x.astype(np.float64))
        rounded = want.astype(np.float32)
    finite = np.isfinite(rounded)
    _, exponent = np.frexp(np.abs(want[finite]))
    ulp = np.ldexp(1.0, np.maximum(exponent, -125) - 24)
    for isa in ("scalar", _core.detected_isa()):
        with use_isa(isa):
            got = getattr(nonet, name)(x).numpy()
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_array_equal(got[np.isinf(rounded)], rounded[np.isinf(rounded)])
        np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))
        with np.errstate(invalid="ignore"):
            error = np.abs(got[finite] - want[finite]) / ulp
        worst = int(np.argmax(error))
        assert error[worst] <= bound, f"{error[worst]:.2f} ulp at {x[finite][worst]!r} on {isa}"


@pytest.mark.parametrize("shape", [(3, 5), (), (1,), (0, 3), (2, 67)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, shape):
    reference, (low, high), _ = FUNCTIONS[name]
    x = np.random.default_rng(0).uniform(low, high, shape)
    check_op(
        getattr(nonet, name),
        lambda x: np.asarray(reference(x)),
        [x],
        rtol=4 * EPS,
        dtypes=("float32", "bfloat16"),
    )


FLAT = {"floor": np.floor, "ceil": np.ceil, "round": np.round, "trunc": np.trunc, "sign": np.sign}


@pytest.mark.parametrize("name", FLAT)
def test_flat_functions(name):
    x = np.float32([-2.5, -1.5, -0.5, -0.2, 0, 0.5, 1.5, 2.5, 2.7, 1e10, -3e38, np.inf, -np.inf, 8388607.5])
    for isa in ("scalar", _core.detected_isa()):
        with use_isa(isa):
            np.testing.assert_array_equal(getattr(nonet, name)(x), FLAT[name](x))
    t = nonet.tensor(x, requires_grad=True)
    getattr(t, name)().backward(np.ones(len(x)))
    assert t.grad is not None and not np.any(t.grad.numpy())
    assert np.isnan(getattr(nonet, name)(np.float32([np.nan])).numpy()).all()


@pytest.mark.parametrize(("name", "reference"), [("neg", np.negative), ("abs", np.abs)])
def test_neg_and_abs(name, reference):
    x = np.random.default_rng(0).standard_normal((3, 11))
    check_op(getattr(nonet, name), reference, [x], rtol=0, atol=0, dtypes=("float32", "bfloat16"))


def test_integers():
    x = nonet.tensor([-3, 0, 4])
    for got, want in [
        (-x, [3, 0, -4]),
        (abs(x), [3, 0, 4]),
        (x.square(), [9, 0, 16]),
        (x.sign(), [-1, 0, 1]),
    ]:
        assert got.dtype == "int64" and got.tolist() == want
    assert x.floor().tolist() == [-3, 0, 4] and x.clamp(-1, 2).tolist() == [-1, 0, 2]
    assert nonet.exp(x).dtype == "float32" and nonet.clamp(x, max=1.5).tolist() == [-3.0, 0.0, 1.5]
    assert (-nonet.tensor([1], dtype="uint8")).tolist() == [255]
    with pytest.raises(TypeError, match="neg: not defined for bool"):
        -nonet.tensor([True])


@pytest.mark.parametrize("limits", [(-0.5, 0.7), (None, 0.3), (-0.2, None)])
def test_clamp(limits):
    x = np.random.default_rng(0).standard_normal((3, 21))
    check_op(
        lambda t: nonet.clamp(t, *limits),
        lambda x: np.clip(x, *limits),
        [x],
        rtol=EPS,
        dtypes=("float32", "bfloat16"),
    )


def test_clamp_passes_gradients_at_its_limits():
    t = nonet.tensor([-1.0, -0.5, 0.0, 0.5, 1.0, np.nan], requires_grad=True)
    y = t.clamp(-0.5, 0.5)
    y.backward(np.ones(6))
    assert t.grad is not None and t.grad.tolist() == [0, 1, 1, 1, 0, 0] and np.isnan(y.tolist()[5])
    bounds = nonet.clamp(np.float32([1, 5]), nonet.tensor([2.0, 2.0]), np.float32([3, 3]))
    assert bounds.tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match="clamp: at least one of min and max must be given"):
        t.clamp()


def test_tests():
    x = np.float32([1, np.inf, -np.inf, np.nan, 0])
    for dtype in ("float32", "bfloat16"):
        t = nonet.tensor(x, dtype=dtype)
        np.testing.assert_array_equal(t.isnan(), np.isnan(x))
        np.testing.assert_array_equal(t.isinf(), np.isinf(x))
        np.testing.assert_array_equal(t.isfinite(), np.isfinite(x))
    assert nonet.isfinite(np.arange(2)).tolist() == [True, True] and nonet.isnan(np.arange(1)).tolist() == [
        False
    ]


@each_isa
def test_formats_are_kept(isa):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    with use_isa(isa):
        t = nonet.Tensor(nonet.tensor(x).array.to_format("nhwc"), True)
        y = t.tanh()
        assert y.array.format == "nhwc"
        y.backward(np.ones_like(x))  # a plain gradient meets a saved nhwc array
        assert t.grad is not None
        np.testing.assert_allclose(t.grad, 1 - np.tanh(x) ** 2, rtol=0, atol=4 * EPS)


def test_conversions():
    t = nonet.tensor([1.5, -2.7, 0.0], requires_grad=True)
    assert t.to("int64").tolist() == t.long().tolist() == [1, -2, 0]
    assert t.int().dtype == "int32" and t.bool().tolist() == [True, True, False]
    assert t.to("cpu") is t and t.float() is t and t.cpu() is t and t.to(device="cpu") is t
    half = t.bfloat16()
    assert half.dtype == "bfloat16" and t.to(half).dtype == t.to(dtype="bfloat16").dtype == "bfloat16"
    (half.float() * 3).backward([1.0, 1.0, 1.0])
    assert t.grad is not None and t.grad.dtype == "float32" and t.grad.tolist() == [3, 3, 3]
    assert t.to("cpu", "int32").dtype == "int32"
    assert not t.long().requires_grad
    with pytest.raises(ValueError, match="float65"):
        t.to("float65")
    with pytest.raises(ValueError, match="gpu"):
        t.to("gpu")


def test_any_number_of_threads_gives_the_same_bytes():
    x = np.random.default_rng(0).standard_normal(150001).astype(np.float32)
    results = set()
    for threads in (1, 2, 3):
        with use_threads(threads):
            results.add(nonet.sin(x).numpy().tobytes())
    assert len(results) == 1
