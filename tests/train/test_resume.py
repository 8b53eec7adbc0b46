"""A run that is stopped anywhere and resumed ends with the bytes of a run that was not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from nonet import io
from nonet.train import load_state
from train.small import Crash, arrays, crash_at, make, parameters

OPTIONS = {"epochs": 3, "checkpoint_every": 3, "log_every": 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    make(path, **OPTIONS).fit()
    return path


def _check(path, whole):
    assert (path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert arrays(path / "last.safetensors") == arrays(whole / "last.safetensors")
    assert _log(path) == _log(whole)
    positions = [load_state(p / "last.safetensors")["position"] for p in (path, whole)]
    for position in positions:
        del position["seconds"], position["log_bytes"]
    assert positions[0] == positions[1]


def _log(path):
    lines = [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.parametrize("step", range(12))
def test_a_crash_before_any_step(tmp_path, whole, step):
    trainer = make(tmp_path, **OPTIONS)
    crash_at(trainer.engine, "update", step)
    with pytest.raises(Crash):
        trainer.fit()
    assert not (tmp_path / "model.safetensors").exists()
    make(tmp_path, resume=True, **OPTIONS).fit()
    _check(tmp_path, whole)


@pytest.mark.parametrize("place", ["evaluate", "save", "_judge"])
def test_a_crash_around_the_end_of_an_epoch(tmp_path, whole, place):
    trainer = make(tmp_path, **OPTIONS)
    crash_at(trainer, place, 3 if place == "save" else 1)
    with pytest.raises(Crash):
        trainer.fit()
    make(tmp_path, resume=True, **OPTIONS).fit()
    _check(tmp_path, whole)


@pytest.mark.parametrize("step", [1, 4, 6, 12])
def test_ctrl_c_finishes_the_step_and_saves(tmp_path, whole, step):
    trainer = make(tmp_path, **OPTIONS)
    real, count = trainer.engine.update, iter(range(1, 100))

    def update():
        if next(count) == step:
            signal.raise_signal(signal.SIGINT)
        real()

    trainer.engine.update = update
    result = trainer.fit()
    assert result.interrupted and result.steps == step
    assert load_state(tmp_path / "last.safetensors")["position"]["step"] == step
    assert (tmp_path / "model.safetensors").exists()
    result = make(tmp_path, resume=True, **OPTIONS).fit()
    assert not result.interrupted and len(result.history) == 3
    _check(tmp_path, whole)


def test_ctrl_c_during_validation(tmp_path, whole):
    trainer = make(tmp_path, **OPTIONS)
    real = trainer.evaluate

    def evaluate(loader):
        signal.raise_signal(signal.SIGINT)
        return real(loader)

    trainer.evaluate = evaluate
    for epoch in (1, 2):
        result = trainer.fit()
        assert result.interrupted and result.epochs == epoch
    make(tmp_path, resume=True, **OPTIONS).fit()
    _check(tmp_path, whole)


def test_a_finished_run_stays_as_it_is(tmp_path, whole):
    make(tmp_path, **OPTIONS).fit()
    (tmp_path / "model.safetensors").unlink()  # killed before it was written
    result = make(tmp_path, resume=True, **OPTIONS).fit()
    assert result.steps == 12
    _check(tmp_path, whole)


def test_resume_without_a_checkpoint_starts_at_step_0(tmp_path, whole):
    (tmp_path / "log.jsonl").write_text('{"event": "stale"}\n')
    make(tmp_path, resume=True, **OPTIONS).fit()
    _check(tmp_path, whole)


def test_a_run_may_grow(tmp_path, whole):
    make(tmp_path, **{**OPTIONS, "epochs": 1}).fit()
    make(tmp_path, resume=True, **OPTIONS).fit()
    _check(tmp_path, whole)


def test_early_stopping_survives(tmp_path):
    options = {"epochs": 20, "patience": 2, "lr": 0.3, "checkpoint_every": 1}
    straight = make(tmp_path / "a", **options)
    result = straight.fit()
    assert result.stopped_early
    trainer = make(tmp_path / "b", **options)
    crash_at(trainer.engine, "update", result.steps - 2)
    with pytest.raises(Crash):
        trainer.fit()
    resumed = make(tmp_path / "b", resume=True, **options)
    again = resumed.fit()
    assert (again.best, again.best_epoch, again.steps) == (result.best, result.best_epoch, result.steps)
    assert parameters(resumed) == parameters(straight)


def test_a_checkpoint_that_does_not_fit(tmp_path):
    make(tmp_path, **OPTIONS).fit()
    with pytest.raises(io.FileError, match=r"last\.safetensors: expected the state of this run"):
        make(tmp_path, resume=True, **OPTIONS, batch_size=8).fit()
    from nonet import models

    with pytest.raises(io.FileError, match=r"last\.safetensors: expected the state of this run"):
        make(tmp_path, resume=True, **OPTIONS, model=models.MLP([4, 9, 3])).fit()
    data = (tmp_path / "last.safetensors").read_bytes()
    (tmp_path / "last.safetensors").write_bytes(data[:-5])
    with pytest.raises(io.FileError, match="truncated"):
        make(tmp_path, resume=True, **OPTIONS).fit()


KILLER = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from train.small import make
import nonet.io.atomic as atomic
import nonet.train.log as log
where, nth, count = sys.argv[3], int(sys.argv[4]), 0

def deadly(function, before):
    def call(*args):
        global count
        count += 1
        if count == nth and before:
            os.kill(os.getpid(), signal.SIGKILL)
        out = function(*args)
        if count == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return out
    return call

trainer = make(sys.argv[2], resume=True, epochs=3, checkpoint_every=3, log_every=2)
if where in ("before rename", "after rename"):
    atomic.os = type(os)("os")
    vars(atomic.os).update(vars(os))
    atomic.os.replace = deadly(os.replace, where == "before rename")
elif where == "log":
    log.JsonLog.write = deadly(log.JsonLog.write, False)
elif where == "step":
    trainer.engine.update = deadly(trainer.engine.update, False)
trainer.fit()
"""


def test_kill_9(tmp_path, whole):
    """One run, killed again and again: inside writes, between steps, after lines of the log."""
    moments = [
        ("before rename", 1),
        ("step", 2),
        ("before rename", 2),
        ("log", 3),
        ("after rename", 2),
        ("step", 4),
        ("none", 0),
    ]
    root = str((__import__("pathlib").Path(__file__)).parent.parent)
    for where, nth in moments:
        command = [sys.executable, "-c", KILLER, root, str(tmp_path), where, str(nth)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        expected = 0 if where == "none" else -signal.SIGKILL
        assert done.returncode == expected, (where, done.stderr)
    _check(tmp_path, whole)
    assert {p.name for p in tmp_path.iterdir()} == {"log.jsonl", "last.safetensors", "model.safetensors"}


def test_the_generator_goes_on_where_it_was(tmp_path):
    import nonet

    make(tmp_path, **OPTIONS).fit()
    state = nonet.get_rng_state()
    nonet.manual_seed(99)
    make(tmp_path, resume=True, **OPTIONS).fit()
    np.testing.assert_array_equal(nonet.get_rng_state(), state)
