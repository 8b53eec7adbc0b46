"""Log, TensorBoard, progress, metrics: what a run writes and shows."""

from __future__ import annotations

import io
import json
import math
import signal
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

from nonet.train import Accuracy
from nonet.train.log import JsonLog, tensorboard_writer, to_json
from nonet.train.output import interruptible
from nonet.train.progress import Progress


def test_json_is_strict():
    text = to_json({"a": math.nan, "b": [math.inf, 1.5, {"c": (-math.inf,)}], "d": "ü\n"})
    assert "\n" not in text
    assert json.loads(text) == {"a": None, "b": [None, 1.5, {"c": [None]}], "d": "ü\n"}


def test_log_is_cut_to_a_checkpoint(tmp_path):
    path = tmp_path / "log.jsonl"
    log = JsonLog(path)
    log.write({"n": 1})
    length = log.length()
    log.write({"n": 2})
    log.close()
    assert length == len(path.read_bytes()) // 2
    with open(path, "ab") as file:
        file.write(b'{"n": 3, "hal')  # a killed writer
    log = JsonLog(path, length)
    log.write({"n": 4})
    log.close()
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [1, 4]


def test_a_shorter_log_is_taken_as_it_is(tmp_path):
    log = JsonLog(tmp_path / "log.jsonl", 1000)
    log.write({"n": 1})
    assert log.length() == len('{"n": 1}\n')
    log.close()


def test_tensorboard_missing_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert tensorboard_writer(tmp_path, 0) is None
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "nonet[tensorboard]" in err


def test_tensorboard_hides_what_a_killed_run_wrote(tmp_path, monkeypatch):
    seen = {}

    def writer(folder, purge_step):
        seen.update(folder=folder, purge_step=purge_step)
        return "writer"

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=writer))
    assert tensorboard_writer(tmp_path, 7) == "writer"
    assert seen == {"folder": str(tmp_path), "purge_step": 8}


def test_lines_without_a_terminal(capsys):
    progress = Progress(100, 0)
    progress.step(50)
    progress.show("epoch 1/2", loss=0.5)
    progress.line("epoch 1/2", {"loss": 0.25, "validation_accuracy": 0.5})
    progress.close()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("epoch 1/2  loss 0.2500  validation_accuracy 0.5000  ")
    assert "samples/s" in captured.err and captured.err.endswith(" left\n") and captured.err.count("\n") == 1


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress(100, 10)
    progress.show("epoch 1/2", loss=0.5, accuracy=0.75)
    for _ in range(9):
        progress.step(10)
    progress.line("epoch 1/2", {"loss": 0.25})
    progress._bar.refresh()
    progress.close()
    text = sys.stderr.getvalue()
    assert "epoch 1/2: 100%" in text and "loss=0.5000" in text and "accuracy=0.7500" in text
    assert "samples/s" in text and "epoch 1/2  loss 0.2500" in text


def test_no_stderr(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    progress = Progress(10, 0)
    progress.step(5)
    progress.line("epoch 1", {"loss": 1.0})
    progress.close()
    assert capsys.readouterr().out == ""


def test_a_full_disk_names_the_log():
    log = JsonLog(Path("/dev/full"))
    for action in (lambda: log.write({"step": 1}), log.close):
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
            action()


def test_silence(capsys):
    progress = Progress(100, 0, enabled=False)
    progress.step(5)
    progress.line("epoch 1", {"loss": 0.25})
    progress.close()
    assert capsys.readouterr().err == ""


def test_accuracy():
    metric = Accuracy()
    assert math.isnan(metric.value())
    metric.update(np.array([[0.1, 0.9], [0.5, 0.5], [2.0, 1.0]]), np.array([1, 0, 1]))
    metric.update(np.array([[0.1, 0.9]]), np.array([1]))
    assert metric.value() == 0.75
    metric.reset()
    assert math.isnan(metric.value())


@pytest.fixture
def sigint_interrupts():
    """As in a terminal: the background jobs of a shell ignore the signal."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.mark.usefixtures("sigint_interrupts")
def test_first_ctrl_c_is_a_flag_and_the_second_acts():
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_leave_signals_alone():
    seen = []

    def work():
        with interruptible() as interrupted:
            seen.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
