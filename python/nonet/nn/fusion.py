"""Fused blocks: which neighbours in a Sequential are computed in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nonet.nn.activation import GELU, ReLU, Sigmoid, Tanh
from nonet.nn.batchnorm import BatchNorm1d, BatchNorm2d
from nonet.nn.conv import Conv2d, ConvTranspose2d
from nonet.nn.linear import Linear
from nonet.nn.module import Module, _name_module
from nonet.ops.conv import convolve
from nonet.ops.matmul import ACTIVATIONS, linear_act
from nonet.tensor import Tensor, as_tensor

__all__ = ["Folded", "fused_steps"]

_NAMES = {GELU: "gelu", ReLU: "relu", Sigmoid: "sigmoid", Tanh: "tanh"}


class Folded(Module):
    """Returns its input: in the place of a normalisation that was folded into the layer in front of it.

    rank: of the input; for another one the normalisation would have been along another axis. None: any.
    Errors: ValueError.
    """

    def __init__(self, rank: int | None = None) -> None:
        self.rank = rank

    def forward(self, input: Tensor) -> Tensor:
        if self.rank is not None and input.ndim != self.rank:
            raise ValueError(f"Folded: input must have {self.rank} axes, got shape {list(input.shape)}")
        return input

    def extra_repr(self) -> str:
        return "" if self.rank is None else str(self.rank)


def fused_steps(modules: Sequence[Module]) -> list[Callable[[Any], Any]]:
    """What to call, in order: a module, or one function for a layer and the activation behind it.

    Only classes of nonet itself are joined: a subclass, or an object with a forward of its own, may compute anything.
    """
    steps: list[Callable[[Any], Any]] = []
    i = 0
    while i < len(modules):
        folded = i + 1 < len(modules) and type(modules[i + 1]) is Folded
        behind = i + 2 if folded else i + 1
        step = _pair(modules[i], modules[behind]) if behind < len(modules) else None
        steps.append(step or modules[i])
        if folded and modules[i + 1].rank is not None:  # type: ignore[attr-defined]
            steps.append(modules[i + 1])
        i = behind + 1 if step else behind
    return steps


def _pair(layer: Module, activation: Module) -> Callable[[Any], Any] | None:
    if "forward" in vars(layer) or "forward" in vars(activation):
        return None
    call = _CALLS.get(type(layer))
    name = _NAMES.get(type(activation))
    if call is None or name is None or name in _LACKS.get(type(layer), ()):
        return None

    def step(input: Any) -> Tensor:
        kind = "gelu_tanh" if name == "gelu" and activation.approximate == "tanh" else name  # type: ignore[attr-defined]
        try:
            return call(layer, input, kind)
        except (ValueError, TypeError, IndexError, RuntimeError) as error:
            _name_module(error, layer)
            raise

    return step


def _linear(layer: Any, input: Any, activation: str) -> Tensor:
    return linear_act(input, layer.weight, layer.bias, activation)


def _conv2d(layer: Any, input: Any, activation: str) -> Tensor:
    zeros = layer.padding_mode == "zeros"
    return convolve(
        as_tensor(input, device=layer.weight.device) if zeros else layer._padded(input),
        layer.weight,
        layer.bias,
        layer.stride,
        layer._margins if zeros else (0, 0, 0, 0),
        layer.dilation,
        layer.groups,
        ACTIVATIONS[activation],
        "conv2d",
    )


def _conv_transpose2d(layer: Any, input: Any, activation: str) -> Tensor:
    return layer._transposed(input, None, ACTIVATIONS[activation])


def _batch_norm(layer: Any, input: Any, activation: str) -> Tensor:
    return layer.forward(input, activation)


_CALLS: dict[type, Callable[[Any, Any, str], Tensor]] = {
    BatchNorm1d: _batch_norm,
    BatchNorm2d: _batch_norm,
    Conv2d: _conv2d,
    ConvTranspose2d: _conv_transpose2d,
    Linear: _linear,
}
# Activations that a layer's pass does not know.
_LACKS: dict[type, tuple[str, ...]] = {
    BatchNorm1d: ("gelu", "sigmoid", "tanh"),
    BatchNorm2d: ("gelu", "sigmoid", "tanh"),
    Conv2d: ("gelu",),
    ConvTranspose2d: ("gelu",),
}
