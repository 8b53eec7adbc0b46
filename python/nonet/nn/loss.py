"""Losses as layers: element-wise ones first, then those over classes; nn/loss_distance.py has the rest.

Every layer takes reduction = "mean", "sum" or "none"; size_average and reduce are its old form. Shapes and errors are
those of the function of the same name in nn.functional.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nonet.nn.module import Module
from nonet.ops import loss_class as classes
from nonet.ops import loss_pair as pairs
from nonet.ops.loss_class import legacy_reduction
from nonet.tensor import Tensor, TensorLike

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
]


class Loss(Module):
    """What all losses share: the reduction."""

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"):
        if size_average is not None or reduce is not None:
            reduction = legacy_reduction(size_average, reduce)
        self.reduction = reduction


class WeightedLoss(Loss):
    """A loss with a buffer `weight`."""

    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        self.weight: Any
        self.register_buffer("weight", checked_weight(self, "weight", weight))


def checked_weight(owner: Module, name: str, values: TensorLike | None) -> Any:
    """The values. Errors: TypeError for a dtype that no loss computes in."""
    if isinstance(values, np.ndarray):
        dtype = str(values.dtype)
    else:
        dtype = values.dtype if isinstance(values, Tensor) else "float32"
    if dtype not in ("float32", "float64", "bfloat16"):
        raise TypeError(f"{type(owner).__name__}: {name} must be float32 or bfloat16, got {dtype}")
    return values


# ------------------------------------------------------------------------------------------------ element-wise


class L1Loss(Loss):
    """|input - target|."""

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return pairs.l1_loss(input, target, reduction=self.reduction)


class MSELoss(Loss):
    """(input - target)^2."""

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return pairs.mse_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(Loss):
    """Quadratic within beta of the target, linear beyond."""

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ):
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return pairs.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(Loss):
    """Quadratic within delta of the target, linear with slope delta beyond. Errors: TypeError for delta."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction=reduction)
        if not isinstance(delta, (int, float)):
            raise TypeError(f"HuberLoss: delta must be a number, got {type(delta).__name__}")
        self.delta = delta

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return pairs.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class KLDivLoss(Loss):
    """Divergence of log-probabilities from a target; reduction "batchmean" divides by the first axis."""

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ):
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return pairs.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class BCELoss(WeightedLoss):
    """Binary cross-entropy of probabilities."""

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return pairs.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(WeightedLoss):
    """Binary cross-entropy of logits; pos_weight multiplies the terms of target = 1."""

    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: TensorLike | None = None,
    ):
        super().__init__(weight, size_average, reduce, reduction)
        self.pos_weight: Any
        self.register_buffer("pos_weight", checked_weight(self, "pos_weight", pos_weight))

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return pairs.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class PoissonNLLLoss(Loss):
    """Negative log-likelihood of counts, of the rate or of its logarithm."""

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: bool | None = None,
        eps: float = 1e-8,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: TensorLike, target: TensorLike) -> Tensor:
        return pairs.poisson_nll_loss(
            log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction
        )


class GaussianNLLLoss(Loss):
    """Negative log-likelihood of a normal distribution with the mean `input` and the variance `var`."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: TensorLike, target: TensorLike, var: TensorLike) -> Tensor:
        return pairs.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class SoftMarginLoss(Loss):
    """log(1 + exp(-target input)) for targets of 1 and -1."""

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return pairs.soft_margin_loss(input, target, reduction=self.reduction)


class HingeEmbeddingLoss(Loss):
    """A distance where target is 1, max(0, margin - input) where it is -1."""

    def __init__(
        self,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return pairs.hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class MarginRankingLoss(Loss):
    """max(0, margin - target (input1 - input2))."""

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: TensorLike, input2: TensorLike, target: TensorLike) -> Tensor:
        return pairs.margin_ranking_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class MultiLabelSoftMarginLoss(WeightedLoss):
    """Binary cross-entropy of logits, averaged over the classes."""

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return pairs.multilabel_soft_margin_loss(input, target, self.weight, reduction=self.reduction)


# ------------------------------------------------------------------------------------------------ over classes


class NLLLoss(WeightedLoss):
    """-weight[target] input[target] of log-probabilities."""

    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return classes.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class CrossEntropyLoss(WeightedLoss):
    """Cross-entropy of logits with class indices or probabilities."""

    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return classes.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class MultiMarginLoss(WeightedLoss):
    """Hinges of every other class against the target's. Errors: ValueError unless p is 1 or 2 and weight is [C]."""

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: TensorLike | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ):
        super().__init__(weight, size_average, reduce, reduction)
        if p not in (1, 2):
            raise ValueError(f"MultiMarginLoss: p must be 1 or 2, got {p}")
        if self.weight is not None and self.weight.ndim != 1:
            raise ValueError(f"MultiMarginLoss: weight must have shape [C], got {list(self.weight.shape)}")
        self.p = p
        self.margin = margin

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return classes.multi_margin_loss(
            input, target, p=self.p, margin=self.margin, weight=self.weight, reduction=self.reduction
        )


class MultiLabelMarginLoss(Loss):
    """Hinges of every class outside the target set against every class in it."""

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        return classes.multilabel_margin_loss(input, target, reduction=self.reduction)
