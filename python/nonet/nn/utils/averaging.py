"""Moving averages of parameters and buffers."""

from __future__ import annotations

from collections.abc import Mapping

from nonet.ops.elementwise import lerp
from nonet.tensor import Tensor, no_grad

__all__ = ["move_average_"]


def move_average_(average: Mapping[str, Tensor], new: Mapping[str, Tensor], averaging: float) -> None:
    """Makes every float32 tensor of `average` that share of itself and the rest of its namesake in `new` (Polyak,
    Juditsky, "Acceleration of stochastic approximation by averaging", 1992); others become their namesakes."""
    with no_grad():
        for name, old in average.items():
            value = new[name]
            old.copy_(lerp(old, value, 1 - averaging) if value.dtype == "float32" else value)
