"""Where a run stands, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Position:
    """Where a run stands, apart from the loader's position. All of it is in every checkpoint."""

    step: int = 0
    epoch: int = 0
    samples: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_weight: int = 0
    validated: int = 0
    waited: int = 0
    stopped: bool = False
    best: float | None = None
    best_epoch: int = 0
    log_bytes: int = 0
    gradient_norms: dict[str, float] = field(default_factory=dict)  # of the last step
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """What `Trainer.fit` returns. `seconds` counts all sessions of a resumed run, `samples_per_second` this one.

    `best` is the best monitored value, of epoch `best_epoch`; `history` has the logged record of every epoch.
    """

    steps: int
    epochs: int
    seconds: float
    samples_per_second: float
    best: float | None
    best_epoch: int
    stopped_early: bool
    interrupted: bool
    history: list[dict[str, Any]]
