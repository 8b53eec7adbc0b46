"""Folders as Hugging Face's transformers write them: config.json beside the tensors in safetensors files.

Read and written without torch and without transformers. A model class says in `Layout` how its tensors are called
there; which ones are stored transposed, are copies of others, or mean nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nonet.io import FileError, MissingFileError, load_tensors, save_tensors
from nonet.io.atomic import PathLike, replacing
from nonet.io.tensors import Arrays
from nonet.models.weights import read_weights
from nonet.nn import Module

__all__ = ["Layout", "Report", "match_folder", "read_config", "read_folder", "write_folder"]

_SHOWN = 8


@dataclass(frozen=True)
class Layout:
    """How the tensors of a model are called in a folder.

    names       by the model's own names; those of its state_dict that are missing here are copies of others
    prefix      which a file may leave out, or have where it is not expected
    transposed  own names of matrices that are stored [in, out]
    copies      names of the file for tensors that are there under another name too
    ignored     patterns of names that mean nothing: buffers of masks and positions
    renamed     (pattern, replacement) for names of older files
    """

    names: Mapping[str, str]
    prefix: str
    transposed: frozenset[str] = frozenset()
    copies: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    optional: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Report:
    """How a folder became a model: keys maps the model's names to the file's, left_out lists what was not needed."""

    keys: dict[str, str]
    left_out: tuple[str, ...]


def read_config(directory: PathLike) -> dict[str, Any]:
    """config.json of a folder. FileError if it is missing or no JSON object."""
    path = Path(directory) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: expected the configuration of a model, found none") from error
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: expected the configuration of a model in JSON, found: {error}") from error
    if not isinstance(config, dict):
        raise FileError(f"{path}: expected a JSON object, found {type(config).__name__}")
    return config


def read_folder(directory: PathLike) -> Arrays:
    """All tensors of a folder: of model.safetensors, of the files its index names, or of pytorch_model.bin.

    FileError if there is none of these, or one is damaged.
    """
    folder = Path(directory)
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return load_tensors(folder / "model.safetensors")[0]
    if index.is_file():
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            paths = [folder / Path(shard).name for shard in shards]
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise FileError(
                f"{index}: expected a weight_map from tensors to files, found other JSON"
            ) from error
        arrays: Arrays = {}
        for path in paths:
            arrays.update(load_tensors(path)[0])
        return arrays
    if (folder / "pytorch_model.bin").is_file():
        return read_weights(folder / "pytorch_model.bin")
    raise MissingFileError(
        f"{folder}: expected model.safetensors, its index or pytorch_model.bin, found none of them"
    )


def match_folder(model: Module, layout: Layout, arrays: Mapping[str, np.ndarray], source: Any) -> Report:
    """Loads the tensors of a folder into the model.

    FileError, which names `source` and lists the keys, if one is missing, has no place, or has another shape. Nothing
    is written then.
    """
    own = model.state_dict()
    theirs = {_renamed(name, layout): name for name in arrays}
    keys: dict[str, str] = {}
    missing, misshapen = [], []
    values: dict[str, np.ndarray] = {}
    for name, there in layout.names.items():
        bare = there.removeprefix(layout.prefix)
        found = next((c for c in (there, bare, layout.prefix + bare) if c in theirs), None)
        if found is None:
            if name not in layout.optional:
                missing.append(there)
            continue
        array = arrays[theirs[found]]
        if name in layout.transposed and array.ndim == 2:
            array = np.ascontiguousarray(array.T)
        if array.shape != own[name].shape:
            misshapen.append(f"{found} {list(array.shape)} for {list(own[name].shape)}")
            continue
        keys[name] = theirs[found]
        values[name] = array.astype(np.float32) if array.dtype == np.float16 else array
    used = set(keys.values())
    rest = [name for name in arrays if name not in used]
    known = {c.removeprefix(layout.prefix) for c in layout.copies}
    left_out = [
        name
        for name in rest
        if _renamed(name, layout).removeprefix(layout.prefix) in known
        or any(re.search(pattern, name) for pattern in layout.ignored)
    ]
    wrong = {name.split(" ")[0] for name in misshapen}
    unmapped = [n for n in rest if n not in left_out and _renamed(n, layout) not in wrong]
    faults = {"missing": missing, "unmapped": unmapped, "misshapen": misshapen}
    text = [f"{len(names)} {kind} ({_listed(names)})" for kind, names in faults.items() if names]
    if text:
        raise FileError(
            f"{source}: expected the tensors of {type(model).__name__}, found others: {'; '.join(text)}"
        )
    for name, value in values.items():
        own[name].copy_(value)
    return Report(keys, tuple(left_out))


def write_folder(directory: PathLike, model: Module, layout: Layout, config: Mapping[str, Any]) -> None:
    """Writes config.json and model.safetensors, each atomically. OSError of the file system."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    own = model.state_dict()
    arrays = {}
    for name, there in layout.names.items():
        value = np.asarray(own[name].cpu())
        arrays[there] = np.ascontiguousarray(value.T) if name in layout.transposed else value
    save_tensors(folder / "model.safetensors", arrays, {"format": "pt"})
    with replacing(folder / "config.json") as file:
        file.write((json.dumps(dict(config), indent=2, sort_keys=True) + "\n").encode())


def _renamed(name: str, layout: Layout) -> str:
    for pattern, replacement in layout.renamed:
        name = re.sub(pattern, replacement, name)
    return name


def _listed(names: list[str]) -> str:
    more = f", … {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
