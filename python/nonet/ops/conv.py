"""Convolution of sequences and images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from nonet import _core
from nonet._core import Array
from nonet.ops.matmul import ACTIVATIONS
from nonet.ops.pool import MaxWindows
from nonet.ops.precision import Current
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, as_tensors, record, wants_grad

__all__ = ["conv1d", "conv2d", "conv2d_act"]

Size: TypeAlias = "int | Sequence[int]"


def sizes(value: Size, count: int, op: str, name: str) -> tuple[int, ...]:
    """One int for every axis, or a sequence of them. Errors: TypeError for anything else, ValueError for the length."""
    if isinstance(value, int):
        return (value,) * count
    if not isinstance(value, (tuple, list)) or not all(isinstance(v, int) for v in value):
        raise TypeError(f"{op}: {name} must be an int or {count} ints, got {value!r}")
    if len(value) == 1:
        return (value[0],) * count
    if len(value) != count:
        raise ValueError(f"{op}: {name} must be an int or {count} ints, got {value!r}")
    return tuple(value)


def margins(
    padding: Size | str, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], op: str
) -> tuple[int, ...]:
    """Zeros (before, after) each axis. "same" puts the odd one behind, as torch does.

    Errors: ValueError for another word, or for "same" with a stride.
    """
    if not isinstance(padding, str):
        each = sizes(padding, len(kernel), op, "padding")
        return tuple([p for p in each for _ in (0, 1)])
    if padding == "valid":
        return (0, 0) * len(kernel)
    if padding != "same":
        raise ValueError(
            f"{op}: padding must be 'same', 'valid', an int or {len(kernel)} ints, got {padding!r}"
        )
    if any(s != 1 for s in stride):
        raise ValueError(f"{op}: padding 'same' needs a stride of 1, got {tuple(stride)}")
    out: list[int] = []
    for k, d in zip(kernel, dilation, strict=True):
        total = d * (k - 1)
        out += [total // 2, total - total // 2]
    return tuple(out)


def conv1d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """input: [N, C, L] or [C, L], weight: [out, C/groups, k], bias: [out] -> [N, out, L'].

    Errors: ValueError for shapes, TypeError unless all are of one floating dtype.
    """
    x, w = as_tensors(input, weight)
    if w.ndim != 3:
        raise ValueError(f"conv1d: weight must have shape [out, in/groups, k], got {list(w.shape)}")
    step = sizes(stride, 1, "conv1d", "stride")
    spread = sizes(dilation, 1, "conv1d", "dilation")
    zeros = margins(padding, w.shape[2:], step, spread, "conv1d")
    return convolve(x, w, bias, (1, *step), (0, 0, *zeros), (1, *spread), groups, 0, "conv1d")


def conv2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """input: [N, C, H, W] or [C, H, W], weight: [out, C/groups, kh, kw], bias: [out] -> [N, out, H', W'].

    padding: zeros on every side (an int or a pair), "same" or "valid". Errors: ValueError for shapes, TypeError unless
    all are of one floating dtype.
    """
    return conv2d_act(input, weight, bias, stride, padding, dilation, groups, None)


def conv2d_act(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None,
    stride: Size,
    padding: Size | str,
    dilation: Size,
    groups: int,
    activation: str | None,
) -> Tensor:
    """activation(conv2d(…)) in one pass; activation: relu, tanh, sigmoid or None."""
    x, w = as_tensors(input, weight)
    if w.ndim != 4:
        raise ValueError(f"conv2d: weight must have shape [out, in/groups, kh, kw], got {list(w.shape)}")
    step = sizes(stride, 2, "conv2d", "stride")
    spread = sizes(dilation, 2, "conv2d", "dilation")
    zeros = margins(padding, w.shape[2:], step, spread, "conv2d")
    return convolve(x, w, bias, step, zeros, spread, groups, ACTIVATIONS[activation], "conv2d")


def convolve(
    x: Tensor,
    w: Tensor,
    bias: TensorLike | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    activation: int,
    op: str,
) -> Tensor:
    """The op behind all of them: height and width of everything, four margins, an activation's number."""
    b = None if bias is None else as_tensor(bias, device=w.array.device)
    xa, wa = x.array, w.array
    options = (stride, padding, dilation, groups, activation, Current.code, op)
    y = _core.conv_forward(xa, wa, None if b is None else b.array, *options, not wants_grad(x, w, b))
    return record(y, (x, w, b), _conv_rule, (xa, wa, y if activation else None, options))


def _conv_rule(saved: Any, dy: Array, needs: list[Need]) -> Any:
    x, w, y, options = saved
    return _core.conv_backward(dy, x, w, y, *options, needs)  # type: ignore[call-arg]


def pooled_convolve(
    x: Tensor,
    w: Tensor,
    bias: TensorLike | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    activation: int,
    pool: MaxWindows,
) -> Tensor:
    """Max-pooling of convolve's images [N, C, H, W] in one op; pool: as of max_windows.

    activation: none or relu. The image in front of the pooling is not kept, and where windows do not overlap, gradients
    of small kernels are sums over pooled pixels.
    """
    b = None if bias is None else as_tensor(bias, device=w.array.device)
    xa, wa = x.array, w.array
    options = (stride, padding, dilation, groups, activation, Current.code, "conv2d", *pool, "max_pool2d")
    keep = wants_grad(x, w, b)
    y, index = _core.pooled_conv_forward(xa, wa, None if b is None else b.array, *options, keep)  # type: ignore[call-arg]
    return record(y, (x, w, b), _pooled_conv_rule, (xa, wa, y if activation else None, index, options))


def _pooled_conv_rule(saved: Any, dy: Array, needs: list[Need]) -> Any:
    x, w, y, index, options = saved
    return _core.pooled_conv_backward(dy, x, w, y, index, *options, needs)  # type: ignore[call-arg]
