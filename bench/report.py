"""Results: rows, the document that `--save` writes, tables for people, and the comparison of two documents."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nonet import io
from nonet.bench.errors import BenchError
from nonet.bench.harness import Timing
from nonet.bench.machine import differences
from nonet.bench.peaks import Peaks

__all__ = [
    "FORMAT",
    "Row",
    "ab_table",
    "check_same_machine",
    "geometric_mean",
    "load",
    "memory_table",
    "rated",
    "save",
    "table",
]

FORMAT = 1  # of the document


@dataclass(frozen=True)
class Row:
    """One contestant on one case. Times in seconds; `clean` is false if undisturbed blocks never came.

    library: nonet, torch, numpy; variant: its precision and options (`highest`, `bfloat16`, `float32, fused Adam`).
    exact: float32 results, so that it may be set against float32. flops and bytes are those of the case: operations
    needed, and operands and result moved once. `percent` is the share of `roof`, a measured peak. peak_bytes: memory
    that a training takes at most beyond the imported library.
    """

    family: str
    case: str
    mode: str
    state: str
    library: str
    variant: str
    exact: bool
    median: float
    low: float
    high: float
    clean: bool
    flops: float | None = None
    bytes: float | None = None
    gflops: float | None = None
    gbs: float | None = None
    percent: float | None = None
    roof: str | None = None
    peak_bytes: float | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.family, self.case, self.mode, self.state

    @property
    def name(self) -> str:
        return f"{self.library} {self.variant}".strip()


def rated(
    timing: Timing,
    *,
    peaks: Peaks,
    isa: str,
    threads: int,
    precision: str = "highest",
    flops: float,
    bytes_: float,
    **labels: Any,
) -> Row:
    """A row with its rates and its share of the lower of two roofs: compute, or the bandwidth that feeds it.

    A warm case is fed by the smallest cache that holds its operands and result, a cold one by RAM.
    """
    gflops, gbs = flops / timing.median / 1e9, bytes_ / timing.median / 1e9
    level = "RAM" if labels["state"] == "cold" else peaks.level(bytes_, threads)
    compute, bandwidth = peaks.compute(isa, threads, precision), peaks.bandwidth(level, threads)
    shares = []
    if compute is not None:
        shares.append((gflops / compute[0], compute[1]))
    if bandwidth is not None:
        shares.append((gbs / bandwidth, f"{level} read"))
    share, roof = max(shares, default=(math.nan, None))
    return Row(
        **labels,
        median=timing.median,
        low=timing.low,
        high=timing.high,
        clean=timing.clean,
        flops=flops,
        bytes=bytes_,
        gflops=gflops,
        gbs=gbs,
        percent=None if roof is None else 100 * share,
        roof=roof,
    )


# ------------------------------------------------------------------------------------------------ files


def save(document: Mapping[str, Any], path: str) -> None:
    io.write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def load(path: str) -> dict[str, Any]:
    """A document that `save` wrote. Errors: BenchError for any other file."""
    try:
        document = json.loads(Path(path).read_text())
        if document["format"] != FORMAT:
            raise BenchError(f"{path}: expected format {FORMAT}, found {document['format']}")
        rows_of(document)
        Peaks.from_json(document)
    except OSError as error:
        raise BenchError(
            f"{path}: expected a file of `nonet bench --save`, found: {error.strerror}"
        ) from error
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BenchError(f"{path}: expected a file of `nonet bench --save`, found another") from error
    return document


def rows_of(document: Mapping[str, Any]) -> list[Row]:
    return [Row(**row) for row in document["rows"]]


def row_to_json(row: Row) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(row).items()
    }


# ------------------------------------------------------------------------------------------------ tables


Style = Callable[[Sequence[Sequence[str]], int], str]  # lines of cells, and how many columns are flush left


def aligned(lines: Sequence[Sequence[str]], left: int) -> str:
    """Columns as wide as their widest cell; the first `left` are flush left, the others right; empty ones go."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            if width
        ).rstrip()
        for line in lines
    )


def piped(lines: Sequence[Sequence[str]], left: int) -> str:
    """The same as a table of Markdown."""
    used = [i for i in range(len(lines[0])) if any(line[i] for line in lines)]
    rule = ["---" if i < left else "--:" for i in used]
    rows = [[line[i] for i in used] for line in lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]])


