"""mean_std and normalize against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from nonet.data import mean_std, normalization, normalize


@pytest.mark.parametrize("chunk", [1, 100, 1 << 20])
@pytest.mark.parametrize("axis", [None, 0, (0, 2, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_against_numpy(monkeypatch, chunk, axis, dtype):
    monkeypatch.setattr(normalization, "_CHUNK", chunk)
    inputs = np.random.default_rng(0).integers(0, 255, (37, 3, 4, 5)).astype(dtype)
    mean, std = mean_std(inputs, axis)
    exact = inputs.astype(np.float64)
    shape = () if axis is None else exact.mean(axis=axis, keepdims=True).shape[1:]
    assert mean.shape == std.shape == shape
    assert mean.dtype == std.dtype == np.float64
    np.testing.assert_allclose(mean.ravel(), np.ravel(exact.mean(axis=axis)), rtol=1e-13)
    np.testing.assert_allclose(std.ravel(), np.ravel(exact.std(axis=axis)), rtol=1e-13)
    normal = normalize(inputs, mean, std)
    assert normal.dtype == np.float32
    np.testing.assert_allclose(normal, (exact - mean) / std, rtol=0, atol=2e-6)
    np.testing.assert_allclose(normalize(inputs[0], mean, std), normal[0], rtol=0, atol=0)


def test_float32_is_accumulated_in_float64():
    inputs = np.full(3_000_000, 0.1, np.float32) + np.float32(1e4)
    mean, std = mean_std(inputs)
    assert mean == inputs[0]
    assert std == 1  # a constant feature


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"mean_std: inputs must not be empty, got shape \[0, 3\]"):
        mean_std(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="mean_std: inputs must be finite"):
        mean_std(np.array([1.0, np.nan]))
    for axis in (1, (1, 0, 1), (0, 2), ()):
        with pytest.raises(ValueError, match="mean_std: axis must be 0 and distinct others below 2, got"):
            mean_std(np.zeros((2, 3)), axis)
