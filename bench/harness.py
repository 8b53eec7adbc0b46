"""Timing that one can trust: contestants in one process, alternating blocks, medians against medians, a guard.

A block of repetitions counts only if nothing disturbed it:

* the run-queue delay of all threads of the process (second field of /proc/self/task/*/schedstat) stayed below 2 % of
  the block's wall time, summed over the threads;
* the machine lost no more than that to other guests (steal column of /proc/stat; its ticks are 10 ms);
* a calibration of 0.2 ms, multiply-adds in registers on all threads, ran before and after it within 3 % of its usual
  speed.

Blocks that were disturbed are repeated, a few times; a Timing says when undisturbed ones never came. Between blocks
the process idles for longer than any library's threads spin, so that those of one are asleep when another's work.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import nonet
from nonet import _core

__all__ = [
    "FULL",
    "QUICK",
    "Calibration",
    "Contestant",
    "Effort",
    "Guard",
    "Meter",
    "Timing",
    "compare",
    "rotate",
]

IDLE = 0.012  # seconds between blocks
SHARE = 0.02  # of a block's wall time that may be lost to others


@dataclass(frozen=True)
class Timing:
    """Seconds per call: median and quartiles over blocks, the fastest block, and how many blocks were undisturbed.

    The figures are those of the undisturbed blocks if at least half of the blocks wanted were so, else of all.
    """

    median: float
    low: float
    high: float
    best: float
    blocks: int
    clean_blocks: int

    @property
    def clean(self) -> bool:
        return self.clean_blocks >= self.blocks


@dataclass(frozen=True)
class Contestant:
    """One side of a comparison. `before` runs untimed ahead of each of its blocks: a precision to set, say.

    A cold contestant is one whose calls rotate through more memory than the caches hold; it gets no warm-up call.
    """

    name: str
    call: Callable[[], Any]
    before: Callable[[], Any] | None = None
    cold: bool = False


@dataclass(frozen=True)
class Effort:
    """How many blocks of how many seconds, and how often each is timed until one is undisturbed."""

    blocks: int = 15
    block_seconds: float = 0.05
    patience: int = 4


FULL = Effort()
QUICK = Effort(blocks=3, block_seconds=0.002, patience=2)  # shows that all works; measures little


@dataclass(frozen=True)
class Reading:
    """What has been lost so far, in seconds: to waiting for a processor, and to other guests."""

    wall: float
    queue: float
    steal: float


class Meter:
    """Reads the counters of the kernel. `proc` is where they are."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self.proc = proc
        self._tick = 1 / os.sysconf("SC_CLK_TCK")

    def has_schedstat(self) -> bool:
        """Whether the kernel counts run-queue delays; without it that part of the guard is blind."""
        return any(True for _ in self._delays())

    def has_steal(self) -> bool:
        return self._steal() is not None

    def read(self) -> Reading:
        return Reading(time.perf_counter(), sum(self._delays()) * 1e-9, self._steal() or 0.0)

    def quiet(self, before: Reading, after: Reading) -> bool:
        """Whether at most SHARE of the time between two readings was lost, each way."""
        allowed = SHARE * (after.wall - before.wall)
        return after.queue - before.queue <= allowed and after.steal - before.steal <= allowed

    def _delays(self) -> Iterable[int]:
        for path in (self.proc / "self" / "task").glob("*/schedstat"):
            try:
                yield int(path.read_text().split()[1])
            except (OSError, IndexError, ValueError):  # a thread that has just ended, or a kernel without
                continue

    def _steal(self) -> float | None:
        try:
            words = (self.proc / "stat").read_text().split("\n", 1)[0].split()
            return int(words[8]) * self._tick
        except (OSError, IndexError, ValueError):
            return None


