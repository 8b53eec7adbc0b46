"""Convolution layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nonet.nn import init
from nonet.nn.module import Module
from nonet.ops.conv import Size, convolve, margins, sizes
from nonet.ops.conv_transpose import convolve_transposed
from nonet.ops.creation import empty
from nonet.ops.pad import pad
from nonet.tensor import DTypeLike, Parameter, Tensor, TensorLike, as_tensor

__all__ = ["Conv1d", "Conv2d", "ConvTranspose1d", "ConvTranspose2d"]

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
            *self._more_repr(),
            *([f"dilation={self.dilation}"] if self.dilation != one else []),
            *([f"groups={self.groups}"] if self.groups != 1 else []),
            *(["bias=False"] if self.bias is None else []),
            *([f"padding_mode={self.padding_mode}"] if self.padding_mode != "zeros" else []),
        ]
        return ", ".join(parts)

    def _more_repr(self) -> list[str]:
        return []


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


class _ConvTranspose(_Conv):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        name = type(self).__name__
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode must be 'zeros', got {padding_mode!r}")
        padding = sizes(padding, self.axes, name, "padding")
        self.output_padding = sizes(output_padding, self.axes, name, "output_padding")
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

    def _empty_weight(self, dtype: DTypeLike, device: str | None) -> Tensor:
        return empty(
            self.in_channels, self.out_channels // self.groups, *self.kernel_size, dtype=dtype, device=device
        )

    def _transposed(self, input: TensorLike, output_size: Sequence[int] | None, activation: int) -> Tensor:
        x = as_tensor(input, device=self.weight.device)
        more = self.output_padding if output_size is None else self._padding_for(x, output_size)
        margins = tuple(self.padding)
        wide = (self.stride, margins, more, self.dilation)
        if self.axes == 1:  # images of height 1
            wide = ((1, *self.stride), (0, *margins), (0, *more), (1, *self.dilation))
        op = f"conv_transpose{self.axes}d"
        return convolve_transposed(x, self.weight, self.bias, *wide, self.groups, activation, op)  # type: ignore[arg-type]

    def _padding_for(self, x: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output_padding that gives this size."""
        axes, name = self.axes, type(self).__name__
        if len(output_size) not in (axes, x.ndim):
            raise ValueError(
                f"{name}: output_size must have {axes} or {x.ndim} sizes, got {list(output_size)}"
            )
        wanted = tuple(output_size)[-axes:]
        smallest = [
            (n - 1) * s - 2 * int(p) + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                x.shape[-axes:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True
            )
        ]
        largest = [n + s - 1 for n, s in zip(smallest, self.stride, strict=True)]
        if any(not low <= n <= high for low, n, high in zip(smallest, wanted, largest, strict=True)):
            raise ValueError(
                f"{name}: output_size must lie between {smallest} and {largest}, got {list(output_size)}"
            )
        return tuple([n - low for n, low in zip(wanted, smallest, strict=True)])

    def _more_repr(self) -> list[str]:
        return [f"output_padding={self.output_padding}"] if any(self.output_padding) else []


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of sequences: [N, in_channels, L] or [in_channels, L] -> [N, out_channels, L'].

    L' = (L - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1. `weight` [in_channels, out_channels /
    groups, k] and `bias` [out_channels] start uniform in ±1/sqrt(out_channels / groups · k). Errors: ValueError for
    groups that do not divide the channels, and for another padding_mode than zeros.
    """

    axes = 1

    def forward(self, input: TensorLike, output_size: Sequence[int] | None = None) -> Tensor:
        """output_size: instead of output_padding, the size wanted. Errors: ValueError if no padding gives it."""
        return self._transposed(input, output_size, 0)


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of images: [N, in_channels, H, W] or [in_channels, H, W] -> [N, out_channels, H', W'].

    H' = (H - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1, likewise W'. `weight` [in_channels,
    out_channels / groups, kh, kw] and `bias` [out_channels] start uniform in ±1/sqrt(out_channels / groups · kh · kw).
    Errors: ValueError for groups that do not divide the channels, and for another padding_mode than zeros.
    """

    axes = 2

    def forward(self, input: TensorLike, output_size: Sequence[int] | None = None) -> Tensor:
        """output_size: instead of output_padding, the size wanted. Errors: ValueError if no padding gives it."""
        return self._transposed(input, output_size, 0)
