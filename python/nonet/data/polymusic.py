"""Polyphonic music: pieces as piano rolls, a row of 88 keys per frame.

JSB Chorales and Nottingham of Boulanger-Lewandowski, Bengio, Vincent, "Modeling temporal dependencies in
high-dimensional sequences", ICML 2012, with their own training, validation and test parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonet.data.errors import DataError, MissingDataError
from nonet.data.files import PathLike, require_directory

KEYS = 88
MUSIC_FILES = "jsb_chorales.npz or nottingham.npz"
_NAMES = {"jsb": "jsb_chorales.npz", "nottingham": "nottingham.npz"}


@dataclass(frozen=True, eq=False)
class Music:
    """Pieces float32 [T, 88] of 0 and 1: which keys sound in each frame."""

    name: str
    train: tuple[NDArray[np.float32], ...]
    validation: tuple[NDArray[np.float32], ...]
    test: tuple[NDArray[np.float32], ...]


def load_music(name: str, directory: PathLike) -> Music:
    """The pieces of "jsb" or "nottingham" in `directory`.

    A file `jsb_chorales.npz` or `nottingham.npz` holds, for each part of train, valid and test, `PART_lengths` [S] and
    `PART_frames` uint8 [sum of the lengths, 11], a bit per key. ValueError for another name, DataError for a file that
    is missing or damaged.
    """
    if name not in _NAMES:
        raise ValueError(f"load_music: name must be one of {', '.join(_NAMES)}, got {name!r}")
    path = require_directory(directory, MUSIC_FILES) / _NAMES[name]
    try:
        with np.load(path, allow_pickle=False) as arrays:
            parts = [_pieces(path, arrays, part) for part in ("train", "valid", "test")]
    except FileNotFoundError as error:
        raise MissingDataError(f"{path}: expected a file, found none") from error
    except DataError:
        raise
    except Exception as error:  # a damaged archive ends in many ways
        raise DataError(f"{path}: expected arrays of lengths and frames, found: {error}") from error
    return Music(name, *parts)


def _pieces(path: Path, arrays: object, part: str) -> tuple[NDArray[np.float32], ...]:
    lengths = arrays[f"{part}_lengths"]  # pyright: ignore[reportIndexIssue]
    frames = arrays[f"{part}_frames"]  # pyright: ignore[reportIndexIssue]
    if lengths.ndim != 1 or frames.shape != (lengths.sum(), KEYS // 8) or frames.dtype != np.uint8:
        raise DataError(
            f"{path}: expected {part}_frames uint8 [{int(lengths.sum())}, {KEYS // 8}], "
            f"found {frames.dtype} {list(frames.shape)}"
        )
    if not len(lengths) or lengths.min() < 1:
        raise DataError(f"{path}: expected pieces of at least one frame in {part}_lengths")
    rolls = np.unpackbits(frames, axis=1).astype(np.float32)
    return tuple(np.split(rolls, np.cumsum(lengths)[:-1]))
