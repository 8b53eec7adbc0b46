"""Reading and adding at positions that are data. Repeated positions are summed in a fixed order in gradients.

IndexError is raised on the CPU only: a device does not look at the values, and what is out of range there reads as 0
and is not written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nonet import _core
from nonet._core import Array
from nonet.ops.shape import expand, reshape, slice_rule
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, as_tensors, record

__all__ = [
    "argwhere",
    "gather",
    "getitem",
    "index_add",
    "index_select",
    "masked_select",
    "nonzero",
    "one_hot",
    "scatter",
    "scatter_add",
    "take_along_dim",
]


# ------------------------------------------------------------------------------------------------ x[...]


def getitem(input: Tensor, index: Any) -> Tensor:
    """x[index] for ints, slices of any step, None, Ellipsis, integer arrays and bool masks, as in NumPy.

    Leading ints and slices share the memory, others copy. Errors: IndexError for an index out of range or too many.
    """
    array = input.array
    y = _core.getitem(array, index)
    if y is None:
        return _advanced(input, index)
    return record(y, (input,), slice_rule, (array.shape, index))


def _advanced(x: Tensor, index: Any) -> Tensor:
    items = [_item(i, x.device) for i in (index if isinstance(index, tuple) else (index,))]
    if not any(isinstance(item, Tensor) for item in items):
        return getitem(x, tuple(items))
    items = _fill(items, x.array.rank, x.array.shape)
    # Slices and new axes first; an int beside arrays is an array of rank 0.
    basic = tuple(
        [item if isinstance(item, slice) or item is None else slice(None) for item in _unmasked(items)]
    )
    if any(item != slice(None) for item in basic):
        x = getitem(x, basic)
    indices: list[Array | None] = []
    for item in items:
        if isinstance(item, Tensor) and item.array.dtype == "bool":
            indices += _mask_indices(item, x.array.shape, len(indices))
        elif isinstance(item, Tensor):
            indices.append(item.array)
        elif isinstance(item, int):
            indices.append(_core.full((), item, "int64", x.device))
        else:
            indices.append(None)
    return _indexed(x, indices)


def _indexed(x: Tensor, indices: list[Array | None]) -> Tensor:
    y, places = _core.index_forward(x.array, indices)
    mask = [i is not None for i in indices] + [False] * (x.array.rank - len(indices))
    return record(y, (x,), _index_rule, (places, x.array.shape, mask))


def _index_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.index_backward(dy, *saved),)


def _item(item: Any, device: str) -> Any:
    """An int, slice, None, Ellipsis, or a Tensor of integers or bools, on the device unless it was one."""
    if item is None or item is Ellipsis or isinstance(item, slice):
        return item
    if isinstance(item, (int, np.integer)) and not isinstance(item, bool):
        return int(item)
    if isinstance(item, (list, tuple)) and len(item) == 0:
        item = np.zeros(0, dtype=np.int64)
    t = as_tensor(item, device=device)
    if t.array.dtype not in ("int64", "int32", "bool"):
        raise TypeError(f"index: an index tensor must be int64, int32 or bool, got {t.array.dtype}")
    return int(t) if t.array.rank == 0 and t.array.dtype != "bool" else t


def _axes_of(item: Any) -> int:
    if item is None or item is Ellipsis:
        return 0
    return item.array.rank if isinstance(item, Tensor) and item.array.dtype == "bool" else 1


def _fill(items: list[Any], rank: int, shape: tuple[int, ...]) -> list[Any]:
    """Without Ellipsis: one item per axis (a mask stands for its axes), and None for new ones."""
    used = sum(map(_axes_of, items))
    if used > rank:
        raise IndexError(f"index: {used} indices for shape {list(shape)}")
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexError("index: at most one Ellipsis is allowed")
    at = dots[0] if dots else len(items)
    return items[:at] + [slice(None)] * (rank - used) + items[at + 1 :]


def _unmasked(items: list[Any]) -> list[Any]:
    """One item per axis of x: a mask of several axes is that many whole ones."""
    return [part for item in items for part in ([item] * _axes_of(item) if item is not None else [None])]


def _mask_indices(mask: Tensor, shape: tuple[int, ...], axis: int) -> list[Array | None]:
    rank = mask.array.rank
    if rank == 0:
        raise IndexError("index: a bool of rank 0 is no index")
    if mask.array.shape != shape[axis : axis + rank]:
        raise IndexError(
            f"index: the mask at axis {axis} must have shape {list(shape[axis : axis + rank])}, "
            f"got {list(mask.array.shape)}"
        )
    places = _core.permute(_core.nonzero(mask.array), (1, 0))
    return [_core.getitem(places, i) for i in range(rank)]


# ------------------------------------------------------------------------------------------------ named forms


def index_select(input: TensorLike, dim: int, index: TensorLike) -> Tensor:
    """Rows `index` (rank 1) of an axis. Errors: IndexError, ValueError for another rank."""
    x, i = as_tensors(input, index)
    if i.array.rank > 1:
        raise ValueError(f"index_select: index must have shape [count], got {list(i.shape)}")
    rank = x.array.rank
    if not -rank <= dim < rank:
        raise IndexError(f"index_select: axis must be in [{-rank}, {rank - 1}], got {dim}")
    return _indexed(x, [None] * (dim % rank) + [i.array.reshape((i.array.numel,))])


def masked_select(input: TensorLike, mask: TensorLike) -> Tensor:
    """The elements where the mask (of the same shape after broadcasting) is true, rank 1."""
    x, m = as_tensors(input, mask)
    m = as_tensor(m, "bool")
    shape = np.broadcast_shapes(x.array.shape, m.array.shape)
    return getitem(expand(x, shape), (expand(m, shape),)) if shape else _masked_scalar(x, m)


def _masked_scalar(x: Tensor, mask: Tensor) -> Tensor:
    return reshape(x, (1,))[0 : int(bool(mask))]


def gather(input: TensorLike, dim: int, index: TensorLike) -> Tensor:
    """y[…, k, …] = input[…, index[…, k, …], …] along `dim`; shaped like index, which may be smaller off the axis.

    Errors: IndexError, ValueError for shapes, TypeError for an index that is not int64 or int32.
    """
    x, i = as_tensors(input, index)
    y = _core.gather(x.array, dim, i.array)
    return record(y, (x,), _gather_rule, (x.array.shape, dim, i.array))


def _gather_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    shape, dim, index = saved
    return (_core.scatter(_core.zeros(shape, dy.dtype, dy.device), dim, index, dy, True),)


def take_along_dim(input: TensorLike, indices: TensorLike, dim: int | None = None) -> Tensor:
    """gather, with input and indices broadcast off the axis; without dim on the flattened input."""
    x, i = as_tensors(input, indices)
    if dim is None:
        return gather(reshape(x, (-1,)), 0, reshape(i, (-1,)))
    rank = x.array.rank
    if i.array.rank != rank:
        raise ValueError(f"take_along_dim: indices must have {rank} axes like input, got {list(i.shape)}")
    if not -rank <= dim < rank:
        raise IndexError(f"take_along_dim: axis must be in [{-rank}, {rank - 1}], got {dim}")
    axis = dim % rank
    a, b = list(x.array.shape), list(i.array.shape)
    a[axis] = b[axis] = 1
    shape = list(np.broadcast_shapes(tuple(a), tuple(b)))
    shape[axis] = x.array.shape[axis]
    table = expand(x, tuple(shape))
    shape[axis] = i.array.shape[axis]
    return gather(table, axis, expand(i, tuple(shape)))


def scatter(input: TensorLike, dim: int, index: TensorLike, src: Any) -> Tensor:
    """A copy of input with src (a tensor or a number) stored at the positions that gather would read.

    Where an index occurs twice the last one stays; the gradient goes to both. Errors: as gather; TypeError if src
    has another dtype.
    """
    x, i = as_tensors(input, index)
    if isinstance(src, (int, float)):
        s = Tensor(_core.full(i.array.shape, src, x.array.dtype, x.array.device))
    else:
        s = as_tensor(src, device=x.device)
    y = _core.scatter(x.array, dim, i.array, s.array, False)
    return record(y, (x, s), _scatter_rule, (dim, i.array, s.array.shape))


def _scatter_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    dim, index, shape = saved
    dx = (
        _core.scatter(dy, dim, index, _core.zeros(index.shape, dy.dtype, dy.device), False)
        if needs[0]
        else None
    )
    return dx, _source_gradient(dy, dim, index, shape) if needs[1] else None


def _source_gradient(dy: Array, dim: int, index: Array, shape: tuple[int, ...]) -> Array:
    ds = _core.gather(dy, dim, index)
    if index.shape == shape:
        return ds
    return _core.getitem_backward(ds, shape, tuple([slice(size) for size in index.shape]))


def scatter_add(input: TensorLike, dim: int, index: TensorLike, src: TensorLike) -> Tensor:
    """A copy of input with src added at the positions that gather would read. Errors: as scatter."""
    x, i, s = as_tensors(input, index, src)
    y = _core.scatter(x.array, dim, i.array, s.array, True)
    return record(y, (x, s), _scatter_add_rule, (dim, i.array, s.array.shape))


def _scatter_add_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    return dy, _source_gradient(dy, *saved) if needs[1] else None


def index_add(
    input: TensorLike, dim: int, index: TensorLike, source: TensorLike, *, alpha: float = 1
) -> Tensor:
    """A copy of input with alpha * source added to its rows `index` (rank 1) of an axis. Errors: as scatter."""
    x, i, s = as_tensors(input, index, source)
    y = _core.index_add(x.array, dim, i.array, s.array, alpha)
    return record(y, (x, s), _index_add_rule, (dim % max(x.array.rank, 1), i.array, s.array.shape, alpha))


def _index_add_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    dim, index, shape, alpha = saved
    if not needs[1]:
        return dy, None
    ds, _ = _core.index_forward(dy, [None] * dim + [index.reshape((index.numel,))])
    if alpha != 1:
        ds = _core.mul(ds, float(alpha))
    return dy, ds.reshape(shape)


# ------------------------------------------------------------------------------------------------ positions


def nonzero(input: TensorLike, as_tuple: bool = False) -> Any:
    """Positions of the elements that are not 0: int64 [count, rank], or one tensor per axis. No gradient."""
    places = Tensor(_core.nonzero(as_tensor(input).array))
    if not as_tuple:
        return places
    columns = _core.permute(places.array, (1, 0))
    return tuple([Tensor(_core.getitem(columns, i)) for i in range(columns.shape[0])])


def argwhere(input: TensorLike) -> Tensor:
    """The same as nonzero."""
    return nonzero(input)


def one_hot(input: TensorLike, num_classes: int = -1) -> Tensor:
    """int64 [..., num_classes] with 1 at the given class (-1: as many classes as needed). No gradient.

    Errors: TypeError for a dtype that is not int64 or int32, IndexError for an index out of range, ValueError.
    """
    return Tensor(_core.one_hot(as_tensor(input).array, num_classes))
