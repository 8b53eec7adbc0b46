"""Autoencoders and VAEs: shapes, what they learn, KL and bounds beside NumPy, thresholds, files."""

from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import GPU, why_no_gpu
from nonet import models, nn, optim
from nonet.models import (
    VAE,
    Autoencoder,
    ConvAutoencoder,
    ConvVAE,
    ResidualVAE,
    corrupt,
    kl_divergence,
    vae_loss,
)
from nonet.train.generative import pca_errors


def rows(n: int = 40, shape: tuple[int, ...] = (1, 7, 5), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, *shape), dtype=np.float32)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5), (2, 1, 9)])
@pytest.mark.parametrize("kind", [Autoencoder, ConvAutoencoder])
def test_shapes(kind, shape):
    model = kind(shape, codes=3)
    x = rows(4, shape)
    assert model.encode(x).shape == (4, 3)
    assert model(x).shape == x.shape and model.decode(model.encode(x)).shape == x.shape
    assert model.features(x).shape == (4, 3) and model.training
    same = models.build(type(model).__name__, **model.arguments)
    same.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(same.reconstructed(x), model.reconstructed(x))


def test_linear_reaches_pca():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((200, 3)) @ rng.standard_normal((3, 12))).astype(np.float32)
    x += rng.standard_normal(x.shape).astype(np.float32) * np.float32(0.1)
    x -= x.mean(axis=0)
    _, s, _ = np.linalg.svd(x, full_matrices=False)
    nonet.manual_seed(0)
    model = Autoencoder((12,), hidden=(), codes=3)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    for step in range(2500):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 2500)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), x).backward()
        optimizer.step()
    np.testing.assert_allclose(model.errors(x).mean(), (s[3:] ** 2).sum() / x.size, rtol=0.02)


def test_threshold():
    nonet.manual_seed(0)
    model = Autoencoder((5,), hidden=(4,), codes=2)
    x = rows(50, (5,))
    assert not model.anomalous(x).any()
    errors = np.square(model.reconstructed(x) - x).mean(axis=1)
    np.testing.assert_allclose(model.errors(x), errors, rtol=1e-5)
    assert model.calibrate(x, 0.9) == pytest.approx(np.quantile(errors, 0.9), rel=1e-5)
    assert model.anomalous(x).sum() == 5
    assert "threshold" in model.state_dict()


def test_corruption():
    nonet.manual_seed(0)
    x = np.ones((100, 100), np.float32)
    assert corrupt(x).numpy().sum() == 1e4
    noisy = corrupt(x, noise=0.5).numpy()
    assert abs(noisy.std() - 0.5) < 0.02 and abs(noisy.mean() - 1) < 0.02
    masked = corrupt(x, mask=0.25).numpy()
    assert set(np.unique(masked)) == {0.0, 1.0} and abs(masked.mean() - 0.75) < 0.02
    model = Autoencoder((100,), hidden=(), codes=2, noise=1.0)
    assert not np.array_equal(model(x).numpy(), model(x).numpy())
    model.eval()
    np.testing.assert_array_equal(model(x).numpy(), model(x).numpy())


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("kind", [VAE, ConvVAE])
def test_vae(kind, classes):
    nonet.manual_seed(0)
    model = kind((1, 7, 5), codes=4, classes=classes)
    x = rows()
    labels = (np.arange(40) % classes,) if classes else ()
    logits, mean, log_variance = model(x, *labels)
    assert logits.shape == x.shape and mean.shape == log_variance.shape == (40, 4)
    vae_loss((logits, mean, log_variance), x).backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters())
    given = labels[0][:6] if classes else None
    a, b = (model.sample(6, given, seed=5) for _ in range(2))
    assert a.tobytes() == b.tobytes() and a.shape == (6, 1, 7, 5) and 0 < a.min() < a.max() < 1
    assert model.sample(6, given, seed=6).tobytes() != a.tobytes()
    assert model.reconstructed(x, *labels).shape == x.shape
    if not classes:
        strip = model.interpolated(x[:2], x[2:4], 5)
        assert strip.shape == (2, 5, 1, 7, 5)
        np.testing.assert_allclose(strip[:, 0], model.reconstructed(x[:2]), atol=1e-6)
        np.testing.assert_allclose(strip[:, -1], model.reconstructed(x[2:4]), atol=1e-6)
    same = models.build(type(model).__name__, **model.arguments)
    same.load_state_dict(model.state_dict())
    assert same.sample(6, given, seed=5).tobytes() == a.tobytes()


