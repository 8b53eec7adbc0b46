"""Layers that move channels to pixels and back: see nonet.ops.shuffle."""

from __future__ import annotations

from nonet.nn.module import Module
from nonet.ops import shuffle
from nonet.tensor import Tensor, TensorLike

__all__ = ["ChannelShuffle", "PixelShuffle", "PixelUnshuffle"]


class PixelShuffle(Module):
    """[..., C r², H, W] -> [..., C, H r, W r] for r = upscale_factor."""

    def __init__(self, upscale_factor: int):
        self.upscale_factor = upscale_factor

    def forward(self, input: TensorLike) -> Tensor:
        return shuffle.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """[..., C, H r, W r] -> [..., C r², H, W] for r = downscale_factor."""

    def __init__(self, downscale_factor: int):
        self.downscale_factor = downscale_factor

    def forward(self, input: TensorLike) -> Tensor:
        return shuffle.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """[N, C, ...] with channel k of every group next to each other, for `groups` groups of C."""

    def __init__(self, groups: int):
        self.groups = groups

    def forward(self, input: TensorLike) -> Tensor:
        return shuffle.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
