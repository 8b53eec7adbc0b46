from __future__ import annotations

import math

import numpy as np
import pytest

import nonet
from nonet.nn import init


@pytest.fixture(autouse=True)
def _seed():
    before = nonet.get_rng_state()
    nonet.manual_seed(0)
    yield
    nonet.set_rng_state(before)


def parameter(*shape: int) -> nonet.Parameter:
    return nonet.Parameter(np.full(shape, 9.0))


def check_moments(x: np.ndarray, variance: float, fourth: float) -> None:
    """Mean 0 and this variance, to five standard deviations; fourth: the fourth moment over the variance squared."""
    x = x.astype(np.float64)
    assert abs(x.mean()) < 5 * math.sqrt(variance / x.size)
    assert abs((x**2).mean() - variance) < 5 * variance * math.sqrt((fourth - 1) / x.size)


def test_constants_return_the_tensor():
    p = parameter(2, 3)
    version = p.array.version
    assert init.constant_(p, 1.5) is p and (p.numpy() == 1.5).all()
    assert init.ones_(p) is p and (p.numpy() == 1).all()
    assert init.zeros_(p) is p and (p.numpy() == 0).all()
    assert init.eye_(p) is p
    np.testing.assert_array_equal(p.numpy(), np.eye(2, 3))
    assert p.array.version >= version + 4


@pytest.mark.parametrize("shape", [(200, 100), (40, 20, 5, 5)])
def test_variances(shape):
    kernel = math.prod(shape[2:])
    fan_in, fan_out = shape[1] * kernel, shape[0] * kernel
    p = parameter(*shape)
    check_moments(init.xavier_uniform_(p, 2.0).numpy(), 8 / (fan_in + fan_out), 1.8)
    check_moments(init.xavier_normal_(p, 2.0).numpy(), 8 / (fan_in + fan_out), 3)
    check_moments(init.kaiming_uniform_(p, math.sqrt(5)).numpy(), 1 / (3 * fan_in), 1.8)
    assert np.abs(p.numpy()).max() <= 1 / math.sqrt(fan_in)
    check_moments(init.kaiming_normal_(p, mode="fan_out", nonlinearity="relu").numpy(), 2 / fan_out, 3)
    check_moments(init.uniform_(p, -2, 2).numpy(), 4 / 3, 1.8)
    check_moments(init.normal_(p, 0, 0.5).numpy(), 0.25, 3)


def test_trunc_normal():
    x = init.trunc_normal_(parameter(100_000), 0.0, 1.0, -1.0, 1.0).numpy().astype(np.float64)
    assert x.min() >= -1 and x.max() <= 1
    density = math.exp(-0.5) / math.sqrt(2 * math.pi) / math.erf(1 / math.sqrt(2))
    check_moments(x, 1 - 2 * density, 3)
    inside = math.erf(0.5 / math.sqrt(2)) / math.erf(1 / math.sqrt(2))
    assert abs((np.abs(x) < 0.5).mean() - inside) < 5 * math.sqrt(inside * (1 - inside) / x.size)
    x = init.trunc_normal_(parameter(5000), 10.0, 0.01, 9.99, 10.5).numpy()
    assert x.min() >= 9.99 - 1e-6 and x.max() < 10.1


def test_inverse_erf():
    x = np.concatenate([-np.logspace(-8, 0.5, 100), np.linspace(-3.3, 3.3, 101)])
    y = np.array([math.erf(v) for v in x])
    kept = np.abs(y) < 1 - 1e-6  # beyond, y itself has lost x's digits in the argument of the logarithm
    np.testing.assert_allclose(init._inverse_erf(y[kept]), x[kept], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", [(5, 5), (4, 9), (9, 4), (3, 2, 4)])
def test_orthogonal(shape):
    q = init.orthogonal_(parameter(*shape), 2.0).numpy().reshape(shape[0], -1).astype(np.float64)
    square = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(square, 4 * np.eye(square.shape[0]), atol=4e-6)
    assert init.orthogonal_(parameter(0, 3)).shape == (0, 3)


def test_dirac():
    p = init.dirac_(parameter(4, 2, 3, 5), groups=2).numpy()
    want = np.zeros((4, 2, 3, 5))
    want[0, 0, 1, 2] = want[1, 1, 1, 2] = want[2, 0, 1, 2] = want[3, 1, 1, 2] = 1
    np.testing.assert_array_equal(p, want)


def test_sparse():
    p = init.sparse_(parameter(10, 7), 0.25).numpy()
    np.testing.assert_array_equal((p == 0).sum(axis=0), np.full(7, 3))


def test_gain():
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("leaky_relu", 3) == math.sqrt(0.2)
    assert init.calculate_gain("conv2d") == 1
    with pytest.raises(ValueError, match="calculate_gain: nonlinearity"):
        init.calculate_gain("cubic")


def test_same_seed_same_weights():
    a = init.kaiming_uniform_(parameter(3, 4), generator=nonet.Generator(3)).numpy().copy()
    b = init.kaiming_uniform_(parameter(3, 4), generator=nonet.Generator(3)).numpy()
    np.testing.assert_array_equal(a, b)


def test_bad_input():
    for op in (init.xavier_uniform_, init.kaiming_normal_, init.orthogonal_):
        with pytest.raises(ValueError, match=r"two or more axes, got shape \[3\]"):
            op(parameter(3))
    with pytest.raises(ValueError, match="mode must be fan_in or fan_out"):
        init.kaiming_uniform_(parameter(2, 2), mode="fan")
    with pytest.raises(ValueError, match=r"eye_: tensor must have shape \[n, m\]"):
        init.eye_(parameter(2))
    with pytest.raises(ValueError, match="dirac_: out channels"):
        init.dirac_(parameter(3, 2, 1), groups=2)
    with pytest.raises(ValueError, match="sparse_"):
        init.sparse_(parameter(2), 0.1)
