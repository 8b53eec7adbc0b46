"""The roofline chart of a benchmark: what the machine allows, and where every case lies below it.

x: arithmetic intensity, operations per byte of operands and result; y: operations per second; both logarithmic. A
level of memory is a rising line (bandwidth times intensity), a kind of arithmetic a horizontal one; both were measured.
Williams, Waterman & Patterson, "Roofline: an insightful visual performance model", CACM 2009.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nonet import io
from nonet.bench.errors import BenchError
from nonet.bench.peaks import Peaks
from nonet.bench.report import Row, rows_of
from nonet.plot import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes  # pyright: ignore[reportMissingImports]

__all__ = ["draw"]

# Colours that those who see fewer can tell apart (Okabe & Ito); shades of one for the variants of a library.
COLOURS = {
    "nonet": ("#0072B2", "#56B4E9", "#002B4D", "#9467BD", "#17A2B8"),
    "torch": ("#D55E00", "#E69F00"),
    "numpy": ("#666666",),
}
MARKERS = {"linear": "o", "matmul": "s", "grad": "^"}
LEVELS = {"L1": "#009E73", "L2": "#33B08F", "L3": "#66C3AA", "RAM": "#99D5C6"}
AMX = (("AMX, one product", 1), ("AMX / 3", 3), ("AMX / 6", 6))


def draw(document: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draws a document of nonet.bench.run into `path`: PNG, or SVG or PDF by its suffix.

    Errors: MissingExtraError without matplotlib; BenchError if no row knows its operations and bytes.
    """
    require_matplotlib()
    from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]

    rows = [row for row in rows_of(document) if row.gflops and row.flops and row.bytes]
    if not rows:
        raise BenchError("--roofline: no row tells operations and bytes; run the family matmul")
    figure = Figure(figsize=(12, 8.2), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    intensities = [_intensity(row) for row in rows]
    rates = [row.gflops for row in rows if row.gflops]
    left, right = min(intensities) / 2.2, max(intensities) * 3.5
    axes.set(xscale="log", yscale="log", xlim=(left, right))
    top = _draw_roofs(axes, document, left, right)
    bottom = min(rates) / 2
    axes.set_ylim(bottom, max(top, *rates) * 1.7)
    _draw_dots(axes, rows)
    _label_cases(axes, rows)
    where = document["machine"]
    title = [where["cpu"], where["isa"], _count(where["threads"], "thread"), document["commit"]]
    title += ["a trial, not a measurement"] if document["quick"] else []
    disturbed = sum(not row.clean for row in rows)
    title += [f"{disturbed} of {_count(len(rows), 'row')} disturbed"] if disturbed else []
    axes.set_title("  ·  ".join(title), fontsize=10, loc="left")
    axes.set_xlabel("operations per byte of operands and result (bfloat16 moves half the bytes)")
    axes.set_ylabel("GFLOP/s")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(True, which="major", color="#eeeeee", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    suffix = Path(path).suffix[1:].lower()
    with io.replacing(path) as file:
        figure.savefig(file, format=suffix if suffix in ("svg", "pdf") else "png")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _intensity(row: Row) -> float:
    return (row.flops or 0.0) / (row.bytes or 1.0)


def _draw_roofs(axes: Axes, document: Mapping[str, Any], left: float, right: float) -> float:
    """Draws the roofs that were measured; returns the highest."""
    peaks, where = Peaks.from_json(document), document["machine"]
    isa, threads = where["isa"], where["threads"]
    compute: list[tuple[str, float]] = []
    fma = peaks.compute(isa, threads)
    if fma is not None:
        compute.append((fma[1], fma[0]))
    amx = peaks.value("amx", "amx", threads)
    if amx is not None and isa == "amx":
        compute += [(name, amx / products) for name, products in AMX]
    dot = peaks.compute(isa, threads, "medium")
    if dot is not None and isa == "avx512_bf16":
        compute.append((dot[1], dot[0]))
    top = max((value for _, value in compute), default=0.0)
    for name, value in compute:
        axes.axhline(value, color="black", linewidth=1.2, zorder=1)
        axes.annotate(
            f"{name}  {value:,.0f} GFLOP/s",
            (right, value),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
        )
    for level, colour in LEVELS.items():
        bandwidth = peaks.value("read", level, threads)
        if bandwidth is None:
            continue
        end = min(right, top / bandwidth) if top else right
        line = np.array([left, max(end, left * 1.01)])
        axes.plot(line, line * bandwidth, color=colour, linewidth=1.6, zorder=1, label="_")
        axes.plot([], [], color=colour, linewidth=1.6, label=f"{level} read  {bandwidth:,.0f} GB/s")
    return top


def _draw_dots(axes: Axes, rows: Sequence[Row]) -> None:
    """A dot per row: colour tells the contestant, shape the mode; hollow is cold.

    Libraries stand a hair's breadth apart, or the last one would hide the others.
    """
    low, high = np.log(axes.get_xlim())
    libraries = list(dict.fromkeys(row.library for row in rows))
    shifts = {name: 0.004 * (i - (len(libraries) - 1) / 2) for i, name in enumerate(libraries)}
    for name, colour in _colours(rows).items():
        for row in (row for row in rows if row.name == name):
            axes.plot(
                _intensity(row) * np.exp(shifts[row.library] * (high - low)),
                row.gflops or 0.0,
                marker=MARKERS.get(row.mode, "D"),
                markersize=5.5,
                markeredgecolor=colour,
                markerfacecolor="none" if row.state == "cold" else colour,
                alpha=0.85,
                zorder=4 if row.library == "nonet" else 3,
                linestyle="none",
            )
        axes.plot([], [], "o", color=colour, label=name)
    for mode in dict.fromkeys(row.mode for row in rows):
        axes.plot([], [], MARKERS.get(mode, "D"), color="#444444", label=mode)
    if any(row.state == "cold" for row in rows):
        axes.plot([], [], "o", color="#444444", markerfacecolor="none", label="cold")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8.5, frameon=False)


def _colours(rows: Sequence[Row]) -> dict[str, str]:
    """A colour per contestant, in the order of the rows."""
    out: dict[str, str] = {}
    for library in dict.fromkeys(row.library for row in rows):
        shades = COLOURS.get(library, ("#CC79A7",))
        names = dict.fromkeys(row.name for row in rows if row.library == library)
        out |= {name: shades[i % len(shades)] for i, name in enumerate(names)}
    return out


def _label_cases(axes: Axes, rows: Sequence[Row]) -> None:
    """The cases' names above the chart's floor, spread so that none covers another, each tied to its column of dots."""
    places: dict[str, float] = {}
    lowest: dict[str, float] = {}
    for row in rows:
        if row.variant == "bfloat16":  # the same case with half the bytes
            continue
        places.setdefault(row.case, _intensity(row))
        lowest[row.case] = min(lowest.get(row.case, np.inf), row.gflops or np.inf)
    low, high = np.log(axes.get_xlim())
    bottom, top = axes.get_ylim()
    # The floor is lowered to make room for the names.
    room = (top / bottom) ** 0.22
    axes.set_ylim(bottom / room, top)
    order = sorted(places, key=lambda case: places[case])
    wanted = [float((np.log(places[case]) - low) / (high - low)) for case in order]
    for case, x in zip(order, spread(wanted, 0.019), strict=True):
        place = float(np.exp(low + x * (high - low)))
        axes.plot(
            [place, places[case], places[case]],
            [bottom * 0.8, bottom * 1.15, lowest[case]],
            color="#bbbbbb",
            linewidth=0.6,
            zorder=1,
        )
        axes.annotate(
            case, (place, bottom * 0.75), rotation=90, ha="center", va="top", fontsize=7.5, color="#333333"
        )


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Ascending positions moved apart until neighbours are `gap` away, as little as possible and within [0, 1]."""
    gap = min(gap, 0.96 / max(len(positions), 1))
    out = list(positions)
    for _ in range(200):
        for i in range(1, len(out)):
            lack = gap - (out[i] - out[i - 1])
            if lack > 0:
                out[i - 1] -= lack / 2
                out[i] += lack / 2
        out = [min(max(x, 0.01), 0.99) for x in out]
    return out
