"""Opening files: every fault of the file system, of gzip or of an encoding becomes a `DataError`."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from nonet.data.errors import DataError, MissingDataError

PathLike = str | os.PathLike[str]


@contextmanager
def opened(path: PathLike) -> Iterator[BinaryIO]:
    """Open `path` for reading bytes; a name that ends in .gz is decompressed on the way.

    DataError names the file for whatever goes wrong while it is open: missing, no file, not gzip, truncated,
    damaged.
    """
    path = Path(path)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            yield cast(BinaryIO, file)
    except DataError:
        raise
    except FileNotFoundError as error:
        raise MissingDataError(f"{path}: expected a file, found none") from error
    except EOFError as error:
        raise DataError(f"{path}: expected a complete gzip file, found a truncated one") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: expected an intact gzip file, found: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, found: {error.strerror or error}") from error


def read_decoded(path: PathLike, encoding: str = "utf-8") -> str:
    """Whole text of `path` (.gz or not), without a byte order mark; line ends are kept as they are.

    DataError with path:line:column (column = byte of the line, from 1) where the bytes do not fit `encoding`.
    """
    with opened(path) as file:
        data = file.read()
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        found = f"byte 0x{data[error.start]:02x}"
        raise DataError(f"{path}:{line}:{column}: expected {encoding} text, found {found}") from error


def require_directory(directory: PathLike, contents: str) -> Path:
    """`directory` as a Path; MissingDataError, which names the `contents` wanted, if it is none."""
    path = Path(directory)
    if not os.path.isdir(path):  # unlike Path.is_dir, never an OSError
        found = "a file" if os.path.exists(path) else "nothing there"
        raise MissingDataError(f"{path}: expected a directory with {contents}, found {found}")
    return path
