"""What the entries of the tour share: what they return, where they draw, how they train."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nonet import data, io, optim
from nonet.nn import Module
from nonet.optim.lr_scheduler import LambdaLR
from nonet.train import Trainer


@dataclass
class Found:
    """What a model came to: its metric beside the floor, and what there is to show.

    curve: the loss after every epoch; pictures: (caption, file); texts: (caption, text); facts: other numbers.
    """

    metric: str
    value: float
    floor: float
    floor_is: str
    higher_is_better: bool
    steps: int
    parameters: int
    curve: list[float]
    pictures: list[tuple[str, Path]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def margin(self) -> float:
        """By how much the value is better than the floor."""
        difference = self.value - self.floor
        return difference if self.higher_is_better else -difference

    @property
    def beaten(self) -> bool:
        return bool(self.margin > 0)


@dataclass
class Place:
    """Where an entry writes its pictures, its seed, and the sentences about extras that are not there."""

    out: Path
    seed: int
    missing: set[str]

    def png(self, found: Found, name: str, caption: str, pixels: np.ndarray) -> None:
        """A picture of pixels, which needs no extra."""
        path = self.out / f"{name}.png"
        io.write_png(path, pixels)
        found.pictures.append((caption, path))

    def figure(self, found: Found, name: str, caption: str, draw: Callable[[Path], None]) -> None:
        """A figure, or nothing and one sentence if matplotlib is not there."""
        path = self.out / f"{name}.png"
        try:
            draw(path)
        except io.MissingExtraError as error:
            self.missing.add(str(error))
            return
        found.pictures.append((caption, path))


def fit(
    model: Module,
    loss: Any,
    train: data.DataLoader,
    epochs: int,
    lr: float,
    *,
    inputs: int = 1,
    clip_norm: float | None = None,
    weight_decay: float = 0.01,
    betas: tuple[float, float] = (0.9, 0.999),
    players: Sequence[Sequence[Any]] | None = None,
) -> tuple[int, list[float]]:
    """Trains with a rate that rises over a tenth of the steps and falls to 0; (steps, loss of every epoch)."""
    total = epochs * len(train)

    def share(step: int) -> float:
        return min((step + 1) / (0.1 * total + 1), 1.0, (total - step) / (0.9 * total))

    moved = [list(model.parameters())] if players is None else players
    optimizers = [optim.AdamW(own, lr=lr, betas=betas, weight_decay=weight_decay) for own in moved]
    schedules = [LambdaLR(optimizer, share) for optimizer in optimizers]
    single = players is None
    result = Trainer(
        model,
        loss,
        optimizers[0] if single else optimizers,
        train,
        epochs=epochs,
        inputs=inputs,
        scheduler=schedules[0] if single else schedules,
        schedule="step",
        clip_norm=clip_norm,
        keep="last",
        progress=bool(sys.stderr) and sys.stderr.isatty(),
    ).fit()
    if result.interrupted:
        raise KeyboardInterrupt
    return result.steps, [float(record["loss"]) for record in result.history]


def count(model: Module) -> int:
    return sum(p.numel() for p in model.parameters())
