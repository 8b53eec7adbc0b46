"""Padding by a constant, by reflection, by the nearest element, or circularly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record

__all__ = ["pad"]


def pad(input: TensorLike, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """More elements at the ends of axes, or fewer where a number is negative.

    pad: (low, high) of the last axis, then of the one before it, … mode: constant (`value`, default 0), reflect,
    replicate or circular. Any dtype; a channels-last image stays one. Errors: ValueError for a padding that the mode
    does not allow.
    """
    x = as_tensor(input)
    if mode != "constant" and value:
        raise ValueError(f"pad: value belongs to mode constant, got value {value} and mode {mode}")
    y = _core.pad_forward(x.array, pad, mode, value or 0.0)
    return record(y, (x,), _pad_rule, (x.array.shape, tuple(pad), mode))


def _pad_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.pad_backward(dy, *saved),)
