"""Transposed convolution of sequences and images: a convolution's gradient with respect to its input, as a layer."""

from __future__ import annotations

from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.conv import Size, sizes
from nonet.ops.precision import Current
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, as_tensors, record, wants_grad

__all__ = ["conv_transpose1d", "conv_transpose2d"]


def conv_transpose1d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """input: [N, C, L] or [C, L], weight: [C, out/groups, k], bias: [out] -> [N, out, L'].

    L' = (L - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1. Errors: ValueError for shapes and for an
    output_padding as large as stride and dilation, TypeError unless all are of one floating dtype.
    """
    x, w = as_tensors(input, weight)
    op = "conv_transpose1d"
    if w.ndim != 3:
        raise ValueError(f"{op}: weight must have shape [in, out/groups, k], got {list(w.shape)}")
    return convolve_transposed(
        x,
        w,
        bias,
        (1, *sizes(stride, 1, op, "stride")),
        (0, *sizes(padding, 1, op, "padding")),
        (0, *sizes(output_padding, 1, op, "output_padding")),
        (1, *sizes(dilation, 1, op, "dilation")),
        groups,
        0,
        op,
    )


def conv_transpose2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Tensor:
    """input: [N, C, H, W] or [C, H, W], weight: [C, out/groups, kh, kw], bias: [out] -> [N, out, H', W'].

    H' = (H - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1, likewise W'. Errors: ValueError for shapes
    and for an output_padding as large as stride and dilation, TypeError unless all are of one floating dtype.
    """
    x, w = as_tensors(input, weight)
    op = "conv_transpose2d"
    if w.ndim != 4:
        raise ValueError(f"{op}: weight must have shape [in, out/groups, kh, kw], got {list(w.shape)}")
    return convolve_transposed(
        x,
        w,
        bias,
        sizes(stride, 2, op, "stride"),
        sizes(padding, 2, op, "padding"),
        sizes(output_padding, 2, op, "output_padding"),
        sizes(dilation, 2, op, "dilation"),
        groups,
        0,
        op,
    )


def convolve_transposed(
    x: Tensor,
    w: Tensor,
    bias: TensorLike | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    activation: int,
    op: str,
) -> Tensor:
    """The op behind both: height and width of everything, an activation's number."""
    b = None if bias is None else as_tensor(bias, device=w.array.device)
    xa, wa = x.array, w.array
    rows, columns = padding
    margins = (rows, rows, columns, columns)
    options = (stride, margins, output_padding, dilation, groups, activation, Current.code, op)
    y = _core.conv_transpose_forward(
        xa, wa, None if b is None else b.array, *options, not wants_grad(x, w, b)
    )
    return record(y, (x, w, b), _transposed_rule, (xa, wa, y if activation else None, options))


def _transposed_rule(saved: Any, dy: Array, needs: list[Need]) -> Any:
    x, w, y, options = saved
    return _core.conv_transpose_backward(dy, x, w, y, *options, needs)  # type: ignore[call-arg]
