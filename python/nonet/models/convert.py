"""torchvision's checkpoints as nonet's: which architecture a file holds, told from names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from nonet.io import FileError
from nonet.models.registry import VARIANTS, build
from nonet.models.weights import Matching, match_weights
from nonet.nn import Module

Shapes: TypeAlias = "Mapping[str, tuple[int, ...]]"

# Names for `convert`: architectures whose arguments can be told from the shapes of their tensors.
CONVERTIBLE = (*VARIANTS, "LeNet5", "MLP")
_FIRST = ("conv1.weight", "features.0.weight", "linear1.weight")
_LAST = 10_000  # more than any network's layers


def convert(
    arrays: Mapping[str, np.ndarray], source: Any, name: str | None = None
) -> tuple[Module, Matching]:
    """The model, in evaluation mode, whose tensors a file holds, and how they were found.

    name: one of `CONVERTIBLE`; without it names and shapes decide, and any `ResNet` or `VGG` will do. The number of
    classes is always that of the file. ValueError for an unknown name. FileError, which names `source`, if no
    architecture fits, or keys are missing, left over or of another shape.
    """
    if name is not None and name not in CONVERTIBLE:
        raise ValueError(f"convert: name must be one of {', '.join(CONVERTIBLE)}, got {name!r}")
    shapes = _bare({key: value.shape for key, value in arrays.items()})
    try:
        kind, arguments = _guess(shapes) if name is None else (name, _arguments(name, shapes))
        if kind is None:
            raise KeyError(_FIRST[0])
        model = build(kind, **arguments)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        some = ", ".join(list(arrays)[:4])
        raise FileError(
            f"{source}: expected the tensors of {name or 'one of ' + ', '.join(CONVERTIBLE)}, found {some} …"
        ) from error
    matching = match_weights(model, arrays, source)
    model.load_state_dict(matching.tensors)
    return model.eval(), matching


def _bare(shapes: Shapes) -> Shapes:
    """The names without what a wrapper puts in front of a network's first one."""
    for first in _FIRST:
        for name in shapes:
            prefix = name.removesuffix(first)
            inside = prefix.rstrip(".").rpartition(".")[2].isdigit()  # the conv1 of a block
            if name == first or (name.endswith("." + first) and not inside):
                return {key.removeprefix(prefix): s for key, s in shapes.items() if key.startswith(prefix)}
    return shapes


def _guess(shapes: Shapes) -> tuple[str | None, dict[str, Any]]:
    if "layer1.0.conv1.weight" in shapes:
        return "ResNet", _resnet(shapes)
    first = shapes.get("features.0.weight", ())
    if first:
        return ("alexnet", _arguments("alexnet", shapes)) if first[2:] == (11, 11) else ("VGG", _vgg(shapes))
    for name in ("LeNet5", "MLP"):
        if {"LeNet5": "fc3.weight", "MLP": "linear1.weight"}[name] in shapes:
            return name, _arguments(name, shapes)
    return None, {}


def _arguments(name: str, shapes: Shapes) -> dict[str, Any]:
    """What the architecture `name` is built with. KeyError if a tensor that tells it is not there."""
    if name == "LeNet5":
        return {"classes": shapes["fc3.weight"][0]}
    if name == "MLP":
        count = next(i for i in range(1, _LAST) if f"linear{i}.weight" not in shapes)
        sizes = [shapes["linear1.weight"][1]]
        return {"sizes": [*sizes, *(shapes[f"linear{i}.weight"][0] for i in range(1, count))]}
    if name.startswith("resnet"):
        return {
            "num_classes": shapes["fc.weight"][0],
            "cifar_stem": shapes["conv1.weight"][2:] == (3, 3),
        }
    return {"num_classes": shapes["classifier.6.weight"][0]}


def _resnet(shapes: Shapes) -> dict[str, Any]:
    arguments = {**_arguments("resnet", shapes), "block": "BasicBlock"}
    if "layer1.0.conv3.weight" in shapes:
        width, per_group = shapes["layer1.0.conv2.weight"][:2]
        groups = width // per_group
        arguments |= {"block": "Bottleneck", "groups": groups, "width_per_group": width // groups}
    stages = [
        len({name.split(".")[1] for name in shapes if name.startswith(f"layer{i}.")}) for i in (1, 2, 3, 4)
    ]
    return {**arguments, "layers": stages}


def _vgg(shapes: Shapes) -> dict[str, Any]:
    """A convolution, its ReLU and its normalisation have numbers in a row; a gap is a pooling."""
    weights = {
        int(name.split(".")[1]): shape
        for name, shape in shapes.items()
        if name.startswith("features.") and name.endswith(".weight")
    }
    convolutions = [number for number, shape in sorted(weights.items()) if len(shape) == 4]
    batch_norm = len(weights) > len(convolutions)
    layers: list[int | str] = []
    for number, following in zip(convolutions, [*convolutions[1:], _LAST], strict=True):
        layers.append(weights[number][0])
        if following - number > 2 + batch_norm:
            layers.append("M")
    return {**_arguments("vgg", shapes), "features": layers, "batch_norm": batch_norm}
