"""The guard on made-up counters, the statistics, alternation and rotation."""

from __future__ import annotations

import os

import pytest

from nonet.bench import harness
from nonet.bench.harness import (
    Calibration,
    Contestant,
    Effort,
    Guard,
    Meter,
    Reading,
    compare,
    rotate,
    summary,
)

TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def proc(tmp_path):
    """A /proc with two threads and two processors."""

    def write(delays=(0, 0), steal=0):
        for i, delay in enumerate(delays):
            folder = tmp_path / "self" / "task" / str(i)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "schedstat").write_text(f"123456789 {delay} 42\n")
        (tmp_path / "stat").write_text(f"cpu  10 20 30 40 50 60 70 {steal} 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n")
        return Meter(tmp_path)

    return write


def test_meter_adds_the_threads(proc):
    meter = proc(delays=(1_500_000_000, 500_000_000), steal=3 * TICKS)
    reading = meter.read()
    assert reading.queue == pytest.approx(2.0) and reading.steal == pytest.approx(3.0)
    assert meter.has_schedstat() and meter.has_steal()


def test_meter_without_counters(tmp_path):
    meter = Meter(tmp_path)
    assert not meter.has_schedstat() and not meter.has_steal()
    assert (meter.read().queue, meter.read().steal) == (0, 0)
    (tmp_path / "stat").write_text("cpu 1 2\n")
    folder = tmp_path / "self" / "task" / "7"
    folder.mkdir(parents=True)
    (folder / "schedstat").write_text("nonsense\n")
    assert not meter.has_schedstat() and not meter.has_steal()


@pytest.mark.parametrize(
    ("queue", "steal", "quiet"),
    [(0, 0, True), (0.0019, 0, True), (0.0021, 0, False), (0, 0.01, False), (0, 0.0019, True)],
)
def test_two_percent_of_the_wall_time(proc, queue, steal, quiet):
    before, after = Reading(1.0, 5.0, 7.0), Reading(1.1, 5.0 + queue, 7.0 + steal)
    assert proc().quiet(before, after) is quiet


def test_calibration_finds_its_length():
    calibration = Calibration(seconds=2e-4, probe=lambda iterations: iterations * 1e-8)
    assert calibration._iterations == pytest.approx(20_000, rel=0.01)
    assert calibration.measure() == pytest.approx(1e8)


def test_calibration_tolerates_three_percent():
    calibration = Calibration(probe=lambda iterations: iterations * 1e-8)
    assert calibration.steady(1e8, 0.98e8, 1.02e8)
    assert not calibration.steady(1e8, 0.96e8)
    assert not calibration.steady(1.04e8, 1e8)


def test_calibration_is_not_taken_in_by_a_slow_phase_but_follows_a_new_clock():
    seconds = 1e-8
    calibration = Calibration(probe=lambda iterations: iterations * seconds)
    seconds = 2e-8
    for _ in range(10):
        assert not calibration.steady(calibration.measure())
    for _ in range(200):
        calibration.measure()
    assert calibration.steady(calibration.measure())


class Steady(Calibration):
    """A calibration that fails when told so."""

    def __init__(self, verdicts=()):
        self.verdicts = list(verdicts)

    def measure(self):
        return 1.0

    def steady(self, *speeds):
        return self.verdicts.pop(0) if self.verdicts else True


SHORT = Effort(blocks=4, block_seconds=1e-5, patience=3)


def test_blocks_alternate_and_prepare(proc):
    order = []
    sides = [
        Contestant("a", lambda: order.append("a"), lambda: order.append("before a")),
        Contestant("b", lambda: order.append("b")),
    ]
    timings = compare(sides, effort=SHORT, guard=Guard(proc(), Steady()))
    assert list(timings) == ["a", "b"]
    for timing in timings.values():
        assert timing.clean and timing.blocks == timing.clean_blocks == 4
        assert 0 < timing.best <= timing.low <= timing.median <= timing.high
    runs = [name for i, name in enumerate(order) if i == 0 or order[i - 1] != name]
    assert runs == ["before a", "a", "b"] * 5  # one to count repetitions, four blocks


def test_a_disturbed_block_is_repeated(proc):
    timings = compare({"a": lambda: None}, effort=SHORT, guard=Guard(proc(), Steady([False, False, True])))
    assert timings["a"].clean and timings["a"].clean_blocks == 4


def test_never_clean(proc):
    timings = compare({"a": lambda: None}, effort=SHORT, guard=Guard(proc(), Steady([False] * 12)))
    assert not timings["a"].clean and timings["a"].clean_blocks == 0 and timings["a"].median > 0


def test_run_queue_delay_makes_a_block_dirty(proc):
    delay = 0

    def call():
        nonlocal delay
        delay += 10**9
        proc(delays=(delay, 0))

    timings = compare({"a": call}, effort=SHORT, guard=Guard(proc(), Steady()))
    assert not timings["a"].clean


def test_summary():
    timing = summary([4.0, 2.0, 3.0, 1.0, 5.0], [100.0], 5)
    assert (timing.low, timing.median, timing.high, timing.best) == (2, 3, 4, 1) and timing.clean
    few = summary([1.0], [9.0, 9.0, 9.0], 3)  # less than half: all count
    assert few.median == 9 and few.best == 1 and not few.clean
    most = summary([1.0, 1.0], [9.0], 3)
    assert most.median == 1 and not most.clean
    assert summary([2.0], [], 1).high == 2


def test_rotation():
    seen = []
    call = rotate([lambda: seen.append(0), lambda: seen.append(1), lambda: seen.append(2)])
    for _ in range(7):
        call()
    assert seen == [0, 1, 2, 0, 1, 2, 0]


def test_cold_contestants_get_no_warm_up(proc, monkeypatch):
    monkeypatch.setattr(harness, "_repetitions", lambda side, seconds: 2)
    calls = {"warm": 0, "cold": 0}

    def count(name):
        calls[name] += 1

    for name in calls:
        compare(
            [Contestant(name, lambda name=name: count(name), cold=name == "cold")],
            effort=Effort(blocks=3, block_seconds=1e-9, patience=1),
            guard=Guard(proc(), Steady()),
        )
    assert calls == {"warm": 3 * 3, "cold": 3 * 2}


def test_the_real_guard():
    guard = Guard()
    assert guard.available()["calibration"]
    assert guard.calibration.measure() > 0
    assert compare({"a": lambda: None}, effort=Effort(2, 1e-4, 1), guard=guard)["a"].median < 1e-3
