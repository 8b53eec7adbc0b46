"""Metrics: summed up over the batches of an evaluation, on NumPy arrays."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Metric(Protocol):
    """What the trainer asks of a metric."""

    name: str
    higher_is_better: bool

    def reset(self) -> None:
        """Forgets all batches."""

    def update(self, output: np.ndarray, *targets: np.ndarray) -> None:
        """Takes in the model's output for one batch and the batch's targets."""

    def value(self) -> float:
        """The metric over all batches since `reset`; NaN without any."""
        ...


class Accuracy:
    """Share of samples whose largest logit [N, classes] is that of their label [N]; of equal ones the first counts."""

    name = "accuracy"
    higher_is_better = True

    def __init__(self) -> None:
        self.right = 0
        self.seen = 0

    def reset(self) -> None:
        self.right = self.seen = 0

    def update(self, output: np.ndarray, *targets: np.ndarray) -> None:
        labels: Any = targets[0]
        self.right += int(np.count_nonzero(np.argmax(output, axis=1) == labels))
        self.seen += len(labels)

    def value(self) -> float:
        return self.right / self.seen if self.seen else float("nan")
