"""Dropout layers: random zeros in training, nothing in evaluation."""

from __future__ import annotations

from nonet.nn.module import Module
from nonet.ops.dropout import alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout
from nonet.tensor import Tensor, TensorLike

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _Dropout(Module):
    """p: the probability of dropping; inplace changes nothing. Errors: ValueError for p outside [0, 1]."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p must be in [0, 1], got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Drops elements and scales the rest by 1 / (1 - p) (Srivastava et al. 2014). Any shape."""

    def forward(self, input: TensorLike) -> Tensor:
        return dropout(input, self.p, self.training)


class Dropout1d(_Dropout):
    """Drops channels of [N, C, L] or [C, L] (Tompson et al. 2015)."""

    def forward(self, input: TensorLike) -> Tensor:
        return dropout1d(input, self.p, self.training)


class Dropout2d(_Dropout):
    """Drops channels of [N, C, H, W] or [N, C, L] (Tompson et al. 2015)."""

    def forward(self, input: TensorLike) -> Tensor:
        return dropout2d(input, self.p, self.training)


class Dropout3d(_Dropout):
    """Drops channels of [N, C, D, H, W] or [C, D, H, W] (Tompson et al. 2015)."""

    def forward(self, input: TensorLike) -> Tensor:
        return dropout3d(input, self.p, self.training)


class AlphaDropout(_Dropout):
    """Sets elements to SELU's negative limit and keeps mean 0 and variance 1 (Klambauer et al. 2017). Any shape."""

    def forward(self, input: TensorLike) -> Tensor:
        return alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels of [N, C, *]."""

    def forward(self, input: TensorLike) -> Tensor:
        return feature_alpha_dropout(input, self.p, self.training)
