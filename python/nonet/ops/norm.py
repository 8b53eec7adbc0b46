"""Layer normalisation (Ba, Kiros & Hinton 2016) and its root-mean-square form (Zhang & Sennrich 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.precision import narrowed, widened
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record

__all__ = ["layer_norm", "rms_norm"]

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
    x = widened(input)
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
    x = widened(input)
    w = None if weight is None else as_tensor(weight, device=x.array.device)
    return _norm(x, tuple(normalized_shape), w, None, _eps if eps is None else eps, False)


def _norm(
    x: Tensor, shape: tuple[int, ...], w: Tensor | None, b: Tensor | None, eps: float, centred: bool
) -> Tensor:
    weight = None if w is None else w.array
    y, mean, rstd = _core.layer_norm_forward(
        x.array, shape, weight, None if b is None else b.array, eps, centred
    )
    saved = (x.array, shape, weight, mean, rstd, None if b is None else b.dtype)
    return narrowed(record(y, (x, w, b), _norm_rule, saved))


def _norm_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, ...]:
    x, shape, weight, mean, rstd, bias_dtype = saved
    dx, dw, db = _core.layer_norm_backward(
        dy, x, shape, weight, mean, rstd, needs[0] is not False, needs[1] is not False, needs[2] is not False
    )
    if dw is not None and dw.dtype != weight.dtype:
        dw = dw.to(weight.dtype)
    if db is not None and db.dtype != bias_dtype:
        db = db.to(bias_dtype)
    return dx, dw, db
