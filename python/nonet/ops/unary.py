"""Elementary functions of one tensor, element by element, and conversions between dtypes.

Integers are taken as float32, except where a function maps integers to integers (neg, abs, square, sign, clamp and the
roundings). Each function saves its input or its output for the gradient, whichever the gradient is a function of.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.elementwise import maximum, minimum
from nonet.tensor import DTypeLike, Need, Tensor, TensorLike, as_tensor, record

__all__ = [
    "abs",
    "absolute",
    "ceil",
    "clamp",
    "clip",
    "cos",
    "erf",
    "exp",
    "expm1",
    "floor",
    "isfinite",
    "isinf",
    "isnan",
    "log",
    "log1p",
    "log2",
    "neg",
    "negative",
    "reciprocal",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sqrt",
    "square",
    "tanh",
    "trunc",
]

_dtypes = ("float32", "bfloat16", "int64", "int32", "uint8", "bool")


def _by_input(forward: Callable[[Array], Array], backward: Any, input: TensorLike) -> Tensor:
    x = as_tensor(input)
    return record(forward(x.array), (x,), _rule, (backward, x.array))


def _by_output(forward: Callable[[Array], Array], backward: Any, input: TensorLike) -> Tensor:
    x = as_tensor(input)
    y = forward(x.array)
    return record(y, (x,), _rule, (backward, y))


def _rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    backward, kept = saved
    return (backward(dy, kept),)


def neg(input: TensorLike) -> Tensor:
    """-x."""
    x = as_tensor(input)
    return record(_core.neg(x.array), (x,), _neg_rule, None)


def _neg_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.neg(dy),)


def abs(input: TensorLike) -> Tensor:
    """|x|; the gradient at 0 is 0."""
    return _by_input(_core.abs, _core.abs_backward, input)


def exp(input: TensorLike) -> Tensor:
    """e^x."""
    return _by_output(_core.exp, _core.exp_backward, input)


def expm1(input: TensorLike) -> Tensor:
    """e^x - 1, with all digits near 0."""
    return _by_output(_core.expm1, _core.expm1_backward, input)


def log(input: TensorLike) -> Tensor:
    """The natural logarithm; -inf at 0, NaN below."""
    return _by_input(_core.log, _core.log_backward, input)


def log1p(input: TensorLike) -> Tensor:
    """log(1 + x), with all digits near 0."""
    return _by_input(_core.log1p, _core.log1p_backward, input)


def log2(input: TensorLike) -> Tensor:
    """The logarithm to base 2; exact at powers of two."""
    return _by_input(_core.log2, _core.log2_backward, input)


def sqrt(input: TensorLike) -> Tensor:
    """The square root; NaN below 0."""
    return _by_output(_core.sqrt, _core.sqrt_backward, input)


def rsqrt(input: TensorLike) -> Tensor:
    """1 / sqrt(x)."""
    return _by_output(_core.rsqrt, _core.rsqrt_backward, input)


def square(input: TensorLike) -> Tensor:
    """x * x."""
    return _by_input(_core.square, _core.square_backward, input)


def reciprocal(input: TensorLike) -> Tensor:
    """1 / x."""
    return _by_output(_core.reciprocal, _core.reciprocal_backward, input)


def sin(input: TensorLike) -> Tensor:
    """The sine of x in radians, accurate for every finite x."""
    return _by_input(_core.sin, _core.sin_backward, input)


def cos(input: TensorLike) -> Tensor:
    """The cosine of x in radians, accurate for every finite x."""
    return _by_input(_core.cos, _core.cos_backward, input)


def tanh(input: TensorLike) -> Tensor:
    """The hyperbolic tangent."""
    return _by_output(_core.tanh, _core.tanh_backward, input)


def sigmoid(input: TensorLike) -> Tensor:
    """1 / (1 + e^-x)."""
    return _by_output(_core.sigmoid, _core.sigmoid_backward, input)


def erf(input: TensorLike) -> Tensor:
    """The error function."""
    return _by_input(_core.erf, _core.erf_backward, input)


# ------------------------------------------------------------------------------------------------ flat functions


def _flat(forward: Callable[[Array], Array], input: TensorLike) -> Tensor:
    x = as_tensor(input)
    return record(forward(x.array), (x,), _flat_rule, None)


def _flat_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.zeros(dy.shape, dy.dtype, dy.device),)


def floor(input: TensorLike) -> Tensor:
    """The largest whole number <= x."""
    return _flat(_core.floor, input)


def ceil(input: TensorLike) -> Tensor:
    """The smallest whole number >= x."""
    return _flat(_core.ceil, input)


def round(input: TensorLike) -> Tensor:
    """The nearest whole number, halves to the even one."""
    return _flat(_core.round, input)


def trunc(input: TensorLike) -> Tensor:
    """The whole part."""
    return _flat(_core.trunc, input)


def sign(input: TensorLike) -> Tensor:
    """-1, 0 or 1."""
    return _flat(_core.sign, input)


def isnan(input: TensorLike) -> Tensor:
    """Is not a number, bool."""
    return Tensor(_core.isnan(as_tensor(input).array))


def isinf(input: TensorLike) -> Tensor:
    """Is inf or -inf, bool."""
    return Tensor(_core.isinf(as_tensor(input).array))


def isfinite(input: TensorLike) -> Tensor:
    """Is neither infinite nor NaN, bool."""
    return Tensor(_core.isfinite(as_tensor(input).array))


def clamp(input: TensorLike, min: TensorLike | None = None, max: TensorLike | None = None) -> Tensor:
    """x limited to [min, max], numbers or tensors; the gradient passes where min <= x <= max (numbers), NaN stays.

    Errors: ValueError if both limits are None.
    """
    if min is None and max is None:
        raise ValueError("clamp: at least one of min and max must be given")
    x = as_tensor(input)
    low = -math.inf if min is None else min
    high = math.inf if max is None else max
    if (
        isinstance(low, (int, float))
        and isinstance(high, (int, float))
        and x.dtype in ("float32", "bfloat16")
    ):
        low, high = float(low), float(high)
        return record(_core.clamp(x.array, low, high), (x,), _clamp_rule, (x.array, low, high))
    if min is not None:
        x = maximum(x, min)
    return x if max is None else minimum(x, max)


def _clamp_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    x, low, high = saved
    return (_core.clamp_backward(dy, x, low, high),)


# torch's other names
absolute = abs
clip = clamp
negative = neg


# ------------------------------------------------------------------------------------------------ conversions


def cast(input: TensorLike, dtype: DTypeLike) -> Tensor:
    """Converted to a dtype: floats truncate to integers, anything but 0 is true. Itself if nothing is to do."""
    x = as_tensor(input)
    before = x.array.dtype
    out = x.array.to(dtype)
    if out.dtype == before:
        return x
    if out.dtype == "float32" or out.dtype == "bfloat16":
        return record(out, (x,), _cast_rule, before)
    return Tensor(out)


def _cast_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (dy.to(saved),)


def to(
    input: Tensor,
    target: Any = None,
    dtype: DTypeLike | None = None,
    *,
    device: str | None = None,
    copy: bool = False,
) -> Tensor:
    """Converted to a dtype, moved to a device, or made like another tensor in both: `t.to("bfloat16")`, `t.to("cuda")`.

    Itself if nothing is to do, unless copy. Errors: ValueError for a name of neither, RuntimeError for a device that is
    not there.
    """
    kind, place = target_of(target, dtype, device)
    out = input if place is None else move(input, place)
    out = out if kind is None else cast(out, kind)
    return record(out.array.clone(), (out,), _pass_rule, None) if copy and out is input else out


def target_of(target: Any, dtype: DTypeLike | None, device: str | None) -> tuple[str | None, str | None]:
    """The dtype and the device that the arguments of `to` ask for, or None."""
    if isinstance(target, Tensor):
        return target.dtype, target.device
    if isinstance(target, str) and target not in _dtypes:
        device = target
    elif target is not None:
        dtype = target
    if device is not None:
        _core.check_device(device)
    return None if dtype is None else _core.dtype_name(dtype), device


def move(input: Tensor, device: str) -> Tensor:
    """On a device: itself if it is there, else a copy, through which gradients go back."""
    array = input.array.to_device(device)
    return input if array.device == input.device else record(array, (input,), _move_rule, input.device)


def _move_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (dy.to_device(saved),)


def _pass_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (dy,)


def cpu(input: Tensor) -> Tensor:
    """In main memory."""
    return move(input, "cpu")


def cuda(input: Tensor, device: str | int | None = None) -> Tensor:
    """On the GPU. Errors: RuntimeError, with the reason if there is none."""
    return move(input, cuda_name(device))


def cuda_name(device: str | int | None) -> str:
    """The device that the argument of `cuda` names: there is one, number 0."""
    return "cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device


def to_float32(input: Tensor) -> Tensor:
    """As float32."""
    return cast(input, "float32")


def to_bfloat16(input: Tensor) -> Tensor:
    """As bfloat16, rounded to nearest even."""
    return cast(input, "bfloat16")


def to_int64(input: Tensor) -> Tensor:
    """As int64."""
    return cast(input, "int64")


def to_int32(input: Tensor) -> Tensor:
    """As int32."""
    return cast(input, "int32")


def to_bool(input: Tensor) -> Tensor:
    """Is not 0."""
    return cast(input, "bool")
