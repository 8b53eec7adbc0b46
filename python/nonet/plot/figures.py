"""What all figures share: one look, and the same bytes for the same numbers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from nonet import io
from nonet.plot import require_matplotlib

__all__ = ["BLUE", "GREY", "ORANGE", "axes", "save"]

# Okabe & Ito's, which the colour-blind can tell apart.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#888888"


def axes(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (6.0, 3.6), **options: Any
) -> tuple[Any, Sequence[Any]]:
    """A figure and its panels, row by row. Errors: MissingExtraError without matplotlib."""
    require_matplotlib()
    from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]

    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(True, color="#eeeeee")
        panel.set_axisbelow(True)
    return figure, panels


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Writes a figure as PNG, or as SVG if the name ends so, atomically."""
    kind = "svg" if os.fspath(path).lower().endswith(".svg") else "png"
    import matplotlib  # pyright: ignore[reportMissingImports]

    out = BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "nonet"}):
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(out, format=kind, dpi=110, metadata=metadata)
    io.write_bytes(path, out.getvalue())