class Calibration:
    """Whether the processor runs at its usual speed: a known amount of work, timed before and after a block.

    "Usual" is the upper quartile of the speeds of the last calibrations: it follows a clock that changes for good,
    and a slow phase does not count as usual before it makes up most of what was seen.
    """

    def __init__(
        self, seconds: float = 2e-4, tolerance: float = 0.03, probe: Callable[[int], float] | None = None
    ) -> None:
        self.tolerance = tolerance
        self._probe = probe or _fma_seconds
        self._iterations = 64
        while self._probe(self._iterations) < seconds / 4:
            self._iterations *= 2
        spent = min(self._probe(self._iterations) for _ in range(5))
        self._iterations = max(1, round(self._iterations * seconds / spent))
        self._speeds: deque[float] = deque(maxlen=200)
        for _ in range(16):
            self.measure()

    def measure(self) -> float:
        """The speed now, in iterations per second."""
        self._probe(1 + self._iterations // 2)  # wakes the threads and the clock
        speed = self._iterations / self._probe(self._iterations)
        self._speeds.append(speed)
        return speed

    def usual(self) -> float:
        return statistics.quantiles(self._speeds, n=4)[2]

    def steady(self, *speeds: float) -> bool:
        return all(abs(speed / self.usual() - 1) <= self.tolerance for speed in speeds)


def _fma_seconds(iterations: int) -> float:
    start = time.perf_counter()
    _core.peak_fma(iterations, nonet.num_threads())
    return time.perf_counter() - start


class Guard:
    """The meter and the calibration together; make it once per run, after the number of threads is set."""

    def __init__(self, meter: Meter | None = None, calibration: Calibration | None = None) -> None:
        self.meter = meter or Meter()
        self.calibration = calibration or Calibration()

    def available(self) -> dict[str, bool]:
        """Which of the counters this kernel has."""
        return {
            "schedstat": self.meter.has_schedstat(),
            "steal": self.meter.has_steal(),
            "calibration": True,
        }


def compare(
    contestants: Sequence[Contestant] | Mapping[str, Callable[[], Any]],
    *,
    effort: Effort = FULL,
    guard: Guard | None = None,
) -> dict[str, Timing]:
    """Times the contestants in alternating blocks, each until it is undisturbed, `effort.patience` times at most."""
    sides = _contestants(contestants)
    guard = guard or Guard()
    nonet.empty_cache()  # what other cases freed fits nobody here
    repetitions = {side.name: _repetitions(side, effort.block_seconds) for side in sides}
    clean: dict[str, list[float]] = {side.name: [] for side in sides}
    dirty: dict[str, list[float]] = {side.name: [] for side in sides}
    time.sleep(IDLE)
    speed = guard.calibration.measure()
    for _ in range(effort.blocks):
        for side in sides:
            for _ in range(effort.patience):
                seconds, quiet = _block(side, repetitions[side.name], guard.meter)
                time.sleep(IDLE)
                before, speed = speed, guard.calibration.measure()
                undisturbed = quiet and guard.calibration.steady(before, speed)
                (clean if undisturbed else dirty)[side.name].append(seconds)
                if undisturbed:
                    break
    return {side.name: summary(clean[side.name], dirty[side.name], effort.blocks) for side in sides}


def summary(clean: Sequence[float], dirty: Sequence[float], blocks: int) -> Timing:
    """The Timing of blocks, of which `blocks` undisturbed ones were wanted."""
    enough = len(clean) >= max(1, math.ceil(blocks / 2))
    values = sorted(clean if enough else [*clean, *dirty])
    low, median, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    return Timing(median, low, high, values[0], blocks, len(clean))


def rotate(calls: Sequence[Callable[[], Any]]) -> Callable[[], Any]:
    """A call that is the next of `calls` each time: the same work on other memory."""
    if len(calls) == 1:
        return calls[0]
    turn = cycle(calls)
    return lambda: next(turn)()


def _contestants(given: Sequence[Contestant] | Mapping[str, Callable[[], Any]]) -> list[Contestant]:
    if isinstance(given, Mapping):
        return [Contestant(name, call) for name, call in given.items()]
    return list(given)


def _repetitions(side: Contestant, seconds: float) -> int:
    """Calls that fill a block of `seconds`: from the faster of two runs, after calls that warm up."""
    if side.before is not None:
        side.before()
    spent, count = 0.0, 1
    side.call()
    while True:
        start = time.perf_counter()
        for _ in range(count):
            side.call()
        spent = time.perf_counter() - start
        if spent >= seconds / 4:
            return max(1, round(count * seconds / spent))
        count *= 2


def _block(side: Contestant, repetitions: int, meter: Meter) -> tuple[float, bool]:
    if side.before is not None:
        side.before()
    call = side.call
    if not side.cold and repetitions > 1:  # a call as long as a block warms itself
        call()
    before = meter.read()
    start = time.perf_counter()
    for _ in range(repetitions):
        call()
    wall = time.perf_counter() - start
    return wall / repetitions, meter.quiet(before, meter.read())
