"""Softmax and log-softmax."""

from __future__ import annotations

from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.precision import widened
from nonet.ops.unary import cast
from nonet.tensor import DTypeLike, Need, Tensor, TensorLike, record

__all__ = ["softmax", "log_softmax"]


def softmax(input: TensorLike, dim: int = -1, *, dtype: DTypeLike | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`, any shape. dtype: converted to before.

    Errors: TypeError for integers, IndexError for the axis.
    """
    x = widened(input) if dtype is None else cast(input, dtype)
    y = _core.softmax_forward(x.array, dim, False)
    return record(y, (x,), _softmax_rule, (y, dim, False))


def log_softmax(input: TensorLike, dim: int = -1, *, dtype: DTypeLike | None = None) -> Tensor:
    """x - log(sum(exp(x))) along `dim`, any shape. dtype: converted to before.

    Errors: TypeError for integers, IndexError for the axis.
    """
    x = widened(input) if dtype is None else cast(input, dtype)
    y = _core.softmax_forward(x.array, dim, True)
    return record(y, (x,), _softmax_rule, (y, dim, True))


def _softmax_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    y, dim, log = saved
    return (_core.softmax_backward(dy, y, dim, log),)
