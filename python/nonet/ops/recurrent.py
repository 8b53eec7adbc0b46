"""Recurrent layers over whole sequences, and their cells: RNN (Elman 1990), LSTM (Hochreiter & Schmidhuber 1997), GRU
(Cho et al. 2014).

A sequence is one call, whatever its number of steps, layers and directions.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.precision import Current
from nonet.ops.random import default_generator
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record, record_many, wants_grad

__all__ = ["gru_cell", "lstm_cell", "rnn_relu_cell", "rnn_tanh_cell"]

# The order of Cell in csrc/ops/recurrent/recurrent.h.
CELLS = {"tanh": 0, "relu": 1, "lstm": 2, "gru": 3, "gru_reset_before": 4}


@functools.cache
def layer_of(
    cell: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
    projected: bool,
    batch_first: bool,
    dropout: float,
    single: bool = False,
) -> _core.Recurrent:
    """What the kernels want to know of a layer, or (single) of a cell."""
    return _core.Recurrent(CELLS[cell], layers, bidirectional, bias, projected, batch_first, dropout, single)


def sequence(
    layer: _core.Recurrent,
    input: TensorLike,
    h0: TensorLike | None,
    c0: TensorLike | None,
    weights: Sequence[Tensor],
    dropped: bool,
    lengths: TensorLike | None = None,
    packing: tuple[Tensor, Tensor | None] | None = None,
) -> tuple[Tensor, ...]:
    """(output, h_n) and, for LSTM, c_n: all layers and directions over all steps.

    input: [T, B, I], [B, T, I] (batch_first) or [T, I], with lengths [B] of the sequences or without; or packed [N, I],
    with packing = (batch_sizes [T], sorted_indices [B] or None). h0, c0: [layers · directions, B, size], without the
    batch axis where the input has none; None: zeros. weights: per layer and direction weight_ih, weight_hh, the two
    biases if there are any, weight_hr of a projection. dropped: with dropout between layers.
    Errors: ValueError for shapes and lengths, TypeError for dtypes.
    """
    device = weights[0].device if weights else None
    x = as_tensor(input, device=device)
    h = None if h0 is None else as_tensor(h0, device=device)
    c = None if c0 is None else as_tensor(c0, device=device)
    keep = wants_grad(x, h, c, *weights)
    arrays = [w.array for w in weights]
    states = None if h is None else h.array, None if c is None else c.array
    if packing is None:
        sizes = None if lengths is None else as_tensor(lengths).array.to_device("cpu").to("int64")
        y, hn, cn, tape = _core.recurrent_forward(
            layer, x.array, *states, arrays, Current.code, default_generator, dropped, keep, sizes
        )
    else:
        batch_sizes, order = packing
        y, hn, cn, tape = _core.recurrent_packed_forward(
            layer,
            x.array,
            *states,
            arrays,
            Current.code,
            default_generator,
            dropped,
            keep,
            batch_sizes.array.to_device("cpu"),
            None if order is None else order.array.to_device("cpu"),
        )
    outs = (y, hn) if cn is None else (y, hn, cn)
    return record_many(outs, (x, h, c, *weights), _sequence_rule, tape)


def _sequence_rule(tape: Any, grads: list[Array | None], needs: list[Need]) -> list[Array | None]:
    return _core.recurrent_backward(tape, grads[0], grads[1], grads[2] if len(grads) > 2 else None, needs)


class Stream:
    """The states of a layer that is fed step by step, and what its steps work in. Made by a layer's `step`."""

    __slots__ = ("_core",)

    def __init__(
        self,
        layer: _core.Recurrent,
        input: Tensor,
        h0: TensorLike | None,
        c0: TensorLike | None,
        weights: Sequence[Tensor],
    ):
        self._core = _core.RecurrentStream(
            layer,
            input.array,
            None if h0 is None else as_tensor(h0, device=input.device).array,
            None if c0 is None else as_tensor(c0, device=input.device).array,
            [w.array for w in weights],
            Current.code,
        )

    def step(self, input: Tensor, weights: Sequence[Tensor]) -> Tensor:
        return Tensor(self._core.step(input.array, [w.array for w in weights]))

    @property
    def h(self) -> Tensor:
        """h after the last step, float32 [layers, B, size]: memory that the next step overwrites."""
        return Tensor(self._core.h)

    @property
    def c(self) -> Tensor:
        """c of an LSTM, likewise. Errors: AttributeError for another layer."""
        c = self._core.c
        if c is None:
            raise AttributeError("c: only an LSTM has a second state")
        return Tensor(c)


