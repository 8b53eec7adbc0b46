"""Data sets in memory: arrays for training and test, and a validation part cut from the training part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.data.errors import check_int
from nonet.data.streams import MAX_SEED, permutation


@dataclass(frozen=True, eq=False)
class ArrayDataset:
    """`inputs` [N, ...] and `targets` [N, ...]: sample i is `(inputs[i], targets[i])`.

    An index may be an int, a slice or an index array, with NumPy's rules. TypeError for anything but arrays,
    ValueError if their lengths differ.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            value = getattr(self, name)
            if not isinstance(value, np.ndarray):
                raise TypeError(f"ArrayDataset: {name} must be a NumPy array, got {type(value).__name__}")
            if value.ndim == 0:
                raise ValueError(f"ArrayDataset: {name} must have shape [N, ...], got []")
        if len(self.inputs) != len(self.targets):
            raise ValueError(
                "ArrayDataset: inputs and targets must have the same length, "
                f"got {len(self.inputs)} and {len(self.targets)}"
            )

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int | slice | NDArray[Any]) -> tuple[Any, Any]:
        return self.inputs[index], self.targets[index]

    def subset(self, index: slice | NDArray[Any]) -> ArrayDataset:
        """The samples that `index` selects, as a data set."""
        return ArrayDataset(self.inputs[index], self.targets[index])


@dataclass(frozen=True, eq=False)
class Splits:
    """A named set: its training part, its test part and the names of its classes (none for other targets)."""

    name: str
    train: ArrayDataset
    test: ArrayDataset
    classes: tuple[str, ...] = ()


def holdout(dataset: ArrayDataset, fraction: float, seed: int = 0) -> tuple[ArrayDataset, ArrayDataset]:
    """Cut a validation part of round(N * fraction) samples from `dataset`: returns (train, validation).

    With class targets (integers [N]) every class gives its share, to within one sample. Which samples go is a
    pure function of the targets and `seed`; both parts keep the order of `dataset`. ValueError if either part
    would be empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"holdout: fraction must be between 0 and 1, got {fraction!r}")
    seed = check_int("holdout", "seed", seed, 0, MAX_SEED)
    n = len(dataset)
    size = round(n * fraction)
    if not 0 < size < n:
        raise ValueError(f"holdout: fraction {fraction} of {n} samples leaves one part empty")
    order = permutation(n, "holdout", seed)
    targets = dataset.targets
    if targets.ndim == 1 and targets.dtype.kind in "iu":
        order = order[np.argsort(targets[order], kind="stable")]
    # Evenly spaced picks from samples grouped by class take floor or ceil of each class's share.
    picked = np.zeros(n, dtype=bool)
    picked[order[(2 * np.arange(size) + 1) * n // (2 * size)]] = True
    return dataset.subset(~picked), dataset.subset(picked)
