"""`nonet train`: options, run folder, JSON, exit codes, kill and resume."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import nonet
from helpers import use_threads
from nonet import data, io
from nonet.cli import main
from nonet.cli.presets import PRESETS
from nonet.cli.train import warmup_cosine
from nonet.train import RunFolder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _json(capsys, *argv):
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out.splitlines()[-1]), captured


def _fails(capsys, code, message, *argv):
    capsys.readouterr()
    assert main(list(argv)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert "Traceback" not in captured.err and re.search(message, lines[-1]), captured.err
    return lines[-1]


@pytest.fixture(scope="module")
def idx(tmp_path_factory):
    """The digits in MNIST's form: 28x28 bytes in idx files, half of them gzipped; few, to be quick."""
    folder = tmp_path_factory.mktemp("idx")
    digits = data.load_digits()
    for stem, part, n in (("train", digits.train, 200), ("t10k", digits.test, 50)):
        images = (data.upsample(part.inputs[:n, 0], 28) * (255 / 16)).astype(np.uint8)
        image_bytes = b"\0\0\x08\x03" + np.array(images.shape, ">i4").tobytes() + images.tobytes()
        label_bytes = (
            b"\0\0\x08\x01" + np.array([n], ">i4").tobytes() + part.targets[:n].astype(np.uint8).tobytes()
        )
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(image_bytes)
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(label_bytes))
    return folder


@pytest.mark.parametrize("preset", ["ann", "lenet5"])
def test_json_contract(here, capsys, preset):
    record, captured = _json(capsys, "train", preset, "--steps", "12", "--seed", "3")
    assert len(captured.out.splitlines()) == 1
    assert record["preset"] == preset and record["data"] == "digits" and record["metric"] == "accuracy"
    assert (
        record["steps"] == 12
        and record["seed"] == 3
        and record["epochs"] == 12 * record["batch_size"] // 1294
    )
    assert record["checkpoint"] == os.path.join("runs", preset, "model.safetensors")
    assert record["params"] == {"ann": 301_066, "lenet5": 61_706}[preset]
    assert 0 <= record["value"] <= 1 and 0 <= record["validation"] <= 1
    assert record["seconds"] > 0 and record["samples_per_second"] > 0
    assert "epoch 1" in captured.err
    value = _json(capsys, "eval", record["checkpoint"])[0]
    assert value["value"] == record["value"] and value["loss"] == pytest.approx(record["loss"])
    log = [json.loads(line) for line in (here / "runs" / preset / "log.jsonl").read_text().splitlines()]
    assert log[-1]["event"] == "result" and log[-1]["value"] == record["value"]
    assert set(os.listdir(here / "runs" / preset)) - {"curves.png"} == {
        "log.jsonl",
        "last.safetensors",
        "model.safetensors",
    }


