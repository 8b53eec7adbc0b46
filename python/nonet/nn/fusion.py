"""Fused blocks: which neighbours in a Sequential are computed in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nonet.nn.activation import GELU, ReLU, Sigmoid, Tanh
from nonet.nn.conv import Conv2d
from nonet.nn.linear import Linear
from nonet.nn.module import Module, _name_module
from nonet.ops.conv import convolve
from nonet.ops.matmul import ACTIVATIONS, linear_act
from nonet.tensor import Tensor, as_tensor

__all__ = ["fused_steps"]

_NAMES = {GELU: "gelu", ReLU: "relu", Sigmoid: "sigmoid", Tanh: "tanh"}


def fused_steps(modules: Sequence[Module]) -> list[Callable[[Any], Any]]:
    """What to call, in order: a module, or one function for a layer and the activation behind it.

    Only classes of nonet itself are joined: a subclass, or an object with a forward of its own, may compute anything.
    """
    steps: list[Callable[[Any], Any]] = []
    i = 0
    while i < len(modules):
        step = _pair(modules[i], modules[i + 1]) if i + 1 < len(modules) else None
        steps.append(step or modules[i])
        i += 2 if step else 1
    return steps


def _pair(layer: Module, activation: Module) -> Callable[[Any], Any] | None:
    if "forward" in vars(layer) or "forward" in vars(activation):
        return None
    call = _CALLS.get(type(layer))
    name = _NAMES.get(type(activation))
    if call is None or name is None or (call is _conv2d and name == "gelu"):
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


_CALLS: dict[type, Callable[[Any, Any, str], Tensor]] = {Conv2d: _conv2d, Linear: _linear}
