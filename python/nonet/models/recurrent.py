"""Models of one recurrent network: classes of sequences, forecasts, and language models of codes and of piano rolls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nonet import nn
from nonet.models.generation import Sampling, choose
from nonet.ops.join import cat
from nonet.ops.unary import sigmoid
from nonet.tensor import Buffer, Tensor, TensorLike, as_tensor, no_grad

CELLS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def layers_of(
    owner: str,
    cell: str,
    inputs: int,
    hidden: int,
    layers: int = 1,
    dropout: float = 0.0,
    bidirectional: bool = False,
) -> Any:
    """Recurrent layers over [B, T, inputs] of the kind `cell`: "rnn", "lstm" or "gru". ValueError for another."""
    if cell not in CELLS:
        raise ValueError(f"{owner}: cell must be one of {', '.join(CELLS)}, got {cell!r}")
    between = dropout if layers > 1 else 0.0
    return CELLS[cell](inputs, hidden, layers, batch_first=True, dropout=between, bidirectional=bidirectional)


def step_mask(lengths: TensorLike, steps: int) -> np.ndarray:
    """float32 [B, steps]: 1 for the steps that count of sequences of these lengths [B], 0 for the others."""
    sizes = np.asarray(as_tensor(lengths).cpu())
    return (np.arange(steps) < sizes[:, None]).astype(np.float32)


class SequenceClassifier(nn.Module):
    """Sequences [B, T, inputs] to logits [B, classes]: recurrent layers `rnn`, the mean of their outputs over the
    steps, `head`. ValueError for arguments.

    lengths [B]: steps that count of each sequence; default all.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        hidden: int = 64,
        layers: int = 1,
        cell: str = "gru",
        dropout: float = 0.0,
        bidirectional: bool = True,
    ) -> None:
        self.arguments: dict[str, Any] = {
            "inputs": inputs,
            "classes": classes,
            "hidden": hidden,
            "layers": layers,
            "cell": cell,
            "dropout": dropout,
            "bidirectional": bidirectional,
        }
        self.rnn = layers_of("SequenceClassifier", cell, inputs, hidden, layers, dropout, bidirectional)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(hidden * (2 if bidirectional else 1), classes)

    def forward(self, x: TensorLike, lengths: TensorLike | None = None) -> Tensor:
        x = as_tensor(x)
        out, _ = self.rnn(x, lengths=lengths)
        # Steps behind the end are 0 in the output.
        total = out.sum(1)
        if lengths is None:
            mean = total / float(max(x.shape[1], 1))
        else:
            counts = np.maximum(np.asarray(as_tensor(lengths).cpu()), 1).astype(np.float32)
            mean = total / as_tensor(counts[:, None], device=x.device)
        return self.head(self.drop(mean))


