"""Connectionist temporal classification (Graves et al., 2006): the loss, and what a recogniser has read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from nonet import _core
from nonet._core import Array
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record, wants_grad

__all__ = ["ctc_beam_decode", "ctc_greedy_decode", "ctc_loss"]

Lengths: TypeAlias = "TensorLike | Sequence[int] | int"


def _lengths(values: Lengths, name: str) -> Array:
    """int64 [N] in main memory; a single number counts as [1]."""
    array = (
        values.array.to_device("cpu")
        if isinstance(values, Tensor)
        else as_tensor(np.asarray(values, None if np.size(values) else np.int64)).array
    )
    if array.dtype not in ("int64", "int32", "uint8"):
        raise TypeError(f"{name}: lengths must be integers, got {array.dtype}")
    return (array.reshape((1,)) if array.shape == () else array).to("int64")


def ctc_loss(
    log_probs: TensorLike,
    targets: TensorLike,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability that a sequence of classes, without repetitions and blanks, is the target.

    log_probs: [T, N, C], as log_softmax gives them; or [T, C]. targets: labels [N, S], of which the first
    target_lengths count, or all of them in one row [sum of target_lengths]; [S] beside [T, C]. The blank is a class,
    but no label. Lengths: [N], of the inputs at most T; either may be 0. reduction: "mean" divides each loss by its
    number of labels and then by N; "none" gives [N], or [] beside [T, C]. Where no path fits (too few steps) the loss
    is infinite and its gradient NaN; zero_infinity makes both 0.
    The gradient takes log_probs as the log-softmax of something, as torch's does: exp(log_probs) minus the share of
    the paths.
    Errors: TypeError for dtypes, ValueError for shapes, lengths and labels that are the blank, IndexError for labels
    that are no classes.
    """
    x = as_tensor(log_probs)
    t = as_tensor(targets, device=x.device)
    loss, dx = _core.ctc_loss_forward(
        x.array,
        t.array,
        _lengths(input_lengths, "ctc_loss"),
        _lengths(target_lengths, "ctc_loss"),
        blank,
        reduction,
        zero_infinity,
        wants_grad(x),
    )
    return record(loss, (x,), _ctc_rule, (dx, x.array.dtype))


def _ctc_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    dx, dtype = saved
    return (_core.ctc_loss_backward(dy, dx).to(dtype),)


def _batch(log_probs: TensorLike, lengths: Lengths | None, name: str) -> tuple[Array, Array]:
    x = as_tensor(log_probs).array.to_device("cpu")
    if len(x.shape) == 2:
        x = x.reshape((x.shape[0], 1, x.shape[1]))
    if lengths is None and len(x.shape) == 3:
        lengths = [x.shape[0]] * x.shape[1]
    return x, _lengths([] if lengths is None else lengths, name)


def ctc_greedy_decode(
    log_probs: TensorLike, input_lengths: Lengths | None = None, blank: int = 0
) -> list[tuple[list[int], float]]:
    """Per sequence (labels, log-probability) of the one path of the best class at every step.

    log_probs: [T, N, C] or [T, C], on any device; lengths [N], None: all T. Errors: TypeError, ValueError.
    """
    return _core.ctc_greedy_decode(*_batch(log_probs, input_lengths, "ctc_greedy_decode"), blank)


def ctc_beam_decode(
    log_probs: TensorLike,
    input_lengths: Lengths | None = None,
    blank: int = 0,
    beam: int = 16,
    top: int = 1,
) -> list[list[tuple[list[int], float]]]:
    """Per sequence the best `top` results of a prefix beam search, (labels, log-probability), best first.

    A result's probability is that of all its paths, as far as the search kept them: with a beam that holds every prefix
    it is exp(-ctc_loss). Fewer than `top` come back where there are no more. Arguments otherwise, and errors: as of
    ctc_greedy_decode.
    """
    return _core.ctc_beam_decode(*_batch(log_probs, input_lengths, "ctc_beam_decode"), blank, beam, top)
