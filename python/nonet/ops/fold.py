"""Patches of images as columns of a matrix, and their sum back into images."""

from __future__ import annotations

from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.conv import Size, sizes
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record

__all__ = ["fold", "unfold"]


def unfold(
    input: TensorLike, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> Tensor:
    """input: [N, C, H, W] or [C, H, W] -> [N, C · kh · kw, patches] or that without N; zeros outside the image.

    Patches are counted along rows. Errors: ValueError for shapes and sizes, TypeError for the dtype.
    """
    x = as_tensor(input)
    options = _options(kernel_size, dilation, padding, stride, "unfold")
    y = _core.unfold(x.array, *options)
    return record(y, (x,), _unfold_rule, (x.shape[-2:], options))


def _unfold_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    size, options = saved
    return (_core.fold(dy, size, *options),)


def fold(
    input: TensorLike,
    output_size: Size,
    kernel_size: Size,
    dilation: Size = 1,
    padding: Size = 0,
    stride: Size = 1,
) -> Tensor:
    """input: [N, C · kh · kw, patches] or that without N -> images [N, C, *output_size], overlapping patches added up.

    Errors: ValueError for shapes and sizes, TypeError for the dtype.
    """
    x = as_tensor(input)
    options = _options(kernel_size, dilation, padding, stride, "fold")
    y = _core.fold(x.array, sizes(output_size, 2, "fold", "output_size"), *options)
    return record(y, (x,), _fold_rule, options)


def _fold_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.unfold(dy, *saved),)


def _options(
    kernel: Size, dilation: Size, padding: Size, stride: Size, op: str
) -> tuple[tuple[int, ...], ...]:
    return (
        sizes(kernel, 2, op, "kernel_size"),
        sizes(dilation, 2, op, "dilation"),
        sizes(padding, 2, op, "padding"),
        sizes(stride, 2, op, "stride"),
    )
