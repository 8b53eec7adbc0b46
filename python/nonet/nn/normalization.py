"""Normalisation of each sample on its own: LayerNorm and RMSNorm."""

from __future__ import annotations

from collections.abc import Sequence

from nonet.nn import init
from nonet.nn.module import Module
from nonet.ops.creation import empty
from nonet.ops.norm import add_layer_norm, add_rms_norm, layer_norm, rms_norm
from nonet.tensor import DTypeLike, Parameter, Tensor, TensorLike

__all__ = ["LayerNorm", "RMSNorm"]


class LayerNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias over the last axes (Ba, Kiros & Hinton 2016).

    normalized_shape: the sizes of those axes (an int for one axis). weight and bias have this shape and start as
    ones and zeros; elementwise_affine=False leaves out both, bias=False the second. Called with a residual of the
    input's shape it gives (input + residual, the norm of that) in one pass. Errors: ValueError for another input shape.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.weight = self.bias = None
        if elementwise_affine:
            self.weight = Parameter(empty(self.normalized_shape, dtype=dtype, device=device))
            if bias:
                self.bias = Parameter(empty(self.normalized_shape, dtype=dtype, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(
        self, input: TensorLike, residual: TensorLike | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        if residual is None:
            return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)
        return add_layer_norm(input, residual, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, bias={bias}"


class RMSNorm(Module):
    """y = x / sqrt(mean(x^2) + eps) * weight over the last axes (Zhang & Sennrich 2019).

    normalized_shape: the sizes of those axes (an int for one axis). weight has this shape and starts as ones; eps: by
    default 2^-23, the spacing of float32 at 1. With a residual: as LayerNorm. Errors: ValueError for another input
    shape.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.weight = None
        if elementwise_affine:
            self.weight = Parameter(empty(self.normalized_shape, dtype=dtype, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(
        self, input: TensorLike, residual: TensorLike | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        if residual is None:
            return rms_norm(input, self.normalized_shape, self.weight, self.eps)
        return add_rms_norm(input, residual, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


def _shape(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
