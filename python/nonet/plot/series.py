"""A forecast behind what it goes on from: a panel per column, intervals shaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO

import numpy as np

from nonet import io
from nonet.plot import require_matplotlib

__all__ = ["draw"]


def draw(
    path: str | os.PathLike[str],
    past: np.ndarray,
    forecast: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    columns: Sequence[str],
) -> None:
    """Draws the last rows `past` [R, C] and the `forecast` [H, C] with its interval into `path`, as PNG.

    Errors: MissingExtraError without matplotlib.
    """
    require_matplotlib()
    from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]

    figure = Figure(figsize=(9, 1 + 1.6 * len(columns)), layout="constrained")
    panels = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
    before, after = np.arange(-len(past) + 1, 1), np.arange(1, len(forecast) + 1)
    for i, (name, panel) in enumerate(zip(columns, panels, strict=True)):
        panel.plot(before, past[:, i], color="#888888", lw=1.2)
        panel.fill_between(after, low[:, i], high[:, i], color="#56B4E9", alpha=0.35, lw=0)
        panel.plot(np.append(0, after), np.append(past[-1, i], forecast[:, i]), color="#0072B2", lw=1.6)
        panel.set_ylabel(name)
    panels[-1].set_xlabel("steps from the last known one")
    out = BytesIO()
    figure.savefig(out, format="png", dpi=120)
    io.write_bytes(path, out.getvalue())
