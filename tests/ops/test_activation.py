from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, check_op, each_isa, use_isa, use_threads
from nonet import _core
from nonet.nn import functional as F
from reference import activation as reference

CASES = [
    ("relu", {}),
    ("relu6", {}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("leaky_relu", {"negative_slope": -0.5}),
    ("leaky_relu", {"negative_slope": 0.0}),
    ("elu", {}),
    ("elu", {"alpha": 0.3}),
    ("elu", {"alpha": -0.5}),
    ("elu", {"alpha": 0.0}),
    ("selu", {}),
    ("celu", {}),
    ("celu", {"alpha": 2.5}),
    ("celu", {"alpha": -2.0}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("silu", {}),
    ("mish", {}),
    ("softplus", {}),
    ("softplus", {"beta": 3.0, "threshold": 1.4}),
    ("softplus", {"beta": -1.5}),
    ("softsign", {}),
    ("tanhshrink", {}),
    ("logsigmoid", {}),
    ("hardtanh", {}),
    ("hardtanh", {"min_val": -0.4, "max_val": 2.1}),
    ("hardsigmoid", {}),
    ("hardswish", {}),
    ("hardshrink", {}),
    ("hardshrink", {"lambd": 1.3}),
    ("softshrink", {}),
    ("softshrink", {"lambd": 0.0}),
    ("threshold", {"threshold": 0.3, "value": -4.0}),
]
KINKS = (-3.0, -1.3, -1.0, -0.5, -0.4, 0.0, 0.3, 0.4667, 0.5, 1.0, 1.3, 2.1, 3.0, 6.0)


def inputs(shape, seed=0):
    """Numbers in ±7 that a bfloat16 holds, away from every kink, where central differences mean nothing."""
    x = np.random.default_rng(seed).uniform(-7, 7, shape)
    for kink in KINKS:
        x = np.where(np.abs(x - kink) < 0.05, kink + 0.06, x)
    return x


@pytest.mark.parametrize(("name", "attrs"), CASES, ids=str)
def test_activation(name, attrs):
    for shape in [(3, 23), (), (0, 2), (1,)]:
        # errors of sigmoid (4 ulp) and of differences such as x - tanh x (a few eps |x|)
        check_op(
            getattr(F, name),
            lambda x, **kw: np.asarray(getattr(reference, name)(x, **kw)),
            [inputs(shape)],
            attrs=attrs,
            rtol=8 * EPS,
            atol=8 * EPS,
            dtypes=("float32", "bfloat16"),
        )


@pytest.mark.parametrize(("name", "attrs"), CASES, ids=str)
def test_large_arrays(name, attrs):
    x = inputs((3, 33333)) * 3
    got = getattr(F, name)(x.astype(np.float32), **attrs).numpy()
    with np.errstate(over="ignore"):
        want = getattr(reference, name)(x.astype(np.float32).astype(np.float64), **attrs)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@each_isa
@pytest.mark.parametrize(("name", "attrs"), CASES, ids=str)
def test_extreme_values(isa, name, attrs):
    x = np.float32([np.nan, 1e30, -1e30, 1e-30, -1e-30, 100, -100, 0, 1e-45])
    with np.errstate(all="ignore"):
        want = getattr(reference, name)(x.astype(np.float64), **attrs).astype(np.float32)
    if (name, attrs) in [("gelu", {"approximate": "tanh"}), ("mish", {}), ("silu", {})]:
        want[2] = -0.0
    with use_isa(isa):
        t = nonet.tensor(x, requires_grad=True)
        y = getattr(F, name)(t, **attrs)
        np.testing.assert_allclose(y, want, rtol=1e-6, atol=1e-35)
        y.backward(np.ones_like(x))
    assert t.grad is not None and np.all(np.isfinite(t.grad.numpy()[3:]))
    if not (name == "celu" and attrs.get("alpha", 1) < 0) and not (
        name == "softplus" and attrs.get("beta", 1) < 0
    ):
        assert np.all(np.isfinite(t.grad.numpy()[1:])), t.grad


def test_infinities():
    x = np.float32([np.inf, -np.inf])
    for name, want in {
        "relu": [np.inf, 0],
        "elu": [np.inf, -1],
        "selu": [np.inf, -1.7580993],
        "softplus": [np.inf, 0],
        "logsigmoid": [0, -np.inf],
        "hardtanh": [1, -1],
        "hardsigmoid": [1, 0],
        "hardshrink": [np.inf, -np.inf],
        "softshrink": [np.inf, -np.inf],
        "tanhshrink": [np.inf, -np.inf],
    }.items():
        np.testing.assert_allclose(getattr(F, name)(x), np.float32(want), rtol=1e-6)


def test_gradients_at_kinks_are_those_of_torch():
    def slope(op, *points):
        t = nonet.tensor(list(points), requires_grad=True)
        op(t).backward(np.ones(len(points)))
        return t.grad.tolist()  # type: ignore[union-attr]

    assert slope(F.relu, 0.0) == [0]
    assert slope(F.relu6, 0.0, 6.0) == [0, 0]
    assert slope(F.hardtanh, -1.0, 1.0) == [0, 0]
    assert slope(F.hardsigmoid, -3.0, 3.0) == [0, 0]
    assert slope(F.hardswish, -3.0, 3.0) == [0, 1]
    assert slope(F.hardshrink, -0.5, 0.5) == [0, 0]
    assert slope(F.softshrink, -0.5, 0.5) == [0, 0]
    assert slope(F.elu, 0.0) == [1]
    assert slope(lambda t: F.threshold(t, 1.0, 5.0), 1.0) == [0]


@pytest.mark.parametrize(
    ("shape", "slopes"),
    [((3, 5), 1), ((3, 5), 5), ((2, 3, 4), 3), ((2, 3, 4, 5), 3), ((7,), 1), ((), 1), ((0, 3), 3)],
)
def test_prelu(shape, slopes):
    weight = np.random.default_rng(1).uniform(-0.5, 0.5, slopes)
    check_op(F.prelu, reference.prelu, [inputs(shape), weight], dtypes=("float32", "bfloat16"))


def test_prelu_nhwc():
    x, weight = inputs((2, 3, 4, 5)).astype(np.float32), np.float32([0.1, 0.2, -0.3])
    dy = inputs((2, 3, 4, 5), 1).astype(np.float32)
    results = []
    for fmt in ("plain", "nhwc"):
        t = nonet.Tensor(nonet.tensor(x).array.to_format(fmt), True)
        w = nonet.tensor(weight, requires_grad=True)
        y = F.prelu(t, w)
        assert y.array.format == fmt
        y.backward(dy)
        results.append([y.detach(), t.grad, w.grad])
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "dim"), [((4, 6), -1), ((4, 6), 0), ((2, 4, 3), 1), ((2,), 0), ((0, 4), 1), ((2, 0), 0)]
)
def test_glu(shape, dim):
    check_op(F.glu, reference.glu, [inputs(shape)], attrs={"dim": dim}, dtypes=("float32", "bfloat16"))


