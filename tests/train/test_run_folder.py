"""The run folder: renamed aside and never overwritten, one writer at a time."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

import numpy as np
import pytest

from nonet import io
from nonet.train import RunFolder, RunFolderError, load_state, save_state


def test_a_new_or_empty_folder_is_used(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b")
    assert folder.path.is_dir() and folder.moved is None
    folder.close()
    RunFolder(tmp_path / "a" / "b").close()
    assert os.listdir(tmp_path / "a") == ["b"]


def test_contents_are_renamed_aside(tmp_path):
    path = tmp_path / "run"
    for i in range(3):
        folder = RunFolder(path)
        assert not any(path.iterdir())
        (path / "last.safetensors").write_text(f"run {i}")
        folder.close()
    assert folder.moved == tmp_path / "run.2"
    assert (tmp_path / "run.1" / "last.safetensors").read_text() == "run 0"
    assert (tmp_path / "run.2" / "last.safetensors").read_text() == "run 1"
    assert (path / "last.safetensors").read_text() == "run 2"


def test_a_gap_in_the_numbers_is_filled_and_nothing_overwritten(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").touch()
    (tmp_path / "run.1").symlink_to("nowhere")
    folder = RunFolder(tmp_path / "run")
    assert folder.moved == tmp_path / "run.2"
    folder.close()


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").touch()
    folder = RunFolder("run")
    assert str(folder.moved) == "run.1"
    folder.close()


def test_resume_keeps_the_contents_and_removes_leftovers(tmp_path):
    (tmp_path / "log.jsonl").touch()
    (tmp_path / ".last.safetensors.123.tmp").touch()
    folder = RunFolder(tmp_path, resume=True)
    assert os.listdir(tmp_path) == ["log.jsonl"]
    folder.close()


def test_one_writer_at_a_time(tmp_path):
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "run" / "log.jsonl").touch()
    for resume in (False, True):
        with pytest.raises(RunFolderError, match="another run is writing into this folder"):
            RunFolder(tmp_path / "run", resume)
    assert os.listdir(tmp_path) == ["run"]
    folder.close()
    moved = RunFolder(tmp_path / "run")
    with pytest.raises(
        RunFolderError, match="another run"
    ):  # the new folder is locked, the one moved aside is free
        RunFolder(tmp_path / "run")
    RunFolder(tmp_path / "run.1", resume=True).close()
    moved.close()


def test_the_lock_ends_with_its_process(tmp_path):
    code = (
        "import os, sys; from nonet.train import RunFolder; "
        "folder = RunFolder(sys.argv[1]); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    RunFolder(tmp_path).close()


def test_refusals(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="expected a folder for the run, found a file"):
        RunFolder(tmp_path / "file")
    with pytest.raises(RunFolderError, match="cannot keep a run there"):
        RunFolder(tmp_path / "file" / "below")
    monkeypatch.chdir(tmp_path)
    for path in (".", "../" + tmp_path.name, ".."):
        with pytest.raises(RunFolderError, match="working folder"):
            RunFolder(path)


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(RunFolderError, match="expected a folder to write into, found a read-only one"):
        RunFolder(tmp_path)
    monkeypatch.undo()
    RunFolder(tmp_path).close()  # not left locked


@pytest.mark.parametrize("remade", [False, True])
def test_a_folder_renamed_while_it_is_locked(tmp_path, monkeypatch, remade):
    """Another run moves the folder aside between opening and locking: the lock would be on the wrong one."""
    path, real = tmp_path / "run", fcntl.flock
    path.mkdir()

    def late(descriptor, operation):
        path.rename(tmp_path / "run.1")
        if remade:
            path.mkdir()
        return real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(RunFolderError, match="another run is writing into this folder"):
        RunFolder(path, resume=True)


def test_state_files(tmp_path):
    tree = {"model": {"a": np.ones(2, np.float32)}, "position": {"step": 3}}
    save_state(tmp_path / "x", tree, {"k": "v"})
    state = load_state(tmp_path / "x")
    np.testing.assert_array_equal(state["model"]["a"].numpy(), 1)
    assert state["position"] == {"step": 3}
    assert io.load_metadata(tmp_path / "x")["k"] == "v"
    io.save_tensors(tmp_path / "y", {"a": np.ones(2)})
    with pytest.raises(io.FileError, match="y: expected the complete state of a run"):
        load_state(tmp_path / "y")
    io.save_tensors(tmp_path / "z", {}, {"state": '{"a":{"$tensor":"gone"}}'})
    with pytest.raises(io.FileError, match="z: expected the complete state of a run"):
        load_state(tmp_path / "z")