class Forecaster(nn.Module):
    """The next `horizon` steps [B, horizon, channels] of series [B, T, channels].

    The last value is subtracted from the input and added to the forecast, so that the network tells how a series goes
    on and not where it stands. Recurrent layers `rnn` read the steps; `head` makes all steps of the forecast of the
    last output. shared: each channel is a series of its own, all of them with the same weights. segment: so many steps
    are one input of the layers, such as the hours of a day (Lin et al., "SegRNN: segment recurrent neural network for
    long-term time series forecasting", 2023); what is left over of the oldest ones is not read. ValueError for
    arguments.

    The buffer `errors` [2, horizon, channels] holds what `calibrate` found; `interval` adds it to a forecast.
    """

    def __init__(
        self,
        channels: int,
        horizon: int,
        hidden: int = 64,
        layers: int = 1,
        cell: str = "lstm",
        dropout: float = 0.0,
        shared: bool = False,
        segment: int = 1,
    ) -> None:
        self.arguments: dict[str, Any] = {
            "channels": channels,
            "horizon": horizon,
            "hidden": hidden,
            "layers": layers,
            "cell": cell,
            "dropout": dropout,
            "shared": shared,
            "segment": segment,
        }
        for name, value in (("channels", channels), ("horizon", horizon), ("segment", segment)):
            if value < 1:
                raise ValueError(f"Forecaster: {name} must be at least 1, got {value}")
        self.channels, self.horizon, self.shared, self.segment = channels, horizon, shared, segment
        together = 1 if shared else channels
        self.rnn = layers_of("Forecaster", cell, together * segment, hidden, layers, dropout)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, horizon * together)
        self.errors = Buffer(np.zeros((2, horizon, channels), np.float32))

    def forward(self, x: TensorLike) -> Tensor:
        x = as_tensor(x)
        if x.ndim != 3 or x.shape[2] != self.channels or x.shape[1] < self.segment:
            raise ValueError(
                f"input must have shape [B, T, channels] = [B, T >= {self.segment}, {self.channels}], "
                f"got {list(x.shape)}"
            )
        batch, steps, channels = x.shape
        last = x[:, steps - 1 :]
        inputs = steps // self.segment
        change = x[:, steps - inputs * self.segment :] - last
        if self.shared:
            change = change.transpose(1, 2).reshape(batch * channels, inputs, self.segment)
        else:
            change = change.reshape(batch, inputs, self.segment * channels)
        out, _ = self.rnn(change)
        ahead = self.head(self.drop(out[:, inputs - 1]))
        if self.shared:
            return ahead.reshape(batch, channels, self.horizon).transpose(1, 2) + last
        return ahead.reshape(batch, self.horizon, channels) + last

    def calibrate(self, errors: np.ndarray, level: float = 0.9) -> None:
        """Takes the quantiles that enclose the share `level` of `errors` [N, horizon, channels]: truth minus forecast,
        on data that the training did not see (split conformal prediction: Vovk et al. 2005)."""
        tail = (1 - level) / 2
        self.errors.copy_(np.quantile(errors, [tail, 1 - tail], axis=0).astype(np.float32))

    def interval(self, forecast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(low, high), like `forecast` [B, horizon, channels]."""
        low, high = np.asarray(self.errors.cpu())
        return forecast + low, forecast + high


class LanguageModel(nn.Module):
    """Which code of a vocabulary follows: codes [B, T] to logits [B, T, vocabulary], of characters or words.

    `embedding` [vocabulary, embed], recurrent layers `rnn`, dropout before and behind them, `head`. ValueError for
    arguments.

    new [B]: 1 where a text begins, 0 where the batch goes on with the texts of the one before it: the state at its end
    is then the one to start from, without a gradient (truncated back-propagation through time: Williams & Peng 1990).
    Training and evaluation carry a state each; `carried` is training's, which checkpoints keep.
    """

    def __init__(
        self,
        vocabulary: int,
        embed: int = 128,
        hidden: int = 256,
        layers: int = 1,
        cell: str = "lstm",
        dropout: float = 0.0,
    ) -> None:
        self.arguments: dict[str, Any] = {
            "vocabulary": vocabulary,
            "embed": embed,
            "hidden": hidden,
            "layers": layers,
            "cell": cell,
            "dropout": dropout,
        }
        self.embedding = nn.Embedding(vocabulary, embed)
        self.rnn = layers_of("LanguageModel", cell, embed, hidden, layers, dropout)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, vocabulary)
        self.carried: tuple[Tensor, ...] | None = None
        self._evaluated: tuple[Tensor, ...] | None = None

    def forward(self, codes: TensorLike, new: TensorLike | None = None) -> Tensor:
        x = as_tensor(codes)
        out, last = self.rnn(self.drop(self.embedding(x)), self._first(new, x))
        if new is not None:
            states = last if isinstance(last, tuple) else (last,)
            self._carry(tuple(state.detach() for state in states))
        return self.head(self.drop(out))

    def _first(self, new: TensorLike | None, x: Tensor) -> Any:
        before = self.carried if self.training else self._evaluated
        if new is None or before is None or any(state.shape[1] != x.shape[0] for state in before):
            return None
        kept = 1 - as_tensor(new, device=x.device).reshape(1, -1, 1)
        states = tuple(state.to(x.device) * kept for state in before)
        return states[0] if len(states) == 1 else states

    def _carry(self, states: tuple[Tensor, ...]) -> None:
        if self.training:
            self.carried = states
        else:
            self._evaluated = states

    def example(self, shape: Sequence[int]) -> tuple[np.ndarray, ...]:
        return (np.zeros(tuple(shape), np.int64),)

    def stream(
        self,
        prompt: Sequence[int],
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> Iterator[int]:
        """The codes that follow `prompt`, one at a time, without an end. ValueError without a prompt."""
        if len(prompt) == 0:
            raise ValueError("LanguageModel: prompt must not be empty")
        rng = np.random.default_rng(seed)
        how = Sampling() if sampling is None else sampling
        used = [int(code) for code in prompt]
        state = None
        with no_grad():
            for code in prompt[:-1]:
                _, state = self.rnn.step(self.embedding(np.array([code])), state)
            code = prompt[-1]
            while True:
                out, state = self.rnn.step(self.embedding(np.array([code])), state)
                logits = np.asarray(self.head(out).cpu())
                code = int(choose(logits, [np.array(used)], how, rng)[0])
                if how.repetition_penalty != 1.0:
                    used.append(code)
                yield code


class MusicModel(nn.Module):
    """Which keys sound next: piano rolls [B, T, keys] of 0 and 1 to logits [B, T, keys] of each frame's keys.

    The network is given the frames before each one, of which the first has none: as they are, or with `embed` as so
    many numbers that a matrix makes of their keys. Recurrent layers `rnn`, dropout, `head`. ValueError for arguments.

    lengths [B]: frames that count of each piece; default all.
    """

    def __init__(
        self,
        keys: int = 88,
        hidden: int = 46,
        layers: int = 1,
        cell: str = "gru",
        dropout: float = 0.0,
        embed: int = 0,
    ) -> None:
        if embed < 0:
            raise ValueError(f"MusicModel: embed must be at least 0, got {embed}")
        self.arguments: dict[str, Any] = {
            "keys": keys,
            "hidden": hidden,
            "layers": layers,
            "cell": cell,
            "dropout": dropout,
            "embed": embed,
        }
        self.keys = keys
        self.drop = nn.Dropout(dropout)
        self.embed = nn.Linear(keys, embed, bias=False) if embed else nn.Identity()
        self.rnn = layers_of("MusicModel", cell, embed or keys, hidden, layers, dropout)
        self.head = nn.Linear(hidden, keys)

    def forward(self, rolls: TensorLike, lengths: TensorLike | None = None) -> Tensor:
        x = as_tensor(rolls)
        if x.ndim != 3 or x.shape[2] != self.keys:
            raise ValueError(f"rolls must have shape [B, T, keys] = [B, T, {self.keys}], got {list(x.shape)}")
        steps = x.shape[1]
        first = as_tensor(np.zeros((x.shape[0], 1, self.keys), np.float32), device=x.device)
        before = cat([first, x[:, : steps - 1]], 1)
        out, _ = self.rnn(self.embed(before), lengths=lengths)
        return self.head(self.drop(out))

    def generate(
        self, length: int, prompt: np.ndarray | None = None, temperature: float = 1.0, seed: int = 0
    ) -> np.ndarray:
        """A piano roll float32 [length, keys] behind the frames `prompt` [T, keys]; each key sounds or not by its own
        probability."""
        rng = np.random.default_rng(seed)
        frame = np.zeros((1, self.keys), np.float32)
        state, out = None, []
        given = np.zeros((0, self.keys), np.float32) if prompt is None else prompt
        with no_grad():
            for step in range(len(given) + length):
                y, state = self.rnn.step(self.embed(as_tensor(frame)), state)
                if step < len(given):
                    frame = np.asarray(given[step : step + 1], np.float32)
                    continue
                chance = np.asarray(sigmoid(self.head(y) / temperature).cpu())
                frame = (rng.random(chance.shape) < chance).astype(np.float32)
                out.append(frame[0])
        return np.stack(out) if out else np.zeros((0, self.keys), np.float32)
