"""Rows of a table by number, alone or summed in bags. Repeated rows are summed in a fixed order in the gradient.

Values of indices and offsets are checked on the CPU only: on a device an index out of range reads as 0 and gets no
gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nonet import _core
from nonet._core import Array
from nonet.tensor import Need, Sum, Tensor, TensorLike, adding_rules, as_tensor, as_tensors, record

__all__ = ["embedding", "embedding_bag"]


def _padding(padding_idx: int | None, rows: int, op: str) -> int:
    if padding_idx is None:
        return -1
    if not -rows <= padding_idx < rows:
        raise ValueError(
            f"{op}: padding_idx must be a row of weight, from {-rows} to {rows - 1}, got {padding_idx}"
        )
    return padding_idx % rows


def _dense(sparse: bool, op: str) -> None:
    if sparse:
        raise ValueError(f"{op}: sparse must be False, gradients are always dense here")


def embedding(
    input: TensorLike,
    weight: TensorLike,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """weight[input]: input of any shape, int64 or int32, weight [V, D] -> [..., D].

    padding_idx: a row that gets no gradient. max_norm: rows in use with a larger norm_type-norm are first scaled down
    to it, in weight itself. scale_grad_by_freq: gradients are divided by the number of times a row is used.
    Errors: IndexError with value and position for an index out of range, TypeError for dtypes, ValueError.
    """
    w, i = as_tensors(weight, input)
    _dense(sparse, "embedding")
    if max_norm is not None:
        _core.embedding_renorm(w.array, i.array, max_norm, norm_type)
    y, rows = _core.embedding_forward(w.array, i.array)
    v = w.array.shape[0]
    padding = _padding(padding_idx, v, "embedding")
    return record(y, (w,), _embedding_rule, (rows, v, padding, scale_grad_by_freq))


def _embedding_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None]:
    rows, v, padding, by_freq = saved
    if (
        needs[0].__class__ is Sum
    ):  # of a table that is a linear layer's weight too: its other rows stay untouched
        _core.embedding_add_gradient(needs[0].array, dy, rows, padding, by_freq)  # type: ignore[union-attr]
        return (None,)
    return (_into(needs[0], _core.embedding_backward(dy, rows, v, padding, by_freq, _memory(needs[0]))),)


adding_rules.add(_embedding_rule)


def _memory(need: Need) -> Array | None:
    return None if isinstance(need, bool) else need


def _into(need: Need, gradient: Array) -> Array:
    """The offered memory itself if the gradient was written into it."""
    return need if not isinstance(need, bool) and need.pointer == gradient.pointer else gradient


def embedding_bag(
    input: TensorLike,
    weight: TensorLike,
    offsets: TensorLike | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: TensorLike | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The rows of each bag reduced by sum, mean or max: [bags, D]; 0 for an empty bag.

    input: [bags, n], or [J] with offsets [bags], where each bag begins (include_last_offset: and where the last ends).
    per_sample_weights: factors shaped like input, mode sum only. padding_idx: a row left out of the bags.
    The other arguments and the errors are those of embedding; ValueError for offsets that do not rise from 0.
    """
    op = "embedding_bag"
    w, i = as_tensors(weight, input)
    s = None if per_sample_weights is None else as_tensor(per_sample_weights, device=w.device)
    _dense(sparse, op)
    if i.array.rank not in (1, 2) or (i.array.rank == 2) == (offsets is not None):
        raise ValueError(f"{op}: input must have shape [bags, n], or [J] with offsets, got {list(i.shape)}")
    if s is not None and s.array.shape != i.array.shape:
        raise ValueError(f"{op}: per_sample_weights must have shape {list(i.shape)}, got {list(s.shape)}")
    if s is not None and mode != "sum":
        raise ValueError(f"{op}: per_sample_weights need mode sum, got {mode}")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError(f"{op}: scale_grad_by_freq needs mode sum or mean, got max")
    if offsets is None:
        bags, n = i.array.shape
        offsets, include_last_offset = np.arange(bags) * n, False
    begins = as_tensor(offsets, device=w.device).array
    flat = i.array.reshape((i.array.numel,))
    factors = None if s is None else s.array.reshape((s.array.numel,))
    v = w.array.shape[0]
    padding = _padding(padding_idx, v, op)
    if max_norm is not None:
        _core.embedding_renorm(w.array, flat, max_norm, norm_type)
    y, rows, places, scales, arg = _core.bag_forward(
        w.array, flat, begins, mode, factors, include_last_offset, padding
    )
    if arg is not None:
        return record(y, (w,), _max_rule, (arg, v))
    kept = None if s is None else (w.array, s.array.shape, s.array.dtype)
    return record(y, (w, s), _bag_rule, (rows, places, scales, v, scale_grad_by_freq, kept))


def _max_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.bag_max_backward(dy, *saved),)


def _bag_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    rows, bags, scales, v, by_freq, kept = saved
    dw = ds = None
    if needs[0] is not False:
        dw = _into(needs[0], _core.bag_backward(dy, rows, bags, scales, v, by_freq, _memory(needs[0])))
    if kept is not None and needs[1]:
        weight, shape, dtype = kept
        ds = _core.bag_scales_backward(dy, weight, rows, bags).reshape(shape).to(dtype)
    return dw, ds