def test_rrelu():
    nonet.manual_seed(3)
    x = np.concatenate([np.full(4000, -2.0), [3.0, 0.0]]).astype(np.float32)
    t = nonet.tensor(x, requires_grad=True)
    y = F.rrelu(t, 0.1, 0.4, training=True)
    slopes = y.detach().numpy()[:4000] / -2
    assert slopes.min() >= 0.1 and slopes.max() < 0.4 and y.tolist()[4000:] == [3.0, 0.0]
    assert abs(slopes.mean() - 0.25) < 5 * 0.3 / np.sqrt(12 * 4000)
    y.backward(np.ones_like(x))
    assert t.grad is not None
    np.testing.assert_allclose(t.grad.numpy()[:4000], slopes, rtol=2 * EPS)
    assert t.grad.tolist()[4000] == 1
    check_op(F.rrelu, lambda x: reference.leaky_relu(x, (1 / 8 + 1 / 3) / 2), [inputs((3, 5))])


def test_softmin():
    x = inputs((3, 5))
    e = np.exp(-x)
    np.testing.assert_allclose(F.softmin(x, 1), e / e.sum(1, keepdims=True), rtol=1e-5)


def test_any_number_of_threads_gives_the_same_bytes():
    x = inputs((4, 6, 9000)).astype(np.float32)
    results = set()
    for threads in (1, 2, 3):
        with use_threads(threads):
            t = nonet.tensor(x, requires_grad=True)
            w = nonet.tensor(np.linspace(-1, 1, 6), requires_grad=True)
            y = F.glu(F.gelu(F.prelu(t, w)), 1)
            y.backward(x[:, :3])
            results.add(b"".join(np.asarray(v).tobytes() for v in (y.detach(), t.grad, w.grad)))
    assert len(results) == 1


def test_what_is_saved():
    """An activation whose gradient is a function of its output keeps only that: the next op keeps it anyway."""
    t = nonet.tensor(np.ones(1 << 18, np.float32), requires_grad=True)
    before = _core.memory_stats()["in_use"]
    y = F.relu(F.elu(t))
    assert _core.memory_stats()["in_use"] - before <= 2 * t.array.nbytes + 256
    del y


def test_bad_input():
    with pytest.raises(TypeError, match="silu: input must be float32 or bfloat16, got int64"):
        F.silu(np.arange(3))
    with pytest.raises(ValueError, match="gelu: approximate must be 'none' or 'tanh', got 'erf'"):
        F.gelu(np.zeros(3), "erf")
    with pytest.raises(
        ValueError, match=r"glu: the size of axis 1 must be even, got input of shape \[2, 3\]"
    ):
        F.glu(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="glu: input must have at least one axis"):
        F.glu(np.float32(1))
    with pytest.raises(IndexError, match=r"glu: axis must be in \[-1, 0\], got 1"):
        F.glu(np.zeros(2), 1)
    with pytest.raises(
        ValueError, match=r"prelu: weight must have shape \[1\] or \[channels\] = \[3\], got \[2\]"
    ):
        F.prelu(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(ValueError, match="softshrink: lambd must be >= 0, got -1"):
        F.softshrink(np.zeros(2), -1)
    with pytest.raises(ValueError, match="celu: alpha must not be 0"):
        F.celu(np.zeros(2), 0)
    with pytest.raises(ValueError, match="rrelu: lower must be <= upper, got 2 and 1"):
        F.rrelu(np.zeros(2), 2, 1)
    with pytest.raises(ValueError, match="hardtanh: min_val must be <= max_val, got 1 and 0"):
        F.hardtanh(np.zeros(2), 1, 0)


@each_isa
def test_gradient_of_mish_far_out(isa):
    with use_isa(isa):
        x = nonet.tensor([25.0, 1e4, 1e30, np.inf, -1e30], requires_grad=True)
        F.mish(x).sum().backward()
        assert x.grad.tolist() == [1, 1, 1, 1, 0]
