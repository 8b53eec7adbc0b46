"""Cross-entropy of a linear map of the input, in chunks of rows, so that the logits never stand in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.precision import Current, code_of
from nonet.tensor import DTypeLike, Need, Tensor, TensorLike, as_tensor, record, wants_grad

__all__ = ["LinearCrossEntropyOptions", "linear_cross_entropy"]


@dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """How `linear_cross_entropy` cuts the rows of its input.

    batch_chunk_size: rows per chunk. chunking_method: "aspect_ratio" takes so many rows that their logits take about
    the memory of the input, rounded up to a power of two, "aspect_ratio:N" an N-th of that; "auto" is "aspect_ratio:2"
    unless batch_chunk_size is given; None takes batch_chunk_size, or all rows. acc_policy and acc_dtype are accepted
    for compatibility: sums are always float32 or better. allow_retain_graph too: a history is walked once in nonet, so
    there is nothing to retain. Errors: ValueError.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: DTypeLike | None = None

    def __post_init__(self) -> None:
        if self.acc_policy not in ("auto", "accurate", "balanced", "compact"):
            raise ValueError(f"LinearCrossEntropyOptions: unknown acc_policy {self.acc_policy!r}")
        if self.acc_dtype is not None and _core.dtype_name(self.acc_dtype) != "float32":
            raise ValueError(
                f"LinearCrossEntropyOptions: acc_dtype must be None or float32, got {self.acc_dtype!r}"
            )
        size = self.batch_chunk_size
        if size is not None and (not isinstance(size, int) or size < 1):
            raise ValueError(f"LinearCrossEntropyOptions: batch_chunk_size must be at least 1, got {size!r}")
        if self.chunking_method not in (None, "auto"):
            _aspect_factor(self.chunking_method)


def _aspect_factor(method: str) -> int:
    name, colon, factor = method.partition(":")
    if name != "aspect_ratio" or (colon and not (factor.isdigit() and int(factor) > 0)):
        raise ValueError(f"LinearCrossEntropyOptions: unknown chunking_method {method!r}")
    return int(factor) if colon else 1


def _chunk(options: Any, rows: int, features: int, classes: int) -> int:
    """Rows per chunk that the options ask for."""
    size = options.batch_chunk_size
    method = options.chunking_method
    if method == "auto":
        method = "aspect_ratio:2" if size is None else None
    if method is None:
        return max(1, rows if size is None else min(size, rows))
    wanted = -(-rows // -(-classes // features))
    chunk = max(1, min((1 << (wanted - 1).bit_length()) // _aspect_factor(method), rows))
    if size is not None and min(size, rows) != chunk:
        raise ValueError(
            f"linear_cross_entropy: batch_chunk_size {size} and chunking_method {method!r} disagree, give one of them"
        )
    return chunk


def linear_cross_entropy(
    input: TensorLike,
    linear_weight: TensorLike,
    target: TensorLike,
    *,
    linear_bias: TensorLike | None = None,
    weight: TensorLike | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
    precision: str | None = None,
) -> Tensor:
    """cross_entropy(linear(input, linear_weight, linear_bias), target) with the memory of one chunk of logits.

    input [N, F] or [F], linear_weight [C, d..., F], linear_bias [C, d...], target as of `cross_entropy` for logits of
    [N, C, d...] or [C]; a single input [F] has no d. Rows are taken in chunks, by default about as many as make the
    logits as large as the input; `options` say otherwise. ignore_index None is -100 for class indices. With "mean" and
    "sum" the gradients are computed in the forward pass, with "none" the logits are computed anew on the way back.
    precision: of the products, for this call; see `set_matmul_precision`. The loss is of the input's dtype, under
    `autocast` float32, where input, linear_weight and linear_bias may be of different floating dtypes.
    Errors: TypeError for dtypes, ValueError for shapes and values, IndexError for a class out of range.
    """
    x = as_tensor(input)
    w, t = (as_tensor(v, device=x.device) for v in (linear_weight, target))
    b = None if linear_bias is None else as_tensor(linear_bias, device=x.device)
    outputs = w.shape[:-1]
    if ignore_index is not None and t.shape == (*x.shape[:-1], *outputs):
        raise ValueError("linear_cross_entropy: ignore_index is for class indices, not for probabilities")
    chunk = 0
    if options is not None and x.ndim and all(x.shape) and all(w.shape):
        chunk = _chunk(options, x.shape[0] if x.ndim == 2 else 1, x.shape[-1], outputs[0])
    operands = (
        x.array,
        w.array,
        t.array,
        None if b is None else b.array,
        None if weight is None else as_tensor(weight, device=x.device).array,
        -100 if ignore_index is None else ignore_index,
        label_smoothing,
        Current.code if precision is None else code_of(precision),
    )
    wants = (wants_grad(x), wants_grad(w), wants_grad(b), wants_grad(t))
    loss, gradients = _core.linear_cross_entropy_forward(*wants, chunk, reduction, *operands)
    if reduction == "none":
        return record(loss, (x, w, b, t), _none_rule, (operands, chunk))
    return record(loss, (x, w, b, t), _reduced_rule, gradients)


def _reduced_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, ...]:
    return tuple(None if d is None else _core.class_loss_backward(dy, d) for d in saved)


def _none_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, ...]:
    operands, chunk = saved
    x, w, b, t = [need is not False for need in needs]
    return _core.linear_cross_entropy_backward(x, w, b, t, chunk, dy, *operands)
