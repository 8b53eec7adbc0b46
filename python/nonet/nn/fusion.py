"""Fused blocks: which neighbours in a Sequential are computed in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nonet.nn.activation import GELU, ReLU, Sigmoid, Tanh
from nonet.nn.batchnorm import BatchNorm1d, BatchNorm2d
from nonet.nn.conv import Conv2d, ConvTranspose2d
from nonet.nn.linear import Linear
from nonet.nn.module import Module, _name_module
from nonet.nn.pooling import MaxPool2d
from nonet.ops.conv import convolve, pooled_convolve
from nonet.ops.matmul import ACTIVATIONS, linear_act
from nonet.ops.pool import max_windows
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
    """What to call, in order: a module, or one function for a layer, the activation behind it and the max-pooling
    behind that.

    Only classes of nonet itself are joined: a subclass, or an object with a forward of its own, may compute anything.
    """
    steps: list[Callable[[Any], Any]] = []
    i = 0
    while i < len(modules):
        folded = i + 1 < len(modules) and type(modules[i + 1]) is Folded
        behind = i + 2 if folded else i + 1
        pooled = _pooled(modules[i : i + 3])
        if pooled is not None:
            step, count = pooled
            steps.append(step)
            i += count
            continue
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


def _pooled(modules: Sequence[Module]) -> tuple[Callable[[Any], Any], int] | None:
    """A Conv2d, maybe a ReLU, and a MaxPool2d, if these are the first of the modules, and how many they are."""
    active = len(modules) > 2 and type(modules[1]) is ReLU
    count = 3 if active else 2
    if len(modules) < count or type(modules[0]) is not Conv2d or type(modules[count - 1]) is not MaxPool2d:
        return None
    if any("forward" in vars(module) for module in modules[:count]):
        return None
    layer: Any = modules[0]
    pool: Any = modules[count - 1]
    activation = "relu" if active else None

    def step(input: Any) -> Any:
        owner = layer
        try:
            if pool.return_indices or not _takes_images(input):
                y = _conv2d(layer, input, activation)
                owner = pool
                return pool.forward(y)
            owner = pool
            windows = max_windows(
                2, "max_pool2d", pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode
            )
            owner = layer
            return pooled_convolve(*_arguments(layer, input, activation), windows)
        except (ValueError, TypeError, IndexError, RuntimeError) as error:
            _name_module(error, pool if str(error).startswith("max_pool2d") else owner)
            raise

    return step, count


def _takes_images(input: Any) -> bool:
    return getattr(input, "ndim", 0) == 4


def _linear(layer: Any, input: Any, activation: str) -> Tensor:
    return linear_act(input, layer.weight, layer.bias, activation)


def _conv2d(layer: Any, input: Any, activation: str | None) -> Tensor:
    return convolve(*_arguments(layer, input, activation), "conv2d")


def _arguments(
    layer: Any, input: Any, activation: str | None
) -> tuple[Any, Any, Any, Any, Any, Any, Any, Any]:
    """Of convolve, all but the op's name."""
    zeros = layer.padding_mode == "zeros"
    return (
        as_tensor(input, device=layer.weight.device) if zeros else layer._padded(input),
        layer.weight,
        layer.bias,
        layer.stride,
        layer._margins if zeros else (0, 0, 0, 0),
        layer.dilation,
        layer.groups,
        ACTIVATIONS[activation],
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
