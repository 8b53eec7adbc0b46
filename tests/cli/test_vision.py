"""The presets resnet18, segment and detect: train, eval, predict, resume; and `nonet convert`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from nonet import data, io, models
from nonet.cli import main
from nonet.cli.scenes import SceneInput
from nonet.models.resnet import ResNet


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def few(monkeypatch):
    """A small `shapes`, because nobody waits for the whole of it."""
    small = data.load_shapes(48, 10)
    monkeypatch.setattr(data, "load_scenes", lambda name, directory: small)
    return small


def _json(capsys, *argv):
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _fails(capsys, message, *argv):
    capsys.readouterr()
    assert main(list(argv)) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err.strip().splitlines()[-1], captured.err


def write_ppm(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels, height, width = pixels.shape
    head = f"P{6 if channels == 3 else 5} {width} {height} 255\n".encode()
    path.write_bytes(head + np.ascontiguousarray(pixels.transpose(1, 2, 0)).tobytes())


# ---- segment and detect
@pytest.mark.parametrize(("preset", "metric"), [("segment", "mean_iou"), ("detect", "ap50")])
def test_scenes(here, few, capsys, preset, metric):
    (record,) = _json(capsys, "train", preset, "--steps", "4", "--seed", "3")
    assert (record["preset"], record["data"], record["metric"]) == (preset, "shapes", metric)
    assert 0 <= record["value"] <= 1 and 0 <= record["floor"] < 1 and record["seed"] == 3
    assert record["picture"] == os.path.join("runs", preset, "picture.png")
    assert Path(record["picture"]).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert set(os.listdir(here / "runs" / preset)) - {"curves.png"} == {
        *("log.jsonl", "last.safetensors", "model.safetensors", "picture.png")
    }
    (again,) = _json(capsys, "eval", record["checkpoint"])
    for name in ("value", "loss", "floor"):
        assert again[name] == pytest.approx(record[name], rel=1e-6)
    assert again["samples"] == 10
    (summary,) = _json(capsys, "summary", record["checkpoint"])
    assert summary["input"] == [1, 3, 64, 64] and summary["parameters"] == record["params"]
    (other,) = _json(capsys, "summary", preset, "--data", "pennfudan")
    assert other["input"] == [1, 3, 192, 192] and other["parameters"] > summary["parameters"]


@pytest.mark.parametrize("preset", ["segment", "detect"])
def test_interrupted_runs_go_on_as_if_nothing_had_happened(here, few, capsys, preset):
    (whole,) = _json(capsys, "train", preset, "--steps", "5", "--out", "a")
    _json(capsys, "train", preset, "--steps", "3", "--out", "b")
    # The rate's schedule depends on the length, which may grow; so the runs differ in it and in nothing else.
    (longer,) = _json(capsys, "train", preset, "--steps", "5", "--out", "b", "--resume")
    (again,) = _json(capsys, "train", preset, "--steps", "3", "--out", "c")
    (twice,) = _json(capsys, "train", preset, "--steps", "5", "--out", "c", "--resume")
    assert longer["steps"] == whole["steps"] == 5 and again["steps"] == 3
    assert (here / "b/model.safetensors").read_bytes() == (here / "c/model.safetensors").read_bytes()
    assert longer["value"] == twice["value"]


def test_the_metric_is_that_of_the_pixels_as_they_are(here, few, capsys):
    """Logits are brought back from the canvas to the scene, boxes too, whatever its size."""
    image = SceneInput(32, [0.0] * 3, [1.0] * 3)
    rng = np.random.default_rng(0)
    for size in ((20, 40), (64, 48), (32, 32), (20, 90)):
        mask = (rng.random((4, 5)) > 0.5).astype(np.float32)
        mask = data.resize(mask, size, "nearest")
        canvas = data.cut(mask[None], image.window(size), (32, 32))
        back = image.back(canvas, size)
        assert back.shape == (1, *size)
        assert ((back[0] > 0.5) == (mask > 0.5)).mean() > 0.85
        boxes = np.array([[1, 2, size[1] - 3, size[0] - 1, 4, 0.5]], np.float32)
        shown = data.cut_boxes(boxes[:, :5], image.window(size), (32, 32), visible=0)
        np.testing.assert_allclose(
            image.back_boxes(np.concatenate([shown, boxes[:, 5:]], axis=1), size), boxes, atol=1e-4
        )


def test_predict_scenes(here, few, capsys):
    write_ppm(here / "a.ppm", few.test[0].image)
    write_ppm(here / "wide.ppm", np.concatenate([s.image for s in few.test[:2]], axis=2))
    write_ppm(here / "b/a.pgm", few.test[1].image[:1])
    files = ["a.ppm", "wide.ppm", "b/a.pgm"]
    (record,) = _json(capsys, "train", "segment", "--steps", "3")
    found = _json(capsys, "predict", record["checkpoint"], *files, "--out", "seen")
    assert [r["file"] for r in found] == files
    assert all(sum(r["shares"].values()) == pytest.approx(1) for r in found)
    assert found[0]["shares"].keys() == {"ground", "digit"}
    assert [r["mask"] for r in found] == ["seen/a.mask.png", "seen/wide.mask.png", "seen/a.1.mask.png"]
    assert len(os.listdir("seen")) == 6
    plain = _json(capsys, "predict", record["checkpoint"], *files)
    assert [r["shares"] for r in plain] == [r["shares"] for r in found] and plain[0]["mask"] is None
    (record,) = _json(capsys, "train", "detect", "--steps", "3")
    found = _json(capsys, "predict", record["checkpoint"], *files, "--out", "boxes")
    assert all(len(r["boxes"]) == len(r["classes"]) == len(r["scores"]) for r in found)
    assert len(os.listdir("boxes")) == 3
    capsys.readouterr()
    assert main(["predict", record["checkpoint"], "a.ppm"]) == 0
    assert capsys.readouterr().out.startswith("a.ppm ")
    _fails(
        capsys, "nope.ppm: expected an image file, found none", "predict", record["checkpoint"], "nope.ppm"
    )


def test_masks_of_predict_are_read_by_others(here, few, capsys):
    pytest.importorskip("PIL", reason="needs pillow (extra vision)")
    write_ppm(here / "wide.ppm", np.concatenate([s.image for s in few.test[:2]], axis=2))
    (record,) = _json(capsys, "train", "segment", "--steps", "3")
    (found,) = _json(capsys, "predict", record["checkpoint"], "wide.ppm", "--out", "seen")
    mask = io.read_image(found["mask"])
    assert mask.shape == (1, 64, 128) and set(np.unique(mask)) <= {0, 1}
    assert mask.mean() == pytest.approx(found["shares"]["digit"])
    assert io.read_image("seen/wide.picture.png").shape == (3, 64, 128)


def test_wrong_data_of_scenes(here, few, capsys):
    _fails(
        capsys,
        "--data pennfudan needs --data-dir, a folder with PNGImages",
        "train",
        "segment",
        "--data",
        "pennfudan",
    )
    _fails(
        capsys,
        "--data must be one of shapes, pennfudan for detect, got 'digits'",
        "train",
        "detect",
        "--data",
        "digits",
    )
    _fails(capsys, "--data shapes comes with nonet", "train", "detect", "--data", "shapes", "--data-dir", ".")
    (record,) = _json(capsys, "train", "lenet5", "--steps", "1")
    arrays, metadata = io.load_tensors(record["checkpoint"])
    io.save_tensors("x.safetensors", arrays, {**metadata, "preset": "segment", "data": "shapes"})
    _fails(capsys, "expected a checkpoint of a model for scenes", "eval", "x.safetensors")


@pytest.mark.skipif("NONET_DATA" not in os.environ, reason="needs NONET_DATA/pennfudan")
@pytest.mark.parametrize("preset", ["segment", "detect"])
def test_pennfudan(here, capsys, preset):
    pytest.importorskip("PIL", reason="needs pillow (extra vision)")
    folder = os.path.join(os.environ["NONET_DATA"], "pennfudan")
    (record,) = _json(capsys, "train", preset, "--data-dir", folder, "--steps", "2", "--batch-size", "2")
    assert record["data"] == "pennfudan" and Path(record["picture"]).exists()
    if preset == "segment":
        assert record["floor"] == pytest.approx(0.42, abs=0.02)  # all background
    photo = os.path.join(folder, "PNGImages", "FudanPed00070.png")
    (found,) = _json(capsys, "predict", record["checkpoint"], photo, "--out", "seen")
    assert found["file"] == photo and os.listdir("seen")


@pytest.mark.parametrize("preset", ["segment", "detect"])
def test_bfloat16(here, few, capsys, preset):
    (record,) = _json(capsys, "train", preset, "--steps", "2", "--autocast", "bfloat16")
    assert np.isfinite(record["loss"]) and 0 <= record["value"] <= 1


# ---- resnet18
def test_resnet18_on_digits(here, capsys):
    (record,) = _json(capsys, "train", "resnet18", "--steps", "2", "--batch-size", "8")
    assert (record["data"], record["metric"], record["params"]) == ("digits", "accuracy", 11_173_962)
    metadata = io.load_metadata(record["checkpoint"])
    assert metadata["architecture"] == "ResNet" and json.loads(metadata["arguments"])["cifar_stem"]
    (again,) = _json(capsys, "eval", record["checkpoint"])
    assert again["value"] == record["value"]
    np.save("x.npy", data.load_digits().test.inputs[:3])
    assert len(_json(capsys, "predict", record["checkpoint"], "x.npy")) == 3
    (summary,) = _json(capsys, "summary", "resnet18", "--data", "mnist")
    assert summary["input"] == [1, 3, 28, 28]


@pytest.fixture
def folder(tmp_path):
    """Two classes, of dark and of light images, in colours and of several sizes."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 3)):
        for name, light in (("dark", 40), ("light", 180)):
            for i in range(count):
                pixels = rng.integers(0, 60, (3, 10 + i % 3, 12)) + light
                write_ppm(tmp_path / "set" / part / name / f"{i}.ppm", pixels.astype(np.uint8))
    return tmp_path / "set"


