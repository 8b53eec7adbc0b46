"""Batches of sequences of several lengths: padded, and packed step by step with the longest sequences first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nonet.ops.creation import full
from nonet.ops.index import index_select
from nonet.ops.join import cat
from nonet.ops.shape import reshape
from nonet.tensor import Tensor, TensorLike, as_tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpad_sequence",
]


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """The steps of a batch of sequences without padding: all first steps, then all second ones and so on.

    data: [N, ...], N the number of steps of all sequences, the longest first within a step. batch_sizes: int64 [T], how
    many sequences have each step. sorted_indices: int64 [B], where the i-th longest sequence is in the batch, or None
    for the order of packing; unsorted_indices: its inverse. Made by pack_padded_sequence and pack_sequence.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: TensorLike,
        batch_sizes: TensorLike,
        sorted_indices: TensorLike | None = None,
        unsorted_indices: TensorLike | None = None,
    ) -> PackedSequence:
        order = None if sorted_indices is None else as_tensor(sorted_indices, "int64")
        inverse = (
            invert_permutation(order) if unsorted_indices is None else as_tensor(unsorted_indices, "int64")
        )
        return super().__new__(cls, as_tensor(data), as_tensor(batch_sizes, "int64"), order, inverse)

    def with_data(self, data: Tensor) -> PackedSequence:
        """Other values of the same steps."""
        return PackedSequence(data, self.batch_sizes, self.sorted_indices, self.unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The data converted or moved, as Tensor.to does; sizes and indices stay."""
        return self.with_data(self.data.to(*args, **kwargs))

    def cpu(self) -> PackedSequence:
        return self.to(device="cpu")

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        return self.with_data(self.data.cuda(*args, **kwargs))


def invert_permutation(permutation: TensorLike | None) -> Tensor | None:
    """Where each number is in a permutation [n] of 0 … n - 1; None for None."""
    if permutation is None:
        return None
    order = np.asarray(as_tensor(permutation).cpu().numpy())
    out = np.empty_like(order)
    out[order] = np.arange(order.size, dtype=order.dtype)
    return as_tensor(out)


def _lengths(lengths: Any, count: int, op: str) -> np.ndarray:
    if isinstance(lengths, Tensor):
        lengths = lengths.cpu().numpy()
    out = np.asarray(lengths)
    if out.shape != (count,) or out.dtype.kind not in "iu":
        raise ValueError(
            f"{op}: lengths must be {count} integers, one per sequence, got {out.dtype} {list(out.shape)}"
        )
    return out.astype(np.int64)


def _order(lengths: np.ndarray, enforce_sorted: bool, op: str) -> np.ndarray | None:
    """The sequences by decreasing length, or None where they come so."""
    if lengths.size == 0 or (lengths <= 0).any():
        raise ValueError(f"{op}: every sequence must have at least one step, got lengths {lengths.tolist()}")
    if enforce_sorted:
        if (lengths[1:] > lengths[:-1]).any():
            raise ValueError(
                f"{op}: with enforce_sorted=True lengths must not increase, got {lengths.tolist()}; "
                "enforce_sorted=False sorts the sequences"
            )
        return None
    return np.argsort(-lengths, kind="stable")


def _steps(lengths: np.ndarray, order: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Step and sequence of every row of a packed batch, and how many sequences have each step."""
    longest_first = lengths if order is None else lengths[order]
    has = longest_first[None, :] > np.arange(longest_first[0])[:, None]
    step, place = np.nonzero(has)
    return step, place if order is None else order[place], has.sum(1)


def _packed(data: Tensor, batch_sizes: np.ndarray, order: np.ndarray | None) -> PackedSequence:
    return PackedSequence(data, as_tensor(batch_sizes), None if order is None else as_tensor(order))


def pack_padded_sequence(
    input: TensorLike, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """A padded batch [T, B, ...], or [B, T, ...] if batch_first, without its padding. lengths: [B] integers.

    enforce_sorted: the sequences come with the longest first. Errors: ValueError for lengths.
    """
    op = "pack_padded_sequence"
    x = as_tensor(input)
    if x.ndim < 2:
        raise ValueError(f"{op}: input must have at least 2 axes, got {list(x.shape)}")
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    sizes = _lengths(lengths, batch, op)
    order = _order(sizes, enforce_sorted, op)
    if sizes.max() > steps:
        raise ValueError(f"{op}: lengths must be at most {steps}, got {sizes.tolist()}")
    step, sequence, batch_sizes = _steps(sizes, order)
    rows = reshape(x, (steps * batch, *x.shape[2:]))
    index = sequence * steps + step if batch_first else step * batch + sequence
    return _packed(index_select(rows, 0, index), batch_sizes, order)


def pack_sequence(sequences: Sequence[TensorLike], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences [L_i, ...] packed. Errors: ValueError for lengths."""
    parts = [as_tensor(s) for s in sequences]
    sizes = np.array([part.shape[0] for part in parts], np.int64)
    order = _order(sizes, enforce_sorted, "pack_sequence")
    step, sequence, batch_sizes = _steps(sizes, order)
    first = np.cumsum(sizes) - sizes
    return _packed(index_select(cat(parts, 0), 0, first[sequence] + step), batch_sizes, order)


def _padded(
    data: Tensor, where: np.ndarray, steps: int, batch: int, batch_first: bool, padding: float
) -> Tensor:
    """The rows of data at places of [steps · batch] (or [batch · steps]), and the padding elsewhere."""
    index = np.full(steps * batch, data.shape[0], np.int64)
    index[where] = np.arange(where.size)
    if where.size < index.size:
        row = full((1, *data.shape[1:]), padding, dtype=data.dtype, device=data.device)
        data = cat([data, row], 0)
    leading = (batch, steps) if batch_first else (steps, batch)
    return reshape(index_select(data, 0, index), (*leading, *data.shape[1:]))


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(a padded batch [T, B, ...], or [B, T, ...] if batch_first; lengths int64 [B]) in the order before packing.

    total_length: T, if it is to be more than the longest sequence has. Errors: ValueError if it is less.
    """
    batch_sizes = sequence.batch_sizes.cpu().numpy()
    batch = int(batch_sizes[0])
    lengths = (batch_sizes[None, :] > np.arange(batch)[:, None]).sum(1)
    order = None if sequence.sorted_indices is None else sequence.sorted_indices.cpu().numpy()
    if order is not None:
        by_place = np.empty_like(lengths)
        by_place[order] = lengths
        lengths = by_place
    step, place, _ = _steps(lengths, order)
    steps = len(batch_sizes) if total_length is None else total_length
    if steps < len(batch_sizes):
        raise ValueError(
            f"pad_packed_sequence: total_length must be at least {len(batch_sizes)}, the longest sequence's, "
            f"got {total_length}"
        )
    where = place * steps + step if batch_first else step * batch + place
    return _padded(sequence.data, where, steps, batch, batch_first, padding_value), as_tensor(lengths)


def pad_sequence(
    sequences: Sequence[TensorLike],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences [L_i, ...] as one batch [T, B, ...], or [B, T, ...] if batch_first; T the longest length.

    padding_side: right or left, where the shorter ones get the padding. Errors: ValueError.
    """
    if padding_side not in ("left", "right"):
        raise ValueError(f"pad_sequence: padding_side must be left or right, got {padding_side!r}")
    parts = [as_tensor(s) for s in sequences]
    if not parts:
        raise ValueError("pad_sequence: expected at least one sequence")
    sizes = np.array([part.shape[0] for part in parts], np.int64)
    steps, batch = int(sizes.max()), len(parts)
    sequence = np.repeat(np.arange(batch), sizes)
    step = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    if padding_side == "left":
        step = step + np.repeat(steps - sizes, sizes)
    where = sequence * steps + step if batch_first else step * batch + sequence
    return _padded(cat(parts, 0), where, steps, batch, batch_first, padding_value)


def unpad_sequence(padded_sequences: TensorLike, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences [L_i, ...] of a padded batch. Errors: ValueError for lengths."""
    x = as_tensor(padded_sequences)
    if x.ndim < 2:
        raise ValueError(f"unpad_sequence: a batch must have at least 2 axes, got {list(x.shape)}")
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    sizes = _lengths(lengths, batch, "unpad_sequence")
    if (sizes < 0).any() or (sizes > steps).any():
        raise ValueError(f"unpad_sequence: lengths must be in [0, {steps}], got {sizes.tolist()}")
    if batch_first:
        return [x[i, : int(n)] for i, n in enumerate(sizes)]
    return [x[: int(n), i] for i, n in enumerate(sizes)]
