"""Speech recogniser: a label sequence from the frames of a sound, without an alignment (CTC)."""

from __future__ import annotations

from typing import Any

import numpy as np

from nonet import nn
from nonet.models.recurrent import layers_of
from nonet.ops.ctc import ctc_beam_decode, ctc_loss
from nonet.ops.join import cat
from nonet.ops.softmax import log_softmax
from nonet.tensor import Tensor, TensorLike, as_tensor


class SpeechRecognizer(nn.Module):
    """Frames [B, T, inputs] to log probabilities [B, T', classes] of labels and the blank, which is class 0.

    `stride` frames make one step, T' = ceil(T / stride); bidirectional recurrent layers `rnn`, dropout, `head` (Graves
    et al., "Connectionist temporal classification", 2006). lengths [B]: frames that count. ValueError for arguments.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        hidden: int = 64,
        layers: int = 1,
        cell: str = "gru",
        stride: int = 3,
        dropout: float = 0.0,
    ) -> None:
        self.arguments: dict[str, Any] = {
            "inputs": inputs,
            "classes": classes,
            "hidden": hidden,
            "layers": layers,
            "cell": cell,
            "stride": stride,
            "dropout": dropout,
        }
        if stride < 1:
            raise ValueError(f"SpeechRecognizer: stride must be at least 1, got {stride}")
        self.inputs, self.stride = inputs, stride
        self.rnn = layers_of("SpeechRecognizer", cell, inputs * stride, hidden, layers, dropout, True)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden, classes)

    def steps(self, lengths: TensorLike) -> np.ndarray:
        """How many steps these numbers of frames make, int64 [B]."""
        return -(-np.asarray(as_tensor(lengths).cpu()).astype(np.int64) // self.stride)

    def forward(self, x: TensorLike, lengths: TensorLike) -> Tensor:
        x = as_tensor(x)
        if x.ndim != 3 or x.shape[2] != self.inputs:
            raise ValueError(
                f"input must have shape [B, T, inputs] = [B, T, {self.inputs}], got {list(x.shape)}"
            )
        batch, frames, inputs = x.shape
        rest = -frames % self.stride
        if rest:
            padding = as_tensor(np.zeros((batch, rest, inputs), np.float32), device=x.device)
            x = cat([x, padding], 1)
        stacked = x.reshape(batch, (frames + rest) // self.stride, inputs * self.stride)
        out, _ = self.rnn(stacked, lengths=self.steps(lengths))
        return log_softmax(self.head(self.drop(out)), 2)

    def loss(
        self, log_probs: Tensor, lengths: TensorLike, targets: TensorLike, target_lengths: TensorLike
    ) -> Tensor:
        """The mean over the batch of -log p(target) / labels; targets [B, S] of classes from 1 on."""
        steps = self.steps(lengths)
        return ctc_loss(log_probs.transpose(0, 1), targets, steps, target_lengths, zero_infinity=True)

    def decode(self, log_probs: TensorLike, lengths: TensorLike, beam: int = 16) -> list[list[int]]:
        """The likeliest labels that a prefix beam search finds for each sound."""
        found = ctc_beam_decode(as_tensor(log_probs).transpose(0, 1), self.steps(lengths), beam=beam)
        return [results[0][0] for results in found]

    def example(self, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        return np.zeros(shape, np.float32), np.full(shape[0], shape[1], np.int64)
