"""Linear and Bilinear."""

from __future__ import annotations

import math

from nonet.nn import init
from nonet.nn.module import Module
from nonet.ops.creation import empty
from nonet.ops.matmul import bilinear, linear, linear_act
from nonet.tensor import DTypeLike, Parameter, Tensor, TensorLike

__all__ = ["Bilinear", "Linear"]


class Linear(Module):
    """y = x W^T + b. x: [..., in_features] -> y: [..., out_features].

    `weight` [out_features, in_features] and `bias` [out_features] start uniform in ±1/sqrt(in_features). A call may
    name an activation of linear_act and give a residual: activation(x W^T + b + residual) in one pass.
    Errors: ValueError for negative sizes.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        if in_features < 0 or out_features < 0:
            raise ValueError(f"Linear: sizes must be >= 0, got {in_features} and {out_features}")
        self.in_features = in_features
        self.out_features = out_features
        kind = dtype or "float32"
        self.weight = Parameter(empty(out_features, in_features, dtype=kind, device=device))
        self.bias = Parameter(empty(out_features, dtype=kind, device=device)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _uniform(self.weight, self.in_features)
        if self.bias is not None:
            _uniform(self.bias, self.in_features)

    def forward(
        self, input: TensorLike, activation: str | None = None, residual: TensorLike | None = None
    ) -> Tensor:
        if activation is None and residual is None:
            return linear(input, self.weight, self.bias)
        return linear_act(input, self.weight, self.bias, activation, residual=residual)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )


class Bilinear(Module):
    """y_o = sum_ij x1_i W_oij x2_j + b_o. x1: [..., in1_features], x2: [..., in2_features] -> [..., out_features].

    `weight` [out_features, in1_features, in2_features] and `bias` [out_features] start uniform in
    ±1/sqrt(in1_features). Errors: ValueError unless in1_features > 0.
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        if in1_features <= 0:
            raise ValueError(f"Bilinear: in1_features must be > 0, got {in1_features}")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        kind = dtype or "float32"
        self.weight = Parameter(empty(out_features, in1_features, in2_features, dtype=kind, device=device))
        self.bias = Parameter(empty(out_features, dtype=kind, device=device)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _uniform(self.weight, self.in1_features)
        if self.bias is not None:
            _uniform(self.bias, self.in1_features)

    def forward(self, input1: TensorLike, input2: TensorLike) -> Tensor:
        return bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


def _uniform(parameter: Parameter, fan_in: int) -> None:
    if fan_in > 0:
        bound = 1 / math.sqrt(fan_in)
        init.uniform_(parameter, -bound, bound)
