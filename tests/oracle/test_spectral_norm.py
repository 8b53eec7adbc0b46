"""Spectral normalisation beside PyTorch's: same keys, same steps of the power method, same gradients."""

from __future__ import annotations

import numpy as np
import pytest

import nonet
from nonet import nn
from nonet.nn.utils.parametrizations import spectral_norm

torch = pytest.importorskip("torch")

CASES = [
    ("Linear", (5, 4), (3, 5)),
    ("Conv2d", (3, 4, 3), (2, 3, 7, 6)),
    ("ConvTranspose2d", (3, 4, 4, 2, 1), (2, 3, 5, 5)),
]


@pytest.mark.parametrize(("name", "arguments", "shape"), CASES)
def test_three_steps(name, arguments, shape):
    theirs = torch.nn.utils.parametrizations.spectral_norm(getattr(torch.nn, name)(*arguments))
    ours = spectral_norm(getattr(nn, name)(*arguments))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    optimizers = nonet.optim.SGD(ours.parameters(), lr=0.1), torch.optim.SGD(theirs.parameters(), lr=0.1)
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.standard_normal(shape).astype(np.float32)
        a, b = ours(x), theirs(torch.from_numpy(x))
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-5)
        (a * a).mean().backward()
        (b * b).mean().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(
            ours.state_dict()[key].numpy(), value.numpy(), rtol=1e-4, atol=1e-5, err_msg=key
        )
