"""Atomic writes: a reader, or a run that is killed, sees the old file or the new one and never a part of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PathLike = str | os.PathLike[str]


@contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """Gives an OSError inside the block the name of `path`, which that of a write (disk full) lacks."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or os.fspath(path)
        raise


@contextmanager
def replacing(path: PathLike) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` at the end of the with block, complete and on the disk.

    It is written under a temporary name in the same folder, flushed to the disk, and renamed. When the block raises,
    `path` stays as it was and the temporary file goes. OSError as usual (no such folder, disk full).
    """
    target = Path(os.path.realpath(path))  # through a symbolic link, not in its place
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with naming(target), open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(target.parent)


def write_bytes(path: PathLike, data: bytes) -> None:
    """Replaces `path` by `data` atomically."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: PathLike, text: str) -> None:
    """Replaces `path` by `text` (UTF-8) atomically."""
    write_bytes(path, text.encode())


def sync_folder(folder: PathLike) -> None:
    """Puts the names in `folder` on the disk, so that a rename survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems know no fsync of a folder
    finally:
        os.close(descriptor)


def remove_leftovers(folder: PathLike) -> None:
    """Removes the temporary files that killed writers left in `folder`. No other writer may be at work there."""
    for leftover in Path(folder).glob(".*.tmp"):
        with contextlib.suppress(OSError):
            leftover.unlink()
