"""Feedforward networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nonet import nn

_activations = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


class MLP(nn.Sequential):
    """Multilayer perceptron: [..., sizes[0]] to [..., sizes[-1]] through fully connected layers.

    Every layer but the last is followed by `activation` (relu, gelu, elu, silu, tanh, sigmoid) and by dropout with
    probability `dropout`. Parameters: `linear1.weight` [sizes[1], sizes[0]], `linear1.bias`, `linear2.weight` …

    Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", Nature 323, 1986 (there with
    sigmoid units); dropout: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
    JMLR 15, 2014. Errors: ValueError for fewer than two sizes, a size below 1, an unknown activation.
    """

    def __init__(
        self, sizes: Sequence[int] = (784, 512, 512, 10), activation: str = "relu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        sizes = [int(size) for size in sizes]
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"MLP: sizes must be two or more numbers of at least 1, got {sizes}")
        if activation not in _activations:
            raise ValueError(f"MLP: activation must be one of {', '.join(_activations)}, got {activation!r}")
        self.arguments: dict[str, Any] = {"sizes": sizes, "activation": activation, "dropout": float(dropout)}
        for i in range(1, len(sizes)):
            self.add_module(f"linear{i}", nn.Linear(sizes[i - 1], sizes[i]))
            if i < len(sizes) - 1:
                self.add_module(f"{activation}{i}", _activations[activation]())
                self.add_module(f"dropout{i}", nn.Dropout(dropout))
