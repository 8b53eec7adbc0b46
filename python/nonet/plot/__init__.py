"""Pictures, drawn with matplotlib (extra `plot`), which is imported when something is drawn."""

from __future__ import annotations

import importlib.util

from nonet.io import MissingExtraError

__all__ = ["require_matplotlib"]


def require_matplotlib() -> None:
    """Errors: MissingExtraError if matplotlib is not installed."""
    try:
        found = importlib.util.find_spec("matplotlib") is not None
    except ValueError:  # its entry in sys.modules is None
        found = False
    if not found:
        raise MissingExtraError(
            "drawing needs matplotlib; install the extra `plot` (pip install 'nonet[plot]')"
        )
