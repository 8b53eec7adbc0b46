"""Batches of a data set, from a position that can be saved and restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nonet.data.dataset import ArrayDataset
from nonet.data.errors import DataError, check_int
from nonet.data.streams import MAX_SEED, generator, permutation

Batch = tuple[NDArray[Any], ...]
Transform = Callable[..., Batch]


class Samples(Protocol):
    """Any data set: a sample is an array or number, or a tuple of them, with the same shapes for all."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class DataLoader:
    """Iterates over `dataset` in batches: tuples of fresh, contiguous arrays [batch, ...].

    dataset     an `ArrayDataset`, an array or tuple of arrays of equal length, or any object with `__len__`
                and `__getitem__`, whose items are stacked
    batch_size  samples per batch; the last batch of an epoch is shorter, or with `drop_last` left out
    shuffle     a new order every epoch, which is a pure function of (seed, epoch)
    transform   `transform(rng, *batch)` returns the batch to hand out as a tuple; `rng` is a generator that
                is a pure function of (seed, epoch, batch index)

    A `for` loop runs one epoch. `epoch` counts from 0, and `batch` the batches of it handed out so far. A
    loop that was left early is over: the next one starts the next epoch. After `load_state_dict`, the next
    loop runs the rest of the epoch that was saved (nothing, when it was saved after its last batch), so it
    sees exactly the batches and augmentations that the uninterrupted run would have seen.

    TypeError and ValueError name the argument. RuntimeError if the position is moved while a loop runs, by a
    second one or by `load_state_dict`.
    """

    def __init__(
        self,
        dataset: ArrayDataset | NDArray[Any] | tuple[NDArray[Any], ...] | Samples,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        transform: Transform | None = None,
    ) -> None:
        self.batch_size = check_int("DataLoader", "batch_size", batch_size, 1)
        self.seed = check_int("DataLoader", "seed", seed, 0, MAX_SEED)
        for name, value in (("shuffle", shuffle), ("drop_last", drop_last)):
            if not isinstance(value, bool):
                raise TypeError(f"DataLoader: {name} must be a bool, got {value!r}")
        if transform is not None and not callable(transform):
            raise TypeError(f"DataLoader: transform must be callable or None, got {transform!r}")
        self.dataset = dataset
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.transform = transform
        self._fields = _array_fields(dataset)
        self._samples = len(self._fields[0]) if self._fields else len(dataset)
        least = self.batch_size if drop_last else 1
        if self._samples < least:
            why = f" (batch_size {batch_size} with drop_last)" if drop_last else ""
            raise ValueError(
                f"DataLoader: dataset must hold at least {least} samples{why}, got {self._samples}"
            )
        self._epoch = 0
        self._batch = 0
        self._restored = False

    @property
    def epoch(self) -> int:
        """The epoch of the position, from 0; it advances when a loop ends."""
        return self._epoch

    @property
    def batch(self) -> int:
        """Batches of this epoch handed out so far."""
        return self._batch

    def __len__(self) -> int:
        """Batches per epoch."""
        whole, rest = divmod(self._samples, self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        if self._batch and not self._restored:
            self._epoch, self._batch = self._epoch + 1, 0
        self._restored = False
        return self._run(self._epoch, self._batch)

    def state_dict(self) -> dict[str, int]:
        """The position, as plain ints; inside a loop it lies after the batch in hand."""
        return {"seed": self.seed, "epoch": self._epoch, "batch": self._batch, **self._order_facts()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to a saved position; the seed is taken from it too.

        DataError if a key is missing or unknown or a value impossible, or if the state comes from a loader
        whose batches would differ (number of samples, batch_size, shuffle, drop_last).
        """
        expected, found = set(self.state_dict()), set(state)
        if found != expected:
            raise DataError(f"DataLoader: state must have the keys {sorted(expected)}, got {sorted(found)}")
        try:
            seed = check_int("DataLoader", "seed of the state", state["seed"], 0, MAX_SEED)
            epoch = check_int("DataLoader", "epoch of the state", state["epoch"], 0, 2**63 - 1)
            batch = check_int("DataLoader", "batch of the state", state["batch"], 0)
        except (TypeError, ValueError) as error:
            raise DataError(str(error)) from error
        for name, value in self._order_facts().items():
            if state[name] != value:
                raise DataError(
                    f"DataLoader: state was saved with {name} {state[name]}, this loader has {value}"
                )
        if batch > len(self):
            raise DataError(f"DataLoader: batch of the state must be in [0, {len(self)}], got {batch}")
        self.seed, self._epoch, self._batch = seed, epoch, batch
        self._restored = True

    def _order_facts(self) -> dict[str, int]:
        return {
            "samples": self._samples,
            "batch_size": self.batch_size,
            "shuffle": int(self.shuffle),
            "drop_last": int(self.drop_last),
        }

    def _run(self, epoch: int, start: int) -> Iterator[Batch]:
        order = self._order(epoch)
        for batch in range(start, len(self)):
            arrays = self._load(order[batch * self.batch_size : (batch + 1) * self.batch_size], epoch)
            if self.transform is not None:
                arrays = _checked(self.transform(generator("transform", self.seed, epoch, batch), *arrays))
            self._batch = batch + 1
            yield arrays
            if (self._epoch, self._batch) != (epoch, batch + 1):
                raise RuntimeError(
                    "DataLoader: the position was moved while a loop was running; run one at a time"
                )
        self._epoch, self._batch = epoch + 1, 0

    def _order(self, epoch: int) -> NDArray[Any]:
        """The samples in the order of an epoch."""
        n = self._samples
        return permutation(n, "order", self.seed, epoch) if self.shuffle else np.arange(n)

    def _load(self, index: NDArray[Any], epoch: int) -> Batch:
        """The batch of these samples."""
        if self._fields:
            return tuple(_rows(field, index) for field in self._fields)
        return _stack([self.dataset[int(i)] for i in index], index)


def _array_fields(dataset: object) -> Batch | None:
    """The arrays that `dataset` consists of; None for an object that yields its samples one by one."""
    if isinstance(dataset, ArrayDataset):
        return dataset.inputs, dataset.targets
    if isinstance(dataset, np.ndarray):
        dataset = (dataset,)
    if not isinstance(dataset, tuple):
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            got = type(dataset).__name__
            raise TypeError(f"DataLoader: dataset must be arrays or have __len__ and __getitem__, got {got}")
        return None
    for i, field in enumerate(dataset):
        if not isinstance(field, np.ndarray) or field.ndim == 0:
            got = "a 0-d array" if isinstance(field, np.ndarray) else type(field).__name__
            raise TypeError(f"DataLoader: dataset[{i}] must be an array [N, ...], got {got}")
    lengths = [len(field) for field in dataset]
    if len(set(lengths)) != 1:
        raise ValueError(
            f"DataLoader: dataset must be one or more arrays of equal length, got lengths {lengths}"
        )
    return dataset


def _rows(field: NDArray[Any], index: NDArray[Any]) -> NDArray[Any]:
    if field.flags.c_contiguous:
        return np.take(field, index, axis=0)
    return np.ascontiguousarray(field[index])  # take would first make a copy of all of a view


def _stack(samples: list[Any], index: NDArray[Any]) -> Batch:
    rows = [sample if isinstance(sample, tuple) else (sample,) for sample in samples]
    arrays = [tuple(np.asarray(field) for field in row) for row in rows]
    shapes = [[field.shape for field in row] for row in arrays]
    for i, shape in zip(index, shapes, strict=True):
        if shape != shapes[0]:
            raise ValueError(
                f"DataLoader: samples must have equal shapes, got {shapes[0]} for sample {index[0]} "
                f"and {shape} for sample {i}"
            )
    return tuple(np.stack(fields) for fields in zip(*arrays, strict=True))


def _checked(batch: object) -> Batch:
    if not isinstance(batch, tuple) or not all(isinstance(field, np.ndarray) for field in batch):
        raise TypeError(f"DataLoader: transform must return a tuple of arrays, got {type(batch).__name__}")
    return tuple(np.ascontiguousarray(field) for field in batch)