def test_resnet18_on_a_folder(here, folder, capsys, monkeypatch):
    monkeypatch.setattr("nonet.cli.classify.models.build", _small)
    (record,) = _json(
        capsys, "train", "resnet18", "--data-dir", str(folder), "--steps", "8", "--batch-size", "8"
    )
    assert record["data"] == "folder"
    metadata = io.load_metadata(record["checkpoint"])
    assert json.loads(metadata["classes"]) == ["dark", "light"]
    description = {**json.loads(metadata["input"]), **json.loads(metadata["normalization"])}
    assert (description["height"], description["width"], description["shorter"]) == (64, 64, 64)
    assert description["colour"] and len(description["mean"]) == 3
    (again,) = _json(capsys, "eval", record["checkpoint"], "--data-dir", str(folder))
    assert again["value"] == record["value"] and again["samples"] == 6
    found = _json(capsys, "predict", record["checkpoint"], str(folder / "test/dark/0.ppm"))
    assert found[0]["class"] in ("dark", "light")
    (mnist,) = _json(capsys, "summary", "resnet18")
    assert mnist["input"] == [1, 3, 16, 16]


def _small(name, num_classes, cifar_stem):
    assert name == "resnet18"
    return ResNet("BasicBlock", [1, 1, 1, 1], num_classes, cifar_stem=cifar_stem)


