"""Convolution layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nonet.nn import init
from nonet.nn.module import Module
from nonet.ops.conv import Size, convolve, margins, sizes
from nonet.ops.creation import empty
from nonet.ops.pad import pad
from nonet.tensor import DTypeLike, Parameter, Tensor, TensorLike, as_tensor

__all__ = ["Conv1d", "Conv2d"]

_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What the layers share: arguments, their checks, parameters and the text."""

    axes: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Size | str,
        dilation: Size,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: str | None,
        dtype: DTypeLike | None,
    ):
        name = type(self).__name__
        if groups <= 0:
            raise ValueError(f"{name}: groups must be positive, got {groups}")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups must divide the channels in and out, got {groups} groups of {in_channels} and "
                f"{out_channels} channels"
            )
        if padding_mode not in _MODES:
            raise ValueError(f"{name}: padding_mode must be one of {list(_MODES)}, got {padding_mode!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = sizes(kernel_size, self.axes, name, "kernel_size")
        self.stride = sizes(stride, self.axes, name, "stride")
        self.dilation = sizes(dilation, self.axes, name, "dilation")
        self.padding = padding if isinstance(padding, str) else sizes(padding, self.axes, name, "padding")
        self.groups = groups
        self.padding_mode = padding_mode
        self._margins = margins(self.padding, self.kernel_size, self.stride, self.dilation, name)
        kind = dtype or "float32"
        self.weight = Parameter(self._empty_weight(kind, device))
        self.bias = Parameter(empty(out_channels, dtype=kind, device=device)) if bias else None
        self.reset_parameters()

    def _empty_weight(self, dtype: DTypeLike, device: str | None) -> Tensor:
        return empty(
            self.out_channels, self.in_channels // self.groups, *self.kernel_size, dtype=dtype, device=device
        )

    def reset_parameters(self) -> None:
        fan_in = math.prod(self.weight.shape[1:])
        if fan_in > 0:
            bound = 1 / math.sqrt(fan_in)
            init.uniform_(self.weight, -bound, bound)
            if self.bias is not None:
                init.uniform_(self.bias, -bound, bound)

    def _padded(self, input: TensorLike) -> Tensor:
        """The input with the margins of a mode that is not zeros."""
        x = as_tensor(input, device=self.weight.device)
        rank = self.axes
        if x.ndim not in (rank + 1, rank + 2):
            raise ValueError(
                f"{type(self).__name__}: input must have {rank + 1} or {rank + 2} axes, got {list(x.shape)}"
            )
        last_first: Sequence[int] = [
            m for axis in range(rank - 1, -1, -1) for m in self._margins[2 * axis : 2 * axis + 2]
        ]
        return pad(x, last_first, self.padding_mode)

    def extra_repr(self) -> str:
        one, zero = (1,) * self.axes, (0,) * self.axes
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}",
            *([f"padding={self.padding}"] if self.padding != zero else []),
            *([f"dilation={self.dilation}"] if self.dilation != one else []),
            *([f"groups={self.groups}"] if self.groups != 1 else []),
            *(["bias=False"] if self.bias is None else []),
            *([f"padding_mode={self.padding_mode}"] if self.padding_mode != "zeros" else []),
        ]
        return ", ".join(parts)


class Conv1d(_Conv):
    """Convolution of sequences: [N, in_channels, L] or [in_channels, L] -> [N, out_channels, L'].

    `weight` [out_channels, in_channels / groups, k] and `bias` [out_channels] start uniform in
    ±1/sqrt(in_channels / groups · k). padding: an int, "same" or "valid". Errors: ValueError for groups that do not
    divide the channels, "same" with a stride, an unknown padding_mode.
    """

    axes = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, input: TensorLike) -> Tensor:
        zeros = self.padding_mode == "zeros"
        x = as_tensor(input, device=self.weight.device) if zeros else self._padded(input)
        margin = (0, 0, *self._margins) if zeros else (0, 0, 0, 0)
        stride, dilation = (1, *self.stride), (1, *self.dilation)
        return convolve(x, self.weight, self.bias, stride, margin, dilation, self.groups, 0, "conv1d")


class Conv2d(_Conv):
    """Convolution of images: [N, in_channels, H, W] or [in_channels, H, W] -> [N, out_channels, H', W'].

    `weight` [out_channels, in_channels / groups, kh, kw] and `bias` [out_channels] start uniform in
    ±1/sqrt(in_channels / groups · kh · kw). padding: an int, a pair, "same" or "valid". Errors: ValueError for groups
    that do not divide the channels, "same" with a stride, an unknown padding_mode.
    """

    axes = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, input: TensorLike) -> Tensor:
        zeros = self.padding_mode == "zeros"
        x = as_tensor(input, device=self.weight.device) if zeros else self._padded(input)
        margin = self._margins if zeros else (0, 0, 0, 0)
        return convolve(
            x, self.weight, self.bias, self.stride, margin, self.dilation, self.groups, 0, "conv2d"
        )
