"""GANs: losses beside NumPy, shapes, seeds, whose parameters a turn moves."""

from __future__ import annotations

import numpy as np
import pytest

import nonet
from nonet import models
from nonet.models import ADVERSARIAL, DCGAN, GAN, CycleGAN, discriminator_loss, generator_loss


def test_losses_beside_numpy():
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((2, 50)).astype(np.float32) * 3
    r, f = real.astype(np.float64), fake.astype(np.float64)

    def softplus(x):
        return np.logaddexp(0, x)

    judged = {
        "non-saturating": (0.9 * softplus(-r) + 0.1 * softplus(r)).mean() + softplus(f).mean(),
        "least-squares": 0.5 * ((r - 0.9) ** 2).mean() + 0.5 * (f**2).mean(),
        "hinge": np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(),
        "wasserstein": f.mean() - r.mean(),
    }
    made = {
        "non-saturating": softplus(-f).mean(),
        "least-squares": 0.5 * ((f - 1) ** 2).mean(),
        "hinge": -f.mean(),
        "wasserstein": -f.mean(),
    }
    for kind in ADVERSARIAL:
        got = discriminator_loss(nonet.tensor(real), nonet.tensor(fake), kind, 0.1).item()
        np.testing.assert_allclose(got, judged[kind], rtol=1e-5)
        np.testing.assert_allclose(generator_loss(nonet.tensor(fake), kind).item(), made[kind], rtol=1e-5)


CASES = [
    (GAN, {"shape": (1, 8, 8), "latent": 5, "hidden": (16, 24)}),
    (GAN, {"shape": (7,), "latent": 5, "hidden": (16,), "classes": 3}),
    (DCGAN, {"shape": (1, 28, 28), "latent": 5, "width": 4}),
    (DCGAN, {"shape": (3, 8, 12), "latent": 5, "width": 4, "classes": 3, "spectral": True}),
    (DCGAN, {"shape": (3, 32, 32), "latent": 5, "width": 4, "spectral": True, "kind": "hinge"}),
]


@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_shapes_seeds_and_files(kind, arguments):
    nonet.manual_seed(0)
    model = kind(**arguments)
    labels = (np.arange(6) % 3,) if model.classes else ()
    x = np.random.default_rng(0).random((6, *model.shape), dtype=np.float32)
    assert model.judge(x, *labels).shape == (6,)
    d, g = model.losses()
    for loss in (d, g):
        assert loss(model, nonet.tensor(x), *map(nonet.tensor, labels)).shape == ()
    a, b = (model.sample(6, *labels, seed=3) for _ in range(2))
    assert a.tobytes() == b.tobytes() and a.shape == x.shape and a.min() >= 0 and a.max() <= 1
    strip = model.interpolated(2, 5, labels[0][:2] if labels else None)
    assert strip.shape == (2, 5, *model.shape)
    same = models.build(kind.__name__, **model.arguments)
    same.load_state_dict(model.state_dict())
    assert same.sample(6, *labels, seed=3).tobytes() == a.tobytes()


def test_average_follows():
    nonet.manual_seed(0)
    model = GAN((4,), latent=3, hidden=(8,), averaging=0.75)
    assert not any("average" in name for name, _ in model.named_parameters())
    old = model.average[0].weight.numpy().copy()
    np.testing.assert_array_equal(old, model.generator[0].weight.numpy())
    model.generator[0].weight.fill_(1.0)
    model.follow()
    np.testing.assert_allclose(model.average[0].weight.numpy(), 0.75 * old + 0.25, rtol=1e-6)
    assert not np.array_equal(
        model(np.ones((2, 3), np.float32)).numpy(), model.made(np.ones((2, 3), np.float32))
    )
    same = models.build("GAN", **model.arguments)
    same.load_state_dict(model.state_dict())
    assert same.sample(4, seed=1).tobytes() == model.sample(4, seed=1).tobytes()
    with pytest.raises(ValueError, match=r"GAN: averaging must be in \[0, 1\), got 1"):
        GAN((4,), averaging=1)


def test_cyclegan():
    nonet.manual_seed(0)
    model = CycleGAN(2, width=4, blocks=1, kernel=3)
    a, b = np.random.default_rng(0).random((2, 3, 2, 8, 12), dtype=np.float32)
    assert model(a).shape == a.shape and model.to_a(b).shape == b.shape
    assert model.judge_a(a).shape == (3, 1, 2, 3)
    judging, translating = (loss(model, nonet.tensor(a), nonet.tensor(b)) for loss in model.losses())
    judging.backward()
    assert all(p.grad is None for p in model.translating())
    translating.backward()
    assert all(p.grad is not None for p in (*model.translating(), *model.discriminating()))
    assert len(model.translating()) + len(model.discriminating()) == len(list(model.parameters()))
    assert model.translated(a).tobytes() == model.translated(a).tobytes()
    # Translators that leave all as it is: nothing lost on the way there and back.
    assert models.build("CycleGAN", **model.arguments).arguments == model.arguments


def test_a_cycle_that_counts_later():
    nonet.manual_seed(0)
    a, b = (nonet.tensor(x) for x in np.random.default_rng(0).random((2, 3, 1, 8, 8), dtype=np.float32))
    built = [
        CycleGAN(1, width=4, blocks=1, kernel=3, **given) for given in ({}, {"cycle": 0.0}, {"delay": 2})
    ]
    whole, without, found = built
    whole.load_state_dict(without.state_dict())
    found.load_state_dict({**without.state_dict(), "waiting": found.state_dict()["waiting"]})

    def loss(model: CycleGAN) -> float:
        return model.losses()[1](model, a, b).item()

    assert loss(without) < loss(whole) - 0.1
    for _ in range(3):
        assert loss(found) == loss(without)
        found.follow()
    np.testing.assert_allclose(loss(found), (loss(without) + loss(whole)) / 2, rtol=1e-5)
    found.follow()
    for _ in range(2):
        assert loss(found) == loss(whole)
        found.follow()
    assert found.state_dict()["waiting"].item() == 0
    same = models.build("CycleGAN", **found.arguments)
    same.load_state_dict(found.state_dict())
    assert loss(same) == loss(found)


@pytest.mark.parametrize("down", [0, 1, 2])
def test_halvings_of_translators(down):
    model = CycleGAN(1, width=4, blocks=1, kernel=3, down=down)
    x = np.zeros((2, 1, 8, 12), np.float32)
    assert model(x).shape == x.shape
    assert model.judge_b(x).shape == (2, 1, 8 >> max(down, 1), 12 >> max(down, 1))


def test_faults():
    with pytest.raises(ValueError, match="discriminator_loss: kind must be one of non-saturating, .*'x'"):
        discriminator_loss(nonet.zeros(2), nonet.zeros(2), "x")
    with pytest.raises(ValueError, match=r"discriminator_loss: smoothing must be in \[0, 1\), got 1"):
        discriminator_loss(nonet.zeros(2), nonet.zeros(2), smoothing=1)
    with pytest.raises(ValueError, match=r"DCGAN: expected a shape \[C, H, W\] with sides that 4 divides"):
        DCGAN((1, 7, 8))
    with pytest.raises(ValueError, match="GAN: labels must be given"):
        GAN((4,), classes=2)(np.zeros((2, 64), np.float32))
    with pytest.raises(ValueError, match=r"input must have shape \[N, C, H, W\] with sides that 4 divides"):
        CycleGAN()(np.zeros((2, 1, 7, 8), np.float32))
