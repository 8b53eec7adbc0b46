"""The benchmarks of GPU kernels, as far as a machine without a GPU can run them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nonet
from nonet.bench import bench_cuda, cuda_all

SCRIPT = Path(__file__).parents[2] / "bench" / "cuda_all.py"


@pytest.mark.skipif(nonet.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu():
    done = subprocess.run([sys.executable, SCRIPT, "--part", "test"], capture_output=True, text=True)
    assert done.returncode == 77 and done.stderr.startswith("no GPU: ")


def test_steps_are_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_all, "OUT", tmp_path)
    calls = []

    def fails():
        calls.append("b")
        raise RuntimeError("broken")

    for _ in range(2):
        session = cuda_all.Session(time.monotonic() + 60, cuda_all.load("fingerprint"))
        session.step("a", lambda: calls.append("a") or "done")
        session.step("b", fails)
    assert calls == ["a", "b", "b"]  # what succeeded is not repeated, what failed is
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["steps"]["a"]["note"] == "done" and not saved["steps"]["b"]["ok"]
    assert cuda_all.load("another") == {"sources": "another", "steps": {}}
    session.deadline = time.monotonic() + 1
    with pytest.raises(cuda_all.OutOfTime):
        session.step("c", lambda: "done")
    with pytest.raises(RuntimeError, match="'b' has not succeeded yet: run --part build first"):
        cuda_all.require(session, "a", "b")


def test_a_command_that_fails_or_takes_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_all, "OUT", tmp_path)
    session = cuda_all.Session(time.monotonic() + 60, cuda_all.load(""))
    with pytest.raises(RuntimeError, match="ended with 3: out"):
        session.run(sys.executable, "-c", "print('out'); raise SystemExit(3)")
    with pytest.raises(RuntimeError, match="did not end within 1 s: begun"):
        session.run(
            sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)", limit=1.0
        )
    session.deadline = time.monotonic() + 6
    with pytest.raises(cuda_all.OutOfTime):
        session.step("slow", lambda: session.run(sys.executable, "-c", "import time; time.sleep(60)"))
    assert "slow" not in session.results["steps"]


@pytest.mark.parametrize("kind", ["matmul", "conv", "memory", "recurrent", "attention", "step"])
def test_cases_on_the_cpu(kind, tmp_path, monkeypatch):
    """Small ones of every kind, on the CPU of both libraries: verified, timed, saved, and resumed."""
    pytest.importorskip("torch")
    from nonet.bench import bench_cuda

    monkeypatch.setattr(bench_cuda, "DEVICE", "cpu")
    monkeypatch.setattr(bench_cuda, "BLOCKS", 1)
    monkeypatch.setattr(bench_cuda, "BLOCK_SECONDS", 1e-4)
    monkeypatch.setattr(bench_cuda, "MATRICES", [(5, 6, 7)])
    monkeypatch.setattr(bench_cuda, "CONVOLUTIONS", [(2, 3, 9, 4, 3, 2)])
    monkeypatch.setattr(bench_cuda, "SEQUENCES", [(5, 2, 7)])
    monkeypatch.setattr(bench_cuda, "ATTENTIONS", [(1, 2, 9, 8)])
    if kind == "memory":
        skipped = ("x16384", "x4096", "x1048576", "x112", "32000", "50000", "28 M")
        cases = [c for c in bench_cuda.memory_cases() if not any(word in c.name for word in skipped)]
        assert [c.name for c in cases] == ["sort 1024x8192"]
    else:
        cases = list(getattr(bench_cuda, f"{kind}_cases")())
    for case in cases:
        case.tier = ""
    document = {"rows": [], "failed": {}}
    bench_cuda.run(cases, document, tmp_path / "a.json", time.monotonic() - 1)
    assert document["missing"] == [c.name for c in cases]
    bench_cuda.run(cases, document, tmp_path / "a.json", time.monotonic() + 60)
    assert not document["failed"] and not document["missing"]
    saved = json.loads((tmp_path / "a.json").read_text())
    assert [row["name"] for row in saved["rows"]] == [c.name for c in cases]
    assert all(row["nonet"] > 0 and row["torch"] > 0 for row in saved["rows"])


def test_steps_beside_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_all, "OUT", tmp_path)
    session = cuda_all.Session(time.monotonic() + 60, cuda_all.load(""))
    session.together([(str(i), lambda i=i: str(i * i)) for i in range(9)])
    assert [step["note"] for _, step in sorted(cuda_all.load("")["steps"].items())] == [
        str(i * i) for i in range(9)
    ]


def test_markdown():
    rows = [
        {"name": "matmul float32 high 64x64x64 simt", "nonet": 1e-6, "torch": 2e-6, "flops": 3e6},
        {"name": "matmul float32 high 8x8x8 mma80", "nonet": 1e-6, "torch": 2e-6, "flops": 3e6},
        {"name": "exp 4x4", "nonet": 4e-6, "torch": 2e-6, "bytes": 8e3},
    ]
    device = {"name": "A GPU", "runtime": "13.0", "driver": "13.1"}
    text = bench_cuda.markdown({"device": device, "torch": "2.0", "rows": rows, "failed": {"sort": "no"}})
    assert text.splitlines() == [
        "A GPU, CUDA 13.0, driver 13.1, PyTorch 2.0",
        "",
        "| matmul | float32, high, simt | float32, high, mma80 |",
        "| --- | --: | --: |",
        "| 64x64x64 | 3.0 TFLOP/s, 2.00 |  |",
        "| 8x8x8 |  | 3.0 TFLOP/s, 2.00 |",
        "",
        "| case | nonet | PyTorch | ratio | rate |",
        "| --- | --: | --: | --: | --: |",
        "| exp 4x4 | 4.0 µs | 2.0 µs | 0.50 | 2 GB/s |",
        "* failed: sort: no",
    ]