def _cell(
    kind: str, input: TensorLike, h0: TensorLike | None, c0: TensorLike | None, weights: Sequence[Any]
) -> tuple[Tensor, ...]:
    given = [as_tensor(w) for w in weights if w is not None]
    device = given[0].device if given else None
    x = as_tensor(input, device=device)
    h = None if h0 is None else as_tensor(h0, device=device)
    c = None if c0 is None else as_tensor(c0, device=device)
    if len(given) not in (2, 4):
        raise ValueError("cell: expected both biases or none")
    layer = layer_of(kind, 1, False, len(given) == 4, False, False, 0.0, True)
    keep = wants_grad(x, h, c, *given)
    y, _, cn, tape = _core.recurrent_cell_forward(
        layer,
        x.array,
        None if h is None else h.array,
        None if c is None else c.array,
        [w.array for w in given],
        Current.code,
        keep,
    )
    inputs = (x, h, c, *given)
    if cn is None:
        return (record(y, inputs, _cell_rule, tape),)
    return record_many((y, cn), inputs, _lstm_cell_rule, tape)


def _cell_rule(tape: Any, dy: Array, needs: list[Need]) -> list[Array | None]:
    return _core.recurrent_backward(tape, dy, None, None, needs)


def _lstm_cell_rule(tape: Any, grads: list[Array | None], needs: list[Need]) -> list[Array | None]:
    return _core.recurrent_backward(tape, grads[0], None, grads[1], needs)


def rnn_tanh_cell(
    input: TensorLike,
    hx: TensorLike | None,
    w_ih: TensorLike,
    w_hh: TensorLike,
    b_ih: TensorLike | None = None,
    b_hh: TensorLike | None = None,
) -> Tensor:
    """tanh(W_ih x + b_ih + W_hh h + b_hh). input: [B, I] or [I], hx: [B, H] or [H], None: zeros -> like hx.

    Errors, here and in the other cells: ValueError for shapes, TypeError for dtypes.
    """
    return _cell("tanh", input, hx, None, (w_ih, w_hh, b_ih, b_hh))[0]


def rnn_relu_cell(
    input: TensorLike,
    hx: TensorLike | None,
    w_ih: TensorLike,
    w_hh: TensorLike,
    b_ih: TensorLike | None = None,
    b_hh: TensorLike | None = None,
) -> Tensor:
    """relu(W_ih x + b_ih + W_hh h + b_hh), otherwise as rnn_tanh_cell."""
    return _cell("relu", input, hx, None, (w_ih, w_hh, b_ih, b_hh))[0]


def lstm_cell(
    input: TensorLike,
    hx: tuple[TensorLike, TensorLike] | None,
    w_ih: TensorLike,
    w_hh: TensorLike,
    b_ih: TensorLike | None = None,
    b_hh: TensorLike | None = None,
) -> tuple[Tensor, Tensor]:
    """(h', c') of an LSTM: c' = f c + i g, h' = o tanh(c'). hx: (h, c); the gates lie in the order i, f, g, o."""
    h, c = (None, None) if hx is None else hx
    y, cn = _cell("lstm", input, h, c, (w_ih, w_hh, b_ih, b_hh))
    return y, cn


def gru_cell(
    input: TensorLike,
    hx: TensorLike | None,
    w_ih: TensorLike,
    w_hh: TensorLike,
    b_ih: TensorLike | None = None,
    b_hh: TensorLike | None = None,
) -> Tensor:
    """(1 - z) n + z h, n = tanh(W_in x + b_in + r (W_hn h + b_hn)). The gates lie in the order r, z, n."""
    return _cell("gru", input, hx, None, (w_ih, w_hh, b_ih, b_hh))[0]
