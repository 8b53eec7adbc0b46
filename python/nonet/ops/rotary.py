"""Rotary positions (Su et al. 2021): queries and keys turned by angles that grow with their place."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from nonet import _core
from nonet._core import Array
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record

__all__ = ["rotary"]


def rotary(
    input: TensorLike,
    heads: int = 1,
    *,
    first: int = 0,
    base: float = 10000.0,
    size: int | None = None,
    interleaved: bool = False,
) -> Tensor:
    """[..., T, heads · E]: pair i of every head at place first + t turned by (first + t) / base^(2 i / size).

    size: elements of a head that are turned, the first ones (default: all). Pair i is (i, size / 2 + i), or, if
    interleaved, (2 i, 2 i + 1). Errors: ValueError for shapes and an odd size, TypeError for integers.
    """
    x = as_tensor(input)
    if x.ndim < 2 or heads < 1 or x.shape[-1] % heads:
        raise ValueError(
            f"rotary: input must have shape [..., T, heads * E] with {heads} heads, got {list(x.shape)}"
        )
    whole = x.shape[-1] // heads
    turned = whole if size is None else size
    if turned % 2 or not 0 <= turned <= whole:
        raise ValueError(f"rotary: size must be even and at most {whole}, got {turned}")
    cos, sin = _table(first, x.shape[-2], turned, float(base), x.device)
    y = _core.rotary(x.array, cos, sin, heads, interleaved, False)
    return record(y, (x,), _rotary_rule, (cos, sin, heads, interleaved))


def _rotary_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    cos, sin, heads, interleaved = saved
    return (_core.rotary(dy, cos, sin, heads, interleaved, True),)


@lru_cache(maxsize=16)
def _table(first: int, places: int, size: int, base: float, device: str) -> tuple[Array, Array]:
    """Cosines and sines [T, size / 2]; kept, because all layers of a model ask for the same ones."""
    rates = base ** (-np.arange(0, size, 2) / max(size, 1))
    angles = np.arange(first, first + places)[:, None] * rates
    cos, sin = (np.ascontiguousarray(f(angles), np.float32) for f in (np.cos, np.sin))
    return as_tensor(cos, device=device).array, as_tensor(sin, device=device).array
