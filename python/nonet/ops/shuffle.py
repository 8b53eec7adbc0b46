"""Channels to pixels and back. Any dtype; a channels-last image stays one."""

from __future__ import annotations

from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record

__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]


def pixel_shuffle(input: TensorLike, upscale_factor: int) -> Tensor:
    """input: [..., C r², H, W] -> [..., C, H r, W r] for r = upscale_factor: r² channels become r x r pixels.

    Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
    Network", 2016. Errors: ValueError for shapes.
    """
    x = as_tensor(input)
    return record(_core.pixel_shuffle(x.array, upscale_factor), (x,), _shuffle_rule, upscale_factor)


def _shuffle_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.pixel_unshuffle(dy, saved),)


def pixel_unshuffle(input: TensorLike, downscale_factor: int) -> Tensor:
    """input: [..., C, H r, W r] -> [..., C r², H, W] for r = downscale_factor: the inverse of pixel_shuffle.

    Errors: ValueError for shapes.
    """
    x = as_tensor(input)
    return record(_core.pixel_unshuffle(x.array, downscale_factor), (x,), _unshuffle_rule, downscale_factor)


def _unshuffle_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.pixel_shuffle(dy, saved),)


def channel_shuffle(input: TensorLike, groups: int) -> Tensor:
    """input: [N, C, ...] -> the same with channel k of every group next to each other, for `groups` groups of C.

    Zhang et al., "ShuffleNet", 2018. Errors: ValueError for shapes.
    """
    x = as_tensor(input)
    return record(_core.channel_shuffle(x.array, groups), (x,), _channel_rule, x.shape[1] // groups)


def _channel_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    # No channels: nothing to undo.
    return (_core.channel_shuffle(dy, saved) if saved else dy,)
