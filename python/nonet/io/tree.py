"""State of any depth as a flat dict of tensors and one line of JSON, the form that a safetensors file can hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from nonet.tensor import Tensor

# Objects with this single key stand for what JSON has no word for.
_TENSOR, _PAIRS, _TUPLE = "$tensor", "$pairs", "$tuple"


def pack(tree: Any) -> tuple[dict[str, Tensor | np.ndarray], str]:
    """Splits `tree` (dicts, lists, tuples, tensors, arrays, numbers, text, None) into (tensors by path, JSON).

    Keys of dicts may be text or integers. Floats survive exactly. TypeError, with the path, for anything else.
    """
    tensors: dict[str, Tensor | np.ndarray] = {}
    skeleton = _packed(tree, "", tensors)
    return tensors, json.dumps(skeleton, separators=(",", ":"))


def unpack(tensors: Mapping[str, Any], skeleton: str) -> Any:
    """The tree that `pack` split; its tensors are those of `tensors`. KeyError if one is missing."""
    return _unpacked(json.loads(skeleton), tensors)


def map_tensors(tree: Any, function: Callable[[Any], Any]) -> Any:
    """`tree` with function(t) in the place of every tensor or array t."""
    if isinstance(tree, (Tensor, np.ndarray)):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: map_tensors(value, function) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)([map_tensors(value, function) for value in tree])
    return tree


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, tensor) for every tensor or array of `tree`, in its order."""
    if isinstance(tree, (Tensor, np.ndarray)):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, _join(path, key))
    elif isinstance(tree, (list, tuple)):
        for index, value in enumerate(tree):
            yield from leaves(value, _join(path, index))


def _packed(tree: Any, path: str, tensors: dict[str, Tensor | np.ndarray]) -> Any:
    if isinstance(tree, (Tensor, np.ndarray)):
        tensors[path] = tree
        return {_TENSOR: path}
    if isinstance(tree, np.generic):
        tree = tree.item()
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    if isinstance(tree, Mapping):
        values = [(key, _packed(value, _join(path, key), tensors)) for key, value in tree.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key in tree):
            return dict(values)
        if all(isinstance(key, (str, int)) for key in tree):
            return {_PAIRS: [list(pair) for pair in values]}
    elif isinstance(tree, (list, tuple)):
        items = [_packed(value, _join(path, index), tensors) for index, value in enumerate(tree)]
        return {_TUPLE: items} if isinstance(tree, tuple) else items
    raise TypeError(
        f"pack: {path or 'the tree'} must be tensors, numbers, text or nests of them, got {tree!r}"
    )


def _unpacked(node: Any, tensors: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_unpacked(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    if _TENSOR in node:
        return tensors[node[_TENSOR]]
    if _PAIRS in node:
        return {key: _unpacked(value, tensors) for key, value in node[_PAIRS]}
    if _TUPLE in node:
        return tuple(_unpacked(item, tensors) for item in node[_TUPLE])
    return {key: _unpacked(value, tensors) for key, value in node.items()}


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
