from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from nonet import io


def test_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "x"
    io.write_text(path, "old")
    io.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["x"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "x"
    io.write_text(path, "old")
    with pytest.raises(RuntimeError), io.replacing(path) as file:
        file.write(b"half")
        raise RuntimeError("disk on fire")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_full_disk_names_the_file(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"), io.replacing(path):
        raise OSError(28, "No space left on device")
    with pytest.raises(OSError, match="here") as caught, io.naming("there"):
        os.stat("here")
    assert caught.value.filename == "here"


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "x")
    io.write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "x").read_text() == "text"


def test_a_killed_writer_leaves_the_old_file_and_a_leftover_that_goes(tmp_path):
    path = tmp_path / "x"
    io.write_text(path, "old")
    code = (
        "import os, signal, sys\nfrom nonet import io\n"
        "with io.replacing(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2
    io.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["x"]


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        io.write_text(tmp_path / "no" / "x", "text")
