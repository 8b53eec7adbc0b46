"""Losses on the distance or the angle between vectors."""

from __future__ import annotations

from collections.abc import Callable

from nonet.ops.distance import pairwise_distance
from nonet.ops.elementwise import add, div, minimum, mul, sub
from nonet.ops.loss_class import legacy_reduction
from nonet.ops.loss_pair import hinge_embedding_loss, margin_ranking_loss
from nonet.ops.precision import widened
from nonet.ops.reduce import sum as sum_along
from nonet.ops.unary import sqrt
from nonet.tensor import Tensor, TensorLike

__all__ = ["cosine_embedding_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss"]


def cosine_embedding_loss(
    input1: TensorLike,
    input2: TensorLike,
    target: TensorLike,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(input1, input2) where target is 1, max(0, cos - margin) where it is -1.

    input1, input2: [N, D] and target [N], or [D] and []. Errors: ValueError for shapes.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    a = widened(input1)
    b, y = widened(input2, a.device), widened(target, a.device)
    if a.ndim not in (1, 2) or a.shape != b.shape or y.shape != a.shape[:-1]:
        raise ValueError(
            "cosine_embedding_loss: inputs and target must have shapes [N, D], [N, D], [N] or [D], [D], [], "
            f"got {list(a.shape)}, {list(b.shape)}, {list(y.shape)}"
        )
    # The small number keeps the angle of a zero vector, and its gradient, finite.
    lengths = [sqrt(add(sum_along(mul(x, x), -1), 1e-12)) for x in (a, b)]
    cosine = div(sum_along(mul(a, b), -1), mul(*lengths))
    return hinge_embedding_loss(sub(1.0, cosine), y, margin=1.0 - margin, reduction=reduction)


def triplet_margin_loss(
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)) with the p-norm as distance, [N, D] or [D].

    swap takes d(positive, negative) where that is smaller (Balntas et al., 2016). Errors: ValueError.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return _triplet("triplet_margin_loss", anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """triplet_margin_loss with a distance of one's own: a function of two tensors (None: pairwise_distance)."""
    op = "triplet_margin_with_distance_loss"
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplet(op, anchor, positive, negative, distance, margin, swap, reduction)


def _triplet(
    op: str,
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    distance: Callable[[Tensor, Tensor], Tensor],
    margin: float,
    swap: bool,
    reduction: str,
) -> Tensor:
    if margin <= 0:
        raise ValueError(f"{op}: margin must be positive, got {margin}")
    a = widened(anchor)
    p, n = widened(positive, a.device), widened(negative, a.device)
    if a.ndim != p.ndim or a.ndim != n.ndim:
        raise ValueError(
            f"{op}: anchor, positive and negative must have the same number of axes, "
            f"got shapes {list(a.shape)}, {list(p.shape)}, {list(n.shape)}"
        )
    near, far = distance(a, p), distance(a, n)
    if swap:
        far = minimum(far, distance(p, n))
    return margin_ranking_loss(far, near, 1.0, margin=margin, reduction=reduction)
