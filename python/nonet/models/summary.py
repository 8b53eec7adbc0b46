"""What a network consists of: layers, output shapes, parameters and multiply-accumulates of one forward pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from nonet import nn
from nonet.nn import Module
from nonet.nn import module as module_file
from nonet.tensor import Tensor, as_tensor, no_grad


@dataclass(frozen=True)
class Layer:
    """One call of a module without children, or with work of its own. `parameters` counts each shared parameter at its
    first user only."""

    path: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    macs: int


@contextmanager
def observing(observer: Any) -> Iterator[None]:
    """Calls observer(module, args, output) after every module call of this process, inside the with block."""
    before = module_file.observer
    module_file.observer = observer
    try:
        yield
    finally:
        module_file.observer = before


def summary(model: Module, input_shape: Sequence[int]) -> list[Layer]:
    """Runs `model` on zeros of `input_shape` (batch axis included) in evaluation mode; one entry per layer call.

    MACs are those of products: out x in features of a linear layer per row, kernel x in-channels per output of a
    convolution, the weights of recurrent layers per step, all pairs of queries and keys of an attention twice (whatever
    its masks); additions of biases, activations and pooling count nothing. Errors are those of the model.
    """
    paths = {id(module): path for path, module in model.named_modules()}
    layers: list[Layer] = []
    counted: set[int] = set()

    def observe(module: Module, args: tuple[Any, ...], output: Any) -> None:
        # What a module with children does between them, if it does products there.
        between = getattr(module, "own_macs", None)
        if between is None and any(True for _ in module.children()):
            return
        own = [p for p in module.parameters(recurse=False) if id(p) not in counted]
        counted.update(id(p) for p in own)
        path = paths.get(id(module), "")
        shape = _first(output).shape
        macs = _macs(module, args, shape) if between is None else between(args, _first(output))
        if macs or own or between is None:
            name = type(module).__name__.lstrip("_")
            layers.append(Layer(path, name, shape, sum(p.numel() for p in own), macs))

    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad(), observing(observe):
            # Models whose inputs are not one array of numbers make an example themselves.
            example = getattr(model, "example", None)
            if example is not None:
                model(*example(tuple(input_shape)))
            else:
                model(as_tensor(np.zeros(tuple(input_shape), np.float32)))
    finally:
        for module, training in modes:
            module.training = training
    return layers


def _macs(module: Module, args: tuple[Any, ...], output: tuple[int, ...]) -> int:
    if isinstance(module, (nn.RNN, nn.LSTM, nn.GRU)):
        return math.prod(output[:-1]) * sum(p.numel() for p in module.parameters() if p.ndim == 2)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        return 0
    kind = type(module).__name__
    if kind == "Linear":
        return math.prod(output) * weight.shape[1]
    if kind.startswith("ConvTranspose"):
        return as_tensor(args[0]).numel() * math.prod(weight.shape[1:])
    if kind.startswith("Conv"):
        return math.prod(output) * math.prod(weight.shape[1:])
    if kind == "Bilinear":
        return math.prod(output) * weight.shape[1] * (weight.shape[2] + 1)
    return 0


def _first(output: Any) -> Tensor:
    return _first(output[0]) if isinstance(output, (tuple, list)) else output
