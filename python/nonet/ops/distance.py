"""Length, similarity and distance of vectors along an axis."""

from __future__ import annotations

import numpy as np

from nonet.ops.elementwise import add, div, mul, sub
from nonet.ops.reduce import Axes, vector_norm
from nonet.ops.reduce import sum as sum_along
from nonet.ops.shape import expand
from nonet.ops.unary import clamp
from nonet.tensor import Tensor, TensorLike, as_tensor

__all__ = ["cosine_similarity", "normalize", "pairwise_distance"]


def normalize(input: TensorLike, p: float = 2.0, dim: Axes = 1, eps: float = 1e-12) -> Tensor:
    """x / max(|x|_p, eps) along `dim`; 0 for a zero vector. Errors: TypeError for integers, IndexError for the axis."""
    x = as_tensor(input)
    return div(x, clamp(vector_norm(x, p, dim, True), min=eps))


def cosine_similarity(x1: TensorLike, x2: TensorLike, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim`, after broadcasting. 0, with a finite gradient, for a zero
    vector. Errors: ValueError for shapes, TypeError for integers, IndexError for the axis.
    """
    a = as_tensor(x1)
    b = as_tensor(x2, device=a.device)
    if a.shape != b.shape:
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            raise ValueError(
                f"cosine_similarity: shapes {list(a.shape)} and {list(b.shape)} do not broadcast"
            ) from None
        a, b = expand(a, shape), expand(b, shape)
    # Each is brought to unit length first, so that no product of lengths overflows.
    return sum_along(mul(normalize(a, 2, dim, eps), normalize(b, 2, dim, eps)), dim)


def pairwise_distance(
    x1: TensorLike, x2: TensorLike, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last axis, after broadcasting. Errors: ValueError, TypeError."""
    return vector_norm(add(sub(x1, x2), eps), p, -1, keepdim)
