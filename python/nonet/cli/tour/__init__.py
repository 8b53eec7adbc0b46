"""`nonet tour`: all nine model types, each trained for seconds, in one page with the floors they have to beat."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import nonet
from nonet import io
from nonet.cli.errors import FAILED, OK, UsageError
from nonet.cli.info import collect
from nonet.cli.tour.entries import ENTRIES, Entry, Found, Place
from nonet.cli.tour.page import write_page
from nonet.train.log import to_json


def run(args: argparse.Namespace) -> int:
    """Exit code 1 if a model does not beat its floor."""
    out = Path(args.out or "runs/tour")
    known = {entry.name: entry for entry in ENTRIES}
    chosen = args.only.split(",") if args.only else list(known)
    for name in chosen:
        if name not in known:
            raise UsageError(f"--only must list some of {', '.join(known)}, got {name!r}")
    if out.exists() and not out.is_dir():
        raise io.FileError(f"{out}: expected a folder for the tour, found a file")
    out.mkdir(parents=True, exist_ok=True)
    missing: set[str] = set()
    began = time.perf_counter()
    rows: list[tuple[Entry, Found, float]] = []
    for number, name in enumerate(chosen, 1):
        entry = known[name]
        print(f"[{number}/{len(chosen)}] {entry.title}: {entry.task}", file=sys.stderr, flush=True)
        started = time.perf_counter()
        nonet.manual_seed(args.seed)
        found = entry.train(Place(out, args.seed, missing))
        rows.append((entry, found, time.perf_counter() - started))
        print(f"      {_sentence(entry, found, rows[-1][2])}", file=sys.stderr, flush=True)
    for sentence in sorted(missing):
        print(f"nonet tour: some pictures are missing: {sentence}", file=sys.stderr)
    seconds = time.perf_counter() - began
    machine = _machine()
    write_page(out / "index.html", rows, seconds, machine)
    failed = [entry.name for entry, found, _ in rows if not found.beaten]
    record = {
        "page": str(out / "index.html"),
        "seconds": round(seconds, 1),
        "passed": not failed,
        "models": [_record(*row) for row in rows],
        "machine": machine,
    }
    if args.json:
        print(to_json(record))
    else:
        print("\n".join(_table(rows)))
        print(f"{len(rows)} models in {seconds:.0f} s; the page is {out / 'index.html'}")
    if failed:
        print(f"nonet tour: not above the floor: {', '.join(failed)}", file=sys.stderr)
    return FAILED if failed else OK


def _record(entry: Entry, found: Found, seconds: float) -> dict[str, Any]:
    return {
        "name": entry.name,
        "task": entry.task,
        "metric": found.metric,
        "value": found.value,
        "floor": found.floor,
        "floor_is": found.floor_is,
        "higher_is_better": found.higher_is_better,
        "margin": found.margin,
        "beaten": found.beaten,
        "seconds": round(seconds, 2),
        "steps": found.steps,
        "parameters": found.parameters,
        **found.facts,
    }


def _sentence(entry: Entry, found: Found, seconds: float) -> str:
    sign = "beats" if found.beaten else "DOES NOT BEAT"
    return (
        f"{found.metric} {found.value:.4f} {sign} {found.floor:.4f} ({found.floor_is}), "
        f"{found.parameters:,} parameters, {seconds:.1f} s"
    )


def _table(rows: list[tuple[Entry, Found, float]]) -> list[str]:
    cells = [("model", "metric", "value", "floor", "margin", "seconds", "floor is")]
    for entry, found, seconds in rows:
        cells.append(
            (
                entry.title,
                found.metric,
                f"{found.value:.4f}",
                f"{found.floor:.4f}",
                f"{found.margin:+.4f}" + ("" if found.beaten else " !"),
                f"{seconds:.1f}",
                found.floor_is,
            )
        )
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    out = []
    for row in cells:
        parts = [
            text.rjust(width) if 2 <= i <= 5 else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        out.append("  ".join(parts).rstrip())
    return out


def _machine() -> dict[str, Any]:
    facts = collect()
    return {
        "processor": _processor(),
        "cpus": facts["cpus"],
        "threads": facts["threads"],
        "isa": facts["isa"],
        "platform": facts["platform"],
        "python": facts["python"],
        "nonet": facts["nonet"],
    }


def _processor() -> str:
    """The processor's name as Linux has it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() in ("model name", "Model", "Hardware"):
                    return value.strip()
    except OSError:
        pass
    return "unknown processor"
