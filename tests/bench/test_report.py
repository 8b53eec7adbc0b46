"""Rows, tables, roofs, saved runs and their comparison."""

from __future__ import annotations

import dataclasses
import json

import pytest

from nonet.bench import BenchError, report
from nonet.bench.harness import Timing
from nonet.bench.machine import cache_sizes, cpu_model, differences, machine
from nonet.bench.peaks import Peak, Peaks, working_sets
from nonet.bench.report import Row

KB, MB = 2**10, 2**20
CACHES = {"L1": 32 * KB, "L2": MB, "L3": 32 * MB}


def _row(library, variant, median, **changes):
    exact = variant in ("highest", "float32")
    row = Row("matmul", "8x8x8", "linear", "warm", library, variant, exact, median, median, median, True)
    return dataclasses.replace(row, **changes)


def _peaks():
    found = [
        Peak("fma", "avx512", 2, 400.0, 390.0, True),
        Peak("dot", "avx512_bf16", 2, 800.0, 790.0, True),
        Peak("amx", "amx", 2, 6000.0, 5900.0, True),
        Peak("read", "L1", 2, 1000.0, 990.0, True),
        Peak("read", "L2", 2, 300.0, 290.0, True),
        Peak("read", "RAM", 2, 25.0, 24.0, False),
    ]
    return Peaks(found, CACHES)


def document(rows, **where):
    return {
        "format": 1,
        "commit": "abc",
        "date": "2026-01-01T00:00:00+00:00",
        "families": ["matmul"],
        "quick": True,
        "machine": {
            "cpu": "X",
            "cpus": 2,
            "isa": "avx512",
            "detected_isa": "avx512",
            "threads": 2,
            "caches": CACHES,
            **where,
        },
        "versions": {"nonet": "0", "torch": None},
        "environment": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        "opponents": {},
        "guards": {"schedstat": False, "steal": True},
        "peaks": _peaks().to_json(),
        "rows": [report.row_to_json(row) for row in rows],
        "skipped": [],
    }


# ---- roofs
def test_compute_roofs():
    peaks = _peaks()
    assert peaks.compute("avx512", 2, "ieee") == (400, "FMA avx512")
    assert peaks.compute("avx512", 2, "medium") == (400, "FMA avx512")
    assert peaks.compute("amx", 2, "ieee") == (400, "FMA avx512")
    assert peaks.compute("amx", 2, "highest") == (1000, "AMX/6")
    assert peaks.compute("amx", 2, "high") == (2000, "AMX/3")
    assert peaks.compute("amx", 2, "medium") == peaks.compute("amx", 2, "bfloat16") == (6000, "AMX")
    assert peaks.compute("amx", 2, "float32") == (400, "FMA avx512")  # an opponent's kernels
    assert peaks.compute("avx512_bf16", 2, "highest") == (400, "FMA avx512")
    assert peaks.compute("avx512_bf16", 2, "medium") == (800, "bfloat16 dots")
    assert peaks.compute("avx2", 2, "highest") is None
    assert peaks.compute("avx512", 1, "highest") is None


def test_levels():
    peaks = _peaks()
    sizes = (64 * KB, 65 * KB, 2 * MB, 3 * MB, 32 * MB, 33 * MB)
    assert [peaks.level(n, 2) for n in sizes] == ["L1", "L2", "L2", "L3", "L3", "RAM"]
    assert peaks.bandwidth("L2", 2) == 300
    assert peaks.bandwidth("L3", 2) == 25  # not measured: the next lower
    assert peaks.bandwidth("L1", 3) is None


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_working_sets(threads):
    sets = working_sets(CACHES, threads)
    assert sets["L1"] == 16 * KB * threads and sets["L2"] == 512 * KB * threads
    assert all(size % (512 * threads) == 0 and size > 0 for size in sets.values())
    if threads < 16:
        assert MB * threads < sets["L3"] <= 16 * MB
    else:  # sixteen L2s leave nothing of it
        assert "L3" not in sets
    assert list(working_sets({}, 1)) == ["RAM"]


def test_rated_takes_the_lower_roof():
    timing = Timing(1e-3, 9e-4, 1.1e-3, 8e-4, 5, 5)
    labels = {
        "family": "matmul",
        "case": "x",
        "mode": "linear",
        "library": "nonet",
        "variant": "highest",
        "exact": True,
    }
    common = {"peaks": _peaks(), "isa": "amx", "threads": 2, **labels}
    row = report.rated(timing, flops=5e8, bytes_=1e4, state="warm", **common)
    assert row.gflops == pytest.approx(500) and row.percent == pytest.approx(50) and row.roof == "AMX/6"
    row = report.rated(timing, flops=1e6, bytes_=2e7, state="cold", **common)
    assert row.gbs == pytest.approx(20) and row.percent == pytest.approx(80) and row.roof == "RAM read"
    row = report.rated(timing, flops=1e5, bytes_=1.5e5, state="warm", **common)
    assert row.roof == "L2 read"
    row = report.rated(
        timing, flops=1e6, bytes_=1e4, state="warm", **{**common, "peaks": Peaks([], {}), "threads": 1}
    )
    assert row.percent is None and row.roof is None


# ---- tables
def test_ratios_take_the_fastest_opponent():
    rows = [
        _row("nonet", "highest", 2.0),
        _row("nonet", "medium", 1.0),
        _row("torch", "float32", 4.0),
        _row("torch", "bfloat16", 3.0),
        _row("numpy", "float32", 5.0),
    ]
    assert report.ratio(rows, exact=True) == 2.0 and report.ratio(rows, exact=False) == 3.0
    assert report.ratio(rows[:2], exact=True) is None
    assert report.geometric_mean([1.0, 4.0]) == pytest.approx(2) and report.geometric_mean([]) is None


