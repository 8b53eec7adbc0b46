"""Timing beside an opponent: the same process, alternating blocks, medians against medians, a guard against noise.

A block of repetitions counts only if the run-queue delay of all threads of the process (second field of
/proc/self/task/*/schedstat) stayed below 2 % of its wall time; blocks that did not are repeated, and a result says so
when clean blocks never came.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Timing", "compare"]

IDLE = (
    0.012  # seconds between blocks, so that one library's spinning threads are asleep when the other's work
)


@dataclass(frozen=True)
class Timing:
    """Seconds per call: the median over blocks, its quartiles, and whether every block was undisturbed."""

    median: float
    low: float
    high: float
    clean: bool


def _queue_delay() -> float:
    total = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            total += int(path.read_text().split()[1])
        except (
            OSError,
            IndexError,
            ValueError,
        ):  # a thread that has just ended, or no such file on this kernel
            continue
    return total * 1e-9


def _block(call: Callable[[], object], repetitions: int) -> tuple[float, bool]:
    delay = _queue_delay()
    start = time.perf_counter()
    for _ in range(repetitions):
        call()
    wall = time.perf_counter() - start
    return wall / repetitions, _queue_delay() - delay <= 0.02 * wall


def compare(
    calls: Mapping[str, Callable[[], object]],
    *,
    blocks: int = 15,
    block_seconds: float = 0.05,
    patience: int = 4,
) -> dict[str, Timing]:
    """Times the calls in alternating blocks of block_seconds; a disturbed one is repeated up to patience times."""
    repetitions = {}
    for name, call in calls.items():
        for _ in range(3):
            call()
        start = time.perf_counter()
        call()
        repetitions[name] = max(1, round(block_seconds / max(time.perf_counter() - start, 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    dirty = dict.fromkeys(calls, 0)
    for _ in range(blocks):
        for name, call in calls.items():
            for attempt in range(patience):
                time.sleep(IDLE)
                seconds, clean = _block(call, repetitions[name])
                if clean or attempt == patience - 1:
                    times[name].append(seconds)
                    dirty[name] += not clean
                    break
    out = {}
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        out[name] = Timing(median, low, high, dirty[name] == 0)
    return out
