"""Element-wise losses between an input and a target: one fused kernel each way, see csrc/ops/loss/pair.h.

Shapes are equal or broadcast unless said otherwise. reduction: "mean", "sum" or "none"; size_average and reduce are its
old form. Errors: TypeError for integer inputs, ValueError for shapes and values.
"""

from __future__ import annotations

import warnings
from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.loss_class import legacy_reduction
from nonet.ops.precision import widened
from nonet.ops.reduce import mean
from nonet.ops.reduce import sum as total
from nonet.ops.shape import broadcast_to, unsqueeze
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multilabel_soft_margin_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
]


def _pair(
    op: str,
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None,
    reduction: str,
    c: float = 0.0,
    full: bool = False,
    positive_weight: TensorLike | None = None,
    count: int = -1,
) -> Tensor:
    """One loss of pair.h; weight and positive_weight are its operands a and b, count what mean divides by."""
    x = widened(input)
    device = x.array.device
    y = widened(target, device)
    a = None if weight is None else as_tensor(weight, device=device)
    b = None if positive_weight is None else as_tensor(positive_weight, device=device)
    shape = x.array.shape
    if y.array.shape != shape:
        shape = _common_shape(op, shape, y.array.shape)
        x, y = broadcast_to(x, shape), broadcast_to(y, shape)
    if a is not None and a.array.shape != shape:
        a = broadcast_to(a, shape)
    if b is not None and b.array.shape != shape:
        b = broadcast_to(b, shape)
    operands = (
        op,
        x.array,
        y.array,
        None if a is None else a.array,
        None if b is None else b.array,
        c,
        full,
        reduction,
        count,
    )
    return record(_core.pair_loss_forward(*operands), (x, y, a), _pair_rule, operands)


def _pair_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None, Array | None]:
    return _core.pair_loss_backward(
        needs[0] is not False, needs[1] is not False, needs[2] is not False, dy, *saved
    )


def _common_shape(op: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    rank = max(len(a), len(b))
    out = []
    for x, y in zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True):
        if x != y and x != 1 and y != 1:
            raise ValueError(f"{op}: shapes {list(a)} and {list(b)} do not broadcast")
        out.append(y if x == 1 else x)
    return tuple(out)


def _warn_of_broadcast(op: str, input: TensorLike, target: TensorLike) -> None:
    x, y = as_tensor(input).shape, as_tensor(target).shape
    if x != y:
        text = f"{op}: input {list(x)} and target {list(y)} have different shapes and are broadcast"
        warnings.warn(text, UserWarning, stacklevel=3)


def _check_equal_shapes(op: str, input: TensorLike, target: TensorLike) -> None:
    x, y = as_tensor(input).shape, as_tensor(target).shape
    if x != y:
        raise ValueError(f"{op}: target must have shape [like the input] = {list(x)}, got {list(y)}")


def _weighted_mean(op: str, input: TensorLike, target: TensorLike, weight: TensorLike) -> Tensor:
    return _pair(op, input, target, weight, "sum") / total(as_tensor(weight, device=as_tensor(input).device))


def l1_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: TensorLike | None = None,
) -> Tensor:
    """|input - target|, times weight [like the input] where given; mean then divides by the sum of the weights.

    Warns where the shapes differ.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    _warn_of_broadcast("l1_loss", input, target)
    if weight is not None:
        _check_equal_shapes("l1_loss", input, weight)
        if reduction == "mean":
            return _weighted_mean("l1_loss", input, target, weight)
    return _pair("l1_loss", input, target, weight, reduction)


def mse_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: TensorLike | None = None,
) -> Tensor:
    """(input - target)^2, times weight [like the input] where given; mean then divides by the sum of the weights.

    Warns where the shapes differ.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    _warn_of_broadcast("mse_loss", input, target)
    if weight is not None:
        _check_equal_shapes("mse_loss", input, weight)
        if reduction == "mean":
            return _weighted_mean("mse_loss", input, target, weight)
    return _pair("mse_loss", input, target, weight, reduction)


