from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, each_place, use_place
from nonet import nn
from nonet.nn import utils


def sample(device: str = "cpu") -> tuple[list[nn.Parameter], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    shapes = [(3, 4), (), (0,), (40_000,)]
    params = [nn.Parameter(nonet.zeros(*s, device=device)) for s in shapes]
    values = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    for p, g in zip(params, values, strict=True):
        p.grad = nonet.tensor(g, device=device)
    params.append(nn.Parameter(np.zeros(3, np.float32)))  # without a gradient
    return params, values


@each_place
@pytest.mark.parametrize("order", [1.0, 2.0, 3.5, float("inf"), "inf"])
@pytest.mark.parametrize("most", [1.0, 1e6])
def test_clip_grad_norm(place, order, most):
    with use_place(place) as device:
        params, values = sample(device)
        got = utils.clip_grad_norm_(params, most, order)
    assert got.shape == () and got.device == device
    flat = np.concatenate([v.reshape(-1).astype(np.float64) for v in values])
    norm = np.linalg.norm(flat, float(order))
    np.testing.assert_allclose(got.item(), norm, rtol=EPS)
    for p, g in zip(params, values, strict=False):
        np.testing.assert_allclose(p.grad.cpu(), g * min(1.0, most / (norm + 1e-6)), rtol=3 * EPS)


@each_place
def test_norms_of_large_and_bad_values(place):
    with use_place(place) as device:
        big = nonet.tensor(np.full(4, 1e30, np.float32), device=device)
        bad = nonet.tensor(np.array([np.nan], np.float32), device=device)
        np.testing.assert_allclose(utils.get_total_norm([big]).item(), 2e30, rtol=EPS)
        for order in (2.0, float("inf")):
            assert np.isnan(utils.get_total_norm([big, bad], order).item())


def test_norms_of_nothing_and_bad_arguments():
    assert utils.get_total_norm([]).item() == 0.0
    p = nn.Parameter(np.zeros(2, np.float32))
    p.grad = nonet.tensor(np.array([np.inf, 1], np.float32))
    with pytest.raises(RuntimeError, match="the total norm of order 2.0 is inf"):
        utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    with pytest.raises(ValueError, match="norm_type must be positive"):
        utils.clip_grad_norm_(p, 1.0, 0)


@each_place
def test_clip_grad_value(place):
    with use_place(place) as device:
        params, values = sample(device)
        utils.clip_grad_value_(params, 0.5)
    for p, g in zip(params, values, strict=False):
        np.testing.assert_array_equal(p.grad.cpu(), np.clip(g, -0.5, 0.5))


@each_place
def test_bfloat16_gradients(place):
    with use_place(place) as device:
        p = nn.Parameter(nonet.tensor(np.zeros(2), dtype="bfloat16", device=device))
        p.grad = nonet.tensor(np.array([3.0, 4.0]), dtype="bfloat16", device=device)
        assert utils.clip_grad_norm_(p, 2.5).item() == 5.0
        np.testing.assert_array_equal(p.grad.cpu().numpy().astype(np.float32), [1.5, 2.0])


def test_vector_round_trip():
    rng = np.random.default_rng(0)
    params = [nn.Parameter(rng.standard_normal(s).astype(np.float32)) for s in [(2, 3), (), (4,)]]
    vector = utils.parameters_to_vector(params)
    np.testing.assert_array_equal(vector.numpy(), np.concatenate([p.numpy().reshape(-1) for p in params]))
    utils.vector_to_parameters(nonet.tensor(np.arange(11, dtype=np.float32)), params)
    np.testing.assert_array_equal(params[2].numpy(), [7, 8, 9, 10])
    with pytest.raises(ValueError, match=r"vec must have shape \[11\], got \[3\]"):
        utils.vector_to_parameters(nonet.tensor(np.zeros(3, np.float32)), params)
