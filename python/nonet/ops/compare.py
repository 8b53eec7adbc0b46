"""Comparisons, logic and bits, element by element, with the broadcasting and the common dtypes of arithmetic.

None has a gradient. Errors common to all: ValueError for shapes that do not broadcast.
"""

from __future__ import annotations

from typing import Any

from nonet import _core
from nonet.ops.elementwise import pair
from nonet.tensor import Tensor, TensorLike, as_tensor

__all__ = [
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "eq",
    "ge",
    "gt",
    "le",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "ne",
]


def eq(input: TensorLike, other: TensorLike) -> Tensor:
    """input == other, bool."""
    _, x, _, z = pair(input, other)
    return Tensor(_core.eq(x, z))


def ne(input: TensorLike, other: TensorLike) -> Tensor:
    """input != other, bool."""
    _, x, _, z = pair(input, other)
    return Tensor(_core.ne(x, z))


def lt(input: TensorLike, other: TensorLike) -> Tensor:
    """input < other, bool."""
    _, x, _, z = pair(input, other)
    return Tensor(_core.lt(x, z))


def le(input: TensorLike, other: TensorLike) -> Tensor:
    """input <= other, bool."""
    _, x, _, z = pair(input, other)
    return Tensor(_core.le(x, z))


def gt(input: TensorLike, other: TensorLike) -> Tensor:
    """input > other, bool."""
    _, x, _, z = pair(input, other)
    return Tensor(_core.gt(x, z))


def ge(input: TensorLike, other: TensorLike) -> Tensor:
    """input >= other, bool."""
    _, x, _, z = pair(input, other)
    return Tensor(_core.ge(x, z))


def logical_and(input: TensorLike, other: TensorLike) -> Tensor:
    """Both are not 0, bool."""
    _, x, _, z = pair(input, other)
    return Tensor(_core.logical_and(x, z))


def logical_or(input: TensorLike, other: TensorLike) -> Tensor:
    """One or both are not 0, bool."""
    _, x, _, z = pair(input, other)
    return Tensor(_core.logical_or(x, z))


def logical_xor(input: TensorLike, other: TensorLike) -> Tensor:
    """One but not both are not 0, bool."""
    _, x, _, z = pair(input, other)
    return Tensor(_core.logical_xor(x, z))


def logical_not(input: TensorLike) -> Tensor:
    """Is 0, bool."""
    return Tensor(_core.logical_not(as_tensor(input).array))


def bitwise_and(input: TensorLike, other: TensorLike) -> Tensor:
    """Of integers or truth values. Errors: TypeError for floats."""
    _, x, _, z = pair(input, other)
    return Tensor(_core.bitwise_and(x, z))


def bitwise_or(input: TensorLike, other: TensorLike) -> Tensor:
    """Of integers or truth values. Errors: TypeError for floats."""
    _, x, _, z = pair(input, other)
    return Tensor(_core.bitwise_or(x, z))


def bitwise_xor(input: TensorLike, other: TensorLike) -> Tensor:
    """Of integers or truth values. Errors: TypeError for floats."""
    _, x, _, z = pair(input, other)
    return Tensor(_core.bitwise_xor(x, z))


def bitwise_not(input: TensorLike) -> Tensor:
    """Of integers; of truth values the opposite. Errors: TypeError for floats."""
    return Tensor(_core.bitwise_not(as_tensor(input).array))


def equals(input: Tensor, other: Any) -> Any:
    """The operator ==, which answers None and strings like any object."""
    return NotImplemented if other is None or isinstance(other, str) else eq(input, other)


def differs(input: Tensor, other: Any) -> Any:
    """The operator !=."""
    return NotImplemented if other is None or isinstance(other, str) else ne(input, other)
