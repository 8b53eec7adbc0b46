"""Local response normalisation (Krizhevsky, Sutskever & Hinton 2012)."""

from __future__ import annotations

from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record

__all__ = ["local_response_norm"]


def local_response_norm(
    input: TensorLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta for [N, C, …] of three axes or more.

    Channels outside count as 0. Errors: ValueError for the shape and unless size > 0, TypeError for integers.
    """
    x = as_tensor(input)
    options = (size, alpha, beta, k)
    return record(_core.response_norm_forward(x.array, *options), (x,), _rule, (x.array, options))


def _rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    x, options = saved
    return (_core.response_norm_backward(dy, x, *options),)