def smooth_l1_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """e^2 / (2 beta) where |e| < beta, else |e| - beta / 2, with e = input - target (Girshick, Fast R-CNN, 2015).

    beta = 0 is l1_loss. Warns where the shapes differ.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must be at least 0, got {beta}")
    _warn_of_broadcast("smooth_l1_loss", input, target)
    return _pair("l1_loss" if beta == 0 else "smooth_l1_loss", input, target, None, reduction, beta)


def huber_loss(
    input: TensorLike,
    target: TensorLike,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: TensorLike | None = None,
) -> Tensor:
    """e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2), with e = input - target (Huber, 1964).

    weight: [like the input]. Warns where the shapes differ.
    """
    if delta <= 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    _warn_of_broadcast("huber_loss", input, target)
    if weight is not None:
        _check_equal_shapes("huber_loss", input, weight)
    return _pair("huber_loss", input, target, weight, reduction, delta)


def kl_div(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target (log target - input) for log-probabilities input; log_target: the target is given as its logarithm.

    reduction "batchmean" divides the sum by the first axis, which is the divergence of Kullback & Leibler, 1951; "mean"
    divides by the number of elements.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    count = -1
    if reduction == "batchmean":
        shape = as_tensor(input).shape
        reduction, count = "mean", shape[0] if shape else 1
    op = "kl_div (log_target)" if log_target else "kl_div"
    return _pair(op, input, target, None, reduction, count=count)


def binary_cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(target log input + (1 - target) log(1 - input)) of probabilities; each logarithm is at least -100.

    Shapes are equal; weight broadcasts. Errors: ValueError for an input outside [0, 1].
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    _check_equal_shapes("binary_cross_entropy", input, target)
    return _pair("binary_cross_entropy", input, target, weight, reduction)


def binary_cross_entropy_with_logits(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: TensorLike | None = None,
) -> Tensor:
    """binary_cross_entropy(sigmoid(input), target), exact for every logit.

    Shapes are equal; weight and pos_weight (multiplies the terms of target = 1) broadcast.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    op = "binary_cross_entropy_with_logits"
    _check_equal_shapes(op, input, target)
    return _pair(op, input, target, weight, reduction, positive_weight=pos_weight)


def multilabel_soft_margin_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """binary_cross_entropy_with_logits averaged over the classes: input, target [N, C], weight [C] -> [N] for none."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    op = "binary_cross_entropy_with_logits"
    _check_equal_shapes("multilabel_soft_margin_loss", input, target)
    if reduction == "none":
        return mean(_pair(op, input, target, weight, "none"), dim=-1)
    if reduction == "sum":
        return _pair(op, input, target, weight, "mean", count=as_tensor(input).shape[-1])
    return _pair(op, input, target, weight, reduction)


def poisson_nll_loss(
    input: TensorLike,
    target: TensorLike,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """exp(input) - target input, or without log_input: input - target log(input + eps), for counts as targets.

    full adds Stirling's approximation of log target! for targets over 1.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    op = "poisson_nll_loss (log_input)" if log_input else "poisson_nll_loss"
    return _pair(op, input, target, None, reduction, eps, full)


def gaussian_nll_loss(
    input: TensorLike,
    target: TensorLike,
    var: TensorLike,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log v + (input - target)^2 / v) / 2 with v = max(var, eps) (Nix & Weigend, 1994); full adds log(2 pi) / 2.

    var: a number, the input's shape, that shape without its last axis, or with one axis of size 1. Errors: ValueError
    for another shape or a negative var.
    """
    x = widened(input)
    y, v = widened(target, x.device), widened(var, x.device)
    if v.shape != x.shape and not isinstance(var, float):
        if v.shape == x.shape[:-1]:
            v = unsqueeze(v, -1)
        differing = [b for a, b in zip(x.shape, v.shape, strict=False) if a != b]
        if v.ndim != x.ndim or (differing and differing != [1]):
            raise ValueError(
                f"gaussian_nll_loss: var must have shape [like the input] = {list(x.shape)}, "
                f"or one axis of size 1, got {list(as_tensor(var).shape)}"
            )
    v = v if v.dtype in ("float32", "bfloat16") else as_tensor(v, "float32")
    return _pair("gaussian_nll_loss", x, y, v, reduction, eps, full)


def soft_margin_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target input)) for targets of 1 and -1."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    return _pair("soft_margin_loss", input, target, None, reduction)


def hinge_embedding_loss(
    input: TensorLike,
    target: TensorLike,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """A distance where target is 1, max(0, margin - input) where it is -1 (Hadsell et al., 2006)."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    return _pair("hinge_embedding_loss", input, target, None, reduction, margin)


def margin_ranking_loss(
    input1: TensorLike,
    input2: TensorLike,
    target: TensorLike,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin - target (input1 - input2)): target 1 wants input1 to be the larger, -1 input2."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    return _pair("margin_ranking_loss", input1, input2, target, reduction, margin)
