"""A training small enough to repeat many times: three clouds of points, a network with dropout."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, io, models, nn, optim
from nonet.train import Accuracy, Trainer


def clouds(n: int = 60) -> data.ArrayDataset:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    centres = np.array([[2, 0, 0, 1], [0, 2, 0, -1], [0, 0, 2, 0]], np.float32)
    points = centres[labels] + rng.normal(size=(n, 4)).astype(np.float32)
    return data.ArrayDataset(points, labels.astype(np.int64))


def jitter(rng: np.random.Generator, points: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return points + rng.normal(scale=0.1, size=points.shape).astype(np.float32), labels


def make(out: Path | None = None, seed: int = 0, **options: Any) -> Trainer:
    """60 points in batches of 16: four steps an epoch, the last one with 12 points."""
    nonet.manual_seed(seed)
    model = options.pop("model", None) or models.MLP([4, 8, 3], dropout=0.2)
    optimizer = options.pop("optimizer", None) or optim.AdamW(model.parameters(), lr=options.pop("lr", 0.02))
    dataset = options.pop("dataset", None) or clouds()
    settings: dict[str, Any] = {
        "validation": data.DataLoader(clouds(30), 16),
        "metrics": [Accuracy()],
        "epochs": 3,
        "progress": False,
        "schedule": "step",
        **options,
    }
    if "scheduler" not in settings:
        settings["scheduler"] = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + 0.1 * step))
    train = settings.pop("train", None) or data.DataLoader(
        dataset,
        settings.pop("batch_size", 16),
        shuffle=True,
        seed=seed,
        transform=settings.pop("transform", jitter),
    )
    return Trainer(model, nn.functional.cross_entropy, optimizer, train, out=out, **settings)


def arrays(path: Path) -> dict[str, bytes]:
    """Bytes of every tensor in a file."""
    tensors, _ = io.load_tensors(path)
    return {name: array.tobytes() for name, array in tensors.items()}


class Crash(BaseException):
    """What nothing catches."""


def crash_at(owner: Any, place: str, call: int) -> None:
    """The method `place` of `owner` raises Crash at that call of it, counted from 0."""
    real, count = getattr(owner, place), itertools.count()

    def method(*args: Any) -> Any:
        if next(count) == call:
            raise Crash
        return real(*args)

    setattr(owner, place, method)


def parameters(trainer: Trainer) -> dict[str, bytes]:
    return {name: t.numpy().tobytes() for name, t in trainer.model.state_dict().items()}
