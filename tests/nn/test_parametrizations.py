"""Spectral normalisation beside NumPy's singular values; classes, keys, copies and removal; weights clipped."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import nonet
from helpers import each_place, use_place
from nonet import nn
from nonet.nn.utils import clip_weights_, parametrize
from nonet.nn.utils.parametrizations import spectral_norm

LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (3, 7), 0),
    "conv1d": (lambda: nn.Conv1d(2, 4, 3), (2, 2, 9), 0),
    "conv2d": (lambda: nn.Conv2d(3, 4, 3, padding=1), (2, 3, 6, 5), 0),
    "conv_transpose2d": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2), (2, 3, 4, 5), 1),
}


def matrix(weight: np.ndarray, dim: int) -> np.ndarray:
    return np.moveaxis(weight, dim, 0).reshape(weight.shape[dim], -1).astype(np.float64)


@pytest.mark.parametrize("name", LAYERS)
def test_norm_is_one(name):
    make, shape, dim = LAYERS[name]
    nonet.manual_seed(0)
    layer = spectral_norm(make(), n_power_iterations=50)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    layer(x)
    assert type(layer).__name__.startswith("Parametrized")
    values = np.linalg.svd(matrix(layer.weight.numpy(), dim), compute_uv=False)
    np.testing.assert_allclose(values[0], 1, rtol=1e-3)
    original = layer.parametrizations.weight.original.numpy()
    plain = make()
    plain.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    np.testing.assert_array_equal(layer.eval()(x).numpy(), plain(x).numpy())
    scale = np.linalg.svd(matrix(original, dim), compute_uv=False)[0]
    np.testing.assert_allclose(layer.weight.numpy(), original / scale, rtol=1e-3)


@pytest.mark.parametrize("name", LAYERS)
@each_place
def test_gradient(place, name):
    """dW = (dS - <dS, S> u v^T) / sigma with S the weight in use, u and v held."""
    make, shape, dim = LAYERS[name]
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape).astype(np.float32)
    with use_place(place) as device:
        nonet.manual_seed(0)
        layer = spectral_norm(make()).to(device=device)
        layer(x).sum().backward()
        known = layer.parametrizations.weight
        got = known.original.grad.cpu().numpy()
        u, v = (np.asarray(b.cpu()).astype(np.float64) for b in (known[0]._u, known[0]._v))
        original = np.asarray(known.original.detach().cpu())
        plain = make().to(device=device)
        sigma = float(u @ matrix(original, dim) @ v)
        plain.weight.copy_(original / np.float32(sigma))
        plain(x).sum().backward()
        ds = plain.weight.grad.cpu().numpy().astype(np.float64)
    inner = (ds * original).sum() / sigma
    back = np.moveaxis(np.outer(u, v).reshape(np.moveaxis(original, dim, 0).shape), 0, dim)
    want = (ds - inner * back) / sigma
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def test_power_steps_are_those_of_training():
    nonet.manual_seed(0)
    layer = spectral_norm(nn.Conv2d(2, 3, 3))
    x = np.ones((1, 2, 5, 5), np.float32)
    known = layer.parametrizations.weight[0]
    original = matrix(layer.parametrizations.weight.original.numpy(), 0)
    u, v = known._u.numpy().copy(), known._v.numpy().copy()
    layer(x)  # one step, though the layer looks at its weight more than once
    step = original @ v
    np.testing.assert_allclose(known._u.numpy(), step / np.linalg.norm(step), rtol=1e-5, atol=1e-7)
    after = known._u.numpy().copy()
    layer.eval()(x)
    np.testing.assert_array_equal(known._u.numpy(), after)
    assert not np.array_equal(u, after)


def test_two_passes_before_the_walk_back():
    nonet.manual_seed(0)
    layer = spectral_norm(nn.Linear(4, 3))
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    (layer(x).sum() - layer(2 * x).sum()).backward()
    assert np.isfinite(layer.parametrizations.weight.original.grad.numpy()).all()


def test_keys_copies_and_optimizer():
    nonet.manual_seed(0)
    model = nn.Sequential(spectral_norm(nn.Linear(4, 3)), nn.ReLU(), nn.Linear(3, 1))
    assert list(model.state_dict()) == [
        "0.bias",
        "0.parametrizations.weight.original",
        "0.parametrizations.weight.0._u",
        "0.parametrizations.weight.0._v",
        "2.weight",
        "2.bias",
    ]
    assert [name for name, _ in model.named_parameters()][:2] == [
        "0.bias",
        "0.parametrizations.weight.original",
    ]
    x = np.ones((2, 4), np.float32)
    want = model.eval()(x).numpy()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other(x).numpy(), want)
        assert parametrize.is_parametrized(other[0], "weight") and not parametrize.is_parametrized(other[2])
        other[0].parametrizations.weight.original.fill_(1.0)
    np.testing.assert_array_equal(model(x).numpy(), want)
    optimizer = nonet.optim.SGD(model.parameters(), lr=0.1)
    model.train()(x).sum().backward()
    before = model[0].parametrizations.weight.original.numpy().copy()
    optimizer.step()
    assert not np.array_equal(model[0].parametrizations.weight.original.numpy(), before)
    assert "ParametrizedLinear" in repr(model)


@pytest.mark.parametrize("leave", [True, False])
def test_removal(leave):
    nonet.manual_seed(0)
    layer = spectral_norm(nn.Linear(4, 3)).eval()
    original = layer.parametrizations.weight.original.numpy().copy()
    want = layer.weight.numpy().copy() if leave else original
    parametrize.remove_parametrizations(layer, "weight", leave)
    assert type(layer) is nn.Linear and list(layer.state_dict()) == ["bias", "weight"]
    np.testing.assert_array_equal(layer.weight.numpy(), want)


def test_vector_bias_and_assignment():
    layer = spectral_norm(spectral_norm(nn.Linear(4, 3)), "bias")
    np.testing.assert_allclose(np.linalg.norm(layer.bias.numpy()), 1, rtol=1e-6)
    layer.weight = np.zeros((3, 4), np.float32) + np.float32(2)
    np.testing.assert_array_equal(
        layer.parametrizations.weight.original.numpy(), np.full((3, 4), 2, np.float32)
    )
    parametrize.remove_parametrizations(layer, "bias")
    assert type(layer).__name__ == "ParametrizedLinear"


def test_faults():
    with pytest.raises(ValueError, match="spectral_norm: Linear has no parameter with the name 'w'"):
        spectral_norm(nn.Linear(2, 2), "w")
    with pytest.raises(ValueError, match="spectral_norm: n_power_iterations must be positive, got 0"):
        spectral_norm(nn.Linear(2, 2), n_power_iterations=0)
    with pytest.raises(IndexError, match=r"spectral_norm: dim must be in \[-2, 1\], got 2"):
        spectral_norm(nn.Linear(2, 2), dim=2)
    with pytest.raises(ValueError, match="Linear: 'weight' is not parametrized"):
        parametrize.remove_parametrizations(nn.Linear(2, 2), "weight")


@each_place
def test_clip_weights(place):
    with use_place(place) as device:
        nonet.manual_seed(0)
        layer = nn.Linear(50, 20).to(device=device)
        values = layer.weight.detach().cpu().numpy().copy()
        clip_weights_(layer.parameters(), 0.05)
        np.testing.assert_array_equal(layer.weight.detach().cpu().numpy(), values.clip(-0.05, 0.05))
    with pytest.raises(ValueError, match="clip_weights_: clip_value must be above 0, got 0"):
        clip_weights_(layer.parameters(), 0)
