"""What the tasks of sequences share."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nonet import io
from nonet.cli.errors import UsageError


def metadata_field(metadata: Mapping[str, str], name: str, path: Any) -> Any:
    """What a checkpoint's metadata say under `name`. FileError that names the checkpoint `path` if nothing."""
    try:
        return json.loads(metadata[name])
    except (KeyError, ValueError) as error:
        raise io.FileError(
            f"{path}: expected a checkpoint with {name} in its metadata, found none"
        ) from error


def write_out(text: str, path: str | None) -> None:
    """Prints `text`, or writes it to a file."""
    if path is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        return
    io.write_text(Path(path), text)
    print(f"written to {path}", file=sys.stderr)


def refuse(args: Any, preset: str, *names: str) -> None:
    """UsageError if one of these options of `generate` is given."""
    for name in names:
        if getattr(args, name, None) is not None:
            raise UsageError(f"--{name.replace('_', '-')} has no meaning for {preset}")
