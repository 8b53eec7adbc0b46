"""Sorting along an axis."""

from __future__ import annotations

from typing import Any, NamedTuple

from nonet import _core
from nonet._core import Array
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record

__all__ = ["argsort", "sort", "topk"]


class Sorted(NamedTuple):
    """What sort and topk return."""

    values: Tensor
    indices: Tensor


def sort(input: TensorLike, dim: int = -1, descending: bool = False, stable: bool = True) -> Sorted:
    """(values, indices) in order along an axis. Always stable; NaN is larger than any number.

    Errors: IndexError for the axis.
    """
    x = as_tensor(input)
    values, positions = _core.sort(x.array, dim, descending)
    return Sorted(record(values, (x,), _sort_rule, (positions, x.shape, dim)), Tensor(positions))


def argsort(input: TensorLike, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices that sort would return."""
    return Tensor(_core.sort(as_tensor(input).array, dim, descending)[1])


def topk(input: TensorLike, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Sorted:
    """(values, indices) of the k largest (smallest) along an axis, always in order; of equals the first.

    Errors: ValueError unless 0 <= k <= size, IndexError for the axis.
    """
    x = as_tensor(input)
    values, positions = _core.topk(x.array, k, dim, largest)
    return Sorted(record(values, (x,), _sort_rule, (positions, x.shape, dim)), Tensor(positions))


def _sort_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    positions, shape, dim = saved
    return (_core.place_along(dy, positions, shape, dim),)