def test_metadata_of_the_checkpoint(here, capsys):
    assert main(["train", "lenet5", "--steps", "1", "--out", "run"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("accuracy 0.") and "saved in run" in captured.out
    metadata = io.load_metadata("run/model.safetensors")
    assert metadata["preset"] == "lenet5" and metadata["architecture"] == "LeNet5"
    assert json.loads(metadata["arguments"]) == {"classes": 10}
    assert json.loads(metadata["classes"]) == [str(i) for i in range(10)]
    norm = json.loads(metadata["normalization"])
    train, _ = data.holdout(data.load_digits().train, PRESETS["lenet5"].validation, 0)
    images = data.upsample(train.inputs, 28).astype(np.float64)
    assert norm["mean"] == pytest.approx(images.mean()) and norm["std"] == pytest.approx(images.std())
    assert str(here) not in json.dumps(metadata)


def test_validation_is_cut_from_the_training_part_and_the_test_part_never_seen(here, capsys, monkeypatch):
    parts = data.load_digits()
    blind = data.Splits(
        "digits", parts.train, data.ArrayDataset(parts.test.inputs * 0, parts.test.targets), parts.classes
    )
    main(["train", "ann", "--steps", "5", "--out", "a"])
    monkeypatch.setattr(data, "load", lambda *_: blind)
    main(["train", "ann", "--steps", "5", "--out", "b"])
    assert (here / "a" / "model.safetensors").read_bytes() == (here / "b" / "model.safetensors").read_bytes()


def test_a_folder_is_renamed_aside(here, capsys):
    for _ in range(3):
        assert main(["train", "ann", "--steps", "1"]) == 0
    assert sorted(os.listdir("runs")) == ["ann", "ann.1", "ann.2"]
    assert "runs/ann.2" in capsys.readouterr().err


def test_a_wrong_option_renames_nothing(here, capsys):
    main(["train", "ann", "--steps", "1"])
    _fails(capsys, 2, "--data-dir: nowhere", "train", "ann", "--data-dir", "nowhere")
    assert os.listdir("runs") == ["ann"]


def test_idx_files(here, capsys, idx):
    for options in (["--data-dir", str(idx)], ["--data", "mnist", "--data-dir", str(idx)]):
        record, _ = _json(capsys, "train", "lenet5", "--steps", "3", *options)
        assert record["data"] == "mnist"
    value = _json(capsys, "eval", record["checkpoint"], "--data-dir", str(idx))[0]
    assert value["value"] == record["value"] and value["samples"] == 50
    _fails(capsys, 2, "--data mnist needs --data-dir, a folder with .*idx", "eval", record["checkpoint"])
    _fails(
        capsys, 2, "expected images of 28 x 28, found 8 x 8", "eval", record["checkpoint"], "--data", "digits"
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["ann", "--data", "mnist"],
            "--data mnist needs --data-dir, a folder with .*images-idx3.*idx format",
        ),
        (["ann", "--data", "faces"], "--data must be one of digits, mnist for ann, got 'faces'"),
        (["ann", "--data", "digits", "--data-dir", "."], "--data digits comes with nonet"),
        (
            ["ann", "--data-dir", "nowhere"],
            "--data-dir: nowhere: expected a directory with .*found nothing there",
        ),
        (["ann", "--data-dir", "."], "--data-dir: .*: expected one of train-images-idx3-ubyte"),
        (["nope"], "invalid choice: 'nope'"),
        ([], "required: PRESET"),
        (["ann", "--epochs", "0"], "--epochs: expected an integer of at least 1, got '0'"),
        (["ann", "--steps", "x"], "--steps: expected an integer"),
        (["ann", "--batch-size", "-4"], "--batch-size: expected an integer"),
        (["ann", "--lr", "nan"], "--lr: expected a number above 0, got 'nan'"),
        (["ann", "--lr", "inf"], "--lr: expected a number above 0"),
        (["ann", "--seed", "-1"], "--seed: expected an integer of at least 0"),
        (["ann", "--seed", str(2**63)], "--seed: expected an integer of at most"),
        (["ann", "--data-dir", ""], "--data-dir: .: expected one of train-images-idx3-ubyte"),
        (["ann", "--device", "cpu:1"], "--device: expected cpu or cuda, got cpu:1"),
        (["ann", "--checkpoint-every", "0"], "--checkpoint-every: expected"),
        (["ann", "--precision", "low"], "--precision must be one of highest, high, medium, ieee, got 'low'"),
        (["ann", "--autocast", "int8"], "--autocast must be one of bfloat16, got 'int8'"),
        (["ann", "--device", "cuda:1"], "--device: expected cpu or cuda, got cuda:1"),
        (["ann", "--device", "tpu"], "--device: expected cpu or cuda, got tpu"),
        (["ann", "--epoch", "3"], "unrecognized arguments: --epoch"),
        (["ann", "--out", "/dev/null/x"], "/dev/null/x: cannot keep a run there"),
    ],
)
def test_usage_errors(here, capsys, argv, message):
    line = _fails(capsys, 2, message, "train", *argv)
    assert line.startswith("nonet")
    assert not os.listdir(here)


def test_known_options_are_accepted(here):
    assert main(["train", "ann", "--steps", "1", "--precision", "highest", "--device", "cpu"]) == 0


@pytest.mark.parametrize("preset", ["ann", "lenet5"])
@pytest.mark.parametrize("options", [["--precision", "medium"], ["--autocast", "bfloat16"]])
def test_precision_and_autocast_train(here, capsys, preset, options):
    """To nearly where float32 gets, and back to the defaults afterwards; the option is part of the run."""
    want, _ = _json(capsys, "train", preset, "--epochs", "3", "--out", "a")
    got, _ = _json(capsys, "train", preset, "--epochs", "3", "--out", "b", *options)
    assert got["value"] > want["value"] - 0.05
    assert nonet.get_matmul_precision() == "highest"
    assert not nonet.is_autocast_enabled()
    if options[0] == "--precision":
        _fails(capsys, 2, "--resume", "train", preset, "--out", "b", "--resume", "--precision", "high")


