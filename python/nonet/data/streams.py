"""Random streams addressed by what they are for, so that any position of a run can be replayed.

Philox is counter-based: the seed (0 to MAX_SEED) is its key, and purpose, epoch and batch are the high words
of its counter.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Purpose = Literal["order", "transform", "holdout", "shapes", "buckets", "numbers", "strings", "offset"]
_STREAMS: dict[Purpose, int] = {name: number for number, name in enumerate(get_args(Purpose))}
MAX_SEED = 2**64 - 1


def _philox(purpose: Purpose, seed: int, epoch: int, batch: int) -> np.random.Philox:
    return np.random.Philox(
        key=np.array([seed, 0], dtype=np.uint64),
        counter=np.array([0, batch, epoch, _STREAMS[purpose]], dtype=np.uint64),
    )


def generator(purpose: Purpose, seed: int, epoch: int = 0, batch: int = 0) -> np.random.Generator:
    """A generator whose stream is a pure function of the arguments, disjoint from that of any others."""
    return np.random.Generator(_philox(purpose, seed, epoch, batch))


def permutation(n: int, purpose: Purpose, seed: int, epoch: int = 0) -> NDArray[Any]:
    """0 … n-1 in a random order (int64 [n]) that is a pure function of the arguments.

    It sorts raw words, because NumPy keeps those equal between its versions, but not `Generator.permutation`.
    """
    return np.argsort(_philox(purpose, seed, epoch, 0).random_raw(n), kind="stable")
