"""A training step of a 16-32-10 MLP, batch 1, cross-entropy, Adam: what a step costs when the arithmetic is nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nonet.bench.models import names_of, run_workloads
from nonet.bench.report import Row
from nonet.bench.run import Options
from nonet.bench.workloads import Workload, cross_entropy

__all__ = ["names", "run"]


def _build(lib: Any) -> Any:
    return lib.nn.Sequential(lib.nn.Linear(16, 32), lib.nn.ReLU(), lib.nn.Linear(32, 10))


def _sample(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((size, 16), dtype=np.float32), rng.integers(0, 10, size)


WORKLOAD = Workload("16-32-10", _build, _sample, cross_entropy, batch=1)


def names() -> list[str]:
    return names_of([WORKLOAD])


def run(options: Options) -> Iterator[list[Row]]:
    return run_workloads("mlp_step", [WORKLOAD], options)
