"""Layer normalisation (Ba, Kiros & Hinton 2016) and its root-mean-square form (Zhang & Sennrich 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.precision import narrowed
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record, record_many

__all__ = ["add_layer_norm", "add_rms_norm", "layer_norm", "rms_norm"]

_eps = 2.0**-23  # of the float32 arithmetic, for bfloat16 too (as in torch)


def layer_norm(
    input: TensorLike,
    normalized_shape: Sequence[int],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes of the input, which are normalized_shape.

    weight, bias: of that shape, or None. Errors: ValueError for a shape, TypeError for integers.
    """
    x = as_tensor(input)
    w = None if weight is None else as_tensor(weight, device=x.array.device)
    b = None if bias is None else as_tensor(bias, device=x.array.device)
    return _norm(x, tuple(normalized_shape), w, b, eps, True)


def rms_norm(
    input: TensorLike,
    normalized_shape: Sequence[int],
    weight: TensorLike | None = None,
    eps: float | None = None,
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axes of the input, which are normalized_shape.

    weight: of that shape, or None; eps: by default the spacing of float32 at 1, 2^-23. Errors: ValueError for a
    shape, TypeError for integers.
    """
    x = as_tensor(input)
    w = None if weight is None else as_tensor(weight, device=x.array.device)
    return _norm(x, tuple(normalized_shape), w, None, _eps if eps is None else eps, False)


def add_layer_norm(
    input: TensorLike,
    residual: TensorLike,
    normalized_shape: Sequence[int],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """s = input + residual and layer_norm(s, …), in one pass: what a transformer's block begins or ends with.

    residual: of the input's shape. Errors: those of layer_norm.
    """
    return _add_norm(input, residual, tuple(normalized_shape), weight, bias, eps, True)


def add_rms_norm(
    input: TensorLike,
    residual: TensorLike,
    normalized_shape: Sequence[int],
    weight: TensorLike | None = None,
    eps: float | None = None,
) -> tuple[Tensor, Tensor]:
    """s = input + residual and rms_norm(s, …), as add_layer_norm."""
    e = _eps if eps is None else eps
    return _add_norm(input, residual, tuple(normalized_shape), weight, None, e, False)


def _norm(
    x: Tensor, shape: tuple[int, ...], w: Tensor | None, b: Tensor | None, eps: float, centred: bool
) -> Tensor:
    weight = None if w is None else w.array
    y, mean, rstd, _ = _core.layer_norm_forward(
        x.array, None, shape, weight, None if b is None else b.array, eps, centred
    )
    saved = (x.array, shape, weight, mean, rstd, None if b is None else b.dtype)
    return narrowed(record(y, (x, w, b), _norm_rule, saved))


def _norm_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, ...]:
    return _gradients(saved, dy, None, needs)


def _gradients(
    saved: Any, dy: Array, dsum: Array | None, needs: list[Need]
) -> tuple[Array | None, Array | None, Array | None]:
    x, shape, weight, mean, rstd, bias_dtype = saved
    dx, dw, db = _core.layer_norm_backward(
        dy,
        x,
        dsum,
        shape,
        weight,
        mean,
        rstd,
        needs[0] is not False,
        needs[1] is not False,
        needs[2] is not False,
    )
    if dw is not None and dw.dtype != weight.dtype:
        dw = dw.to(weight.dtype)
    if db is not None and db.dtype != bias_dtype:
        db = db.to(bias_dtype)
    return dx, dw, db


def _add_norm(
    input: TensorLike,
    other: TensorLike,
    shape: tuple[int, ...],
    gain: TensorLike | None,
    bias: TensorLike | None,
    eps: float,
    centred: bool,
) -> tuple[Tensor, Tensor]:
    x = as_tensor(input)
    device = x.array.device
    residual = as_tensor(other, device=device)
    w = None if gain is None else as_tensor(gain, device=device)
    b = None if bias is None else as_tensor(bias, device=device)
    weight = None if w is None else w.array
    one, two = x.array, residual.array
    if one.dtype != two.dtype and "int" not in one.dtype + two.dtype:
        one, two = one.to("float32"), two.to("float32")
    y, mean, rstd, total = _core.layer_norm_forward(
        one, two, shape, weight, None if b is None else b.array, eps, centred
    )
    assert total is not None  # of two arrays
    saved = (total, shape, weight, mean, rstd, None if b is None else b.dtype)
    out, normal = record_many(
        (total, y), (x, residual, w, b), _add_norm_rule, (saved, x.dtype, residual.dtype)
    )
    return out, narrowed(normal)


def _add_norm_rule(saved: Any, dys: Any, needs: list[Need]) -> tuple[Array | None, ...]:
    dsum, dy = dys
    inner, *dtypes = saved
    either = needs[0] is not False or needs[1] is not False
    dx, dw, db = (dsum, None, None) if dy is None else _gradients(inner, dy, dsum, [either, *needs[2:]])
    parts = [
        None if need is False or dx is None else dx if dx.dtype == dtype else dx.to(dtype)
        for need, dtype in zip(needs[:2], dtypes, strict=True)
    ]
    return (*parts, dw, db)
