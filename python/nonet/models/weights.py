"""Parameters from files of other programs: which tensor of a file belongs to which of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nonet.io import FileError, load_pth, load_tensors
from nonet.io.atomic import PathLike
from nonet.io.tensors import Arrays
from nonet.nn import Module

M = TypeVar("M", bound=Module)

_COUNTER = "num_batches_tracked"  # of a BatchNorm; files from before PyTorch 0.4.1 have none
_SHOWN = 8  # keys of each kind in an error


@dataclass(frozen=True)
class Matching:
    """How the tensors of a file became those of a model.

    tensors     by the model's names
    prefix      what the file puts in front of them
    filled      names that the file lacks and that begin at 0: counters of batches
    left_out    names in the file that do not begin with the prefix, an optimizer's state for instance
    """

    tensors: Arrays
    prefix: str
    filled: tuple[str, ...]
    left_out: tuple[str, ...]


def read_weights(path: PathLike) -> Arrays:
    """The tensors of a file of torch.save or of safetensors, by name; the contents decide which it is.

    FileError as by `io.load_pth` and `io.load_tensors`.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(2)
    except OSError:
        head = b""  # the reader below says what is wrong
    # A pickle or a zip begins so; in a safetensors file these bytes would be a header of 640 or 19280 bytes or more.
    if head in (b"\x80\x02", b"PK") and not _is_safetensors(path):
        return load_pth(path)
    return load_tensors(path)[0]


def match_weights(model: Module, arrays: Mapping[str, np.ndarray], source: Any) -> Matching:
    """Finds the tensor of `arrays` for every parameter and buffer of `model`, whose names may have a prefix there.

    FileError, which names `source` and lists the keys, if one is missing, has no place in the model, or has another
    shape.
    """
    own = {name: value.shape for name, value in model.state_dict().items()}
    prefix = _prefix(own, arrays)
    theirs = {name.removeprefix(prefix): name for name in arrays if name.startswith(prefix)}
    missing = [name for name in own if name not in theirs]
    filled = tuple(name for name in missing if name.rpartition(".")[2] == _COUNTER)
    faults = {
        "missing": [name for name in missing if name not in filled],
        "unmapped": [name for name in theirs if name not in own],
        "misshapen": [
            f"{name} {list(arrays[theirs[name]].shape)} for {list(shape)}"
            for name, shape in own.items()
            if name in theirs and arrays[theirs[name]].shape != shape
        ],
    }
    found = [f"{len(names)} {kind} ({_listed(names)})" for kind, names in faults.items() if names]
    if found:
        kind = type(model).__name__
        raise FileError(f"{source}: expected the tensors of {kind}, found others: {'; '.join(found)}")
    tensors = {
        name: arrays[theirs[name]] if name in theirs else np.zeros(shape, np.int64)
        for name, shape in own.items()
    }
    left_out = tuple(name for name in arrays if not name.startswith(prefix))
    return Matching(tensors, prefix, filled, left_out)


def load_weights(model: M, path: PathLike | None) -> M:
    """`model` with the tensors of a .pth or safetensors file (None: as it is). FileError as by `match_weights`."""
    if path is not None:
        model.load_state_dict(match_weights(model, read_weights(path), path).tensors)
    return model


def _prefix(own: Mapping[str, Any], arrays: Mapping[str, Any]) -> str:
    """What stands in front of most of the model's names in the file; the shortest of equals."""
    votes: dict[str, int] = {}
    for name in own:
        for other in arrays:
            if other == name or other.endswith("." + name):
                prefix = other[: len(other) - len(name)]
                votes[prefix] = votes.get(prefix, 0) + 1
    return min(votes, key=lambda prefix: (-votes[prefix], len(prefix)), default="")


def _is_safetensors(path: PathLike) -> bool:
    with open(path, "rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= Path(path).stat().st_size


def _listed(names: list[str]) -> str:
    more = f", … {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
