"""`nonet doctor`."""

from __future__ import annotations

import argparse
import time
from typing import Any

from nonet import _core
from nonet.cli.errors import FAILED, OK, sentence
from nonet.cli.info import collect
from nonet.cli.selftest import CHECKS, ONLY_CPU, TOLERANCE, Draw, error_of
from nonet.ops.isa import ISAS, use_isa
from nonet.train.log import to_json


def run(args: argparse.Namespace) -> int:
    began = time.perf_counter()
    facts = collect()
    checks = [examine(family, isa) for isa in facts["isas"] for family in CHECKS]
    if facts["cuda"]:
        checks += [examine(family, "cuda") for family in CHECKS if family not in ONLY_CPU]
    missing = _missing(facts)
    failed = [check for check in checks if not check["ok"]]
    if args.json:
        seconds = round(time.perf_counter() - began, 3)
        print(to_json({"ok": not failed, "checks": checks, "missing": missing, "seconds": seconds}))
        return FAILED if failed else OK
    for family in CHECKS:
        words = [f"{c['where']} {_verdict(c)}" for c in checks if c["family"] == family]
        print(f"{family:<12} {'  '.join(words)}")
    for name, reason in missing.items():
        print(f"missing: {name}: {reason}")
    print(f"{len(checks) - len(failed)} of {len(checks)} checks passed")
    return FAILED if failed else OK


def examine(family: str, where: str) -> dict[str, Any]:
    """Runs one family's check on an instruction set or a device; an exception in it is a failure with its sentence."""
    error, problem = 0.0, None
    isa, device = (where, "cpu") if where in ISAS else (_core.isa(), where)
    try:
        with use_isa(isa):
            for result, expected in CHECKS[family](Draw(device)):
                error = max(error, error_of(result, expected))
    except Exception as exception:  # whatever it is, the other checks go on
        problem = sentence(exception)
    ok = problem is None and error <= TOLERANCE
    if problem is None and not ok:
        problem = f"error {error:.1e}, at most {TOLERANCE:.0e} allowed"
    return {"family": family, "where": where, "ok": ok, "error": error, "problem": problem}


def _verdict(check: dict[str, Any]) -> str:
    return f"ok ({check['error']:.0e})" if check["ok"] else f"FAILED: {check['problem']}"


def _missing(facts: dict[str, Any]) -> dict[str, str]:
    """What this machine does without, and why."""
    out = {isa: "this processor does not have it" for isa in ISAS if isa not in facts["isas"]}
    if not facts["cuda"]:
        out["cuda"] = facts["cuda_reason"]
    for extra, version in facts["extras"].items():
        if version is None:
            out[f"extra {extra}"] = f"not installed; pip install 'nonet[{extra}]'"
    return out
