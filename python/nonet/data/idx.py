"""idx files, MNIST's format: big-endian magic 0x0000TTRR (TT type, RR rank), RR sizes, then the values."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nonet.data.dataset import ArrayDataset, Splits
from nonet.data.errors import DataError, MissingDataError, check_int
from nonet.data.files import PathLike, opened, require_directory

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_RANK = 32  # NumPy's own limit before version 2
_CHUNK = 1 << 20
IDX_FILES = "{train,t10k}-{images-idx3,labels-idx1}-ubyte, each plain or .gz"


def read_idx(path: PathLike, rank: int | None = None, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """The array in the idx file `path` (.gz or not), in native byte order.

    `rank` and `dtype`, if given, are demanded. DataError names the file, what was expected and what was
    found: missing, not gzip, truncated, damaged, bad magic, other rank or type, a size of 0, fewer or more
    bytes than the header promises. Memory is bounded by what the file really holds, whatever its header says.
    """
    with opened(path) as file:
        stored, shape = _read_header(file, path, rank, dtype)
        expected = math.prod(shape) * stored.itemsize
        body = bytearray()
        # One byte beyond the promise shows a longer file, and reaching the end makes gzip check its CRC.
        while len(body) <= expected and (chunk := file.read(min(_CHUNK, expected + 1 - len(body)))):
            body += chunk
    if len(body) != expected:
        sizes = " x ".join(map(str, shape))
        found = "more" if len(body) > expected else f"{len(body)}"
        raise DataError(
            f"{path}: expected {expected} bytes after the header ({sizes} of {stored.name}), found {found}"
        )
    return np.frombuffer(body, stored).reshape(shape).astype(stored.newbyteorder("="), copy=False)


def load_idx(directory: PathLike, name: str = "mnist", classes: int = 10) -> Splits:
    """MNIST, or any set under MNIST's file names, from a directory.

    Reads `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, each plain or .gz, also in the form `train-images.idx3-ubyte`. Returns uint8
    images [N, 1, H, W] of values 0 to 255 and int64 labels [N] of 0 to classes - 1. Besides the faults of
    `read_idx`, DataError if images and labels differ in number, a label is out of range, or test and training
    images differ in size.
    """
    check_int("load_idx", "classes", classes, 1)
    folder = require_directory(directory, IDX_FILES)
    train, test = _load_part(folder, "train", classes), _load_part(folder, "t10k", classes)
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        sizes = [" x ".join(map(str, part.inputs.shape[2:])) for part in (train, test)]
        raise DataError(
            f"{folder}: expected t10k images of {sizes[0]} like the train images, found {sizes[1]}"
        )
    return Splits(name, train, test, tuple(str(label) for label in range(classes)))


def _read_header(
    file: BinaryIO, path: PathLike, rank: int | None, dtype: DTypeLike | None
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4:
        raise DataError(f"{path}: expected an idx magic number of 4 bytes, found {len(magic)}")
    if magic[:2] != b"\0\0" or magic[2] not in _DTYPES or not 1 <= magic[3] <= _MAX_RANK:
        hint = " (gzip: its name must end in .gz)" if magic[:2] == b"\x1f\x8b" else ""
        types = ", ".join(f"{code:02x}" for code in _DTYPES)
        raise DataError(
            f"{path}: expected an idx magic number 0x0000TTRR with type TT one of {types} "
            f"and rank RR from 1 to {_MAX_RANK}, found 0x{magic.hex()}{hint}"
        )
    stored, found_rank = np.dtype(_DTYPES[magic[2]]), magic[3]
    if rank is not None and found_rank != rank:
        raise DataError(f"{path}: expected an idx array of rank {rank}, found rank {found_rank}")
    if dtype is not None and stored != np.dtype(dtype).newbyteorder(">"):
        raise DataError(f"{path}: expected values of type {np.dtype(dtype).name}, found {stored.name}")
    sizes = file.read(4 * found_rank)
    if len(sizes) < 4 * found_rank:
        raise DataError(f"{path}: expected {4 * found_rank} bytes of sizes, found {len(sizes)}")
    shape = tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4))
    if 0 in shape:
        raise DataError(f"{path}: expected sizes of at least 1, found {' x '.join(map(str, shape))}")
    return stored, shape


def _load_part(folder: Path, part: str, classes: int) -> ArrayDataset:
    images_file, labels_file = _find(folder, f"{part}-images", 3), _find(folder, f"{part}-labels", 1)
    images = read_idx(images_file, rank=3, dtype=np.uint8)
    labels = read_idx(labels_file, rank=1, dtype=np.uint8)
    if len(labels) != len(images):
        raise DataError(
            f"{labels_file}: expected {len(images)} labels, one for each image of {images_file.name}, "
            f"found {len(labels)}"
        )
    if labels.max() >= classes:
        row = int(np.argmax(labels >= classes))
        raise DataError(
            f"{labels_file}: expected labels from 0 to {classes - 1}, found {labels[row]} at row {row}"
        )
    return ArrayDataset(images[:, None], labels.astype(np.int64))


def _find(folder: Path, stem: str, rank: int) -> Path:
    names = [f"{stem}{dot}idx{rank}-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]
    for name in names:
        if os.path.exists(folder / name):
            return folder / name
    try:
        present = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"{folder}: expected a readable directory, found: {error.strerror}") from error
    found = ", ".join(present[:8]) + (", …" if len(present) > 8 else "") or "an empty directory"
    raise MissingDataError(f"{folder}: expected one of {', '.join(names)}, found {found}")
