"""Arithmetic and choices, element by element, with NumPy's broadcasting.

Operands are tensors, NumPy arrays or numbers. Of two dtypes the first in float32, bfloat16, int64, int32, uint8, bool
is the result's; a number takes the tensor's dtype, but a float beside integers gives float32. Errors common to all:
ValueError for shapes that do not broadcast, TypeError for a dtype the function is not defined on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from nonet import _core
from nonet._core import Array
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record, wants_grad

__all__ = [
    "add",
    "div",
    "divide",
    "floor_divide",
    "lerp",
    "masked_fill",
    "maximum",
    "minimum",
    "mul",
    "multiply",
    "pow",
    "remainder",
    "rsub",
    "sub",
    "subtract",
    "true_divide",
    "where",
]

_numbers = (float, int, bool)


def _operand(x: TensorLike, device: str | None) -> tuple[Tensor | None, Any]:
    """The tensor behind an operand (None for a number) and what the core takes for it."""
    if isinstance(x, Tensor):
        return x, x.array
    if x.__class__ in _numbers:
        return None, x
    t = as_tensor(x, device=device)
    return t, t.array


def pair(input: TensorLike, other: TensorLike) -> tuple[Tensor | None, Any, Tensor | None, Any]:
    """Both operands as (tensor, what the core takes), (None, number) for a number; never two numbers."""
    if isinstance(input, Tensor) and isinstance(other, Tensor):
        return input, input.array, other, other.array
    # What is no tensor goes to the device of the one that is.
    a, x = _operand(input, other.device if isinstance(other, Tensor) else None)
    b, z = _operand(other, input.device if isinstance(input, Tensor) else None)
    if a is None and b is None:
        a = as_tensor(input)
        x = a.array
    return a, x, b, z


# Shape and dtype of an operand, which its gradient must have.
Target: TypeAlias = "tuple[tuple[int, ...], str]"


def targets(x: Any, z: Any) -> tuple[Target, Target] | None:
    """Those of two operands; None if neither was broadcast or promoted."""
    return None if _core.alike(x, z) else ((x.shape, x.dtype), (z.shape, z.dtype))


def back(d: Array, target: Target) -> Array:
    """The gradient of broadcasting and promotion."""
    shape, dtype = target
    d = _core.sum_to(d, shape)
    return d if d.dtype == dtype else d.to(dtype)


# ------------------------------------------------------------------------------------------------ arithmetic


def add(input: TensorLike, other: TensorLike, *, alpha: float = 1) -> Tensor:
    """input + alpha * other."""
    if alpha != 1:
        other = mul(other, alpha)
    a, x, b, z = pair(input, other)
    y = _core.add(x, z)
    return record(y, (a, b), _add_rule, targets(x, z)) if wants_grad(a, b) else Tensor(y)


def _add_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    if saved is None:
        return dy, dy
    first, second = saved
    return back(dy, first) if needs[0] else None, back(dy, second) if needs[1] else None


def sub(input: TensorLike, other: TensorLike, *, alpha: float = 1) -> Tensor:
    """input - alpha * other. Errors: TypeError for two bool tensors."""
    if alpha != 1:
        other = mul(other, alpha)
    a, x, b, z = pair(input, other)
    y = _core.sub(x, z)
    return record(y, (a, b), _sub_rule, targets(x, z)) if wants_grad(a, b) else Tensor(y)


def _sub_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    if saved is None:
        return dy, _core.neg(dy) if needs[1] else None
    first, second = saved
    return back(dy, first) if needs[0] else None, _core.neg(back(dy, second)) if needs[1] else None


def rsub(input: TensorLike, other: TensorLike) -> Tensor:
    """other - input."""
    return sub(other, input)


def mul(input: TensorLike, other: TensorLike) -> Tensor:
    """input * other."""
    a, x, b, z = pair(input, other)
    y = _core.mul(x, z)
    if not wants_grad(a, b):
        return Tensor(y)
    # Each operand is kept only if the other one needs it.
    saved = (x if wants_grad(b) else None, z if wants_grad(a) else None, targets(x, z))
    return record(y, (a, b), _mul_rule, saved)


def _mul_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    x, z, goals = saved
    dx = _core.mul(dy, z) if needs[0] else None
    dz = _core.mul(dy, x) if needs[1] else None
    return _both(goals, dx, dz)


def _both(
    goals: tuple[Target, Target] | None, dx: Array | None, dz: Array | None
) -> tuple[Array | None, Array | None]:
    if goals is None:
        return dx, dz
    return None if dx is None else back(dx, goals[0]), None if dz is None else back(dz, goals[1])


def div(input: TensorLike, other: TensorLike, *, rounding_mode: str | None = None) -> Tensor:
    """input / other; integers give float32. rounding_mode: None, or "floor" or "trunc" of the quotient, where integers
    give integers and there is no gradient.
    """
    if rounding_mode is not None:
        if rounding_mode == "floor":
            return floor_divide(input, other)
        if rounding_mode != "trunc":
            raise ValueError(f"div: rounding_mode must be None, 'trunc' or 'floor', got {rounding_mode!r}")
        return _trunc_divide(input, other)
    a, x, b, z = pair(input, other)
    return record(_core.div(x, z), (a, b), _div_rule, (x, z))


def _div_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    x, z = saved
    dx = _core.div(dy, z) if needs[0] else None
    dz = _core.div_divisor_backward(dy, x, z) if needs[1] else None
    return _both(targets(x, z), dx, dz)


def _trunc_divide(input: TensorLike, other: TensorLike) -> Tensor:
    _, x, _, z = pair(input, other)
    q = _core.floor_divide(x, z)
    if q.dtype == "float32" or q.dtype == "bfloat16":
        return Tensor(_core.trunc(_core.div(x, z)))
    # Of a negative quotient with a remainder the next larger number.
    return Tensor(_core.add(q, _core.logical_and(_core.lt(q, 0), _core.ne(_core.remainder(x, z), 0))))


def rdiv(input: TensorLike, other: TensorLike) -> Tensor:
    """other / input."""
    return div(other, input)


def floor_divide(input: TensorLike, other: TensorLike) -> Tensor:
    """The quotient rounded towards -inf; no gradient. Errors: ValueError for integers divided by 0."""
    _, x, _, z = pair(input, other)
    return Tensor(_core.floor_divide(x, z))


def rfloor_divide(input: TensorLike, other: TensorLike) -> Tensor:
    """other // input."""
    return floor_divide(other, input)


