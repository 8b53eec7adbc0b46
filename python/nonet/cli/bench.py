"""`nonet bench [FAMILY …]`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from nonet.bench import FAMILIES, BenchError
from nonet.bench import report as reports
from nonet.bench import run as runs
from nonet.bench.machine import machine
from nonet.bench.opponents import check_opponents
from nonet.cli.errors import OK, UsageError
from nonet.train.log import to_json


def run(args: argparse.Namespace) -> int:
    try:
        document = _document(args)
    except BenchError as error:
        raise UsageError(str(error)) from error
    if args.json:
        print(to_json(document))
    else:
        print(describe(document, reports.piped if args.markdown else reports.aligned))
    return OK


def _document(args: argparse.Namespace) -> dict[str, Any]:
    """Measures, or loads; then saves, draws and compares. What can be refused is refused before measuring."""
    against = _list(args.against)
    check_opponents(against)
    if args.roofline is not None:
        from nonet.plot import require_matplotlib

        require_matplotlib()
    if args.load is not None:
        if args.families or args.save is not None:
            raise UsageError("--load shows a saved run and does not go with a FAMILY or --save")
        document = reports.load(args.load)
    else:
        document = None
    old = None if args.compare is None else reports.load(args.compare)
    if old is not None:
        here = {**machine(), "threads": args.threads or machine()["threads"]}
        reports.check_same_machine(old, document or {"machine": here}, str(args.compare))
    if document is None:
        document = _measured(args, against)
    if args.roofline is not None:
        from nonet.plot.roofline import draw

        draw(document, args.roofline)
    if old is not None:
        style = reports.piped if args.markdown else reports.aligned
        print(reports.ab_table(old, document, style), file=sys.stderr if args.json else sys.stdout)
    return document


def _measured(args: argparse.Namespace, against: list[str]) -> dict[str, Any]:
    """A run, saved after every case: an interruption loses the case under way."""

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    kept: dict[str, Any] = {"rows": []}

    def keep(document: dict[str, Any]) -> None:
        nonlocal kept
        if args.save is not None:
            reports.save(document, args.save)
            kept = document

    try:
        document = runs.run(
            args.families or list(FAMILIES),
            against=against,
            only=_list(args.only),
            wanted_precisions=_list(args.precision),
            threads=args.threads,
            patience=args.patience,
            quick=args.quick,
            tell=tell,
            keep=keep,
        )
    except KeyboardInterrupt:
        if kept["rows"]:
            tell(f"{args.save} has the {len(kept['rows'])} rows measured so far")
        raise
    keep(document)
    return document


def describe(document: dict[str, Any], style: reports.Style) -> str:
    """The whole of a document for people: a paragraph, or a table, and an empty line between them."""
    where = document["machine"]
    lines = [
        f"{where['cpu']}, {where['isa']}, {where['threads']} of {where['cpus']} processors; "
        + ", ".join(f"{name} {version}" for name, version in document["versions"].items() if version)
        + f"; {document['commit']}, {document['date']}"
    ]
    lines += [f"{name}={value}" for name, value in document["environment"].items()]
    if document["quick"]:
        lines.append("--quick: a trial of the benchmark, not a measurement")
    lines += [
        f"this kernel has no {name}: the guard is blind there"
        for name, has in document["guards"].items()
        if not has
    ]
    rows = reports.rows_of(document)
    lines += ["", reports.peak_table(document, style)]
    for family in document["families"]:
        own = [row for row in rows if row.family == family]
        if own:
            lines += ["", family, "", reports.table(own, style), "", *reports.ratio_summary(own)]
            memory = reports.memory_table(own, style)
            lines += ["", memory] if memory else []
    lines += [f"skipped {entry['case']}: {entry['reason']}" for entry in document["skipped"]]
    if any(not row.clean for row in rows):
        lines.append("~ never got clean repetitions: the machine was busy")
    return "\n".join(lines)


def _list(text: str | None) -> list[str]:
    return [part for part in (text or "").split(",") if part]
