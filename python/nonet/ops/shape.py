"""Ops that move elements: any dtype, exact, with the move back as gradient.

Reshapes and slices of leading axes share memory; everything else is one copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record

__all__ = [
    "broadcast_to",
    "clone",
    "contiguous",
    "diag",
    "diagonal",
    "expand",
    "flatten",
    "flip",
    "movedim",
    "narrow",
    "permute",
    "repeat",
    "reshape",
    "roll",
    "select",
    "squeeze",
    "swapaxes",
    "t",
    "tile",
    "transpose",
    "tril",
    "triu",
    "unflatten",
    "unsqueeze",
    "view",
]


def _sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """f(x, 2, 3) and f(x, (2, 3)) mean the same."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        return tuple(args[0])
    return args


def axis_number(dim: int, rank: int, op: str) -> int:
    """0 <= axis < rank of a dim that may count from the end. Errors: IndexError naming op."""
    if not -rank <= dim < rank:
        raise IndexError(f"{op}: axis must be in [{-rank}, {rank - 1}], got {dim}")
    return dim + rank if dim < 0 else dim


# ------------------------------------------------------------------------------------------------ same elements


def _reshape_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (dy.reshape(saved),)


def _reshaped(x: Tensor, shape: tuple[int, ...], op: str) -> Tensor:
    array = x.array
    return record(_core.reshape(array, shape, op), (x,), _reshape_rule, array.shape)


def reshape(input: TensorLike, *shape: Any) -> Tensor:
    """The elements in row-major order under another shape; one size may be -1. Shares the memory.

    Errors: ValueError for a shape that does not hold the elements.
    """
    return _reshaped(as_tensor(input), _sizes(shape), "reshape")


def view(input: TensorLike, *shape: Any) -> Tensor:
    """The same as reshape."""
    return _reshaped(as_tensor(input), _sizes(shape), "view")


def view_as(input: TensorLike, other: TensorLike) -> Tensor:
    """Under the shape of another tensor. Errors: as reshape."""
    return _reshaped(as_tensor(input), as_tensor(other).shape, "view_as")


