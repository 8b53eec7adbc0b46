"""Joining tensors and taking them apart, along one axis. Any dtype; channels-last images stay so in cat and split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.shape import axis_number
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record, record_many

__all__ = ["cat", "chunk", "concat", "split", "stack", "unbind"]


def cat(tensors: Sequence[TensorLike], dim: int = 0) -> Tensor:
    """Joined along an axis. Errors: ValueError for sizes that differ off the axis, TypeError for dtypes."""
    xs = tuple([as_tensor(x) for x in tensors])
    y = _core.cat([x.array for x in xs], dim)
    return record(y, xs, _cat_rule, ([x.array.shape[dim] for x in xs], dim))


concat = cat


def _cat_rule(saved: Any, dy: Array, needs: list[Need]) -> list[Array]:
    return _core.split(dy, *saved)


def stack(tensors: Sequence[TensorLike], dim: int = 0) -> Tensor:
    """Joined along a new axis. Errors: ValueError for shapes that differ, TypeError for dtypes, IndexError."""
    xs = tuple([as_tensor(x) for x in tensors])
    if not xs:
        raise ValueError("stack: expected at least one tensor")
    shape, dtype = xs[0].array.shape, xs[0].array.dtype
    for index, x in enumerate(xs):
        if x.array.dtype != dtype:
            raise TypeError(f"stack: tensors must have one dtype, got {dtype} and {x.array.dtype}")
        if x.array.shape != shape:
            raise ValueError(
                f"stack: tensors must have one shape, tensor {index} has {list(x.shape)}, the first {list(shape)}"
            )
    axis = axis_number(dim, len(shape) + 1, "stack")
    unit = (*shape[:axis], 1, *shape[axis:])
    y = _core.cat([x.array.reshape(unit) for x in xs], axis)
    return record(y, xs, _stack_rule, (axis, shape))


def _stack_rule(saved: Any, dy: Array, needs: list[Need]) -> list[Array]:
    axis, shape = saved
    return [piece.reshape(shape) for piece in _core.split(dy, [1] * dy.shape[axis], axis)]


def split(
    tensor: TensorLike, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Pieces of one size (the last may be smaller) or of the given sizes. Errors: ValueError, IndexError."""
    x = as_tensor(tensor)
    axis = axis_number(dim, x.array.rank, "split")
    n = x.array.shape[axis]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0 or (size == 0 and n > 0):
            raise ValueError(f"split: split_size_or_sections must be > 0, got {size}")
        sizes = [min(size, n - begin) for begin in range(0, n, size)] if n else [0]
    else:
        sizes = list(split_size_or_sections)
    pieces = _core.split(x.array, sizes, axis)
    return record_many(pieces, (x,), _split_rule, (sizes, axis, x.array.shape, x.array.dtype))


def _split_rule(saved: Any, dys: list[Array | None], needs: list[Need]) -> tuple[Array]:
    return (_core.split_backward(dys, *saved),)


def chunk(input: TensorLike, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size, the last may be smaller. Errors: ValueError, IndexError."""
    x = as_tensor(input)
    if chunks < 1:
        raise ValueError(f"chunk: chunks must be >= 1, got {chunks}")
    n = x.array.shape[axis_number(dim, x.array.rank, "chunk")]
    return split(x, max(1, -(-n // chunks)), dim)


def unbind(input: TensorLike, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, without that axis. Errors: IndexError for the axis."""
    x = as_tensor(input)
    rank = x.array.rank
    axis = axis_number(dim, rank, "unbind")
    rows = _core.permute(x.array, [axis, *[d for d in range(rank) if d != axis]])
    slices = [_core.getitem(rows, i) for i in range(rows.shape[0])]
    return record_many(slices, (x,), _unbind_rule, (rows.shape, axis, x.array.dtype))


def _unbind_rule(saved: Any, dys: list[Array | None], needs: list[Need]) -> tuple[Array]:
    shape, axis, dtype = saved
    unit = (1, *shape[1:])
    pieces = [None if dy is None else dy.reshape(unit) for dy in dys]
    dx = _core.split_backward(pieces, [1] * len(pieces), 0, shape, dtype)
    dims = list(range(1, len(shape)))
    dims.insert(axis, 0)
    return (_core.permute(dx, dims),)


def iterate(input: Tensor) -> Iterator[Tensor]:
    """The slices of the first axis: what `for` walks over."""
    if input.array.rank == 0:
        raise TypeError("iter: a tensor of rank 0 has no first axis")
    return iter(unbind(input, 0))
