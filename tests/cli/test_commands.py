"""`nonet eval`, `predict`, `summary`, `info`, `doctor`, `--version`."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nonet
from helpers import available_isas
from nonet import _core, data, io, models
from nonet.cli import doctor, main, selftest


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    assert main(["train", "lenet5", "--epochs", "4", "--out", str(path)]) == 0
    return path


def _lines(capsys, *argv):
    capsys.readouterr()
    assert main(list(argv)) == 0
    return capsys.readouterr().out.splitlines()


def _fails(capsys, message, *argv, code=2):
    capsys.readouterr()
    assert main(list(argv)) == code
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err.splitlines()[-1], captured.err


# ---- eval
def test_eval(run, capsys):
    result = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    for name in ("model", "last"):  # the last epoch's parameters are the ones reported
        record = json.loads(_lines(capsys, "eval", str(run / f"{name}.safetensors"), "--json")[-1])
        assert record["value"] == result["value"] > 0.7
        assert (record["preset"], record["data"], record["metric"]) == ("lenet5", "digits", "accuracy")
    assert _lines(capsys, "eval", str(run / "model.safetensors"))[0].startswith(
        f"accuracy {result['value']:.4f}"
    )


def test_eval_of_wrong_files(run, tmp_path, capsys):
    _fails(capsys, "nope: expected a safetensors file, found none", "eval", str(tmp_path / "nope"))
    io.save_tensors(tmp_path / "x", {"a": np.zeros(2)})
    _fails(capsys, "x: expected a checkpoint of `nonet train`", "eval", str(tmp_path / "x"))
    whole = (run / "model.safetensors").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    _fails(capsys, "cut: expected", "eval", str(tmp_path / "cut"))
    arrays, metadata = io.load_tensors(run / "model.safetensors")
    del arrays["fc3.bias"]
    io.save_tensors(tmp_path / "part", arrays, metadata)
    _fails(capsys, "part: expected the tensors of LeNet5", "eval", str(tmp_path / "part"))
    io.save_tensors(tmp_path / "other", arrays, {**metadata, "architecture": "GoogLeNet"})
    _fails(capsys, "other: expected metadata with an architecture", "eval", str(tmp_path / "other"))


def test_device_of_commands(run, images, capsys):
    model = str(run / "model.safetensors")
    for command in (["eval", model], ["predict", model, str(images / "one.npy")]):
        _fails(capsys, "--device: expected cpu or cuda, got tpu", *command, "--device", "tpu")
        assert main([*command, "--device", "cpu"]) == 0


# ---- predict
@pytest.fixture
def images(tmp_path):
    """Six test images in every format that is read without pillow, and their predictions should agree."""
    pictures = data.load_digits().test.inputs[:6, 0]
    np.save(tmp_path / "all.npy", pictures)
    np.save(tmp_path / "channel.npy", pictures[:, None].astype(np.float64))
    np.save(tmp_path / "one.npy", pictures[0])
    idx = b"\0\0\x08\x03" + np.array(pictures.shape, ">i4").tobytes() + pictures.tobytes()
    (tmp_path / "all-idx3-ubyte").write_bytes(idx)
    (tmp_path / "all-idx3-ubyte.gz").write_bytes(gzip.compress(idx))
    (tmp_path / "one.pgm").write_bytes(b"P5 8 8 16\n" + pictures[0].tobytes())
    (tmp_path / "inverse.pgm").write_bytes(b"P5 8 8 16\n" + (16 - pictures[0]).tobytes())
    colour = np.repeat(pictures[0][..., None] * 15, 3, axis=2)
    (tmp_path / "one.ppm").write_bytes(b"P6 8 8 240\n" + colour.tobytes())
    return tmp_path


def test_predict(run, images, capsys):
    model = str(run / "model.safetensors")
    expected = [
        json.loads(line) for line in _lines(capsys, "predict", model, str(images / "all.npy"), "--json")
    ]
    assert [record["index"] for record in expected] == list(range(6))
    assert all(record["file"] == str(images / "all.npy") for record in expected)
    right = sum(
        r["class"] == str(label) for r, label in zip(expected, data.load_digits().test.targets, strict=False)
    )
    assert right >= 4 and all(0.1 <= record["probability"] <= 1 for record in expected)
    for name in ("channel.npy", "all-idx3-ubyte", "all-idx3-ubyte.gz", "one.npy", "one.pgm", "one.ppm"):
        records = [
            json.loads(line) for line in _lines(capsys, "predict", model, str(images / name), "--json")
        ]
        assert len(records) == (1 if name.startswith("one") else 6)
        for record, want in zip(records, expected, strict=False):
            assert record["class"] == want["class"]
            assert record["probability"] == pytest.approx(want["probability"], rel=1e-4)
    inverted = _lines(capsys, "predict", model, str(images / "inverse.pgm"), "--invert")
    assert inverted == [f"{images / 'inverse.pgm'} {expected[0]['class']} {expected[0]['probability']:.4f}"]
    lines = _lines(capsys, "predict", model, str(images / "one.npy"), str(images / "all.npy"))
    assert len(lines) == 7 and lines[0].startswith(f"{images / 'one.npy'} ") and "all.npy[5] " in lines[-1]


def test_predict_of_wrong_files(run, images, capsys):
    model = str(run / "model.safetensors")
    whole = (images / "all.npy").read_bytes()
    (images / "open.npy").write_bytes(whole.replace(b"), }", b"    "))
    (images / "huge.npy").write_bytes(whole.replace(b"(6, 8, 8), }" + 9 * b" ", b"(6000000, 800000, 8)}"))
    np.save(images / "large.npy", np.zeros((2, 28, 28)))
    np.save(images / "nan.npy", np.full((8, 8), np.nan))
    np.save(images / "text.npy", np.array(["a"]))
    np.save(images / "objects.npy", np.array([{}]), allow_pickle=True)
    (images / "cut.npy").write_bytes((images / "all.npy").read_bytes()[:-3])
    (images / "cut.pgm").write_bytes(b"P5 8 8 16\n" + bytes(3))
    for name, message in {
        "nope.png": "nope.png: expected an image file",
        "large.npy": "large.npy: expected images of 8 x 8",
        "nan.npy": "nan.npy: expected finite numbers",
        "text.npy": "text.npy: expected numbers",
        "objects.npy": "objects.npy: expected a complete .npy file of numbers",
        "cut.npy": "cut.npy: expected a complete .npy file",
        "open.npy": "open.npy: expected a complete .npy file",
        "huge.npy": "huge.npy: expected a complete .npy file",
        "cut.pgm": "cut.pgm: expected 64 bytes of pixels, found 3",
    }.items():
        # The good file before it prints nothing: all are read first.
        _fails(capsys, message, "predict", model, str(images / "one.npy"), str(images / name))
    _fails(capsys, "required: FILE", "predict", model)


def test_predict_without_pillow(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    _fails(capsys, "nonet[vision]", "predict", str(run / "model.safetensors"), str(tmp_path / "x.png"))


# ---- summary
def test_summary_of_lenet5_equals_a_hand_count(run, capsys):
    hand = {
        "conv1": ([1, 6, 28, 28], 6 * (25 + 1), 6 * 25 * 28 * 28),
        "relu1": ([1, 6, 28, 28], 0, 0),
        "pool1": ([1, 6, 14, 14], 0, 0),
        "conv2": ([1, 16, 10, 10], 16 * (6 * 25 + 1), 16 * 6 * 25 * 100),
        "relu2": ([1, 16, 10, 10], 0, 0),
        "pool2": ([1, 16, 5, 5], 0, 0),
        "flatten": ([1, 400], 0, 0),
        "fc1": ([1, 120], 401 * 120, 400 * 120),
        "relu3": ([1, 120], 0, 0),
        "fc2": ([1, 84], 121 * 84, 120 * 84),
        "relu4": ([1, 84], 0, 0),
        "fc3": ([1, 10], 85 * 10, 84 * 10),
    }
    for what in ("lenet5", str(run / "model.safetensors")):
        record = json.loads(_lines(capsys, "summary", what, "--json")[0])
        assert {r["path"]: (r["output"], r["parameters"], r["macs"]) for r in record["layers"]} == hand
        assert (
            record["parameters"] == 61_706
            and record["macs"] == sum(m for _, _, m in hand.values()) == 416_520
        )
        assert record["architecture"] == "LeNet5"
    lines = _lines(capsys, "summary", "lenet5")
    assert len(lines) == 1 + 1 + 12 + 1
    assert lines[-1].split() == ["total", "LeNet5", "61,706", "416,520"]


def test_summary_of_ann(capsys):
    for options, pixels in (([], 64), (["--data", "mnist"], 784)):
        record = json.loads(_lines(capsys, "summary", "ann", "--json", *options)[0])
        assert record["macs"] == pixels * 512 + 512 * 512 + 512 * 10
        assert record["parameters"] == record["macs"] + 512 + 512 + 10


def test_summary_errors(tmp_path, capsys):
    _fails(
        capsys,
        "or a .safetensors file, got 'x'",
        "summary",
        "x",
    )
    _fails(capsys, "found none", "summary", str(tmp_path / "x.safetensors"))
    _fails(capsys, "--data must be one of", "summary", "ann", "--data", "x")
    _fails(capsys, "--data is for presets", "summary", str(tmp_path / "x.safetensors"), "--data", "mnist")


# ---- info, doctor, version
def test_info(capsys):
    record = json.loads(_lines(capsys, "info", "--json")[0])
    assert record["nonet"] == nonet.__version__ and record["isa"] == _core.isa()
    assert record["threads"] == nonet.num_threads() and record["cuda"] is False and record["cuda_reason"]
    assert record["packages"]["numpy"] == np.__version__
    text = "\n".join(_lines(capsys, "info"))
    assert nonet.__version__ in text and "CUDA" in text and record["isa"] in text


def test_doctor(capsys):
    record = json.loads(_lines(capsys, "doctor", "--json")[0])
    assert record["ok"] and all(check["ok"] for check in record["checks"]), record
    assert {check["where"] for check in record["checks"]} == set(available_isas())
    assert record["missing"]["cuda"] and record["seconds"] < 20
    lines = _lines(capsys, "doctor")
    assert lines[-1].endswith("checks passed") and any("missing: cuda" in line for line in lines)


def test_doctor_knows_every_family():
    root = Path(__file__).parents[2] / "csrc" / "ops"
    families = {path.name for path in root.iterdir() if path.is_dir()}
    assert families <= set(selftest.CHECKS), "add a check to nonet/cli/selftest.py"


def test_doctor_finds_what_is_wrong(capsys, monkeypatch):
    def off(draw):
        yield nonet.tensor([1.0, 2.0]), [1.0, 2.1]

    def broken(draw):
        raise RuntimeError("no such kernel")
        yield

    monkeypatch.setattr(doctor, "CHECKS", {"off": off, "broken": broken})
    capsys.readouterr()
    before = _core.isa()
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "FAILED: error 4.8e-02" in out and "FAILED: RuntimeError: no such kernel" in out
    assert main(["doctor", "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["ok"]
    assert _core.isa() == before


def test_errors_of_the_self_test():
    assert selftest.error_of([1.0], [1.0]) == 0
    assert selftest.error_of([1.0, 2.0], [1.0]) == float("inf")
    assert selftest.error_of([float("nan")], [1.0]) == float("inf")
    assert selftest.error_of([10.0], [20.0]) == 0.5


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"nonet {nonet.__version__}\n"
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("train", "eval", "predict", "summary", "info", "doctor"))
    assert main(["train", "--help"]) == 0
    assert "--checkpoint-every" in capsys.readouterr().out
    assert main([]) == 2
    assert main(["fly"]) == 2


def test_module_and_start_up():
    """`python -m nonet` is the command, and its help imports no library for training."""
    done = subprocess.run(
        [sys.executable, "-m", "nonet", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"nonet {nonet.__version__}\n"
    code = (
        "import sys; from nonet.cli import main; main(['--help']); "
        "print([m for m in ('safetensors', 'tqdm', 'nonet.train', 'nonet.data', 'nonet.optim') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def _shell(command):
    """`nonet` in a shell, with the buffers that Python has by default."""
    command = command.replace("nonet", f"{sys.executable} -m nonet", 1)
    return subprocess.run(
        ["env", "-u", "PYTHONUNBUFFERED", "bash", "-c", command], capture_output=True, text=True
    )


@pytest.mark.parametrize("arguments", ["summary lenet5", "--help"])
def test_a_closed_pipe_is_quiet(arguments):
    done = _shell(f"nonet {arguments} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_stdout_is_a_failure_in_one_line():
    done = _shell("nonet info > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "nonet: cannot write to stdout: No space left on device\n"


def test_closed_streams(tmp_path):
    """Without a stderr there is no progress, and nothing that belongs there appears on stdout."""
    done = _shell(f"nonet train ann --steps 1 --json --tensorboard --out {tmp_path / 'run'} 2>&-")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1 and json.loads(done.stdout)
    assert _shell("nonet info >&-").returncode == 0


def test_build_and_models():
    assert isinstance(models.build("MLP", sizes=[2, 3]), models.MLP)
    with pytest.raises(ValueError, match="name must be one of AlexNet, .*, resnet152, got 'x'"):
        models.build("x")
