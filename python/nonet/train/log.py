"""The log of a run: one JSON object per line, and TensorBoard beside it where it is wanted."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from nonet import io


def to_json(value: Any) -> str:
    """`value` as one line of strict JSON: a number that is not finite becomes null."""
    return json.dumps(_finite(value), allow_nan=False, ensure_ascii=False)


class JsonLog:
    """Appends to `path` after cutting it to `length` bytes, which is what a checkpoint remembers of it.

    So the lines that a killed run wrote after its last checkpoint are written once, by the run that continues it.
    """

    def __init__(self, path: Path, length: int = 0) -> None:
        self._path = path
        self._file: BinaryIO = open(path, "ab")  # noqa: SIM115  closed by close()
        if self._file.tell() > length:
            self._file.truncate(length)
            self._file.seek(0, os.SEEK_END)

    def write(self, record: dict[str, Any]) -> None:
        with io.naming(self._path):
            self._file.write(to_json(record).encode() + b"\n")
            self._file.flush()

    def length(self) -> int:
        """Bytes so far, all of them on the disk."""
        with io.naming(self._path):
            os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        with io.naming(self._path):
            self._file.close()


def tensorboard_writer(folder: Path, step: int) -> Any:
    """A tensorboardX writer into `folder` that hides what an earlier run wrote after `step`.

    None, and one line on stderr that names the extra, if tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    except ImportError:
        print(
            "no TensorBoard log: tensorboardX is missing; install the extra `tensorboard` "
            "(pip install 'nonet[tensorboard]')",
            file=sys.stderr,
        )
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