def test_resume_from_step_0(here, capsys):
    a, _ = _json(capsys, "train", "ann", "--steps", "4", "--out", "a", "--resume")
    b, _ = _json(capsys, "train", "ann", "--steps", "4", "--out", "b")
    assert a["value"] == b["value"]
    assert (here / "a" / "model.safetensors").read_bytes() == (here / "b" / "model.safetensors").read_bytes()


def test_resume_keeps_the_options(here, capsys, idx):
    options = ["train", "lenet5", "--out", "run", "--data-dir", str(idx), "--seed", "2", "--batch-size", "50"]
    main([*options, "--epochs", "1", "--lr", "0.002"])
    record, _ = _json(capsys, "train", "lenet5", "--out", "run", "--resume", "--epochs", "2")
    assert (record["epochs"], record["seed"], record["lr"], record["batch_size"]) == (2, 2, 0.002, 50)
    assert record["data"] == "mnist"
    resume = ["train", "lenet5", "--out", "run", "--resume"]
    _fails(capsys, 2, "--resume: --lr is 0.1, the run began with 0.002", *resume, "--lr", "0.1")
    _fails(capsys, 2, "--resume: --seed is 0, the run began with 2", *resume, "--seed", "0")
    _fails(capsys, 2, "--resume: --batch-size is 64", *resume, "--batch-size", "64")
    _fails(capsys, 2, "--resume: --data is digits, the run began with mnist", *resume, "--data", "digits")
    _fails(
        capsys, 2, r"--resume: --epochs is 1, the run began with 2 \(it may grow\)", *resume, "--epochs", "1"
    )
    _fails(capsys, 2, "--resume: --steps is 3, the run began with none", *resume, "--steps", "3")
    _fails(capsys, 2, "--resume: PRESET is ann", "train", "ann", "--out", "run", "--resume")
    changed = here / "changed"
    changed.mkdir()
    for path in idx.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    images = bytearray((changed / "train-images-idx3-ubyte").read_bytes())
    images[-1] ^= 1
    (changed / "train-images-idx3-ubyte").write_bytes(images)
    _fails(capsys, 2, "--resume: the training data .* are not those", *resume, "--data-dir", str(changed))


def test_resume_of_damaged_checkpoints(here, capsys):
    main(["train", "ann", "--steps", "1", "--out", "run"])
    path = here / "run" / "last.safetensors"
    whole = path.read_bytes()
    resume = ["train", "ann", "--out", "run", "--resume"]
    path.write_bytes(whole[:-1])
    _fails(capsys, 2, r"run/last\.safetensors: expected .* found .*truncated", *resume)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    _fails(capsys, 2, r"run/last\.safetensors: expected contents with CRC-32", *resume)
    io.save_tensors(path, {}, {"run": "{}"})
    _fails(capsys, 2, r"run/last\.safetensors: expected a checkpoint of `nonet train`", *resume)


def test_nan_is_exit_3_with_the_layer_and_the_good_checkpoint(here, capsys):
    line = _fails(
        capsys,
        3,
        "training stopped before the update of step",
        "train",
        "ann",
        "--lr",
        "1e30",
        "--out",
        "run",
    )
    assert "linear" in line and "run/last.safetensors holds the last good state" in line
    arrays, _ = io.load_tensors("run/last.safetensors")
    assert all(np.isfinite(a).all() for a in arrays.values())
    assert json.loads((here / "run" / "log.jsonl").read_text().splitlines()[-1])["event"] == "stopped"


