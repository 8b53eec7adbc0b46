"""Layers that change a shape or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nonet.nn.module import Module
from nonet.ops.shape import flatten, unflatten
from nonet.tensor import Tensor, TensorLike

__all__ = ["Flatten", "Identity", "Unflatten"]


class Identity(Module):
    """Returns its input; takes and ignores any constructor arguments."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def forward(self, input: Any) -> Any:
        return input


class Flatten(Module):
    """Axes start_dim to end_dim as one: [N, C, H, W] -> [N, C*H*W]."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: TensorLike) -> Tensor:
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Axis `dim` as several of the given sizes; one may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]):
        if not isinstance(dim, int):
            raise TypeError(f"Unflatten: dim must be an int, got {type(dim).__name__}")
        sizes = tuple(unflattened_size) if isinstance(unflattened_size, (tuple, list)) else None
        if not sizes or not all(isinstance(size, int) for size in sizes):
            raise TypeError(f"Unflatten: unflattened_size must be a sequence of ints, got {unflattened_size}")
        self.dim = dim
        self.unflattened_size = sizes

    def forward(self, input: TensorLike) -> Tensor:
        return unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
