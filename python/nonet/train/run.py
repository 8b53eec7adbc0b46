"""The folder of a run: its files, and who may write into it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from nonet import io
from nonet.tensor import tensor

PathLike = str | os.PathLike[str]


class RunFolderError(ValueError):
    """A folder that a run cannot write into."""


class RunFolder:
    """`log.jsonl`, `last.safetensors` (complete state) and `model.safetensors` (reported parameters) of one run.

    resume=False: whatever `path` holds is renamed aside, to the first free of path.1, path.2 …; True: the run in it
    goes on. The folder is locked until `close`, or until the process ends in whatever way. RunFolderError if it is no
    folder, read-only, in use by another run, or cannot be renamed.
    """

    def __init__(self, path: PathLike, resume: bool = False) -> None:
        self.path = Path(path)
        self.resume = resume
        self.moved: Path | None = None
        self._lock: int | None = None
        try:
            if self.path.exists() and not self.path.is_dir():
                raise RunFolderError(f"{self.path}: expected a folder for the run, found a file")
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.path)
            if not resume and any(self.path.iterdir()):
                self._move_aside()
            if not os.access(self.path, os.W_OK):
                raise RunFolderError(f"{self.path}: expected a folder to write into, found a read-only one")
            io.remove_leftovers(self.path)
        except RunFolderError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise RunFolderError(
                f"{self.path}: cannot keep a run there: {error.strerror or error}"
            ) from error

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def last(self) -> Path:
        return self.path / "last.safetensors"

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _move_aside(self) -> None:
        """The lock stays with the moved folder until it is replaced by one on the new folder."""
        whole = Path(os.path.abspath(self.path))
        if whole == Path.cwd() or whole in Path.cwd().parents:
            raise RunFolderError(
                f"{self.path}: expected an empty folder, found the working folder with files in it"
            )
        number = 1
        while os.path.lexists(aside := whole.with_name(f"{whole.name}.{number}")):
            number += 1
        os.rename(whole, aside)
        self.moved = aside if self.path.is_absolute() else Path(os.path.relpath(aside))
        whole.mkdir()
        old, self._lock = self._lock, _locked(whole)
        if old is not None:
            os.close(old)


def save_state(path: Path, tree: Any, metadata: dict[str, str]) -> None:
    """Replaces `path` atomically by the whole state `tree` of a run."""
    tensors, skeleton = io.pack(tree)
    io.save_tensors(path, tensors, {**metadata, "state": skeleton})


def load_state(path: Path) -> Any:
    """The tree that `save_state` wrote. FileError if the file is missing, damaged, or no state of a run."""
    tensors, metadata = io.load_tensors(path)
    if "state" not in metadata:
        raise io.FileError(f"{path}: expected the complete state of a run, found a file without one")
    try:
        return io.unpack({name: tensor(array) for name, array in tensors.items()}, metadata["state"])
    except (KeyError, TypeError, ValueError) as error:
        raise io.FileError(f"{path}: expected the complete state of a run, found: {error}") from error


def _locked(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = os.path.samestat(os.fstat(descriptor), os.stat(path))
    except (BlockingIOError, FileNotFoundError):
        mine = False
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    if not mine:  # or another run has just renamed the folder that was opened, and made a new one
        os.close(descriptor)
        raise RunFolderError(f"{path}: another run is writing into this folder")
    return descriptor
