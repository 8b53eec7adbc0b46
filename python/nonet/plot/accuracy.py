"""Errors of matrix products over the length of the sum: a panel per family of inputs, a line per contestant."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from io import StringIO
from typing import Any

from nonet import io
from nonet.plot import require_matplotlib

__all__ = ["draw"]

COLUMNS = 4
# Okabe & Ito's colours, by the beginning of a contestant's name; multiply-adds are solid, rounded operands dashed.
STYLES = {
    "nonet ieee, avx2": ("#000000", "-"),
    "nonet ieee": ("#888888", "-"),
    "nonet highest": ("#0072B2", "-"),
    "nonet high": ("#56B4E9", "--"),
    "nonet medium": ("#009E73", "--"),
    "numpy": ("#CC79A7", ":"),
    "torch float32": ("#D55E00", "-"),
    "torch bfloat16": ("#E69F00", "--"),
}


def draw(document: Mapping[str, Any], metric: str, words: str, path: str | os.PathLike[str]) -> None:
    """Draws one metric of a document of nonet.bench.accuracy into `path`, as SVG. words: what the metric is called.

    Errors: MissingExtraError without matplotlib.
    """
    require_matplotlib()
    import matplotlib  # pyright: ignore[reportMissingImports]
    from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
    from matplotlib.ticker import LogLocator  # pyright: ignore[reportMissingImports]

    results = document["results"]
    families = list(dict.fromkeys(result["family"] for result in results))
    sides = list(dict.fromkeys(result["side"] for result in results))
    rows = -(-len(families) // COLUMNS)
    # Text as text, and the same bytes for the same numbers.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "nonet"}):
        figure = Figure(figsize=(13, 3.1 * rows + 1), layout="constrained")
        axes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flat
        for family, panel in zip(families, axes, strict=False):
            for side in sides:
                mine = [r for r in results if (r["family"], r["side"]) == (family, side) and r[metric]]
                colour, line = next(
                    (s for name, s in STYLES.items() if side.startswith(name)), ("#999999", "-")
                )
                panel.plot(
                    [r["k"] for r in mine], [r[metric] for r in mine], line, color=colour, label=side, lw=1.3
                )
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.set_xticks([2**i for i in range(5, 18, 4)])
            panel.yaxis.set_major_locator(LogLocator(numticks=5))
            panel.minorticks_off()
            panel.tick_params(bottom=False, left=False)
            panel.set_title(family, fontsize=10, loc="left")
            panel.grid(True, color="#eeeeee")
            panel.spines[["top", "right"]].set_visible(False)
        for panel in list(axes)[len(families) :]:
            panel.set_axis_off()
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=len(sides),
            fontsize=9,
        )
        figure.supxlabel("K", fontsize=10)
        emulated = "; avx512 and above emulated" if document["machine"]["emulated"] else ""
        figure.suptitle(f"Error {words}, in units of $2^{{-24}}${emulated}", fontsize=11, x=0.01, ha="left")
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    # A hundredth of a point is enough, and indentation is a quarter of the file.
    io.write_text(path, re.sub(r"(\.\d\d)\d+", r"\1", re.sub(r"\n +", "\n", text.getvalue())))
