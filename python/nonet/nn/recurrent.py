"""Recurrent layers and their cells."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nonet.nn import init
from nonet.nn.module import Module
from nonet.nn.utils.rnn import PackedSequence
from nonet.ops.creation import empty
from nonet.ops.recurrent import (
    Stream,
    gru_cell,
    layer_of,
    lstm_cell,
    rnn_relu_cell,
    rnn_tanh_cell,
    sequence,
)
from nonet.tensor import DTypeLike, Parameter, Tensor, TensorLike, as_tensor

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNCell"]


def _check_size(owner: Module, name: str, value: Any, least: int) -> None:
    kind = type(owner).__name__
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{kind}: {name} must be an int, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{kind}: {name} must be at least {least}, got {value}")


class _Recurrent(Module):
    """What the layers share: arguments, their checks, parameters and the call."""

    _gates: int

    if TYPE_CHECKING:  # weight_ih_l0 and so on

        def __getattr__(self, name: str) -> Any: ...

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        device: str | None,
        dtype: DTypeLike | None,
    ):
        kind = type(self).__name__
        _check_size(self, "input_size", input_size, 1)
        _check_size(self, "hidden_size", hidden_size, 1)
        _check_size(self, "num_layers", num_layers, 1)
        _check_size(self, "proj_size", proj_size, 0)
        for name, flag in (("bias", bias), ("batch_first", batch_first), ("bidirectional", bidirectional)):
            if not isinstance(flag, bool):
                raise TypeError(f"{kind}: {name} must be a bool, got {type(flag).__name__}")
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(
                f"{kind}: dropout must be a number in [0, 1], the share of elements dropped, got {dropout}"
            )
        if proj_size >= hidden_size:
            raise ValueError(
                f"{kind}: proj_size must be smaller than hidden_size = {hidden_size}, got {proj_size}"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"{kind}: dropout={dropout} has no effect: it lies between layers, and there is one",
                stacklevel=3,
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._names: list[str] = []
        self._make(device, dtype or "float32")
        self.reset_parameters()

    def _make(self, device: str | None, dtype: DTypeLike) -> None:
        """The parameters, under torch's names."""
        directions = 2 if self.bidirectional else 1
        state, rows = self.proj_size or self.hidden_size, self._gates * self.hidden_size
        for layer in range(self.num_layers):
            inputs = self.input_size if layer == 0 else directions * state
            for direction in range(directions):
                shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, state)}
                if self.bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if self.proj_size:
                    shapes["weight_hr"] = (state, self.hidden_size)
                for name, shape in shapes.items():
                    full = f"{name}_l{layer}" + ("_reverse" if direction else "")
                    setattr(self, full, Parameter(empty(*shape, dtype=dtype, device=device)))
                    self._names.append(full)

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self._weights():
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: weights are packed when they are used."""

    def _weights(self) -> list[Parameter]:
        values = vars(self)
        return [values[name] for name in self._names]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        weights = self._weights()
        count = len(weights) // (self.num_layers * (2 if self.bidirectional else 1))
        return [weights[i : i + count] for i in range(0, len(weights), count)]

    def _advance(
        self, cell: str, input: TensorLike, h0: TensorLike | None, c0: TensorLike | None, state: Any
    ) -> tuple[Tensor, Stream]:
        weights = self._weights()
        x = as_tensor(input, device=weights[0].device)
        if not isinstance(state, Stream):
            layer = layer_of(
                cell, self.num_layers, self.bidirectional, self.bias, self.proj_size > 0, False, 0.0
            )
            state = Stream(layer, x, h0, c0, weights)
        return state.step(x, weights), state

    def _run(
        self, cell: str, input: Any, h0: TensorLike | None, c0: TensorLike | None, lengths: TensorLike | None
    ) -> tuple[Any, ...]:
        """(output, h_n) or (output, h_n, c_n), the output packed if the input is."""
        layer = layer_of(
            cell,
            self.num_layers,
            self.bidirectional,
            self.bias,
            self.proj_size > 0,
            self.batch_first,
            self.dropout,
        )
        dropped = self.training and self.dropout > 0
        if not isinstance(input, PackedSequence):
            return sequence(layer, input, h0, c0, self._weights(), dropped, lengths)
        if lengths is not None:
            raise ValueError(f"{type(self).__name__}: a packed input has its lengths in it, got lengths too")
        packing = input.batch_sizes, input.sorted_indices
        out = sequence(layer, input.data, h0, c0, self._weights(), dropped, None, packing)
        return input.with_data(out[0]), *out[1:]

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        parts += [
            f"{name}={getattr(self, name)}"
            for name, value in defaults.items()
            if getattr(self, name) != value
        ]
        return ", ".join(parts)


class RNN(_Recurrent):
    """h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh) with f tanh or relu (Elman 1990).

    input: [T, B, input_size], [B, T, input_size] with batch_first, [T, input_size], or a PackedSequence. hx: h_0
    [num_layers · D, B, hidden_size], D = 2 if bidirectional (no B without a batch); default zeros. lengths: [B], the
    steps that count of each sequence, from 0 on: others are not computed, and 0 in the output. -> (output [T, B,
    D · hidden_size] laid out like input, h_n like h_0: the state after each sequence's last step). dropout: of what a
    layer hands to the next, in training. Parameters start uniform in ±1/sqrt(hidden_size).
    Errors: ValueError for sizes, shapes and lengths.
    """

    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity must be tanh or relu, got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )

    def forward(
        self, input: Any, hx: TensorLike | None = None, *, lengths: TensorLike | None = None
    ) -> tuple[Any, Tensor]:
        output, hn = self._run(self.nonlinearity, input, hx, None, lengths)
        return output, hn

    def step(self, input: TensorLike, state: TensorLike | Stream | None = None) -> tuple[Tensor, Stream]:
        """(output [B, hidden_size], state) of one time step, without recording and without dropout.

        input: [B, input_size] or [input_size]. state: None, h_0, or what the last call returned: then nothing is
        allocated, and output and state lie in memory that the next call overwrites. The output may be the next input.
        Equal to the sequence's within 2e-5 of the largest value for weights as they start, and to itself bit for bit
        for any number of threads. Errors: ValueError for shapes and for a bidirectional layer.
        """
        h0 = None if isinstance(state, Stream) else state
        return self._advance(self.nonlinearity, input, h0, None, state)

    def extra_repr(self) -> str:
        relu = ", nonlinearity=relu" if self.nonlinearity == "relu" else ""
        return super().extra_repr() + relu


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates (Gers et al. 2000).

    As RNN, but hx is (h_0, c_0) and the second result (h_n, c_n), with c [num_layers · D, B, hidden_size]. proj_size:
    h is a linear map of what the output gate lets through, of so many elements (Sak et al. 2014).
    """

    _gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )

    def forward(
        self,
        input: Any,
        hx: Sequence[TensorLike] | None = None,
        *,
        lengths: TensorLike | None = None,
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        h0, c0 = _pair(hx, "LSTM")
        output, hn, cn = self._run("lstm", input, h0, c0, lengths)
        return output, (hn, cn)

    def step(
        self, input: TensorLike, state: Sequence[TensorLike] | Stream | None = None
    ) -> tuple[Tensor, Stream]:
        """As RNN.step; state: None, (h_0, c_0), or what the last call returned."""
        h0, c0 = (None, None) if isinstance(state, Stream) else _pair(state, "LSTM")
        return self._advance("lstm", input, h0, c0, state)


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al. 2014).

    As RNN. reset_after: the reset gate is applied behind its product, n = tanh(W_in x + b_in + r (W_hn h + b_hn)), as
    in torch; False: ahead of it, n = tanh(W_in x + b_in + W_hn (r h) + b_hn), as in the paper and ONNX's default.
    """

    _gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: DTypeLike | None = None,
        *,
        reset_after: bool = True,
    ):
        self.reset_after = reset_after
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )

    def forward(
        self, input: Any, hx: TensorLike | None = None, *, lengths: TensorLike | None = None
    ) -> tuple[Any, Tensor]:
        cell = "gru" if self.reset_after else "gru_reset_before"
        output, hn = self._run(cell, input, hx, None, lengths)
        return output, hn

    def step(self, input: TensorLike, state: TensorLike | Stream | None = None) -> tuple[Tensor, Stream]:
        """As RNN.step."""
        cell = "gru" if self.reset_after else "gru_reset_before"
        h0 = None if isinstance(state, Stream) else state
        return self._advance(cell, input, h0, None, state)

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.reset_after else ", reset_after=False")


def _pair(hx: Any, kind: str) -> tuple[Any, Any]:
    if hx is None:
        return None, None
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        raise ValueError(f"{kind}: hx must be a pair (h, c), got {type(hx).__name__}")
    return hx[0], hx[1]


class _Cell(Module):
    """What the cells share."""

    _gates: int

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, device: str | None, dtype: DTypeLike | None
    ):
        _check_size(self, "input_size", input_size, 0)
        _check_size(self, "hidden_size", hidden_size, 1)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        kind, rows = dtype or "float32", self._gates * hidden_size
        self.weight_ih = Parameter(empty(rows, input_size, dtype=kind, device=device))
        self.weight_hh = Parameter(empty(rows, hidden_size, dtype=kind, device=device))
        self.bias_ih = Parameter(empty(rows, dtype=kind, device=device)) if bias else None
        self.bias_hh = Parameter(empty(rows, dtype=kind, device=device)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """One step of RNN: input [B, input_size] or [input_size], hx like the result, default zeros -> h' [B, hidden_size].

    Errors: ValueError for sizes and shapes.
    """

    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity must be tanh or relu, got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: TensorLike, hx: TensorLike | None = None) -> Tensor:
        cell = rnn_tanh_cell if self.nonlinearity == "tanh" else rnn_relu_cell
        return cell(input, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)

    def extra_repr(self) -> str:
        return super().extra_repr() + (", nonlinearity=relu" if self.nonlinearity == "relu" else "")


class LSTMCell(_Cell):
    """One step of LSTM: input [B, input_size] or [input_size], hx (h, c) -> (h', c') of [B, hidden_size]."""

    _gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: TensorLike, hx: Sequence[TensorLike] | None = None) -> tuple[Tensor, Tensor]:
        pair = None if hx is None else _pair(hx, "LSTMCell")
        return lstm_cell(input, pair, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)


class GRUCell(_Cell):
    """One step of GRU: input [B, input_size] or [input_size], hx like the result -> h' [B, hidden_size]."""

    _gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: TensorLike, hx: TensorLike | None = None) -> Tensor:
        return gru_cell(input, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
