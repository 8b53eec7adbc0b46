"""Batch normalisation folded into the layers in front of it, for inference."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from nonet.nn import module as _module
from nonet.nn.batchnorm import BatchNorm1d, BatchNorm2d
from nonet.nn.container import Sequential
from nonet.nn.conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from nonet.nn.fusion import Folded
from nonet.nn.linear import Linear
from nonet.nn.module import Module
from nonet.tensor import Parameter, Tensor, as_tensor, enable_grad, tensor

__all__ = ["fuse"]

Model = TypeVar("Model", bound=Module)

# Which normalisation can be folded into which layer, and the rank of what lies between them where another rank would
# mean another axis.
_FOLDS: dict[type, tuple[type, int | None]] = {
    Conv1d: (BatchNorm1d, 3),
    Conv2d: (BatchNorm2d, None),
    ConvTranspose1d: (BatchNorm1d, 3),
    ConvTranspose2d: (BatchNorm2d, None),
    Linear: (BatchNorm1d, 2),
}


def fuse(model: Model, *inputs: Any) -> Model:
    """A copy of the model for inference, in eval mode, whose batch normalisations are folded into the layers in front
    of them: w gamma / sqrt(var + eps), and the bias likewise. Results are equal but for rounding.

    Folded are BatchNorm1d behind Linear, Conv1d or ConvTranspose1d, and BatchNorm2d behind Conv2d or ConvTranspose2d,
    where nothing else reads the layer's result: neighbours in a Sequential, the pairs of children that a module's class
    names in `fold_pairs`, and, if inputs are given, whatever a run of model(*inputs) shows to be such a pair. In the
    folded one's place stands a module without parameters, so the keys of the state_dict are fewer. Errors: those of
    model(*inputs).
    """
    out = copy.deepcopy(model).eval()
    pairs = [*_named_pairs(out), *(_traced_pairs(out, inputs) if inputs else ())]
    # A module that is called in two places, or shares its parameters, is left alone.
    places = _places(out)
    uses = _uses(out)
    for layer, norm in pairs:
        if len(places.get(id(layer), ())) != 1 or len(places.get(id(norm), ())) != 1:
            continue
        if any(uses[id(p)] != 1 for p in layer.parameters()):
            continue
        if not _foldable(layer, norm):
            continue
        _fold(layer, norm)
        owner, name = places.pop(id(norm))[0]
        setattr(owner, name, Folded(_FOLDS[type(layer)][1]))
    return out


def _places(model: Module) -> dict[int, list[tuple[Module, str]]]:
    """Per module the (owner, name) of all attributes that it is."""
    out: dict[int, list[tuple[Module, str]]] = {}
    for owner in model.modules():
        for name, child in owner._child_items():
            out.setdefault(id(child), []).append((owner, name))
    return out


def _uses(model: Module) -> dict[int, int]:
    out: dict[int, int] = {}
    for owner in model.modules():
        for value in vars(owner).values():
            if isinstance(value, Parameter):
                out[id(value)] = out.get(id(value), 0) + 1
    return out


def _foldable(layer: Any, norm: Any) -> bool:
    """Only classes of nonet itself: a subclass, or an object with a forward of its own, may compute anything."""
    kind = _FOLDS.get(type(layer), (None, None))[0]
    if type(norm) is not kind or "forward" in vars(layer) or "forward" in vars(norm):
        return False
    outputs = layer.out_features if type(layer) is Linear else layer.out_channels
    return norm.running_mean is not None and outputs == norm.num_features


def _named_pairs(model: Module) -> Iterator[tuple[Any, Any]]:
    for module in model.modules():
        children = dict(module._child_items())
        if type(module) is Sequential:
            yield from itertools.pairwise(children.values())
        for first, second in getattr(module, "fold_pairs", ()):
            yield children.get(first), children.get(second)


def _traced_pairs(model: Module, inputs: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Runs the model on the tape, which knows everything that reads a layer's result."""
    calls: list[tuple[Any, Any, Any]] = []

    def watch(module: Module, args: tuple[Any, ...], output: Any) -> None:
        if type(module) in _FOLDS or type(module) in (BatchNorm1d, BatchNorm2d):
            calls.append((module, args[0] if args else None, output))

    before, _module.observer = _module.observer, watch
    try:
        with enable_grad():
            results = _tensors(model(*[_leaf(x) for x in inputs]))
    finally:
        _module.observer = before
    readers = _readers(results)
    counts: dict[int, int] = {}
    for module, _, _ in calls:
        counts[id(module)] = counts.get(id(module), 0) + 1
    made = {id(output): module for module, _, output in calls if type(module) in _FOLDS}
    given = {id(t) for t in results}
    pairs = []
    for norm, x, _ in calls:
        layer = made.get(id(x))
        if layer is None or counts[id(layer)] != 1 or counts[id(norm)] != 1:
            continue
        if id(x) not in given and readers.get(id(x._node), 0) == 1:
            pairs.append((layer, norm))
    return pairs


def _leaf(x: Any) -> Any:
    try:
        t = as_tensor(x)
    except TypeError:
        return x
    return Tensor(t.array, t.dtype in ("float32", "bfloat16"))


def _tensors(results: Any) -> list[Tensor]:
    """All tensors in a result of sequences and mappings."""
    if isinstance(results, Tensor):
        return [results]
    if isinstance(results, dict):
        results = list(results.values())
    if isinstance(results, (list, tuple)):
        return [t for part in results for t in _tensors(part)]
    return []


def _readers(results: Sequence[Tensor]) -> dict[int, int]:
    """Per node behind the results how many inputs of ops it is."""
    out: dict[int, int] = {}
    stack = [t._node for t in results if t._node is not None]
    seen = {id(node) for node in stack}
    while stack:
        for source in stack.pop().inputs:
            if source is None or isinstance(source, Tensor):
                continue
            out[id(source)] = out.get(id(source), 0) + 1
            if id(source) not in seen:
                seen.add(id(source))
                stack.append(source)
    return out


def _fold(layer: Any, norm: Any) -> None:
    def values(t: Tensor | None, otherwise: float) -> np.ndarray:
        if t is None:
            return np.full(norm.num_features, otherwise)
        return t.detach().cpu().numpy().astype(np.float64)

    gain = values(norm.weight, 1) / np.sqrt(values(norm.running_var, 1) + norm.eps)
    weight = values(layer.weight, 0)
    bias = (values(layer.bias, 0) - values(norm.running_mean, 0)) * gain + values(norm.bias, 0)
    if isinstance(layer, (ConvTranspose1d, ConvTranspose2d)):  # [in, out / groups, …]
        groups = layer.groups
        factors = np.repeat(gain.reshape(groups, -1), len(weight) // groups, axis=0)
        factors = factors.reshape(factors.shape + (1,) * (weight.ndim - 2))
    else:
        factors = gain.reshape((-1,) + (1,) * (weight.ndim - 1))
    for name, folded in (("weight", weight * factors), ("bias", bias)):
        like = layer.weight
        setattr(
            layer, name, Parameter(tensor(folded, dtype=like.dtype, device=like.device), like.requires_grad)
        )
