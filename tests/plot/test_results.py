"""Figures of results, and tables of small images."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from nonet import io
from nonet.plot import grid, results


def _is_png(path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_grid():
    images = [np.full((1, 8, 8), v) for v in (0.0, 0.5, 1.0)]
    out = grid.grid([images, images[:2]])
    side = 56
    assert out.shape == (3, 2 * (side + 2) + 2, 3 * (side + 2) + 2) and out.dtype == np.uint8
    assert out[0, 2, 2] == 0 and out[1, 2, 2 + side + 2] == 128 and out[0, -3, -3] == 255
    colours = grid.pixels(np.stack([np.zeros((60, 60)), np.ones((60, 60)), np.zeros((60, 60))]))
    assert colours.shape == (3, 60, 60) and colours[:, 0, 0].tolist() == [0, 255, 0]


def test_heat_and_reconstructions():
    np.testing.assert_allclose(
        grid.heat(np.array([[0.0, 1.0, 0.5, 9.0]]), 1.0)[:, 0].T[[0, 1, 3]], [[0] * 3, [1] * 3, [1] * 3]
    )
    x = np.random.default_rng(0).random((4, 1, 8, 8))
    assert grid.reconstructions(x, x * 0.5).shape[1] == 3 * 58 + 2
    assert grid.reconstructions(x, x * 0.5, x).shape[1] == 4 * 58 + 2


def test_roc():
    rng = np.random.default_rng(0)
    scores, positive = np.round(rng.random(60), 1), rng.random(60) > 0.4
    false, true = results.roc(scores, positive)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    for t, f, s in zip(true[1:], false[1:], np.unique(scores)[::-1], strict=True):
        assert t == pytest.approx((scores >= s)[positive].mean())
        assert f == pytest.approx((scores >= s)[~positive].mean())


def test_figures(tmp_path):
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    errors, strange = rng.random(80) + 0.01, rng.random(80) > 0.5
    log = tmp_path / "log.jsonl"
    records = [
        {
            "event": "epoch",
            "step": 10 * i,
            "loss": 100.0 / i,
            "validation_loss": 1.0,
            "validation_accuracy": None,
        }
        for i in range(1, 6)
    ]
    log.write_text("\n".join(json.dumps(r) for r in [*records, {"event": "result", "value": 1}]) + "\n")
    draws = {
        "anomalies": lambda p: results.anomalies(p, errors, strange, 0.5),
        "confusion": lambda p: results.confusion(p, np.arange(9).reshape(3, 3), ["a", "b", "cat"]),
        "attention": lambda p: results.attention(p, rng.random((3, 4, 5)), list("abcd"), list("vwxyz"), "t"),
        "curves": lambda p: results.curves(p, log),
    }
    for name, draw in draws.items():
        draw(tmp_path / f"{name}.png")
        assert _is_png(tmp_path / f"{name}.png"), name
    results.confusion(tmp_path / "a.svg", np.eye(2), ["a", "b"])
    results.confusion(tmp_path / "b.svg", np.eye(2), ["a", "b"])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_faults(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"confusion: counts must have shape \[1, 1\], got \[2, 2\]"):
        results.confusion(tmp_path / "a.png", np.eye(2), ["a"])
    with pytest.raises(ValueError, match=r"attention: weights must have shape \[1, 2\]"):
        results.attention(tmp_path / "a.png", np.eye(2), ["a"], ["b", "c"])
    with pytest.raises(io.FileError, match="expected the log of a run, found"):
        results.curves(tmp_path / "a.png", tmp_path / "none.jsonl")
    with pytest.raises(io.FileError, match="log: expected epochs, found none"):
        results.curves(tmp_path / "a.png", [])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(io.MissingExtraError, match="extra `plot`"):
        results.confusion(tmp_path / "a.png", np.eye(2), ["a", "b"])
