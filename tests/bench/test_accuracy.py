"""The error study: its references, its units, its page."""

from __future__ import annotations

import importlib.util
import json
import math

import numpy as np
import pytest

from nonet import _core
from nonet.bench import accuracy
from nonet.bench.errors import WrongResultError
from nonet.ops.isa import available_isas


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("accuracy") / "study.json"
    assert (
        accuracy.main(["--against", "numpy", "--depths", "32,96", "--draws", "2", "--save", str(path)]) == 0
    )
    return path


def test_the_document(saved):
    document = json.loads(saved.read_text())
    assert document["machine"]["emulated"] is _core.emulated()
    assert document["reference_error"] <= 96 * 2.0**-53
    results = [accuracy.Result(**entry) for entry in document["results"]]
    sides = {result.side for result in results}
    wanted = {f"nonet ieee, {isa}" for isa in available_isas()[1:3] or available_isas()} | {"numpy float32"}
    if "amx" in available_isas():
        wanted |= {f"nonet {precision}, amx" for precision in ("highest", "high", "medium")}
    elif "avx512_bf16" in available_isas():
        wanted.add("nonet medium, avx512_bf16")
    assert sides == wanted
    assert {(r.family, r.k) for r in results} == {(name, k) for name in accuracy.FAMILIES for k in (32, 96)}
    for result in results:
        figures = (result.normwise_rms, result.normwise_max, result.componentwise_max)
        assert all(figure is not None for figure in figures), result
        assert 0 < result.normwise_rms <= result.normwise_max
        assert (
            result.normwise_max <= result.componentwise_max
        )  # |A||B| of an element is at most |A_row||B_column|
        if "medium" not in result.side and "high," not in result.side:
            assert result.componentwise_max <= result.k  # of any order of multiply-adds, and of tiles


def test_errors_are_in_units_of_one_rounding(monkeypatch):
    """A contestant that rounds the exact result once errs by 1 at most, one that then drops the last bit by 2 more."""

    def rounded(a, b):
        return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)

    def dropped(a, b):
        return (rounded(a, b).view(np.uint32) & np.uint32(0xFFFFFFFE)).view(np.float32)

    monkeypatch.setattr(
        accuracy, "sides", lambda _: [accuracy.Side("once", rounded), accuracy.Side("cut", dropped)]
    )
    for entry in accuracy.measure([], depths=[64], draws=2)["results"]:
        assert 0 < entry["componentwise_max"] <= (1 if entry["side"] == "once" else 3), entry


@pytest.mark.parametrize("name", accuracy.FAMILIES)
def test_families_are_what_they_say(name):
    a, b = (x.astype(np.float32) for x in accuracy.FAMILIES[name](np.random.default_rng(0), 256))
    assert a.shape == (64, 256) and b.shape == (256, 64)
    exact, magnitude, _ = accuracy.reference(a, b, np.random.default_rng(0))
    assert np.isfinite(a).all() and np.isfinite(b).all() and (magnitude > 0).all()
    assert 2.0**-126 < np.abs(exact).max() < 2.0**127
    if name == "log-uniform":
        assert np.abs(a).max() / np.abs(a).min() > 1e25
    if name == "cancelling":
        assert np.abs(exact).max() < magnitude.min() / 100
    if name == "ranges":
        assert ((np.abs(a) < 2.0**-126) & (a != 0)).any() and np.abs(a).max() > 2.0**64
    if name == "softmax":
        assert np.median(np.abs(a)) < 1e-5 < np.abs(a).max()


def test_a_wrong_reference_is_found(monkeypatch):
    right = math.fsum
    monkeypatch.setattr(accuracy.math, "fsum", lambda values: right(values) + 1e-3)
    rng = np.random.default_rng(0)
    with pytest.raises(WrongResultError, match="the float64 reference is off by"):
        accuracy.reference(*(x.astype(np.float32) for x in accuracy.FAMILIES["normal"](rng, 32)), rng)


def test_numbers_that_are_not_finite_are_said_to_be(monkeypatch):
    monkeypatch.setattr(
        accuracy, "sides", lambda _: [accuracy.Side("inf", lambda a, b: a @ b * np.float32(np.inf))]
    )
    document = accuracy.measure([], depths=[32], draws=1)
    assert all(entry["normwise_max"] is None for entry in document["results"])
    assert "| normal | not finite |" in accuracy.tables(document)


def test_page_and_charts(saved, tmp_path, capsys):
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed")
    page = tmp_path / "accuracy.md"
    page.write_text(f"before\n{accuracy.BEGIN}\nold\n{accuracy.END}\nafter\n")
    for _ in range(2):  # the same bytes for the same document
        assert accuracy.main(["--load", str(saved), "--docs", str(tmp_path)]) == 0
        text = page.read_text()
        assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
        assert capsys.readouterr().out.strip() in text
        charts = {path.name: path.read_bytes() for path in tmp_path.glob("*.svg")}
        assert set(charts) == {f"accuracy-{name.replace('_', '-')}.svg" for name in accuracy.METRICS}
        for chart in charts.values():
            assert b"log-uniform" in chart and b"nonet ieee" in chart and len(chart) < 60_000
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="2"):
        accuracy.main(["--load", str(saved), "--docs", str(tmp_path)])
    assert "must have the lines" in capsys.readouterr().err


def test_wrong_options(tmp_path, capsys):
    for argv, message in (
        (["--load", str(tmp_path / "nope")], "expected a file that --save wrote"),
        (["--against", "jax"], "--against must be one or more of torch, numpy, got 'jax'"),
    ):
        with pytest.raises(SystemExit, match="2"):
            accuracy.main(argv)
        assert message in capsys.readouterr().err
