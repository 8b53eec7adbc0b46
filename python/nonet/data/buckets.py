"""Loaders of sequences: padded batches of about equal lengths, and streams cut into blocks that follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.data.errors import check_int
from nonet.data.loader import Batch, DataLoader, Transform
from nonet.data.streams import generator, permutation


def pad_batch(samples: Sequence[tuple[Any, ...]]) -> Batch:
    """The fields of `samples` as arrays [batch, ...]; behind those that are shorter than others there are zeros.

    Fields may differ in the length of their first axis only. ValueError otherwise.
    """
    out = []
    for values in zip(*samples, strict=True):
        arrays = [np.asarray(value) for value in values]
        if arrays[0].ndim == 0:
            out.append(np.stack(arrays))
            continue
        longest = max(len(array) for array in arrays)
        field = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
        for row, array in zip(field, arrays, strict=True):
            row[: len(array)] = array
        out.append(field)
    return tuple(out)


class BucketLoader(DataLoader):
    """As DataLoader, but samples of about the same length make up a batch, which is padded (`pad_batch`).

    dataset  a list or other object whose items are tuples of arrays, `lengths` [N] by which they are sorted
    pool     so many batches' samples, in the order of the epoch, are sorted and cut into batches, whose order is then
             random again; without shuffle all of them are sorted

    The order is a pure function of (lengths, seed, epoch). ValueError if there are not as many lengths as samples.
    """

    def __init__(
        self,
        dataset: Any,
        lengths: ArrayLike,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        transform: Transform | None = None,
        pool: int = 50,
    ) -> None:
        self.pool = check_int("BucketLoader", "pool", pool, 1)
        self.lengths: NDArray[Any] = np.asarray(lengths)
        super().__init__(dataset, batch_size, shuffle, drop_last, seed, transform)
        if self.lengths.shape != (self._samples,):
            raise ValueError(
                f"BucketLoader: lengths must have shape [{self._samples}], got {list(self.lengths.shape)}"
            )

    def _order(self, epoch: int) -> NDArray[Any]:
        order = super()._order(epoch)
        size = self.pool * self.batch_size if self.shuffle else len(order)
        pools = [order[i : i + size] for i in range(0, len(order), size)]
        order = np.concatenate([pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools])
        if not self.shuffle:
            return order
        whole = len(order) // self.batch_size  # a batch that is not full stays the last one
        batches = order[: whole * self.batch_size].reshape(whole, self.batch_size)
        mixed = batches[permutation(whole, "buckets", self.seed, epoch)].reshape(-1)
        return np.concatenate([mixed, order[whole * self.batch_size :]])

    def _load(self, index: NDArray[Any], epoch: int) -> Batch:
        dataset: Any = self.dataset
        return pad_batch([dataset[int(i)] for i in index])

    def _order_facts(self) -> dict[str, int]:
        return {**super()._order_facts(), "pool": self.pool}


class StreamLoader(DataLoader):
    """Codes [N] as `batch_size` streams side by side, in blocks of `steps`: batches (codes [batch, steps], new [batch],
    the codes that follow them [batch, steps]).

    `new` is 1 in the first block of an epoch and 0 in the others, which go on where those before them ended: a model
    may carry its state along. With shuffle an epoch begins at a random one of the first `steps` codes, so that borders
    of blocks move. ValueError if the codes are too few for a block.
    """

    def __init__(
        self, codes: NDArray[Any], batch_size: int, steps: int, shuffle: bool = False, seed: int = 0
    ) -> None:
        self.codes = codes
        self.steps = check_int("StreamLoader", "steps", steps, 1)
        batch_size = check_int("StreamLoader", "batch_size", batch_size, 1)
        self.length = (len(codes) - 1 - (steps - 1 if shuffle else 0)) // batch_size  # of a stream
        blocks = self.length // steps
        if blocks < 1:
            raise ValueError(
                f"StreamLoader: {len(codes)} codes are too few for {batch_size} streams of {steps} steps"
            )
        super().__init__(np.arange(blocks * batch_size), batch_size, shuffle, False, seed)

    def _order(self, epoch: int) -> NDArray[Any]:
        return np.arange(self._samples)

    def _load(self, index: NDArray[Any], epoch: int) -> Batch:
        block = int(index[0]) // self.batch_size
        first = int(generator("offset", self.seed, epoch).integers(self.steps)) if self.shuffle else 0
        at = (
            first
            + np.arange(self.batch_size)[:, None] * self.length
            + block * self.steps
            + np.arange(self.steps)
        )
        new = np.full(self.batch_size, block == 0, np.float32)
        return np.take(self.codes, at), new, np.take(self.codes, at + 1)

    def _order_facts(self) -> dict[str, int]:
        return {**super()._order_facts(), "codes": len(self.codes), "steps": self.steps}
