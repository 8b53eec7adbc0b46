"""Two optimizers in one trainer: turns, accumulation, exact resume, clipped weights, a NaN named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import arrays

import nonet
from nonet import data, optim
from nonet.models import GAN
from nonet.nn.utils import clip_weights_
from nonet.train import NonFiniteError, Trainer


def make(out: Path | None = None, **options: Any) -> Trainer:
    nonet.manual_seed(0)
    model = options.pop("model", None) or GAN((4,), latent=3, hidden=(8,))
    points = np.random.default_rng(0).random((50, 4), dtype=np.float32)
    players = [
        optim.Adam(part.parameters(), lr=1e-2, betas=(0.5, 0.999))
        for part in (model.discriminator, model.generator)
    ]
    rates = [optim.lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)) for o in players]
    settings: dict[str, Any] = {"epochs": 3, "progress": False, "schedule": "step", "scheduler": rates}
    loader = data.DataLoader((points,), 8, shuffle=True, seed=1)
    return Trainer(model, model.losses(), players, loader, out=out, **{**settings, **options})


def test_a_turn_moves_its_own_parameters():
    trainer = make()
    engine, model = trainer.engine, trainer.model
    group = next(engine.groups())
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    engine.gradients(group)
    moved = {name for name, p in model.named_parameters() if not np.array_equal(before[name], p.numpy())}
    assert moved and all(name.startswith("discriminator") for name in moved)
    engine.update()
    moved = {name for name, p in model.named_parameters() if not np.array_equal(before[name], p.numpy())}
    assert any(name.startswith("generator") for name in moved)
    assert all(p.requires_grad for p in model.parameters())


def test_resume_is_exact(tmp_path):
    whole = make(tmp_path / "whole")
    result = whole.fit()
    assert result.epochs == 3 and np.isfinite([r["loss"] for r in result.history]).all()
    make(tmp_path / "parts", epochs=1).fit()
    make(tmp_path / "parts", resume=True).fit()
    for name in ("last.safetensors", "model.safetensors"):
        assert arrays(tmp_path / "whole" / name) == arrays(tmp_path / "parts" / name)
    again = make()
    again.fit()
    assert again.model.sample(5, seed=1).tobytes() == whole.model.sample(5, seed=1).tobytes()


def test_weights_are_clipped():
    trainer = make(after_update=lambda model: clip_weights_(model.discriminator.parameters(), 0.02))
    trainer.fit()
    assert max(abs(p.numpy()).max() for p in trainer.model.discriminator.parameters()) <= np.float32(0.02)
    assert max(abs(p.numpy()).max() for p in trainer.model.generator.parameters()) > 0.02


def test_nan_is_named():
    model = GAN((4,), latent=3, hidden=(8,))
    trainer = make(model=model, steps=5)
    model.generator[0].weight.fill_(float("nan"))
    with pytest.raises(NonFiniteError):
        trainer.fit()


def test_faults():
    model = GAN((4,), latent=3, hidden=(8,))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    loader = data.DataLoader((np.zeros((4, 4), np.float32),), 2)
    with pytest.raises(ValueError, match="expected a loss for each optimizer, got 2 and 1"):
        Trainer(model, model.losses(), [optimizer], loader, epochs=1)
