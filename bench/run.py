"""Runs families and gathers everything that a reader of the figures has to know into one document."""

from __future__ import annotations

import fnmatch
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import nonet
from nonet.bench import FAMILIES
from nonet.bench.errors import BenchError
from nonet.bench.harness import FULL, QUICK, Contestant, Effort, Guard, Timing, compare
from nonet.bench.machine import commit, environment, machine, now, versions
from nonet.bench.opponents import check_opponents, details, precisions, restoring_precision, set_threads
from nonet.bench.peaks import Peaks
from nonet.bench.report import FORMAT, Row, row_to_json

__all__ = ["Options", "run"]


@dataclass
class Options:
    """What a family is told. `only` holds patterns of shell style for cases, or for `case/mode/state`."""

    against: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    quick: bool = False
    effort: Effort = FULL
    tell: Callable[[str], Any] = lambda _: None
    guard: Guard = field(default_factory=Guard)
    peaks: Peaks = field(default_factory=lambda: Peaks([], {}))
    skipped: list[dict[str, str]] = field(default_factory=list)

    def wants(self, case: str, mode: str = "", state: str = "") -> bool:
        full = "/".join(part for part in (case, mode, state) if part)
        return not self.only or any(_fits(pattern, full) for pattern in self.only)

    def time(self, contestants: Sequence[Contestant]) -> dict[str, Timing]:
        return compare(contestants, effort=self.effort, guard=self.guard)

    def skip(self, case: str, reason: str) -> None:
        self.skipped.append({"case": case, "reason": reason})
        self.tell(f"{case}: skipped: {reason}")


def run(
    families: Sequence[str],
    *,
    against: Sequence[str] = (),
    only: Sequence[str] = (),
    wanted_precisions: Sequence[str] = (),
    threads: int | None = None,
    quick: bool = False,
    patience: int | None = None,
    tell: Callable[[str], Any] = lambda _: None,
    keep: Callable[[dict[str, Any]], Any] = lambda _: None,
) -> dict[str, Any]:
    """The document of a run (see report.py for its rows). patience: how often a block is timed until it is undisturbed.
    keep: is given the document so far after every case.

    Errors: BenchError for a name that is unknown, an opponent that is missing, a pattern that fits no case;
    WrongResultError if a contestant computes something else.
    """
    for family in families:
        if family not in FAMILIES:
            raise BenchError(f"FAMILY must be one or more of {', '.join(FAMILIES)}, got {family!r}")
    modules = [importlib.import_module(FAMILIES[family][0]) for family in families]
    check_patterns(only, [name for module in modules for name in module.names()], families)
    check_opponents(against)
    chosen = tuple(precisions(wanted_precisions))
    threads_before = nonet.num_threads()
    try:
        set_threads(threads or threads_before, against)
        guard = Guard()
        effort = QUICK if quick else FULL
        if patience is not None:
            effort = replace(effort, patience=patience)
        options = Options(tuple(against), tuple(only), chosen, quick, effort, tell, guard)
        tell("measuring the machine's peaks")
        options.peaks = Peaks.measure(guard, QUICK if quick else Effort(blocks=9, block_seconds=0.02))
        rows: list[Row] = []
        with restoring_precision():
            for module in modules:
                for part in module.run(options):
                    rows += part
                    keep(document(options, rows, families))
        return document(options, rows, families)
    finally:
        nonet.set_num_threads(threads_before)


def _fits(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.split("/")[0], pattern)


def check_patterns(only: Sequence[str], names: Sequence[str], families: Sequence[str]) -> None:
    """Errors: BenchError for a pattern that no name fits."""
    for pattern in only:
        if not any(_fits(pattern, name) for name in names):
            examples = list(dict.fromkeys(name.split("/")[0] for name in names))[:4]
            raise BenchError(
                f"--only {pattern}: no case of {', '.join(families)} has such a name; "
                f"there are {', '.join(examples)} …, and {names[0]} for a part of one"
            )


def document(options: Options, rows: Sequence[Row], families: Sequence[str]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "commit": commit(),
        "date": now(),
        "families": list(families),
        "quick": options.quick,
        "machine": machine(),
        "versions": versions(),
        "environment": environment(),
        "opponents": details(options.against),
        "guards": options.guard.available(),
        "peaks": options.peaks.to_json(),
        "rows": [row_to_json(row) for row in rows],
        "skipped": options.skipped,
    }
