"""Similarity and distance of vectors along an axis."""

from __future__ import annotations

import numpy as np

from nonet.ops.elementwise import add, div, mul, sub
from nonet.ops.reduce import sum as sum_along
from nonet.ops.reduce import vector_norm
from nonet.ops.shape import expand
from nonet.ops.unary import clamp
from nonet.tensor import Tensor, TensorLike, as_tensor

__all__ = ["cosine_similarity", "pairwise_distance"]


def cosine_similarity(x1: TensorLike, x2: TensorLike, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim`, after broadcasting. 0, with a finite gradient, for a zero
    vector. Errors: ValueError for shapes, TypeError for integers, IndexError for the axis.
    """
    a, b = as_tensor(x1), as_tensor(x2)
    if a.shape != b.shape:
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            raise ValueError(
                f"cosine_similarity: shapes {list(a.shape)} and {list(b.shape)} do not broadcast"
            ) from None
        a, b = expand(a, shape), expand(b, shape)
    # Each is brought to unit length first, so that no product of lengths overflows.
    unit_a = div(a, clamp(vector_norm(a, 2, dim, True), min=eps))
    unit_b = div(b, clamp(vector_norm(b, 2, dim, True), min=eps))
    return sum_along(mul(unit_a, unit_b), dim)


def pairwise_distance(
    x1: TensorLike, x2: TensorLike, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last axis, after broadcasting. Errors: ValueError, TypeError."""
    return vector_norm(add(sub(x1, x2), eps), p, -1, keepdim)
