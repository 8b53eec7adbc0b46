"""What a BERT ends in: vectors of sequences, and the words that were hidden."""

from __future__ import annotations

from typing import Any

import numpy as np

from nonet import nn
from nonet.ops.matmul import linear
from nonet.ops.unary import tanh
from nonet.tensor import Parameter, Tensor

__all__ = ["ACTIVATIONS", "Dense", "MaskedHead", "Pooler"]

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "relu": "relu"}


class Dense(nn.Module):
    def __init__(self, width: int, out: int, activation: str):
        self.dense = nn.Linear(width, out)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x, self.activation)


class Pooler(nn.Module):
    def __init__(self, width: int):
        self.dense = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return tanh(self.dense(x[:, 0]))


class Transform(nn.Module):
    def __init__(self, width: int, activation: str, eps: float):
        self.dense = nn.Linear(width, width)
        self.activation = ACTIVATIONS[activation]
        self.LayerNorm = nn.LayerNorm(width, eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x, self.activation))


class Predictions(nn.Module):
    def __init__(self, width: int, vocabulary: int, activation: str, eps: float):
        self.transform = Transform(width, activation, eps)
        self.bias = Parameter(np.zeros(vocabulary, np.float32))

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        return linear(self.transform(x), table, self.bias)

    def own_macs(self, args: tuple[Any, ...], output: Tensor) -> int:
        return output.numel() * args[1].shape[1]


class MaskedHead(nn.Module):
    def __init__(self, width: int, vocabulary: int, activation: str, eps: float):
        self.predictions = Predictions(width, vocabulary, activation, eps)