def test_table_shows_losses_and_dirt():
    rows = [
        _row("nonet", "highest", 2e-3, gflops=12.5, bytes=1.0, percent=31.2, roof="AMX/6"),
        _row("torch", "float32", 1e-3, clean=False),
    ]
    lines = report.table(rows).splitlines()
    assert lines[0].split()[:5] == ["case", "nonet", "highest", "torch", "float32"]
    assert "12.5 GF/s" in lines[1] and "~1 ms" in lines[1] and "31" in lines[1] and "0.50" in lines[1]
    text = report.ratio_summary(rows)
    assert len(text) == 2 and "0.50 times as fast" in text[0] and "slower in 8x8x8 0.50" in text[0]
    assert "slower in none" in report.ratio_summary([rows[0], _row("torch", "float32", 4e-3)])[0]
    assert report.table(rows[:1]).splitlines()[0].endswith("roof")


def test_markdown():
    lines = [["a", "", "b"], ["1", "", "22"]]
    assert report.piped(lines, 1) == "| a | b |\n| --- | --: |\n| 1 | 22 |"
    assert report.aligned(lines, 1) == "a   b\n1  22"


def test_seconds():
    found = [report.seconds(x) for x in (2.5, 0.0312, 4.56e-5, 7e-8)]
    assert found == ["2.5 s", "31.2 ms", "45.6 us", "70 ns"]


# ---- files
def test_save_and_load(tmp_path):
    rows = [_row("nonet", "highest", 1e-3, percent=float("nan"))]
    path = str(tmp_path / "x.json")
    report.save(document(rows), path)
    again = report.load(path)
    assert report.rows_of(again)[0].percent is None and again["environment"] == {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert "avx512" in report.peak_table(again)
    assert "~25 GB/s" in report.peak_table(again) and "400 GF/s" in report.peak_table(again)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "\xff"])
def test_load_of_other_files(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BenchError, match=r"x.json: expected a file of `nonet bench --save`"):
        report.load(str(path))
    with pytest.raises(BenchError, match="No such file"):
        report.load(str(tmp_path / "nope"))
    path.write_text(json.dumps({**document([]), "format": 2}))
    with pytest.raises(BenchError, match="expected format 1, found 2"):
        report.load(str(path))


# ---- two runs
def test_ab_table():
    old = document([_row("nonet", "highest", 2.0, low=1.9, high=2.1), _row("torch", "float32", 3.0)])
    new = document([_row("nonet", "highest", 1.0, low=0.9, high=1.1), _row("numpy", "float32", 3.0)])
    lines = report.ab_table(old, new).splitlines()
    assert len(lines) == 2
    assert "2.000" in lines[1] and "[1.9 s, 2.1 s]" in lines[1] and "[900 ms, 1.1 s]" in lines[1]
    assert lines[1].endswith("faster")
    assert report.ab_table(old, document([])) == "the two runs have no row in common"


def test_memory_table():
    def row(library, variant, peak, exact=True):
        return dataclasses.replace(_row(library, variant, 1.0), exact=exact, peak_bytes=peak)

    rows = [row("nonet", "highest", 2.0**21), row("nonet", "highest, autocast", 2.0**20, False)]
    rows += [row("torch", "float32", 2.0**22), row("torch", "bfloat16", 2.0**19, False)]
    head, line = (text.split() for text in report.memory_table(rows).splitlines())
    assert head[-4:] == ["x", "f32", "x", "any"] and line[-2:] == ["2.00", "0.50"]
    assert line[1:-2] == ["2.0", "MiB", "1.0", "MiB", "4.0", "MiB", "0.5", "MiB"]
    assert report.memory_table([_row("nonet", "highest", 1.0)]) == ""


def test_verdicts():
    old = _row("nonet", "highest", 2.0, low=1.9, high=2.1)
    assert report.verdict(old, _row("nonet", "highest", 3.0)) == "slower"
    assert report.verdict(old, _row("nonet", "highest", 1.0)) == "faster"
    assert report.verdict(old, _row("nonet", "highest", 2.0)) == "within the spread"
    assert report.verdict(old, _row("nonet", "highest", 1.0, clean=False)) == "disturbed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cpu": "Y"}, "CPU model X and Y"),
        ({"isa": "avx2"}, "set avx512 and avx2"),
        ({"threads": 1}, "threads 2 and 1"),
        ({"emulated": True}, "an emulated and a real instruction set"),
    ],
)
def test_other_machines_are_refused(change, words):
    report.check_same_machine(document([]), document([]), "old.json")
    with pytest.raises(BenchError, match=f"old.json cannot be compared: .*{words} differ"):
        report.check_same_machine(document([]), document([], **change), "old.json")


# ---- the machine
def test_machine(tmp_path):
    assert differences(machine(), machine()) == []
    assert set(machine()) == {"cpu", "cpus", "isa", "detected_isa", "emulated", "threads", "caches"}
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Some CPU\nstepping\t: 8\n"
    )
    assert cpu_model(tmp_path / "cpuinfo") == "Some CPU (6/143/8)"
    assert cpu_model(tmp_path / "nope")
    for i, (kind, level, size) in enumerate(
        [("Data", 1, "48K"), ("Instruction", 1, "32K"), ("Unified", 2, "2048K"), ("Unified", 3, "105M")]
    ):
        folder = tmp_path / "cache" / f"index{i}"
        folder.mkdir(parents=True)
        for name, text in (("type", kind), ("level", level), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    assert cache_sizes(tmp_path / "cache") == {"L1": 48 * KB, "L2": 2 * MB, "L3": 105 * MB}
    assert cache_sizes(tmp_path / "nope") == {}
