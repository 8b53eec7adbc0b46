"""`nonet bench recurrent`: its cases, what it checks before it times, and what it prints."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from nonet.bench import bench_recurrent
from nonet.bench.bench_recurrent import CASES, Case
from nonet.bench.errors import WrongResultError
from nonet.bench.recurrent_reference import GATES, expected
from nonet.bench.run import Options
from nonet.cli import main
from reference.recurrent import Recurrent, Weights


def test_the_table():
    assert [case.name for case in CASES if case.kind == "gru"] == [
        "gru-64x32x128",
        "gru-128x16x256",
        "gru-64x64x512",
        "gru-256x32x256",
        "gru-64x1x256",
        "gru-64x1x32",
        "gru-64x1x128",
    ]
    assert len(set(bench_recurrent.names())) == 2 * len(CASES) == 42
    flops, bytes_ = Case("lstm", 2, 3, 5).costs("train", 4)
    assert flops == 3 * 2 * 6 * 2 * 4 * 25 and bytes_ == 3 * 4 * (60 + 200)


@pytest.mark.parametrize("kind", GATES)
def test_the_reference_is_that_of_the_tests(kind):
    x, dy, weights = Case(kind, 4, 3, 5).operands()
    got = expected(kind, x, weights, dy)
    model = Recurrent(
        {"rnn": "tanh"}.get(kind, kind), [Weights(*(w.astype(np.float64) for w in weights), None)], False
    )
    zeros = np.zeros((1, 3, 5))
    y, *_ = model.forward(x.astype(np.float64), None, zeros, zeros if kind == "lstm" else None)
    dx, *_ = model.backward(dy.astype(np.float64), 0 * zeros, *([0 * zeros] if kind == "lstm" else []))
    d = model.weights[0].d
    want = [y, dx, d["w_ih"], d["w_hh"], d["b_ih"], d["b_hh"]]
    for a, b in zip(got.named().values(), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", GATES)
def test_every_result_is_checked(kind):
    case = Case(kind, 5, 3, 8)
    x, dy, weights = case.operands()
    want = expected(kind, x, weights, dy)
    for side in bench_recurrent._sides(Options()):
        got = side.make(case, "train", x, dy, weights)()
        bench_recurrent.verify("a", side.precision, got, want)
        for what, value in got.named().items():
            wrong = dataclasses.replace(got, **{what: value + 0.2 * np.abs(value).max()})
            with pytest.raises(WrongResultError, match=f"a: the error of {what} is"):
                bench_recurrent.verify("a", side.precision, wrong, want)
        with pytest.raises(WrongResultError, match="y: expected shape"):
            bench_recurrent.verify("a", side.precision, dataclasses.replace(got, y=got.y[:1]), want)


def test_command(monkeypatch, capsys):
    cases = [Case(kind, 3, 2, 8) for kind in GATES]
    monkeypatch.setattr(bench_recurrent, "CASES", cases)
    capsys.readouterr()
    assert main(["bench", "recurrent", "--quick", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["case"], row["mode"]) for row in rows if row["variant"] == "highest"] == [
        (case.name, mode) for case in cases for mode in ("forward", "train")
    ]
    assert all(row["state"] == "warm" and row["gflops"] > 0 for row in rows)
