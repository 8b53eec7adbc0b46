from __future__ import annotations

import numpy as np
import pytest

import nonet
from nonet import nn


def test_linear():
    layer = nn.Linear(7, 3)
    assert repr(layer) == "Linear(in_features=7, out_features=3, bias=True)"
    assert {k: v.shape for k, v in layer.state_dict().items()} == {"weight": (3, 7), "bias": (3,)}
    x = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    want = x @ layer.weight.numpy().T + layer.bias.numpy()
    np.testing.assert_allclose(layer(x).numpy(), want, rtol=1e-5, atol=1e-6)
    assert nn.Linear(7, 3, bias=False).bias is None
    assert nn.Linear(2, 2, dtype="bfloat16").weight.dtype == "bfloat16"


def test_linear_starts_uniform():
    nonet.manual_seed(0)
    layer = nn.Linear(100, 200)
    for values in (layer.weight.numpy(), layer.bias.numpy()):
        assert np.abs(values).max() <= 0.1
        assert abs(np.std(values) - 0.1 / np.sqrt(3)) < 0.01  # of a uniform distribution in ±0.1


def test_linear_without_inputs():
    y = nn.Linear(0, 3)(np.zeros((2, 0), np.float32))
    assert y.shape == (2, 3)


def test_bilinear():
    layer = nn.Bilinear(4, 5, 3)
    assert repr(layer) == "Bilinear(in1_features=4, in2_features=5, out_features=3, bias=True)"
    assert layer.weight.shape == (3, 4, 5)
    assert layer(np.ones((2, 4), np.float32), np.ones((2, 5), np.float32)).shape == (2, 3)


def test_errors_name_the_layer():
    with pytest.raises(ValueError, match=r"Linear: linear: input must have shape"):
        nn.Linear(64, 10)(np.zeros((32, 63), np.float32))
    with pytest.raises(ValueError, match="Linear: sizes must be >= 0, got -1 and 2"):
        nn.Linear(-1, 2)
    with pytest.raises(ValueError, match="Bilinear: in1_features must be > 0, got 0"):
        nn.Bilinear(0, 2, 3)
