"""Text: files and folders of it, lines, tab-separated fields, and a vocabulary of characters."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.data.errors import DataError, MissingDataError
from nonet.data.files import PathLike, read_decoded


def read_text(path: PathLike, encoding: str = "utf-8") -> str:
    r"""The text of a file (.gz or not), or of all .txt files of a folder in the order of their names.

    Line ends become "\n"; a file of a folder that does not end with one gets one, so that no words are
    joined. DataError names the file that is missing, empty or not text in `encoding`, or the folder without
    .txt files.
    """
    path = Path(path)
    if not os.path.isdir(path):  # unlike Path.is_dir, never an OSError
        return _read_file(path, encoding)
    files = sorted(file for file in path.glob("*.txt") if file.is_file())
    if not files:
        raise MissingDataError(f"{path}: expected a directory with .txt files, found none")
    if len(files) == 1:
        return _read_file(files[0], encoding)
    texts = [_read_file(file, encoding) for file in files]
    return "".join(text if text.endswith("\n") else text + "\n" for text in texts)


def read_lines(path: PathLike, encoding: str = "utf-8") -> list[str]:
    """The lines of a file (.gz or not) without their ends.

    Blank ones are kept, because parallel files rely on it. DataError names a file that is missing, empty or
    not text in `encoding`.
    """
    return _read_file(Path(path), encoding).removesuffix("\n").split("\n")


def read_tsv(path: PathLike, fields: int = 2, encoding: str = "utf-8") -> list[tuple[str, ...]]:
    """The tab-separated fields of every line of a file (.gz or not).

    There is no quoting, and blank lines are skipped. DataError as path:line if a line has not exactly
    `fields` fields, and for the faults of `read_lines`.
    """
    rows = []
    for number, line in enumerate(read_lines(path, encoding), 1):
        if not line.strip():
            continue
        row = tuple(line.split("\t"))
        if len(row) != fields:
            raise DataError(f"{path}:{number}: expected {fields} tab-separated fields, found {len(row)}")
        rows.append(row)
    return rows


def _read_file(path: Path, encoding: str) -> str:
    text = read_decoded(path, encoding).replace("\r\n", "\n").replace("\r", "\n")
    if not text:
        raise DataError(f"{path}: expected text, found an empty file")
    return text


@dataclass(frozen=True)
class CharVocab:
    """Code i stands for `characters[i]`. ValueError if there are none, or one twice."""

    characters: str

    def __post_init__(self) -> None:
        if not self.characters:
            raise ValueError("CharVocab: characters must not be empty")
        twice = next((c for i, c in enumerate(self.characters) if c in self.characters[:i]), None)
        if twice is not None:
            raise ValueError(f"CharVocab: characters must differ, got {twice!r} twice")

    @classmethod
    def from_text(cls, text: str) -> CharVocab:
        """The vocabulary of all characters in `text`, sorted."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> NDArray[np.int64]:
        """The codes of `text`, int64 [T]. DataError names the first unknown character and its position."""
        known, points = _code_points(self.characters), _code_points(text)
        order = np.argsort(known)
        codes = order[np.searchsorted(known[order], points).clip(max=len(known) - 1)]
        unknown = known[codes] != points
        if unknown.any():
            at = int(np.argmax(unknown))
            raise DataError(
                f"CharVocab: expected one of {len(self)} characters, found {text[at]!r} at position {at}"
            )
        return codes.astype(np.int64, copy=False)

    def decode(self, codes: ArrayLike) -> str:
        """The text of integer `codes` [T]. TypeError for another type, ValueError for a shape or range."""
        array: NDArray[Any] = np.asarray(codes)
        if array.ndim != 1:
            raise ValueError(f"CharVocab: codes must have shape [T], got {list(array.shape)}")
        if array.size == 0:
            return ""
        if array.dtype.kind not in "iu":
            raise TypeError(f"CharVocab: codes must be integers, got {array.dtype}")
        outside = (array < 0) | (array >= len(self))
        if outside.any():
            found = array[np.argmax(outside)]
            raise ValueError(f"CharVocab: codes must be in [0, {len(self) - 1}], got {found}")
        return _code_points(self.characters)[array].tobytes().decode("utf-32-le", "surrogatepass")


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
