"""Padding layers: see nonet.ops.pad for the four modes."""

from __future__ import annotations

from collections.abc import Sequence

from nonet.nn.module import Module
from nonet.ops.pad import pad
from nonet.tensor import Tensor, TensorLike, as_tensor

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Module):
    """padding: one size for all sides of the last `axes` axes, or (low, high) per axis from the last one on."""

    axes = 1
    mode = "constant"

    def __init__(self, padding: int | Sequence[int]):
        sizes = (padding,) * (2 * self.axes) if isinstance(padding, int) else tuple(padding)
        if len(sizes) != 2 * self.axes:
            name = type(self).__name__
            raise ValueError(f"{name}: padding must be an int or {2 * self.axes} ints, got {padding}")
        self.padding = sizes

    def forward(self, input: TensorLike) -> Tensor:
        x = as_tensor(input)
        if x.array.rank not in (self.axes + 1, self.axes + 2):
            shape = ["[N, C, W]", "[N, C, H, W]", "[N, C, D, H, W]"][self.axes - 1]
            raise ValueError(
                f"pad: input must have shape {shape} or that without N, got {list(x.array.shape)}"
            )
        return pad(x, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ConstantPad1d(_Pad):
    """A constant at both ends of the last axis; input of any shape."""

    def __init__(self, padding: int | Sequence[int], value: float):
        super().__init__(padding)
        self.value = value

    def forward(self, input: TensorLike) -> Tensor:
        return pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(ConstantPad1d):
    """A constant around the last two axes; input of any shape."""

    axes = 2


class ConstantPad3d(ConstantPad1d):
    """A constant around the last three axes; input of any shape."""

    axes = 3


class ZeroPad1d(ConstantPad1d):
    """Zeros at both ends of the last axis; input of any shape."""

    def __init__(self, padding: int | Sequence[int]):
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(ZeroPad1d):
    """Zeros around the last two axes; input of any shape."""

    axes = 2


class ZeroPad3d(ZeroPad1d):
    """Zeros around the last three axes; input of any shape."""

    axes = 3


class ReflectionPad1d(_Pad):
    """Mirrored at the ends: [N, C, W] or [C, W]."""

    mode = "reflect"


class ReflectionPad2d(ReflectionPad1d):
    """Mirrored at the edges: [N, C, H, W] or [C, H, W]."""

    axes = 2


class ReflectionPad3d(ReflectionPad1d):
    """Mirrored at the faces: [N, C, D, H, W] or [C, D, H, W]."""

    axes = 3


class ReplicationPad1d(_Pad):
    """The end elements repeated: [N, C, W] or [C, W]."""

    mode = "replicate"


class ReplicationPad2d(ReplicationPad1d):
    """The edge elements repeated: [N, C, H, W] or [C, H, W]."""

    axes = 2


class ReplicationPad3d(ReplicationPad1d):
    """The face elements repeated: [N, C, D, H, W] or [C, D, H, W]."""

    axes = 3


class CircularPad1d(_Pad):
    """Continued from the other end: [N, C, W] or [C, W]."""

    mode = "circular"


class CircularPad2d(CircularPad1d):
    """Continued from the other side: [N, C, H, W] or [C, H, W]."""

    axes = 2


class CircularPad3d(CircularPad1d):
    """Continued from the other side: [N, C, D, H, W] or [C, D, H, W]."""

    axes = 3