def remainder(input: TensorLike, other: TensorLike) -> Tensor:
    """input - other * floor(input / other), with the sign of other. Errors: ValueError for integers modulo 0."""
    a, x, b, z = pair(input, other)
    return record(_core.remainder(x, z), (a, b), _remainder_rule, (x, z))


def _remainder_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    x, z = saved
    dz = _core.neg(_core.mul(dy, _core.floor_divide(x, z))) if needs[1] else None
    return _both(targets(x, z), dy if needs[0] else None, dz)


def rremainder(input: TensorLike, other: TensorLike) -> Tensor:
    """other % input."""
    return remainder(other, input)


def pow(input: TensorLike, exponent: TensorLike) -> Tensor:
    """input ** exponent, within about 1 ulp. Errors: ValueError for integers with a negative number as exponent."""
    if exponent.__class__ in _numbers:
        shortcut = _powers.get(exponent)  # type: ignore[arg-type]
        if shortcut is not None:
            x = as_tensor(input)
            if x.dtype == "float32" or x.dtype == "bfloat16":
                forward, rule = shortcut
                y = forward(x.array)
                return record(y, (x,), rule, (x.array, y))
    a, x, b, z = pair(input, exponent)
    y = _core.pow(x, z)
    return record(y, (a, b), _pow_rule, (x, z))


def _pow_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    x, z = saved
    dx = _core.pow_base_backward(dy, x, z) if needs[0] else None
    dz = _core.pow_exponent_backward(dy, x, z) if needs[1] else None
    return _both(targets(x, z), dx, dz)


def _square_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.square_backward(dy, saved[0]),)


def _cube(x: Array) -> Array:
    return _core.mul(_core.square(x), x)


def _cube_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.mul(_core.mul(dy, 3.0), _core.square(saved[0])),)


def _sqrt_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.sqrt_backward(dy, saved[1]),)


def _rsqrt_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.rsqrt_backward(dy, saved[1]),)


def _reciprocal_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.reciprocal_backward(dy, saved[1]),)


_powers: dict[Any, tuple[Callable[[Array], Array], Any]] = {
    2: (_core.square, _square_rule),
    3: (_cube, _cube_rule),
    0.5: (_core.sqrt, _sqrt_rule),
    -0.5: (_core.rsqrt, _rsqrt_rule),
    -1: (_core.reciprocal, _reciprocal_rule),
}


