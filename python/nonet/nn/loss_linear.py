"""LinearCrossEntropyLoss: the last linear layer of a classifier and its loss in one."""

from __future__ import annotations

import math
from typing import Any

from nonet.nn.linear import Linear
from nonet.nn.loss import WeightedLoss
from nonet.ops.loss_linear import LinearCrossEntropyOptions, linear_cross_entropy
from nonet.tensor import DTypeLike, Tensor, TensorLike

__all__ = ["LinearCrossEntropyLoss", "LinearCrossEntropyOptions"]


class LinearCrossEntropyLoss(WeightedLoss):
    """Cross-entropy of linear(input): [N, in_features] or [in_features], without the logits standing in memory.

    Logits would be [N, num_classes, *out_features]; target: class indices [N, *out_features] or probabilities of the
    logits' shape. The linear layer is `linear`, with weight [num_classes * prod(out_features), in_features].
    Errors: ValueError.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: str | None = None,
        dtype: DTypeLike | None = None,
        reduction: str = "mean",
        weight: TensorLike | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
    ):
        super().__init__(weight, reduction=reduction)
        if self.weight is not None and self.weight.shape != (num_classes,):
            raise ValueError(
                f"LinearCrossEntropyLoss: weight must have shape [C] = [{num_classes}], got {list(self.weight.shape)}"
            )
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"LinearCrossEntropyLoss: label_smoothing must be in [0, 1], got {label_smoothing}"
            )
        self.num_classes = num_classes
        self.out_features = out_features
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.linear = Linear(in_features, math.prod(out_features, start=num_classes), bias, device, dtype)
        self.options = options

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        weight: Any = self.linear.weight
        bias: Any = self.linear.bias
        if self.out_features:
            outputs = (self.num_classes, *self.out_features)
            weight = weight.reshape(*outputs, self.linear.in_features)
            bias = None if bias is None else bias.reshape(*outputs)
        return linear_cross_entropy(
            input,
            weight,
            target,
            linear_bias=bias,
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={self.linear.bias is not None}, reduction={self.reduction}, "
            f"ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing}, options={self.options}"
        )
