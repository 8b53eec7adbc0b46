"""Max and average pooling over one or two axes.

Inputs: [N, C, L] or [C, L] for 1d, [N, C, H, W] or [C, H, W] for 2d, float32 or bfloat16. A channels-last image stays
one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from nonet import _core
from nonet._core import Array
from nonet.ops.activation import relu
from nonet.ops.elementwise import pow
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, as_tensors, record, wants_grad

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "lp_pool1d",
    "lp_pool2d",
    "max_pool1d",
    "max_pool2d",
    "max_unpool1d",
    "max_unpool2d",
]

Sizes: TypeAlias = "int | Sequence[int]"


def _sizes(value: Sizes, axes: int, op: str, name: str) -> tuple[int, ...]:
    """One size for all axes, or one per axis."""
    if isinstance(value, int):
        return (value,) * axes
    sizes = tuple(value)
    if len(sizes) == 1:
        return sizes * axes
    if len(sizes) != axes:
        raise ValueError(f"{op}: {name} must be an int or {axes} ints, got {value}")
    return sizes


def _strides(stride: Sizes | None, kernel: tuple[int, ...], op: str) -> tuple[int, ...]:
    if stride is None or (not isinstance(stride, int) and len(stride) == 0):
        return kernel
    return _sizes(stride, len(kernel), op, "stride")


# ------------------------------------------------------------------------------------------------ max


# kernel, stride, padding, dilation, ceil_mode
MaxWindows: TypeAlias = "tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], bool]"


def max_windows(
    axes: int,
    op: str,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
) -> MaxWindows:
    """The arguments of max-pooling with one size per axis. Errors: ValueError."""
    kernel = _sizes(kernel_size, axes, op, "kernel_size")
    strides = _strides(stride, kernel, op)
    pads = _sizes(padding, axes, op, "padding")
    return kernel, strides, pads, _sizes(dilation, axes, op, "dilation"), ceil_mode


def _max_pool(
    x: Tensor,
    axes: int,
    op: str,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    spec = max_windows(axes, op, kernel_size, stride, padding, dilation, ceil_mode)
    y, index = _core.max_pool_forward(x.array, *spec, return_indices or wants_grad(x), op)
    out = record(y, (x,), _max_rule, (index, x.array.shape, *spec, op))
    return _with_indices(out, index, return_indices)


def _with_indices(out: Tensor, index: Array | None, return_indices: bool) -> Any:
    if not return_indices:
        return out
    assert index is not None  # asked for
    return out, Tensor(index.to("int64"))


def _max_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.max_pool_backward(dy, *saved),)


def max_pool1d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum over windows of L; padding counts as -inf, NaN wins. stride: default kernel_size.

    return_indices: also the int64 positions in L. Errors: ValueError for shapes and sizes, TypeError for the dtype.
    """
    x = as_tensor(input)
    return _max_pool(x, 1, "max_pool1d", kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum over windows of H x W; as max_pool1d. The positions count along H * W."""
    x = as_tensor(input)
    return _max_pool(x, 2, "max_pool2d", kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _output_size(output_size: Any, axes: int, op: str) -> tuple[int, ...]:
    sizes = (
        (output_size,) * axes if output_size is None or isinstance(output_size, int) else tuple(output_size)
    )
    if len(sizes) != axes:
        raise ValueError(f"{op}: output_size must be an int or {axes} of int or None, got {output_size}")
    return tuple([-1 if size is None else size for size in sizes])


def _adaptive_max_pool(x: Tensor, axes: int, op: str, output_size: Any, return_indices: bool) -> Any:
    sizes = _output_size(output_size, axes, op)
    y, index = _core.adaptive_max_pool_forward(x.array, sizes, return_indices or wants_grad(x), op)
    out = record(y, (x,), _adaptive_max_rule, (index, x.array.shape, sizes, op))
    return _with_indices(out, index, return_indices)


def _adaptive_max_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.adaptive_max_pool_backward(dy, *saved),)


def adaptive_max_pool1d(input: TensorLike, output_size: Any, return_indices: bool = False) -> Any:
    """Maximum over output_size windows that cover L evenly. Errors: ValueError, TypeError."""
    return _adaptive_max_pool(as_tensor(input), 1, "adaptive_max_pool1d", output_size, return_indices)


def adaptive_max_pool2d(input: TensorLike, output_size: Any, return_indices: bool = False) -> Any:
    """Maximum over output_size windows that cover H x W evenly; None keeps a size. Errors: ValueError, TypeError."""
    return _adaptive_max_pool(as_tensor(input), 2, "adaptive_max_pool2d", output_size, return_indices)


# ------------------------------------------------------------------------------------------------ average


def _average_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.avg_pool_backward(dy, *saved),)


def avg_pool1d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean over windows of L; padded zeros count unless count_include_pad is false. stride: default kernel_size.

    Errors: ValueError for shapes and sizes, TypeError for the dtype.
    """
    x = as_tensor(input)
    kernel = _sizes(kernel_size, 1, "avg_pool1d", "kernel_size")
    strides = _strides(stride, kernel, "avg_pool1d")
    pads = _sizes(padding, 1, "avg_pool1d", "padding")
    spec = (kernel, strides, pads, ceil_mode, count_include_pad, 0, "avg_pool1d")
    return record(_core.avg_pool_forward(x.array, *spec), (x,), _average_rule, (x.array.shape, *spec))


def avg_pool2d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean over windows of H x W; as avg_pool1d. divisor_override: instead of the count of elements."""
    x = as_tensor(input)
    if divisor_override == 0:
        raise ValueError("avg_pool2d: divisor_override must not be 0")
    kernel = _sizes(kernel_size, 2, "avg_pool2d", "kernel_size")
    strides = _strides(stride, kernel, "avg_pool2d")
    pads = _sizes(padding, 2, "avg_pool2d", "padding")
    spec = (kernel, strides, pads, ceil_mode, count_include_pad, divisor_override or 0, "avg_pool2d")
    return record(_core.avg_pool_forward(x.array, *spec), (x,), _average_rule, (x.array.shape, *spec))


def _adaptive_avg_pool(x: Tensor, axes: int, op: str, output_size: Any) -> Tensor:
    sizes = _output_size(output_size, axes, op)
    y = _core.adaptive_avg_pool_forward(x.array, sizes, op)
    return record(y, (x,), _adaptive_average_rule, (x.array.shape, sizes, op))


def _adaptive_average_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.adaptive_avg_pool_backward(dy, *saved),)


def adaptive_avg_pool1d(input: TensorLike, output_size: Any) -> Tensor:
    """Mean over output_size windows that cover L evenly. Errors: ValueError, TypeError."""
    return _adaptive_avg_pool(as_tensor(input), 1, "adaptive_avg_pool1d", output_size)


def adaptive_avg_pool2d(input: TensorLike, output_size: Any) -> Tensor:
    """Mean over output_size windows that cover H x W evenly; None keeps a size. Errors: ValueError, TypeError."""
    return _adaptive_avg_pool(as_tensor(input), 2, "adaptive_avg_pool2d", output_size)


def _lp_pool(
    x: Tensor, axes: int, norm_type: float, kernel_size: Sizes, stride: Sizes | None, ceil: bool
) -> Tensor:
    op = f"lp_pool{axes}d"
    if norm_type == 0:
        raise ValueError(f"{op}: norm_type must not be 0")
    count = math.prod(_sizes(kernel_size, axes, op, "kernel_size"))
    average = avg_pool1d if axes == 1 else avg_pool2d
    mean = average(pow(x, norm_type), kernel_size, stride, 0, ceil)
    return pow(relu(mean) * float(count), 1.0 / norm_type)


def lp_pool1d(
    input: TensorLike,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The p-norm of windows of L, (sum x^p)^(1/p) for p = norm_type; windows cut off at the end count as whole ones.

    Errors: ValueError for shapes and sizes, TypeError for the dtype.
    """
    return _lp_pool(as_tensor(input), 1, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: TensorLike,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The p-norm of windows of H x W; as lp_pool1d."""
    return _lp_pool(as_tensor(input), 2, norm_type, kernel_size, stride, ceil_mode)


# ------------------------------------------------------------------------------------------------ unpooling


def _max_unpool(
    input: TensorLike,
    indices: TensorLike,
    axes: int,
    op: str,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    output_size: Sequence[int] | None,
) -> Tensor:
    x, at = as_tensors(input, indices)
    shape = x.array.shape
    if len(shape) not in (axes + 1, axes + 2) or at.array.shape != shape:
        letters = "[N, C, H, W] or [C, H, W]" if axes == 2 else "[N, C, L] or [C, L]"
        raise ValueError(
            f"{op}: input and indices must have shape {letters}, got {list(shape)}, {list(at.shape)}"
        )
    kernel = _sizes(kernel_size, axes, op, "kernel_size")
    strides = _strides(stride, kernel, op)
    pads = _sizes(padding, axes, op, "padding")
    sizes = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(shape[-axes:], strides, pads, kernel, strict=True)]
    if output_size is not None:
        wanted = tuple(output_size)[-axes:]
        if len(output_size) not in (axes, len(shape)) or any(
            not n - s < m < n + s for m, n, s in zip(wanted, sizes, strides, strict=True)
        ):
            raise ValueError(
                f"{op}: output_size must lie within one stride of {sizes}, got {list(output_size)}"
            )
        sizes = list(wanted)
    index = at.array.to("int64")
    y = _core.max_unpool_forward(x.array, index, sizes, op)
    return record(y, (x,), _unpool_rule, (index, axes, op))


def _unpool_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.max_unpool_backward(dy, *saved),)


def max_unpool1d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """The values at the positions that max_pool1d returned, 0 elsewhere. Errors: ValueError, IndexError."""
    return _max_unpool(input, indices, 1, "max_unpool1d", kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """The values at the positions that max_pool2d returned, 0 elsewhere. Errors: ValueError, IndexError."""
    return _max_unpool(input, indices, 2, "max_unpool2d", kernel_size, stride, padding, output_size)
