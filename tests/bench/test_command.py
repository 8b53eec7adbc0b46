"""`nonet bench`: what it prints, saves, draws and refuses."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pytest

import nonet
from nonet import _core
from nonet.bench import FAMILIES, bench_matmul, memory, models, opponents
from nonet.bench import report as reports
from nonet.bench import run as runs
from nonet.bench.bench_matmul import CASES
from nonet.bench.errors import UnmeasuredError, WrongResultError
from nonet.bench.workloads import WORKLOADS
from nonet.cli import main
from nonet.cli.bench import describe

SMALL = ["bench", "matmul", "--quick", "--only", "64x64x64/linear/warm"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "run.json"
    threads = nonet.num_threads()
    assert main(["bench", "matmul", "--quick", "--only", "64x64x64", "--save", str(path)]) == 0
    assert nonet.num_threads() == threads
    return path


def _fails(capsys, message, *argv, code=2):
    capsys.readouterr()
    assert main(["bench", *argv]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err.splitlines()[-1], captured.err


# ---- what it gives
def test_the_document(saved):
    document = json.loads(saved.read_text())
    assert document["format"] == 1 and document["quick"] and document["families"] == ["matmul"]
    assert document["commit"] and document["date"].endswith("+00:00")
    where = document["machine"]
    assert where["isa"] == _core.isa() and where["threads"] == nonet.num_threads() and where["cpu"]
    assert document["versions"]["numpy"] == np.__version__
    assert set(document["guards"]) == {"schedstat", "steal", "calibration"}
    kinds = {(peak["kind"], peak["threads"]) for peak in document["peaks"]}
    assert {("fma", 1), ("read", 1), ("copy", 1), ("fma", nonet.num_threads())} <= kinds
    assert {peak["name"] for peak in document["peaks"] if peak["kind"] == "read"} >= {"RAM"}
    assert all(peak["value"] >= peak["median"] > 0 for peak in document["peaks"])
    rows = document["rows"]
    assert {(row["mode"], row["state"]) for row in rows} == {
        (mode, state) for mode in ("linear", "matmul") for state in ("warm", "cold")
    }
    for row in rows:
        assert row["case"] == "64x64x64" and row["library"] == "nonet" and row["flops"] == 2 * 64**3
        assert 0 < row["low"] <= row["median"] <= row["high"]
        assert row["gflops"] > 0 and row["gbs"] > 0 and row["percent"] > 0 and row["roof"]
        assert row["bytes"] == 3 * 64**2 * (2 if row["variant"] == "bfloat16" else 4)


def test_json_and_opponents(capsys):
    capsys.readouterr()
    assert main([*SMALL, "--against", "numpy", "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 1
    libraries = {row["library"] for row in json.loads(out[0])["rows"]}
    assert libraries == {"nonet", "numpy"}


def test_environment_of_the_opponents_is_recorded(saved, monkeypatch):
    from nonet.bench.machine import environment

    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "AVX2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    names = {"ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA"}
    assert names <= set(environment())


def test_show_and_compare(saved, capsys):
    capsys.readouterr()
    assert main(["bench", "--load", str(saved), "--compare", str(saved)]) == 0
    text = capsys.readouterr().out
    assert "64x64x64" in text and "measured peak" in text and "1.000" in text and "a trial" in text


def test_threads(capsys):
    before = nonet.num_threads()
    capsys.readouterr()
    assert main([*SMALL, "--threads", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["machine"]["threads"] == 1 and nonet.num_threads() == before


# ---- what it refuses
def test_compare_refuses_other_machines(saved, tmp_path, capsys):
    document = json.loads(saved.read_text())
    for key, value in (("cpu", "another"), ("isa", "another"), ("threads", 99)):
        other = tmp_path / "other.json"
        other.write_text(json.dumps({**document, "machine": {**document["machine"], key: value}}))
        # Before anything is measured: nothing but the refusal is on stderr.
        _fails(capsys, "other.json cannot be compared: ", "matmul", "--compare", str(other))
    _fails(capsys, "99 and 7 differ", "matmul", "--threads", "7", "--compare", str(tmp_path / "other.json"))


def test_missing_opponents(monkeypatch, capsys):
    monkeypatch.setattr(opponents.importlib.util, "find_spec", lambda name: None)
    _fails(capsys, "--against torch: torch is not installed here", "matmul", "--against", "torch")


def test_wrong_options(saved, tmp_path, capsys):
    _fails(capsys, "--against must be one or more of torch, numpy, got 'jax'", "--against", "jax")
    _fails(
        capsys,
        "FAMILY must be one or more of matmul, conv, recurrent, attention, models, networks, language, "
        "mlp_step, got 'x'",
        "x",
    )
    _fails(capsys, "--precision must be one or more of highest", "matmul", "--precision", "x")
    _fails(capsys, "expected a file of `nonet bench --save`", "--compare", str(tmp_path / "nope"))
    _fails(capsys, "--load shows a saved run", "matmul", "--load", str(saved))
    _fails(capsys, "argument --threads", "--threads", "0")


def test_patterns_that_fit_nothing_are_refused_before_anything_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(runs.Peaks, "measure", lambda *_: pytest.fail("measured"))
    for family, only, message in (
        (
            "matmul",
            "9x9x9",
            "--only 9x9x9: no case of matmul has such a name; there are 64x64x64, 128x128x128, ",
        ),
        ("matmul", "64x*,*/grad/hot", "--only */grad/hot: no case of matmul has such a name"),
        ("models", "ann,lstn", "--only lstn: no case of models has such a name; there are ann, cnn-lenet5, "),
        ("mlp_step", "16-32-10/cold", "--only 16-32-10/cold: no case of mlp_step has such a name"),
    ):
        _fails(capsys, message, family, "--quick", "--only", only)


def test_an_interrupted_run_keeps_its_cases(monkeypatch, tmp_path, capsys):
    path = tmp_path / "run.json"
    measure, done = bench_matmul._case_rows, []

    def interrupted(*args):
        if done:
            raise KeyboardInterrupt
        done.append(args[0].name)
        return measure(*args)

    monkeypatch.setattr(bench_matmul, "_case_rows", interrupted)
    only = ["--quick", "--only", "64x64x64/linear/*"]
    capsys.readouterr()
    assert main(["bench", "matmul", *only, "--save", str(path)]) == 130
    lines = capsys.readouterr().err.splitlines()
    document = json.loads(path.read_text())
    assert {(row["case"], row["state"]) for row in document["rows"]} == {("64x64x64", "warm")}
    assert f"{path} has the {len(document['rows'])} rows measured so far" in lines
    assert main(["bench", "--load", str(path)]) == 0
    _fails(capsys, "interrupted", "matmul", *only, code=130)  # without --save there is nothing to say


def test_wrong_products_are_not_timed(monkeypatch, capsys):
    right = nonet.nn.functional.linear
    monkeypatch.setattr(nonet.nn.functional, "linear", lambda x, w: right(x, w) * 1.001)
    _fails(capsys, "WrongResultError: nonet highest: 64x64x64 linear: the error is", *SMALL[1:], code=1)


def test_help_names_the_families(capsys):
    assert main(["bench", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in FAMILIES)


# ---- the cases
def test_the_table_of_products():
    names = {(case.name, case.mode) for case in CASES}
    wanted = [f"{n}x{n}x{n}" for n in (64, 128, 256, 512, 1024, 2048, 4096)]
    wanted += ["16x512x512", "32x256x784", "128x512x784", "128x10x512", "64x2048x512", "128x768x768"]
    wanted += ["512x768x768", "2048x768x3072", "2048x3072x768", "1x512x784", "1x768x3072", "1x4096x4096"]
    gradients = ["784x512xB128", "512x512xB512", "768x3072xB2048"]
    assert names == {(name, mode) for name in wanted for mode in ("linear", "matmul")} | {
        (name, "grad") for name in gradients
    }
    assert all(bench_matmul._sets(case) >= 2 for case in CASES)


@pytest.mark.parametrize("mode", ["linear", "matmul", "grad"])
def test_every_contestant_multiplies(mode):
    case = bench_matmul.Case("x", mode, 33, 17, 70)
    rng = np.random.default_rng(0)
    operands = bench_matmul._operands(case, rng)
    for side in [*bench_matmul._nonet_sides(case, ["highest"]), *bench_matmul._numpy_sides(case)]:
        bench_matmul._verify(case, side, side.make(*operands), operands)
        with pytest.raises(WrongResultError, match="expected shape"):
            bench_matmul._verify(case, side, lambda: np.zeros((17, 33)), operands)
        with pytest.raises(WrongResultError, match="of |A|"):
            bench_matmul._verify(case, side, lambda: np.zeros((33, 17)), operands)


def test_the_ten_workloads():
    assert [workload.name for workload in WORKLOADS] == [
        *("ann", "cnn-lenet5", "cnn-resnet18", "rnn", "lstm", "gru"),
        *("autoencoder", "vae", "gan", "transformer-gpt"),
    ]
    missing = {workload.name: models.what_is_missing(workload) for workload in WORKLOADS}
    for name in ("ann", "cnn-lenet5", "autoencoder", "vae"):
        assert missing[name] is None
    for name, what in missing.items():  # never a typing error of our own
        assert what is None or not hasattr(nonet.nn, what), (name, what)


@pytest.mark.parametrize("name", ["ann", "vae"])
def test_workloads_start_alike_and_learn(name):
    workload = next(w for w in WORKLOADS if w.name == name)
    variant = models.Variant(nonet, "nonet", "highest", True)
    a, b = models.Run(workload, variant), models.Run(workload, variant)
    start = a.state()
    models.check_losses(workload, [a, b], start)
    losses = models.Run(workload, variant).losses(start)
    assert len(losses) == models.STEPS and losses[-1] < losses[0]
    b.model.load_state_dict(start)
    b.losses = lambda state, steps: [loss * 1.5 for loss in losses]
    with pytest.raises(WrongResultError, match=f"{name}: losses differ at step 1 of 20"):
        models.check_losses(workload, [models.Run(workload, variant), b], start)


def test_mlp_step_and_skipped_workloads(capsys):
    capsys.readouterr()
    assert main(["bench", "mlp_step", "models", "--quick", "--only", "16-32-10,lstm", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {(row["family"], row["mode"]) for row in document["rows"] if row["case"] == "16-32-10"} == {
        ("mlp_step", "train"),
        ("mlp_step", "infer-1"),
    }
    if not hasattr(nonet.nn, "LSTM"):
        assert document["skipped"] == [{"case": "lstm", "reason": "nonet has no LSTM yet"}]


def test_peak_memory(capsys):
    """At least parameters, gradients and two moments, and no more than a few times as much."""
    capsys.readouterr()
    assert main(["bench", "models", "--quick", "--only", "ann", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["skipped"] == []
    model = next(w for w in WORKLOADS if w.name == "ann").build(nonet)
    least = 4 * 4 * sum(p.numel() for p in model.parameters())
    for row in document["rows"]:
        if row["mode"] == "train":
            assert least <= row["peak_bytes"] <= 6 * least
        else:
            assert row["peak_bytes"] is None
    text = describe(document, reports.aligned)
    assert "peak memory" in text and " MiB" in text


def test_memory_that_cannot_be_measured_says_why(monkeypatch):
    with pytest.raises(UnmeasuredError, match="the process of nonet fast ended with 1: StopIteration"):
        memory.peak_bytes("ann", "nonet fast", ["highest"], 1, 1)
    monkeypatch.setattr(memory, "PATIENCE", 1e-3)
    with pytest.raises(UnmeasuredError, match="nonet highest: .* timed out"):
        memory.peak_bytes("ann", "nonet highest", ["highest"], 1, 1)


# ---- the chart
def test_roofline(saved, tmp_path, capsys):
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed")
    path = tmp_path / "roof.png"
    assert main(["bench", "--load", str(saved), "--roofline", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and path.stat().st_size > 10_000
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({**json.loads(saved.read_text()), "rows": []}))
    capsys.readouterr()
    assert main(["bench", "--load", str(empty), "--roofline", str(path)]) == 2
    assert "no row tells operations and bytes" in capsys.readouterr().err


def test_roofline_without_matplotlib(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    _fails(capsys, "nonet[plot]", "matmul", "--roofline", str(tmp_path / "x.png"))


def test_labels_are_spread():
    from nonet.plot.roofline import spread

    places = spread([0.5, 0.5, 0.5, 0.9], 0.02)
    assert places == sorted(places) and min(np.diff(places)) >= 0.0199
    assert spread([0.1, 0.4], 0.02) == [0.1, 0.4]
    crowded = spread([0.5] * 100, 0.02)
    assert crowded[0] > 0 and crowded[-1] < 1


def test_opponents_that_would_take_minutes_are_skipped(monkeypatch, capsys):
    monkeypatch.setattr(bench_matmul, "PATIENCE", 1e-9)
    capsys.readouterr()
    assert main([*SMALL[:-1], "64x64x64/linear/*", "--against", "numpy", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {(row["library"], row["state"]) for row in document["rows"]} == {
        ("nonet", "warm"),
        ("nonet", "cold"),
        ("numpy", "warm"),
    }
    (skipped,) = document["skipped"]
    assert skipped["case"] == "64x64x64/linear/cold" and "a call of numpy float32" in skipped["reason"]