def flatten(input: TensorLike, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes start_dim to end_dim as one. Errors: IndexError for an axis, ValueError if start_dim comes after end_dim."""
    x = as_tensor(input)
    shape = x.array.shape
    if not shape:
        return _reshaped(x, (1,), "flatten")
    start, end = axis_number(start_dim, len(shape), "flatten"), axis_number(end_dim, len(shape), "flatten")
    if start > end:
        raise ValueError(f"flatten: start_dim must not come after end_dim, got {start_dim} and {end_dim}")
    return _reshaped(x, (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :]), "flatten")


def unflatten(input: TensorLike, dim: int, sizes: Sequence[int]) -> Tensor:
    """Axis `dim` as several; one size may be -1. Errors: IndexError for the axis, ValueError for the sizes."""
    x = as_tensor(input)
    shape = x.array.shape
    axis = axis_number(dim, len(shape), "unflatten")
    parts = tuple(sizes)
    if -1 in parts:
        known = prod(size for size in parts if size != -1)
        if parts.count(-1) == 1 and known > 0 and shape[axis] % known == 0:
            parts = tuple([shape[axis] // known if size == -1 else size for size in parts])
    if not parts or min(parts) < 0 or prod(parts) != shape[axis]:
        raise ValueError(
            f"unflatten: sizes must multiply to {shape[axis]}, the size of axis {axis}, got {list(sizes)}"
        )
    return _reshaped(x, (*shape[:axis], *parts, *shape[axis + 1 :]), "unflatten")


def squeeze(input: TensorLike, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without the axes of size 1, or without those of them named by dim. Errors: IndexError for an axis."""
    x = as_tensor(input)
    shape = x.array.shape
    if dim is None:
        return _reshaped(x, tuple([size for size in shape if size != 1]), "squeeze")
    dims = {axis_number(d, max(len(shape), 1), "squeeze") for d in ((dim,) if isinstance(dim, int) else dim)}
    kept = tuple([size for axis, size in enumerate(shape) if size != 1 or axis not in dims])
    return _reshaped(x, kept, "squeeze")


def unsqueeze(input: TensorLike, dim: int) -> Tensor:
    """A new axis of size 1 at `dim`. Errors: IndexError for the axis."""
    x = as_tensor(input)
    shape = x.array.shape
    axis = axis_number(dim, len(shape) + 1, "unsqueeze")
    return _reshaped(x, (*shape[:axis], 1, *shape[axis:]), "unsqueeze")


def clone(input: TensorLike) -> Tensor:
    """A copy in memory of its own, on the tape; clone().detach() is a leaf of its own."""
    x = as_tensor(input)
    return record(x.array.clone(), (x,), _same_rule, None)


def identity(input: Tensor) -> Tensor:
    """The operator +x."""
    return input


def contiguous(input: TensorLike) -> Tensor:
    """Row-major memory: every tensor but an image in channels-last format has it already."""
    x = as_tensor(input)
    if x.array.format == "plain":
        return x
    return record(x.array.to_format("plain"), (x,), _same_rule, None)


def _same_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (dy,)


# ------------------------------------------------------------------------------------------------ order of axes


def permute(input: TensorLike, *dims: Any) -> Tensor:
    """Axis i of the result is axis dims[i]. Errors: ValueError unless dims names every axis once."""
    return _permuted(as_tensor(input), _sizes(dims))


def _permuted(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return record(_core.permute(x.array, dims), (x,), _permute_rule, dims)


def _permute_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    rank = len(saved)
    back = [0] * rank
    for axis, dim in enumerate(saved):
        back[dim % rank] = axis
    return (_core.permute(dy, back),)


def transpose(input: TensorLike, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged. Errors: IndexError for an axis."""
    x = as_tensor(input)
    rank = x.array.rank
    dims = list(range(rank))
    a, b = axis_number(dim0, rank, "transpose"), axis_number(dim1, rank, "transpose")
    dims[a], dims[b] = b, a
    return _permuted(x, tuple(dims))


swapaxes = transpose


def movedim(input: TensorLike, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Axes `source` at the places `destination`, the others in their order. Errors: IndexError, ValueError."""
    x = as_tensor(input)
    rank = x.array.rank
    sources = [axis_number(d, rank, "movedim") for d in ((source,) if isinstance(source, int) else source)]
    places = [
        axis_number(d, rank, "movedim")
        for d in ((destination,) if isinstance(destination, int) else destination)
    ]
    if len(sources) != len(places) or len(set(sources)) != len(sources) or len(set(places)) != len(places):
        raise ValueError(
            f"movedim: source and destination must name equally many different axes, got {source} and {destination}"
        )
    dims = [axis for axis in range(rank) if axis not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        dims.insert(place, axis)
    return _permuted(x, tuple(dims))


def reversed_axes(input: TensorLike) -> Tensor:
    """The matrix transposed: attribute T."""
    x = as_tensor(input)
    return _permuted(x, tuple(range(x.array.rank))[::-1])


def t(input: TensorLike) -> Tensor:
    """The matrix transposed; itself with fewer than 2 axes. Errors: ValueError for more than 2."""
    x = as_tensor(input)
    if x.array.rank > 2:
        raise ValueError(f"t: input must have at most 2 axes, got shape {list(x.shape)}")
    return reversed_axes(x) if x.array.rank == 2 else x


def matrix_transposed(input: TensorLike) -> Tensor:
    """The last two axes exchanged: attribute mT."""
    return transpose(input, -2, -1)


# ------------------------------------------------------------------------------------------------ repetition


def expand(input: TensorLike, *sizes: Any) -> Tensor:
    """Repeated along axes of size 1 and new leading axes; -1 keeps a size. Errors: ValueError."""
    x = as_tensor(input)
    shape = x.array.shape
    y = _core.expand(x.array, _sizes(sizes))
    return x if y.shape == shape else record(y, (x,), _expand_rule, shape)


def broadcast_to(input: TensorLike, shape: Sequence[int]) -> Tensor:
    """The same as expand."""
    return expand(input, tuple(shape))


def _expand_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.sum_to(dy, saved),)


def repeat(input: TensorLike, *sizes: Any) -> Tensor:
    """sizes[axis] copies along each axis; more sizes than axes add leading axes. Errors: ValueError."""
    x = as_tensor(input)
    counts = _sizes(sizes)
    return record(_core.repeat(x.array, counts), (x,), _repeat_rule, (x.array.shape, counts))


def tile(input: TensorLike, *dims: Any) -> Tensor:
    """repeat, where missing leading counts are 1."""
    x = as_tensor(input)
    counts = _sizes(dims)
    return repeat(x, (1,) * (x.array.rank - len(counts)) + counts)


def _repeat_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    shape, counts = saved
    sizes = [1] * (len(counts) - len(shape)) + list(shape)
    out = list(dy.shape)
    for axis, count in enumerate(counts):
        if count != 1:
            outer, inner = prod(out[:axis]), sizes[axis] * prod(out[axis + 1 :])
            dy = _core.sum_to(dy.reshape((outer, count, inner)), (outer, 1, inner))
            out[axis] = sizes[axis]
    return (dy.reshape(shape),)


# ------------------------------------------------------------------------------------------------ parts


def narrow(input: TensorLike, dim: int, start: int, length: int) -> Tensor:
    """Elements [start, start + length) of an axis. Errors: IndexError."""
    x = as_tensor(input)
    y = _core.narrow(x.array, dim, start, length)
    return record(y, (x,), _narrow_rule, (x.array.shape, dim, start))


def _narrow_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.narrow_backward(dy, *saved),)


def select(input: TensorLike, dim: int, index: int) -> Tensor:
    """Element number `index` of an axis, without that axis. Errors: IndexError."""
    x = as_tensor(input)
    where = (slice(None),) * axis_number(dim, x.array.rank, "select") + (int(index),)
    return record(_core.getitem(x.array, where), (x,), slice_rule, (x.array.shape, where))


def slice_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    """The gradient of an index of ints, slices, None and Ellipsis."""
    return (_core.getitem_backward(dy, *saved),)


def diagonal(input: TensorLike, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Diagonal number `offset` of the matrices of two axes, as the last axis. Errors: IndexError, ValueError."""
    x = as_tensor(input)
    y = _core.diagonal(x.array, offset, dim1, dim2)
    return record(y, (x,), _diagonal_rule, (x.array.shape, offset, dim1, dim2))


def _diagonal_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.diagonal_backward(dy, *saved),)


def diag(input: TensorLike, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or the matrix with this diagonal. Errors: ValueError for other ranks."""
    x = as_tensor(input)
    if x.array.rank == 2:
        y = _core.diagonal(x.array, diagonal, 0, 1)
        return record(y, (x,), _diagonal_rule, (x.array.shape, diagonal, 0, 1))
    if x.array.rank != 1:
        raise ValueError(f"diag: input must have 1 or 2 axes, got {list(x.shape)}")
    n = x.array.shape[0] + abs(diagonal)
    y = _core.diagonal_backward(x.array, (n, n), diagonal, 0, 1)
    return record(y, (x,), _diag_rule, diagonal)


def _diag_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.diagonal(dy, saved, 0, 1),)


def tril(input: TensorLike, diagonal: int = 0) -> Tensor:
    """0 above the diagonal of the matrices of the last two axes. Errors: ValueError for rank < 2."""
    x = as_tensor(input)
    return record(_core.triangle(x.array, diagonal, True), (x,), _triangle_rule, (diagonal, True))


def triu(input: TensorLike, diagonal: int = 0) -> Tensor:
    """0 below the diagonal of the matrices of the last two axes. Errors: ValueError for rank < 2."""
    x = as_tensor(input)
    return record(_core.triangle(x.array, diagonal, False), (x,), _triangle_rule, (diagonal, False))


def _triangle_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.triangle(dy, *saved),)


def flip(input: TensorLike, *dims: Any) -> Tensor:
    """Reversed along axes. Errors: IndexError for an axis, ValueError for one named twice."""
    x = as_tensor(input)
    axes = _sizes(dims)
    return record(_core.flip(x.array, axes), (x,), _flip_rule, axes)


def _flip_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.flip(dy, saved),)


def roll(input: TensorLike, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Moved by shifts[i] along dims[i], re-entering on the other side; without dims along the flattened tensor."""
    x = as_tensor(input)
    moves = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    axes = () if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
    return record(_core.roll(x.array, moves, axes), (x,), _roll_rule, (moves, axes))


def _roll_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    moves, axes = saved
    return (_core.roll(dy, tuple([-move for move in moves]), axes),)