def test_loss_beside_numpy():
    rng = np.random.default_rng(0)
    logits, mean, log_variance = (rng.standard_normal(s).astype(np.float32) for s in ((4, 6), (4, 3), (4, 3)))
    x = rng.random((4, 6), dtype=np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    entropy = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum() / 4
    variance = np.exp(log_variance.astype(np.float64))
    kl = 0.5 * (mean.astype(np.float64) ** 2 + variance - 1 - log_variance).sum(axis=1)
    tensors = tuple(map(nonet.tensor, (logits, mean, log_variance)))
    np.testing.assert_allclose(kl_divergence(*tensors[1:]).numpy(), kl, rtol=1e-5)
    for beta in (1.0, 4.0):
        np.testing.assert_allclose(vae_loss(tensors, x, beta).item(), entropy + beta * kl.mean(), rtol=1e-5)


def test_loss_of_normal_pixels_beside_numpy():
    rng = np.random.default_rng(0)
    made, x = (rng.random((4, 2, 3), dtype=np.float32) for _ in range(2))
    mean, log_variance = (rng.standard_normal((4, 3)).astype(np.float32) for _ in range(2))
    sigma = np.exp(-1.5)
    away = (x.astype(np.float64) - made).reshape(4, 6) / sigma
    cost = (0.5 * away**2 + np.log(sigma * np.sqrt(2 * np.pi))).sum() / 4
    kl = kl_divergence(nonet.tensor(mean), nonet.tensor(log_variance)).numpy().mean()
    output = tuple(map(nonet.tensor, (made, mean, log_variance, np.array([-1.5], np.float32))))
    np.testing.assert_allclose(vae_loss(output, x).item(), cost + kl, rtol=1e-5)
    np.testing.assert_allclose(vae_loss(output, x, 4.0).item(), cost + 4 * kl, rtol=1e-5)


def test_residual_vae():
    """It begins as probabilistic PCA, the likelihood of which is known, and gets better from there."""
    nonet.manual_seed(0)
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((200, 4)) @ rng.standard_normal((4, 30))
    x = (0.5 + 0.1 * np.tanh(hidden) + 0.02 * rng.standard_normal((200, 30))).reshape(-1, 1, 6, 5)
    x = x.astype(np.float32).clip(0, 1)
    model = ResidualVAE((1, 6, 5), codes=3, width=4)
    model.start_at(x)
    away = np.square(model.reconstructed(x).astype(np.float64) - x).mean()
    np.testing.assert_allclose(away, pca_errors(x, x, 3).mean(), rtol=1e-3)
    basis = model.to_pixels.weight.numpy().astype(np.float64)
    covariance = basis @ basis.T + np.exp(2 * model.log_sigma.item()) * np.eye(30)
    centred = x.reshape(200, 30) - model.to_pixels.bias.numpy()
    quadratic = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
    exact = -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * covariance)[1])
    found = model.log_likelihood(x, draws=500)
    np.testing.assert_allclose(found, exact, atol=1.0)
    before = np.mean([vae_loss(model(x), x).item() for _ in range(20)])
    assert abs(before + exact.mean()) < 0.5  # probabilistic PCA's bound is its likelihood
    optimizer = nonet.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        vae_loss(model(x), x).backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
    assert np.mean([vae_loss(model(x), x).item() for _ in range(20)]) < before - 0.5
    same = models.build("ResidualVAE", **model.arguments)
    same.load_state_dict(model.state_dict())
    assert same.sample(6, seed=5).tobytes() == model.sample(6, seed=5).tobytes()
    assert 0 <= model.decoded(100 * np.ones((1, 3), np.float32)).min() <= 1
    for samples in (x[:4], x[:, :, :5]):
        with pytest.raises(ValueError, match=r"start_at: expected more than 4 samples of \[1, 6, 5\]"):
            model.start_at(samples)


def test_log_likelihood_of_a_decoder_that_ignores_codes_is_exact():
    nonet.manual_seed(0)
    model = VAE((6,), hidden=(8,), codes=2)
    model.decoder.linear2.weight.fill_(0.0)
    x = (rows(10, (6,)) > 0.5).astype(np.float32)
    p = 1 / (1 + np.exp(-model.decoder.linear2.bias.numpy().astype(np.float64)))
    exact = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1)
    found = model.log_likelihood(x, draws=2000)
    np.testing.assert_allclose(found, exact, atol=0.05)
    loss = np.mean([vae_loss(model(x), x).item() for _ in range(50)])
    assert -found.mean() < loss  # the bound is below the likelihood


def test_faults():
    with pytest.raises(ValueError, match=r"Autoencoder: input must have shape \[N, 5\], got \[2, 6\]"):
        Autoencoder((5,))(np.zeros((2, 6), np.float32))
    with pytest.raises(ValueError, match=r"ConvAutoencoder: expected a shape \[C, H, W\]"):
        ConvAutoencoder((5,))
    with pytest.raises(ValueError, match="VAE: labels must be given"):
        VAE((5,), classes=2)(np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match="VAE: a model without classes takes no labels"):
        VAE((5,))(np.zeros((2, 5), np.float32), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match=r"VAE: labels must have shape \[2\], got \[3\]"):
        VAE((5,), classes=2)(np.zeros((2, 5), np.float32), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match=r"corrupt: expected noise >= 0 and mask in \[0, 1\], got -1"):
        corrupt(np.zeros(3, np.float32), -1)
    with pytest.raises(ValueError, match=r"calibrate: quantile must be in \(0, 1\], got 0"):
        Autoencoder((5,)).calibrate(np.zeros((2, 5), np.float32), 0)


@pytest.mark.parametrize("make", [Autoencoder, ConvAutoencoder, VAE, ConvVAE])
def test_a_device_gives_what_the_cpu_gives(make):
    if reason := why_no_gpu():
        pytest.skip(reason)
    x, variational = rows(5, (1, 8, 8)), make in (VAE, ConvVAE)
    labels = (np.array([0, 1, 2, 0, 1]),) if variational else ()
    model = make((1, 8, 8), codes=3, **({"classes": 3} if variational else {}))
    want = [model.features(x, *labels), model.reconstructed(x, *labels)]
    model.to(GPU)
    found = [model.features(x, *labels), model.reconstructed(x, *labels)]
    for a, b in zip(found, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    if variational:
        nonet.manual_seed(0)
        assert np.isfinite(model.log_likelihood(x, *labels, draws=2)).all()
        assert model.sample(2, np.array([0, 1]), seed=0).shape == (2, 1, 8, 8)
