"""`nonet bench conv`: its cases, what it checks before it times, and what it prints."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import nonet
from nonet.bench import bench_conv, conv_samples
from nonet.bench.conv_cases import AROUND, CASES, Case, Layer
from nonet.bench.conv_samples import Geometry
from nonet.bench.errors import WrongResultError
from nonet.bench.run import Options
from nonet.cli import main
from reference import conv as reference

SMALL = Case(2, 3, 6, 5, 3, 2, 1)
SMALL_TRANSPOSED = Case(2, 3, 4, 5, 4, 2, 1, transposed=True)


def test_the_table_of_layers():
    convolutions = [case for case in CASES if isinstance(case, Case)]
    assert [case.name for case in convolutions[:2]] == ["64x64x32x64k3", "64x256x8x256k3"]
    assert "8x128x28x256k3s2" in {case.name for case in convolutions}
    assert [case.name for case in convolutions if case.transposed] == [
        "t64x64x1x128k4",
        "t64x128x4x64k4s2",
        "t64x64x8x32k4s2",
    ]
    assert len(set(bench_conv.names())) == 2 * len(CASES)
    sizes = {case.name: case.out_shape for case in CASES}
    assert sizes["8x3x224x64k7s2"] == (8, 64, 112, 112)
    assert sizes["128x1x28x6k5"] == (128, 6, 28, 28) and sizes["128x6x14x16k5"] == (128, 16, 10, 10)
    assert sizes["t64x64x1x128k4"] == (64, 128, 4, 4) and sizes["t64x128x4x64k4s2"] == (64, 64, 8, 8)
    assert sizes["pool-max-8x64x112k3s2"] == (8, 64, 56, 56)
    flops, bytes_ = Case(1, 2, 3, 4, 3, 1, 1).costs("train", 4)
    assert flops == 3 * 2 * 9 * 2 * 4 * 9 and bytes_ == 3 * 4 * (18 + 36 + 72)


@pytest.mark.parametrize("g", [Geometry(3, 1, 1), Geometry(4, 2, 1), Geometry(2, 3, 0), Geometry(1, 2, 0)])
def test_samples_are_of_the_convolution(g):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 8, 7)), rng.standard_normal((5, 3, g.kernel, g.kernel))
    pairs = ((g.stride, g.stride), (g.padding, g.padding))
    y = reference.conv2d(x, w, None, *pairs)
    dy = rng.standard_normal(y.shape)
    dx, dw, _ = reference.gradients(dy, x, w, None, *pairs)
    for sample in (
        conv_samples.sample_output("y", y, x, w, g),
        conv_samples.sample_image("dx", dx, dy, w, g),
        conv_samples.sample_weight("dw", dw, x, dy, g),
    ):
        np.testing.assert_allclose(sample.got, sample.want, rtol=1e-10, atol=1e-12)
        assert (sample.bound >= np.abs(sample.want) - 1e-12).all() and sample.want.any()


def trial(case, side, mode="train"):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(case.shape, dtype=np.float32)
    dy = rng.standard_normal(case.out_shape, dtype=np.float32)
    weights = case.weights(rng)
    return x, dy, weights, side.make(case, mode, x, dy, weights)()


@pytest.mark.parametrize("case", [SMALL, SMALL_TRANSPOSED], ids=["conv", "transposed"])
def test_every_result_is_checked(case):
    for side in bench_conv._sides(case, Options()):
        x, dy, weights, got = trial(case, side)
        bench_conv._verify(case, "train", side, got, x, dy, weights)
        for what, words in (
            ("y", "result"),
            ("dx", "gradient of the input"),
            ("dw", "gradient of the weights"),
        ):
            wrong = dataclasses.replace(got, **{what: getattr(got, what) * 1.1})
            with pytest.raises(WrongResultError, match=f"train: the error of the {words} is"):
                bench_conv._verify(case, "train", side, wrong, x, dy, weights)
        with pytest.raises(WrongResultError, match="expected shape"):
            bench_conv._verify(case, "train", side, dataclasses.replace(got, y=got.y[:1]), x, dy, weights)


@pytest.mark.parametrize("layer", AROUND, ids=[layer.name for layer in AROUND])
def test_layers_around(layer):
    if not hasattr(nonet.nn, layer.module):
        pytest.skip(f"nonet has no {layer.module} yet")
    small = dataclasses.replace(layer, shape=(2, layer.shape[1], 9, 8))
    side = next(iter(bench_conv._sides(small, Options())))
    x, dy, weights, got = trial(small, side)
    bench_conv._verify(small, "train", side, got, x, dy, weights)
    with pytest.raises(WrongResultError, match="the error of the result"):
        bench_conv._verify(small, "train", side, dataclasses.replace(got, y=got.y + 0.1), x, dy, weights)


def test_command(monkeypatch, capsys):
    monkeypatch.setattr(bench_conv, "CASES", [SMALL, SMALL_TRANSPOSED, AROUND[0]])
    capsys.readouterr()
    assert main(["bench", "conv", "--quick", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = document["rows"]
    names = [SMALL.name, SMALL_TRANSPOSED.name, AROUND[0].name]
    assert [(row["case"], row["mode"]) for row in rows if row["variant"] == "highest"] == [
        (name, mode) for name in names for mode in ("forward", "train")
    ]
    for row in rows:
        computes = row["case"] != AROUND[0].name
        assert row["state"] == "warm" and (row["gflops"] is not None) == computes and row["gbs"] > 0
        assert row["exact"] == (row["variant"] == "highest")


def test_missing_layers_are_skipped(monkeypatch, capsys):
    layer = Layer("thing", "NoSuchLayer", (), (1, 1, 2, 2), lambda x: x)
    monkeypatch.setattr(bench_conv, "CASES", [layer])
    capsys.readouterr()
    assert main(["bench", "conv", "--quick", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rows"] == [] and document["skipped"][0]["reason"] == "nonet has no NoSuchLayer yet"


def test_cpu_time_of_one_thread(capsys):
    pytest.importorskip("torch")
    from nonet.bench import busy

    threads = nonet.num_threads()
    capsys.readouterr()
    try:
        assert busy.main(["conv", "--only", "norm-8x512x7", "--seconds", "0.001"]) == 0
    finally:
        nonet.set_num_threads(threads)
    text = capsys.readouterr().out
    assert text.count("| norm-8x512x7 |") == 2 and "* norm, train: " in text
