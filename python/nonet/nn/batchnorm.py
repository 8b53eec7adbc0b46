"""Normalisation of images per channel: BatchNorm, InstanceNorm, GroupNorm, LocalResponseNorm."""

from __future__ import annotations

import warnings

from nonet.nn import init
from nonet.nn.module import Module
from nonet.ops.channel_norm import batch_norm_act, group_norm, instance_norm
from nonet.ops.creation import empty, ones, zeros
from nonet.ops.response_norm import local_response_norm
from nonet.ops.shape import squeeze, unsqueeze
from nonet.tensor import Buffer, DTypeLike, Parameter, Tensor, TensorLike, as_tensor

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "LocalResponseNorm",
]


class _Norm(Module):
    """What batch and instance normalisation share: parameters, running statistics and the text."""

    _optional = ("num_batches_tracked",)  # checkpoints from before PyTorch 0.4 lack it

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: str | None,
        dtype: DTypeLike | None,
        bias: bool,
    ) -> None:
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        kind = dtype or "float32"
        self.weight = Parameter(empty(num_features, dtype=kind, device=device)) if affine else None
        self.bias = Parameter(empty(num_features, dtype=kind, device=device)) if affine and bias else None
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.running_mean = Buffer(zeros(num_features, dtype=kind, device=device))
            self.running_var = Buffer(ones(num_features, dtype=kind, device=device))
            self.num_batches_tracked = Buffer(zeros((), dtype="int64", device=device))
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        if self.running_mean is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)  # type: ignore[union-attr]
            self.num_batches_tracked.zero_()  # type: ignore[union-attr]

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Norm):
    ranks: tuple[int, ...]
    letters: str

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
        dtype: DTypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(
        self, input: TensorLike, activation: str | None = None, residual: TensorLike | None = None
    ) -> Tensor:
        x = as_tensor(input)
        if x.ndim not in self.ranks:
            raise ValueError(
                f"{type(self).__name__}: input must have shape {self.letters}, got {list(x.shape)}"
            )
        momentum = self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1 / int(self.num_batches_tracked.item())
        tracked = self.running_mean is not None
        kept = not self.training or self.track_running_stats
        return batch_norm_act(
            x,
            self.running_mean if kept else None,
            self.running_var if kept else None,
            self.weight,
            self.bias,
            self.training or not tracked,
            momentum or 0.0,
            self.eps,
            activation,
            residual,
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation (Ioffe & Szegedy 2015) of [N, C] or [N, C, L], per channel C = num_features.

    In training the statistics are the batch's, and running_mean and running_var follow them by `momentum` (None: they
    are the average of all batches so far); in eval these are used, unless track_running_stats is false. `weight` and
    `bias` [C] start as ones and zeros; affine=False leaves out both, bias=False the second.

    forward(input, activation=None, residual=None): activation "relu" and an array like input, added before it, are
    computed in the same pass. Errors: ValueError for another shape, and for one value per channel in training.
    """

    ranks = (2, 3)
    letters = "[N, C] or [N, C, L]"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation (Ioffe & Szegedy 2015) of images [N, C, H, W], as BatchNorm1d."""

    ranks = (4,)
    letters = "[N, C, H, W]"


class _InstanceNorm(_Norm):
    axes: int
    letters: str

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: str | None = None,
        dtype: DTypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: TensorLike) -> Tensor:
        x = as_tensor(input)
        name = type(self).__name__
        if x.ndim not in (self.axes + 1, self.axes + 2):
            raise ValueError(f"{name}: input must have shape {self.letters}, got {list(x.shape)}")
        batched = x.ndim == self.axes + 2
        channels = x.shape[-self.axes - 1]
        if channels != self.num_features:
            text = f"{name}: input must have {self.num_features} channels (num_features), got {channels}"
            if self.affine:
                raise ValueError(text)
            warnings.warn(text + "; num_features has no meaning while affine=False", stacklevel=3)
        out = instance_norm(
            x if batched else unsqueeze(x, 0),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            self.momentum or 0.0,
            self.eps,
        )
        return out if batched else squeeze(out, 0)


class InstanceNorm1d(_InstanceNorm):
    """Normalisation of each channel of each sequence (Ulyanov, Vedaldi & Lempitsky 2016): [N, C, L] or [C, L].

    affine: `weight` and `bias` [C], which start as ones and zeros (bias=False: no bias). track_running_stats: the
    running average over samples, followed by `momentum`, is used in eval. Errors: ValueError for another shape, and
    for one value per channel.
    """

    axes = 1
    letters = "[N, C, L] or [C, L]"


class InstanceNorm2d(_InstanceNorm):
    """Normalisation of each channel of each image (Ulyanov, Vedaldi & Lempitsky 2016): [N, C, H, W] or [C, H, W].

    As InstanceNorm1d.
    """

    axes = 2
    letters = "[N, C, H, W] or [C, H, W]"


class GroupNorm(Module):
    """Normalisation of num_groups groups of channels of each sample of [N, C, …] (Wu & He 2018).

    `weight` and `bias` [num_channels] start as ones and zeros; affine=False leaves out both, bias=False the second.
    Errors: ValueError for groups that do not divide the channels, and for another number of channels.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: str | None = None,
        dtype: DTypeLike | None = None,
        *,
        bias: bool = True,
    ) -> None:
        if num_groups <= 0 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups must divide num_channels, got {num_groups} groups of {num_channels} channels"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self.weight = Parameter(empty(num_channels, dtype=dtype, device=device)) if affine else None
        self.bias = Parameter(empty(num_channels, dtype=dtype, device=device)) if affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: TensorLike) -> Tensor:
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={bias}"


class LocalResponseNorm(Module):
    """x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta for [N, C, …] (Krizhevsky et al. 2012).

    Errors: ValueError unless size is positive and the input has three axes or more.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: TensorLike) -> Tensor:
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
