"""`--device` of the commands."""

from __future__ import annotations

from nonet import _core
from nonet.cli.errors import UsageError


def check_device(device: str | None) -> None:
    """Errors: UsageError for a device that is unknown or not there, with the reason."""
    try:
        _core.check_device(device or "cpu")
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"--device: {str(error).removeprefix('device: ')}") from error
