"""Matrix products and the linear layer."""

from __future__ import annotations

from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.precision import Current, code_of
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, as_tensors, record, wants_grad

__all__ = [
    "addmm",
    "baddbmm",
    "bilinear",
    "bmm",
    "dot",
    "linear",
    "linear_act",
    "matmul",
    "mm",
    "mv",
    "outer",
]

# The order of FusedActivation in csrc/ops/matmul/matmul.h.
ACTIVATIONS = {None: 0, "relu": 1, "tanh": 2, "sigmoid": 3, "gelu": 4, "gelu_tanh": 5}


def matmul(input: TensorLike, other: TensorLike, *, precision: str | None = None) -> Tensor:
    """Matrix product over the last two axes; the axes before them broadcast.

    A vector stands for a row on the left and for a column on the right, and its axis is dropped: [n] @ [n] is a number.
    precision: for this call, see `set_matmul_precision`.
    Errors: ValueError for shapes, TypeError unless both are of one floating dtype.
    """
    a, b = as_tensors(input, other)
    return _product(a, b, False, False, "matmul", precision)


def rmatmul(input: TensorLike, other: TensorLike) -> Tensor:
    """matmul(other, input), for `other @ input`."""
    return matmul(other, input)


def matmul_flags(a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> Tensor:
    """matmul with the last two axes of an operand read transposed, without a copy."""
    return _product(a, b, transpose_a, transpose_b, "matmul")


def mm(input: TensorLike, mat2: TensorLike) -> Tensor:
    """[m, k] times [k, n]. Errors: ValueError for shapes."""
    return _ranked(input, mat2, 2, 2, "mm")


def bmm(input: TensorLike, mat2: TensorLike) -> Tensor:
    """[b, m, k] times [b, k, n], matrix by matrix. Errors: ValueError for shapes."""
    a, b = as_tensors(input, mat2)
    _check_batches(a, b, "bmm")
    return _product(a, b, False, False, "bmm")


def addmm(
    input: TensorLike, mat1: TensorLike, mat2: TensorLike, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta input + alpha mat1 @ mat2; input broadcasts to [m, n] and is not read if beta is 0. Errors: ValueError."""
    c, a, b = as_tensors(input, mat1, mat2)
    _check_ranks(a, b, 2, 2, "addmm")
    return _added(c, a, b, beta, alpha, "addmm")


def baddbmm(
    input: TensorLike, batch1: TensorLike, batch2: TensorLike, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """beta input + alpha bmm(batch1, batch2); input broadcasts and is not read if beta is 0. Errors: ValueError."""
    c, a, b = as_tensors(input, batch1, batch2)
    _check_batches(a, b, "baddbmm")
    return _added(c, a, b, beta, alpha, "baddbmm")


def _added(x: Tensor, a: Tensor, b: Tensor, beta: float, alpha: float, op: str) -> Tensor:
    """beta x + alpha a @ b, in the product's own pass where x has its shape and dtype."""
    code = Current.code
    shape = (*a.shape[:-1], b.shape[-1])
    fused = beta == 1 and x.shape == shape and x.dtype == a.dtype
    y = _core.matmul_forward(a.array, b.array, False, False, code, op, alpha, x.array if fused else None)
    out = record(y, (a, b, x if fused else None), _added_rule, (a.array, b.array, alpha, code))
    if beta != 0 and not fused:
        out = out + (x if beta == 1 else x * beta)
    if out.shape != shape:
        raise ValueError(f"{op}: input must broadcast to {list(shape)}, got {list(x.shape)}")
    return out


def _added_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None, Array]:
    x, y, alpha, code = saved
    scaled = dy if alpha == 1 else _core.mul(dy, alpha)
    da, db = _core.matmul_backward(
        scaled, x, y, False, False, code, needs[0] is not False, needs[1] is not False
    )
    return da, db, dy


def mv(input: TensorLike, vec: TensorLike) -> Tensor:
    """[m, k] times [k]. Errors: ValueError for shapes."""
    return _ranked(input, vec, 2, 1, "mv")


def dot(input: TensorLike, tensor: TensorLike) -> Tensor:
    """The sum of products of two vectors of one length. Errors: ValueError for shapes."""
    return _ranked(input, tensor, 1, 1, "dot")


def outer(input: TensorLike, vec2: TensorLike) -> Tensor:
    """[m] and [n] to their products [m, n]. Errors: ValueError for shapes."""
    a, b = as_tensors(input, vec2)
    _check_ranks(a, b, 1, 1, "outer")
    x, y = a.array.reshape((a.shape[0], 1)), b.array.reshape((1, b.shape[0]))
    code = Current.code
    return record(_core.matmul_forward(x, y, False, False, code, "outer"), (a, b), _outer_rule, (x, y, code))


def _outer_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    x, y, code = saved
    dx, dvec = _core.matmul_backward(
        dy, x, y, False, False, code, needs[0] is not False, needs[1] is not False
    )
    return (
        None if dx is None else dx.reshape((x.shape[0],)),
        None if dvec is None else dvec.reshape((y.shape[1],)),
    )


def _check_ranks(a: Tensor, b: Tensor, rank_a: int, rank_b: int, op: str) -> None:
    if a.ndim != rank_a or b.ndim != rank_b:
        raise ValueError(
            f"{op}: arguments must have {rank_a} and {rank_b} axes, got shapes {list(a.shape)} and {list(b.shape)}"
        )


def _check_batches(a: Tensor, b: Tensor, op: str) -> None:
    _check_ranks(a, b, 3, 3, op)
    if a.shape[0] != b.shape[0]:
        raise ValueError(
            f"{op}: both arguments must have one batch size, got {list(a.shape)} and {list(b.shape)}"
        )


def _ranked(input: TensorLike, other: TensorLike, rank_a: int, rank_b: int, op: str) -> Tensor:
    a, b = as_tensors(input, other)
    _check_ranks(a, b, rank_a, rank_b, op)
    return _product(a, b, False, False, op)


def _product(
    a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool, op: str, precision: str | None = None
) -> Tensor:
    x, y = a.array, b.array
    code = Current.code if precision is None else code_of(precision)
    out = _core.matmul_forward(x, y, transpose_a, transpose_b, code, op)
    return record(out, (a, b), _matmul_rule, (x, y, transpose_a, transpose_b, code))


def _matmul_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    x, y, transpose_a, transpose_b, code = saved
    return _core.matmul_backward(
        dy, x, y, transpose_a, transpose_b, code, needs[0] is not False, needs[1] is not False
    )


# ------------------------------------------------------------------------------------------------ linear


def linear(
    input: TensorLike, weight: TensorLike, bias: TensorLike | None = None, *, precision: str | None = None
) -> Tensor:
    """x W^T + b. input: [..., in], weight: [out, in], bias: [out] -> [..., out]. A weight [in] gives [...].

    precision: for this call, see `set_matmul_precision`. Errors: ValueError for shapes, TypeError unless all are of one
    floating dtype.
    """
    x, w = as_tensors(input, weight)
    xa, wa = x.array, w.array
    code = Current.code if precision is None else code_of(precision)
    if bias is None:
        y = _core.linear_forward(xa, wa, None, code)
        return record(y, (x, w, None), _linear_rule, (xa, wa, None, 0, code))
    b = as_tensor(bias, device=w.array.device)
    y = _core.linear_forward(xa, wa, b.array, code)
    return record(y, (x, w, b), _linear_rule, (xa, wa, None, 0, code))


def linear_act(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None,
    activation: str | None,
    *,
    residual: TensorLike | None = None,
    precision: str | None = None,
) -> Tensor:
    """activation(linear(input, weight, bias) + residual) in one pass.

    activation: relu, tanh, sigmoid, gelu, gelu_tanh or None. residual: like the result. Errors: ValueError.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"linear_act: activation must be one of {[*ACTIVATIONS]}, got {activation!r}")
    kind = ACTIVATIONS[activation]
    code = Current.code if precision is None else code_of(precision)
    x, w = as_tensors(input, weight)
    b = None if bias is None else as_tensor(bias, device=w.array.device)
    xa, wa = x.array, w.array
    r = None if residual is None else as_tensor(residual, device=w.array.device)
    keep = wants_grad(x, w, b, r)
    ba, ra = None if b is None else b.array, None if r is None else r.array
    y, before = _core.linear_activation_forward(xa, wa, ba, ra, kind, code, keep)
    inputs = (x, w, b) if r is None else (x, w, b, r)
    return record(y, inputs, _linear_rule, (xa, wa, y if before is None else before, kind, code))


def _linear_rule(saved: Any, dy: Array, needs: list[Need]) -> Any:
    x, weight, kept, activation, code = saved
    return _core.linear_backward(dy, x, weight, kept, activation, code, needs)


def bilinear(
    input1: TensorLike, input2: TensorLike, weight: TensorLike, bias: TensorLike | None = None
) -> Tensor:
    """y_o = sum_ij x1_i W_oij x2_j + b_o.

    input1: [..., in1], input2: [..., in2] with the same leading axes, weight: [out, in1, in2], bias: [out].
    Errors: ValueError for shapes.
    """
    x1, x2, w = as_tensors(input1, input2, weight)
    if w.ndim != 3:
        raise ValueError(f"bilinear: weight must have shape [out, in1, in2], got {list(w.shape)}")
    for name, x, size in (("input1", x1, w.shape[1]), ("input2", x2, w.shape[2])):
        if x.ndim == 0 or x.shape[-1] != size or x.shape[:-1] != x1.shape[:-1]:
            want = [*x1.shape[:-1], size]
            raise ValueError(f"bilinear: {name} must have shape [..., in] = {want}, got {list(x.shape)}")
    # Products of all pairs, then one linear layer over them.
    rows = x1.array.numel // max(w.shape[1], 1) if w.shape[1] else x2.array.numel // max(w.shape[2], 1)
    pairs = matmul(_view(x1, (rows, w.shape[1], 1)), _view(x2, (rows, 1, w.shape[2])))
    flat = _view(pairs, (*x1.shape[:-1], w.shape[1] * w.shape[2]))
    return linear(flat, _view(w, (w.shape[0], w.shape[1] * w.shape[2])), bias)


def _view(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return record(x.array.reshape(shape), (x,), _view_rule, x.array.shape)


def _view_rule(shape: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (dy.reshape(shape),)