def test_any_other_failure_is_exit_1_in_one_line(here, capsys, monkeypatch):
    def broken(*args):
        raise RuntimeError("something\nodd")

    monkeypatch.setattr(data, "load", broken)
    _fails(capsys, 1, "nonet train: RuntimeError: something odd", "train", "ann")
    monkeypatch.setenv("NONET_TRACEBACK", "1")
    assert main(["train", "ann"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_tensorboard_missing_never_fails_a_run(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert main(["train", "ann", "--steps", "1", "--tensorboard"]) == 0
    assert "nonet[tensorboard]" in capsys.readouterr().err


def test_tensorboard_gets_the_numbers(here, monkeypatch):
    import types

    seen = []

    class Writer:
        def __init__(self, folder, purge_step):
            seen.append(folder)

        def add_scalar(self, name, value, step):
            seen.append((name, step))

        def close(self):
            seen.append("closed")

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    assert main(["train", "ann", "--steps", "2", "--tensorboard"]) == 0
    assert seen[0] == "runs/ann/tensorboard" and seen[-1] == "closed"
    assert ("validation_accuracy", 2) in seen and ("loss", 2) in seen


def _arrays(path):
    arrays, _ = io.load_tensors(path)
    return {name: array.tobytes() for name, array in arrays.items()}


def _log(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k not in ("seconds", "samples_per_second", "checkpoint")}
        for line in lines
    ]


def _start(out, *options):
    command = [
        sys.executable,
        "-m",
        "nonet",
        "train",
        "lenet5",
        "--out",
        str(out),
        "--epochs",
        "2",
        "--seed",
        "1",
    ]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_kill_9_ctrl_c_and_resume(tmp_path):
    """Killed once its first checkpoint is there, interrupted later, then finished: the bytes of an unbroken run."""
    whole = _start(tmp_path / "whole")
    out = tmp_path / "broken"
    run = _start(out, "--checkpoint-every", "3")
    _wait(run, lambda: (out / "last.safetensors").exists() and _step(out) >= 6)
    run.kill()
    run.communicate()
    assert run.returncode == -signal.SIGKILL
    killed_at = _step(out)
    run = _start(out, "--checkpoint-every", "3", "--resume")
    _wait(run, lambda: _step(out) > killed_at)
    run.send_signal(signal.SIGINT)
    stdout, stderr = run.communicate()
    assert run.returncode == 130, stderr
    assert stdout == "" and "--resume continues" in stderr.splitlines()[-1]
    assert killed_at < _step(out) and (out / "model.safetensors").exists()
    run = _start(out, "--resume", "--json")
    stdout, stderr = run.communicate()
    assert run.returncode == 0, stderr
    whole_stdout, _ = whole.communicate()
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert _arrays(out / "last.safetensors") == _arrays(tmp_path / "whole" / "last.safetensors")
    assert _log(out / "log.jsonl") == _log(tmp_path / "whole" / "log.jsonl")
    assert f"accuracy {json.loads(stdout)['value']:.4f}" in whole_stdout


def _step(out):
    return json.loads(io.load_metadata(out / "last.safetensors")["state"])["position"]["step"]


def _wait(run, condition):
    end = time.monotonic() + 60
    while not condition():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_ctrl_c_before_training(here, capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load", interrupted)
    _fails(capsys, 130, "nonet train: interrupted", "train", "ann")


def test_the_schedule_rises_and_falls():
    rates = [warmup_cosine(step, 100, 0.1) for step in range(101)]
    assert 0 < rates[0] < rates[5] < rates[9] < rates[10] == 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[10:])) and rates[100] == pytest.approx(0)
    assert warmup_cosine(500, 100, 0.1) == pytest.approx(0)
    assert 0 < warmup_cosine(0, 1, 0.1) <= 1


def test_too_few_images(here, capsys, idx, monkeypatch):
    few = data.load_idx(idx)
    few = data.Splits("mnist", few.train.subset(slice(0, 3)), few.test, few.classes)
    monkeypatch.setattr(data, "load", lambda *_: few)
    _fails(capsys, 2, "mnist: expected more training images, found 3", "train", "ann", "--data-dir", str(idx))


def test_a_folder_in_use(here, capsys):
    folder = RunFolder("runs/ann")
    _fails(capsys, 2, "another run is writing into this folder", "train", "ann", "--steps", "1")
    folder.close()


@pytest.mark.skipif(
    "NONET_DATA" not in os.environ, reason="needs MNIST: NONET_DATA is the parent of its folder"
)
def test_mnist(here, capsys):
    folder = os.path.join(os.environ["NONET_DATA"], "mnist")
    record, _ = _json(capsys, "train", "ann", "--data-dir", folder, "--steps", "60", "--batch-size", "50")
    assert record["data"] == "mnist" and record["params"] == 669_706 and record["value"] > 0.8


# Without files, and without the search through a thousand translations: the last preset of each task.
_QUICK = {p.task: p.name for p in PRESETS.values() if p.sets[0] not in p.files and p.task != "translate"}


@pytest.mark.parametrize("preset", _QUICK.values())
def test_the_number_of_threads_does_not_matter(here, preset):
    files = []
    for count in (1, 3):
        with use_threads(count):
            few = ["--steps", "2", "--batch-size", "8"]
            assert main(["train", preset, *few, "--out", str(count)]) == 0
        files.append((here / str(count) / "model.safetensors").read_bytes())
    assert files[0] == files[1]