def test_folders_of_one_size_stay_as_they_are(here, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nonet.cli.classify.models.build", _small)
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for i in range(12):
            pixels = rng.integers(0, 255, (1, 9, 8)).astype(np.uint8)
            write_ppm(tmp_path / "set" / part / str(i % 2) / f"{i}.pgm", pixels)
    (record,) = _json(capsys, "train", "resnet18", "--data-dir", "set", "--steps", "2", "--batch-size", "4")
    metadata = io.load_metadata(record["checkpoint"])
    description = {**json.loads(metadata["input"]), **json.loads(metadata["normalization"])}
    assert (description["height"], description["width"], description["shorter"]) == (9, 8, None)
    assert isinstance(description["mean"], float)
    write_ppm(tmp_path / "other.ppm", np.zeros((3, 10, 10), np.uint8))
    _fails(capsys, "expected images of 9 x 8", "predict", record["checkpoint"], "other.ppm")


# ---- convert
def test_convert(here, capsys):
    model = ResNet("BasicBlock", [1, 1, 1, 1], num_classes=4).eval()
    arrays = {"module." + k: np.array(v) for k, v in model.state_dict().items() if "num_batches" not in k}
    io.save_tensors("their.safetensors", arrays)
    (record,) = _json(capsys, "convert", "their.safetensors", "own.safetensors")
    assert (record["architecture"], record["prefix"], record["tensors"]) == ("ResNet", "module.", 62)
    assert len(record["filled"]) == 12 and record["left_out"] == []
    assert record["keys"]["fc.bias"] == "module.fc.bias"
    again = models.load_model("own.safetensors")
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    np.testing.assert_array_equal(again(x).numpy(), model(x).numpy())
    write_ppm(here / "x.ppm", np.random.default_rng(0).integers(0, 255, (3, 300, 260)).astype(np.uint8))
    (found,) = _json(capsys, "predict", "own.safetensors", "x.ppm")
    assert found["class"] in "0123"
    (summary,) = _json(capsys, "summary", "own.safetensors")
    assert summary["input"] == [1, 3, 224, 224]
    capsys.readouterr()
    assert main(["convert", "their.safetensors", "own.safetensors"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("ResNet, ") and "module.fc.bias -> fc.bias [4]" in captured.err
    assert "not in the file, begins at 0: bn1.num_batches_tracked" in captured.err


def test_convert_errors(here, capsys):
    model = models.LeNet5(3)
    arrays = {k: np.array(v) for k, v in model.state_dict().items()}
    io.save_tensors("a.safetensors", {**arrays, "extra.weight": np.zeros(1)})
    _fails(capsys, "1 unmapped (extra.weight)", "convert", "a.safetensors", "b.safetensors")
    io.save_tensors("a.safetensors", {**arrays, "fc1.bias": np.zeros(7)})
    _fails(capsys, "1 misshapen (fc1.bias [7] for [120])", "convert", "a.safetensors", "b.safetensors")
    _fails(capsys, "--arch must be one of alexnet, vgg11", "convert", "a.safetensors", "b", "--arch", "x")
    _fails(
        capsys,
        "a.safetensors: expected the tensors of resnet18",
        "convert",
        "a.safetensors",
        "b",
        "--arch",
        "resnet18",
    )
    _fails(capsys, "DST must be another file", "convert", "a.safetensors", "./a.safetensors")
    _fails(capsys, "no.pth: expected", "convert", "no.pth", "b.safetensors")
    assert os.listdir(here) == ["a.safetensors"]