def rpow(input: TensorLike, other: TensorLike) -> Tensor:
    """other ** input."""
    return pow(other, input)


def maximum(input: TensorLike, other: TensorLike) -> Tensor:
    """The larger of each pair; NaN if either is. A tie gives half of the gradient to each."""
    a, x, b, z = pair(input, other)
    return record(_core.maximum(x, z), (a, b), _maximum_rule, (x, z))


def _maximum_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    x, z = saved
    dx = _core.maximum_backward(dy, x, z) if needs[0] else None
    dz = _core.maximum_backward(dy, z, x) if needs[1] else None
    return _both(targets(x, z), dx, dz)


def minimum(input: TensorLike, other: TensorLike) -> Tensor:
    """The smaller of each pair; NaN if either is. A tie gives half of the gradient to each."""
    a, x, b, z = pair(input, other)
    return record(_core.minimum(x, z), (a, b), _minimum_rule, (x, z))


def _minimum_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    x, z = saved
    dx = _core.minimum_backward(dy, x, z) if needs[0] else None
    dz = _core.minimum_backward(dy, z, x) if needs[1] else None
    return _both(targets(x, z), dx, dz)


def lerp(input: TensorLike, end: TensorLike, weight: TensorLike) -> Tensor:
    """input + weight * (end - input)."""
    return add(input, mul(sub(end, input), weight))


# A result of a later kind would lose its values in a tensor of an earlier one.
_kinds = {"bool": 0, "uint8": 1, "int32": 1, "int64": 1, "bfloat16": 2, "float32": 2}


def in_place(op: Callable[..., Tensor]) -> Callable[..., Any]:
    """The method that overwrites a leaf with the op's result, as in `w.sub_(lr * w.grad)` or, for a parameter,
    `w -= lr * w.grad`, and returns it. Errors: those of op; RuntimeError for a tensor computed on the tape, or while
    the op is recorded; ValueError for a result of another shape, TypeError for one that the dtype cannot hold.
    """
    name = f"{op.__name__}_"

    def assign(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        input._check_writable(name)
        out = op(input, *args, **kwargs)
        if out.requires_grad:
            raise RuntimeError(
                f"{name}: a write in place is not recorded, it is allowed only inside no_grad()"
            )
        if not _core.alike(out.array, input.array):
            _check_result(name, out, input)
        input.array.copy_from(out.array)
        return input

    assign.__name__ = assign.__qualname__ = name
    return assign


def _check_result(name: str, out: Tensor, input: Tensor) -> None:
    if out.shape != input.shape:
        raise ValueError(f"{name}: the result must have shape {list(input.shape)}, got {list(out.shape)}")
    if _kinds[out.dtype] > _kinds[input.dtype]:
        raise TypeError(f"{name}: the result must fit {input.dtype}, got {out.dtype}")


# torch's other names
subtract = sub
multiply = mul
divide = true_divide = div


# ------------------------------------------------------------------------------------------------ choices


def where(condition: TensorLike, input: TensorLike, other: TensorLike) -> Tensor:
    """input where condition holds, else other; all three broadcast."""
    tensors = [x for x in (condition, input, other) if isinstance(x, Tensor)]
    device = tensors[0].device if tensors else None
    c = as_tensor(condition, device=device).array
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = as_tensor(input, device=device)
    a, x, b, z = pair(input, other)
    y = _core.where(c, x, z)
    saved = (
        (c, None if a is None else (x.shape, x.dtype), None if b is None else (z.shape, z.dtype))
        if wants_grad(a, b)
        else None
    )
    return record(y, (a, b), _where_rule, saved)


def _where_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    c, first, second = saved
    return (
        back(_core.where(c, dy, 0.0), first) if needs[0] else None,
        back(_core.where(c, 0.0, dy), second) if needs[1] else None,
    )


def masked_fill(input: TensorLike, mask: TensorLike, value: TensorLike) -> Tensor:
    """value where mask holds, else input. Errors: ValueError if mask does not broadcast to input's shape."""
    x = as_tensor(input)
    out = where(mask, value, x)
    if out.shape != x.shape:
        raise ValueError(
            f"masked_fill: mask must broadcast to {list(x.shape)}, got {list(as_tensor(mask).shape)}"
        )
    return out if out.dtype == x.dtype else Tensor(out.array.to(x.dtype))
