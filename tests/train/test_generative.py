"""Measures of made samples beside plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from nonet.train.generative import (
    class_shares,
    gaussian_samples,
    nearest_neighbour_accuracy,
    nearest_neighbour_class,
    parzen_log_likelihood,
    parzen_sigma,
    pca_errors,
)


def test_parzen():
    rng = np.random.default_rng(0)
    samples, points = rng.random((30, 2, 3)), rng.random((7, 2, 3))
    distances = np.square(points[:, None] - samples[None]).sum(axis=(2, 3))
    for sigma in (0.1, 1.0):
        each = -distances / (2 * sigma**2) - 6 * np.log(sigma * np.sqrt(2 * np.pi))
        want = np.log(np.exp(each).mean(axis=1))
        np.testing.assert_allclose(parzen_log_likelihood(samples, points, sigma), want, rtol=1e-4, atol=1e-4)
    assert parzen_log_likelihood(samples, points, [0.1, 0.2]).shape == (2, 7)


def test_parzen_far_away_is_finite():
    assert np.isfinite(parzen_log_likelihood(np.zeros((3, 5)), np.full((2, 5), 100.0), 0.05)).all()


def test_sigma_is_that_of_the_noise():
    rng = np.random.default_rng(0)
    centres = rng.random((50, 8)) * 20
    points = centres[rng.integers(0, 50, 400)] + 0.2 * rng.standard_normal((400, 8))
    assert 0.15 < parzen_sigma(centres, points) < 0.27


def test_two_samples():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 600, 4))
    assert 0.43 < nearest_neighbour_accuracy(a, b) < 0.57
    assert nearest_neighbour_accuracy(a, b + 100) == 1.0
    assert nearest_neighbour_accuracy(a, a + 1e-4) < 0.05
    with pytest.raises(ValueError, match="expected as many real samples as made ones, got 3 and 4"):
        nearest_neighbour_accuracy(a[:4], b[:3])


def test_classes():
    known = np.array([[0.0], [1.0], [2.0]])
    np.testing.assert_array_equal(
        nearest_neighbour_class(np.array([[0.2], [1.9], [1.1]]), known, np.array([5, 6, 7])), [5, 7, 6]
    )
    assert class_shares(np.array([0, 0, 2, 2]), 4) == [0.5, 0.0, 0.5, 0.0]


def test_gaussian_and_pca():
    rng = np.random.default_rng(0)
    train = (rng.standard_normal((500, 2)) @ rng.standard_normal((2, 6)) * 0.05 + 0.5).astype(np.float32)
    made = gaussian_samples(train, 400, 2)
    assert made.shape == (400, 6) and made.dtype == np.float32
    np.testing.assert_allclose(np.cov(made.T), np.cov(train.T), atol=2e-3)
    assert pca_errors(train, train[:5], 2).max() < 1e-9
    few = rng.random((4, 9))  # fewer samples than dimensions
    assert pca_errors(few, few, 3).max() < 1e-9 < pca_errors(few, rng.random((2, 9)), 3).min()
