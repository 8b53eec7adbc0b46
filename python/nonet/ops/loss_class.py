"""Losses over a class axis: cross-entropy with its softmax in one call, the log-likelihood form, hinge losses."""

from __future__ import annotations

import warnings
from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.precision import widened
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record, wants_grad

__all__ = ["cross_entropy", "legacy_reduction", "multi_margin_loss", "multilabel_margin_loss", "nll_loss"]


def legacy_reduction(size_average: bool | None, reduce: bool | None) -> str:
    """What the old pair of flags says in terms of `reduction`; warns that they are old."""
    average = size_average is None or size_average
    reduction = ("mean" if average else "sum") if reduce is None or reduce else "none"
    warnings.warn(
        f"size_average and reduce are old names, use reduction={reduction!r}", UserWarning, stacklevel=3
    )
    return reduction


def cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input)[target], of logits [N, C, d...] or [C].

    target: class indices [N, d...] or [], or probabilities of the input's shape. weight: [C], multiplies each class;
    mean then divides by the weights of the targets. ignore_index: targets that count for nothing. label_smoothing in
    [0, 1]: that part of each target is spread over all classes (Szegedy et al., Rethinking the Inception
    Architecture, 2016). Result: [] for mean and sum, [N, d...] for none. Errors: TypeError for dtypes, ValueError for
    shapes and values, IndexError for a class out of range.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    x = widened(input)
    t = widened(target, x.array.device)
    w = None if weight is None else as_tensor(weight, device=x.array.device).array
    loss, dx, dt = _core.cross_entropy_forward(
        x.array, t.array, w, ignore_index, label_smoothing, reduction, wants_grad(x), wants_grad(t)
    )
    return record(loss, (x, t), _cross_entropy_rule, (dx, dt, x.array.dtype, t.array.dtype))


def _cross_entropy_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    dx, dt, x_dtype, t_dtype = saved
    if dx is not None:
        dx = _core.class_loss_backward(dy, dx)
        if x_dtype != "float32":
            dx = dx.to(x_dtype)
    if dt is not None:
        dt = _core.class_loss_backward(dy, dt).to(t_dtype)
    return dx, dt


def nll_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-input[target] of log-probabilities [N, C, d...] or [C] and class indices [N, d...] or [].

    weight, ignore_index, reduction and errors are those of `cross_entropy`.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    x = widened(input)
    t = widened(target, x.array.device)
    w = None if weight is None else as_tensor(weight, device=x.array.device).array
    loss = _core.nll_loss_forward(x.array, t.array, w, ignore_index, reduction)
    return record(loss, (x,), _nll_rule, (x.array.shape, t.array, w, ignore_index, reduction))


def _nll_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    shape, target, weight, ignore_index, reduction = saved
    return (_core.nll_loss_backward(dy, shape, target, weight, ignore_index, reduction),)


def multi_margin_loss(
    input: TensorLike,
    target: TensorLike,
    p: int = 1,
    margin: float = 1.0,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """weight[t] / C sum over c != t of max(0, margin - x[t] + x[c])^p, p = 1 or 2 (Crammer & Singer, 2001).

    input [N, C] with class indices [N], or [C] with []; weight [C]. Errors: as of `cross_entropy`.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    x = widened(input)
    t = as_tensor(target, device=x.array.device).array
    w = None if weight is None else as_tensor(weight, device=x.array.device).array
    loss, dx = _core.multi_margin_forward(x.array, t, p, margin, w, reduction, wants_grad(x))
    return record(loss, (x,), _margin_rule, (dx, x.array.dtype))


def multilabel_margin_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 / C sum of max(0, 1 - x[j] + x[i]) over the target classes j and all other classes i.

    input and class indices [N, C] or [C]; the targets of a row end at the first -1. Errors: as of `cross_entropy`.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    x = widened(input)
    t = as_tensor(target, device=x.array.device).array
    loss, dx = _core.multilabel_margin_forward(x.array, t, reduction, wants_grad(x))
    return record(loss, (x,), _margin_rule, (dx, x.array.dtype))


def _margin_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    dx, dtype = saved
    return (_core.class_loss_backward(dy, dx).to(dtype),)
