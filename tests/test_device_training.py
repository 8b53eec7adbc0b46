"""Whole training steps on a device are the CPU's, up to the rounding of their sums."""

from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, GPU, why_no_gpu
from nonet import models, nn, optim


@pytest.fixture(autouse=True)
def _gpu():
    if reason := why_no_gpu():
        pytest.skip(reason)


def steps(make, x, labels, device, count):
    """Losses, the gradients of every step, and the parameters afterwards."""
    nonet.manual_seed(0)
    model = make().to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses, gradients = [], []
    for _ in range(count):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(
            model(nonet.tensor(x, device=device)), nonet.tensor(labels, device=device)
        )
        loss.backward()
        losses.append(float(loss))
        gradients.append({name: p.grad.cpu().numpy().copy() for name, p in model.named_parameters()})
        optimizer.step()
    return losses, gradients, {name: p.detach().cpu().numpy() for name, p in model.named_parameters()}


def digits(count):
    """Images as LeNet sees them, of random strokes."""
    rng = np.random.default_rng(0)
    x = np.zeros((count, 1, 28, 28), np.float32)
    for image in x[:, 0]:
        for _ in range(3):
            row, column = rng.integers(4, 20, 2)
            image[row : row + rng.integers(2, 6), column : column + rng.integers(2, 6)] = rng.uniform(0.5, 1)
    return x + rng.normal(scale=0.05, size=x.shape).astype(np.float32), rng.integers(0, 10, count)


def points(count):
    rng = np.random.default_rng(1)
    return rng.standard_normal((count, 30)).astype(np.float32), rng.integers(0, 5, count)


# Per network: the layers with weights, and the terms of the longest sum of a step.
NETWORKS = {
    "lenet5": (models.LeNet5, digits(6), 5, 6 * 28 * 28),
    "ann": (lambda: models.MLP([30, 64, 48, 5]), points(16), 3, 64),
    "ann, smooth": (lambda: models.MLP([30, 24, 5], activation="gelu"), points(70), 2, 70),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_training_steps_are_the_cpus(name):
    make, (x, labels), layers, terms = NETWORKS[name]
    count = 3
    want_losses, want_gradients, want_parameters = steps(make, x, labels, "cpu", count)
    losses, gradients, parameters = steps(make, x, labels, GPU, count)
    # Rounding is random: a sum of n products of either sign is off by about eps sqrt(n) of its size, hardly by four
    # times that. Every layer adds its own, every step builds on the one before.
    error = 4 * layers * EPS * terms**0.5
    for step in range(count):
        np.testing.assert_allclose(losses[step], want_losses[step], rtol=(step + 1) * error)
        for key, want in want_gradients[step].items():
            atol = (step + 1) * error * np.abs(want).max()
            np.testing.assert_allclose(
                gradients[step][key], want, rtol=0, atol=atol, err_msg=f"{key}, step {step}"
            )
    for key, want in want_parameters.items():
        moved = max(np.abs(g[key]).max() for g in want_gradients) * 0.05 * count**2  # with momentum
        atol = EPS * np.abs(want).max() + count * error * moved
        np.testing.assert_allclose(parameters[key], want, rtol=0, atol=atol, err_msg=key)
    assert losses[-1] < losses[0]