def seconds(value: float) -> str:
    """Three significant digits with the unit that suits."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value * 1e9:.0f} ns"


def table(rows: Sequence[Row], style: Style = aligned) -> str:
    """One line per case: every contestant's rate or time, and nonet's ratios to the fastest opponent.

    `x f32`: nonet at `highest` over the fastest opponent with float32 results; `x any`: the fastest of each side. Above
    1, nonet is faster. `~` marks figures for which undisturbed repetitions never came.
    """
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    names = list(dict.fromkeys(row.name for row in rows))
    opposed = any(row.library != "nonet" for row in rows)
    lines = [["case", "", "", *names, "% of", "roof", *(["x f32", "x any"] if opposed else [])]]
    for (_, case, mode, state), group in groups.items():
        cells = {row.name: _cell(row) for row in group}
        own = next((row for row in group if row.library == "nonet" and row.percent is not None), None)
        share = ["", ""] if own is None or own.percent is None else [f"{own.percent:.0f}", own.roof or ""]
        both = (
            [_ratio_cell(ratio(group, exact=True)), _ratio_cell(ratio(group, exact=False))] if opposed else []
        )
        lines.append([case, mode, state, *(cells.get(name, "") for name in names), *share, *both])
    return style(lines, 3)


def memory_table(rows: Sequence[Row], style: Style = aligned) -> str:
    """One line per case with a measured peak of memory: every contestant's, and the smallest opponent's over nonet's.

    Empty if there is none.
    """
    rows = [row for row in rows if row.peak_bytes is not None]
    names = list(dict.fromkeys(row.name for row in rows))
    opposed = any(row.library != "nonet" for row in rows)
    lines = [["peak memory", *names, *(["x f32", "x any"] if opposed else [])]]
    for case in dict.fromkeys(row.case for row in rows):
        group = [row for row in rows if row.case == case]
        cells = {row.name: f"{(row.peak_bytes or 0) / 2**20:.1f} MiB" for row in group}
        both = [_ratio_cell(ratio(group, exact=e, of=lambda row: row.peak_bytes)) for e in (True, False)]
        lines.append([case, *(cells.get(name, "") for name in names), *(both if opposed else [])])
    return style(lines, 1) if rows else ""


def peak_table(document: Mapping[str, Any], style: Style = aligned) -> str:
    """The measured peaks, one line per number of threads."""
    peaks = Peaks.from_json(document).peaks
    columns = list(dict.fromkeys((peak.kind, peak.name) for peak in peaks))
    lines = [["measured peak", *(" ".join(dict.fromkeys(column)) for column in columns)]]
    for threads in sorted({peak.threads for peak in peaks}):
        found = {(peak.kind, peak.name): peak for peak in peaks if peak.threads == threads}
        cells = [f"{threads} thread{'s' if threads > 1 else ''}"]
        for column in columns:
            peak = found.get(column)
            unit = "GF/s" if column[0] in ("fma", "dot", "amx") else "GB/s"
            cells.append(f"{'' if peak.clean else '~'}{peak.value:.4g} {unit}" if peak else "")
        lines.append(cells)
    return style(lines, 1)


def ratio_summary(rows: Sequence[Row]) -> list[str]:
    """Geometric means of the ratios by mode and state, and every case in which nonet is slower."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    out = []
    for exact, words in ((True, "float32, nonet at `highest`"), (False, "the fastest variant of each side")):
        found = {
            key: value for key, group in groups.items() if (value := ratio(group, exact=exact)) is not None
        }
        for kind in dict.fromkeys(key[2:] for key in found):
            ratios = {key[1]: value for key, value in found.items() if key[2:] == kind}
            slower = [f"{case} {value:.2f}" for case, value in ratios.items() if value < 1]
            label = " ".join(part for part in kind if part)
            out.append(
                f"{label}, {words}: {geometric_mean(ratios.values()):.2f} times as fast (geometric mean of "
                f"{len(ratios)}); slower in " + (", ".join(slower) or "none")
            )
    return out


def _cell(row: Row) -> str:
    mark = "" if row.clean else "~"
    rate = row.gflops is not None and row.bytes is not None  # a workload's time says more
    return mark + (f"{row.gflops:.4g} GF/s" if rate else seconds(row.median))


def _ratio_cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def ratio(
    group: Iterable[Row], *, exact: bool, of: Callable[[Row], float | None] = lambda row: row.median
) -> float | None:
    """How many times faster nonet is than the fastest opponent, medians against medians; None without both sides.

    exact: nonet at its default precision against float32 opponents; else the fastest variant of each side. of: what
    else is compared, less of it being better.
    """
    rows = [(row, value) for row in group if (value := of(row)) is not None]
    own = [v for r, v in rows if r.library == "nonet" and (not exact or r.variant == "highest")]
    other = [v for r, v in rows if r.library != "nonet" and (not exact or r.exact)]
    return min(other) / min(own) if own and other else None


def geometric_mean(values: Iterable[float]) -> float | None:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else None


# ------------------------------------------------------------------------------------------------ two runs


def check_same_machine(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> None:
    """Errors: BenchError if the machines of the two documents differ: their figures say nothing about the code."""
    found = differences(old["machine"], new["machine"])
    if found:
        raise BenchError(f"{path} cannot be compared: {'; '.join(found)} differ")


def ab_table(old: Mapping[str, Any], new: Mapping[str, Any], style: Style = aligned) -> str:
    """One line per contestant that both documents hold: medians, quartiles, ratio, and whether it means anything.

    The ratio is old over new: above 1, the new run is faster. `within the spread`: the quartile ranges overlap.
    """
    before = {(row.key, row.name): row for row in rows_of(old)}
    lines = [["case", "", "", "contestant", "old", "[q1, q3]", "new", "[q1, q3]", "ratio", "verdict"]]
    for row in rows_of(new):
        was = before.get((row.key, row.name))
        if was is None:
            continue
        lines.append(
            [
                *row.key[1:],
                row.name,
                seconds(was.median),
                _spread(was),
                seconds(row.median),
                _spread(row),
                f"{was.median / row.median:.3f}",
                verdict(was, row),
            ]
        )
    if len(lines) == 1:
        return "the two runs have no row in common"
    return style(lines, 4)


def verdict(old: Row, new: Row) -> str:
    if not (old.clean and new.clean):
        return "disturbed"
    if new.high < old.low:
        return "faster"
    return "slower" if new.low > old.high else "within the spread"


def _spread(row: Row) -> str:
    return f"[{seconds(row.low)}, {seconds(row.high)}]"
