"""The thread pool: counts, identical numbers, concurrent Python threads, fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import nonet
from helpers import use_threads

X = np.random.default_rng(0).standard_normal((2000, 129)).astype(np.float32)


def softmax_bytes() -> bytes:
    return nonet.softmax(X, 1).numpy().tobytes()


def test_count():
    with use_threads(3):
        assert nonet.num_threads() == 3
    for bad in (0, -1, 1025):
        with pytest.raises(ValueError, match=f"expected an integer from 1 to 1024, got {bad}"):
            nonet.set_num_threads(bad)


def test_identical_bytes_for_any_count():
    results = set()
    for count in (1, 2, 3, 8):
        with use_threads(count):
            results.add(softmax_bytes())
    assert len(results) == 1


@pytest.mark.parametrize(
    ("value", "ok"), [("1", True), ("5", True), ("0", False), ("two", False), ("1025", False)]
)
def test_environment(value, ok):
    code = "import nonet; print(nonet.num_threads())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NONET_NUM_THREADS": value},
        capture_output=True,
        text=True,
    )
    if ok:
        assert run.stdout.strip() == value
    else:
        assert run.returncode != 0
        assert f"NONET_NUM_THREADS: expected an integer from 1 to 1024, got {value}" in run.stderr


def test_forced_isa():
    code = "from nonet import _core; print(_core.isa())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NONET_ISA": "scalar"},
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "scalar"
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "NONET_ISA": "mmx"}, capture_output=True, text=True
    )
    assert run.returncode != 0
    assert "NONET_ISA: expected scalar, avx2, avx512, avx512_bf16 or amx" in run.stderr


def test_concurrent_python_threads_get_identical_numbers():
    want = softmax_bytes()
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(20):
            if softmax_bytes() != want:
                wrong.append(index)

    with use_threads(2):
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_recording_is_per_thread():
    x = nonet.tensor([[1.0, 2.0]], requires_grad=True)
    seen: list[bool] = []
    with nonet.no_grad():
        thread = threading.Thread(target=lambda: seen.append(nonet.softmax(x, 1).requires_grad))
        thread.start()
        thread.join()
        seen.append(nonet.softmax(x, 1).requires_grad)
    assert seen == [True, False]


def test_fork():
    """A child of a process with a running pool gets its own; the parent's goes on."""
    with use_threads(2):
        want = softmax_bytes()
        code = (
            "import os, sys, warnings\n"
            "warnings.simplefilter('ignore')\n"
            "import numpy as np, nonet\n"
            "nonet.set_num_threads(2)\n"
            "x = np.random.default_rng(0).standard_normal((2000, 129)).astype(np.float32)\n"
            "want = nonet.softmax(x, 1).numpy().tobytes()\n"
            "pids = []\n"
            "for _ in range(5):\n"
            "    pid = os.fork()\n"
            "    if pid == 0:\n"
            "        inner = os.fork()\n"
            "        good = nonet.softmax(x, 1).numpy().tobytes() == want and nonet.num_threads() == 2\n"
            "        if inner:\n"
            "            good = good and os.waitpid(inner, 0)[1] == 0\n"
            "        os._exit(0 if good else 1)\n"
            "    pids.append(pid)\n"
            "assert nonet.softmax(x, 1).numpy().tobytes() == want\n"
            "sys.exit(any(os.waitpid(pid, 0)[1] for pid in pids))\n"
        )
        run = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert softmax_bytes() == want


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_threads_on_one_processor_part():
    """A worker found on the caller's processor is sent to another, and is free again when it has slept."""
    code = (
        "import os, time\n"
        "import numpy as np, nonet\n"
        "allowed = os.sched_getaffinity(0)\n"
        "x = np.random.default_rng(0).standard_normal((2000, 129)).astype(np.float32)\n"
        "before = set(os.listdir('/proc/self/task'))\n"
        "nonet.set_num_threads(2)\n"
        "nonet.softmax(x, 1)\n"
        "(worker,) = map(int, set(os.listdir('/proc/self/task')) - before)\n"
        "one = {min(allowed)}\n"
        "os.sched_setaffinity(0, one)\n"
        "os.sched_setaffinity(worker, one)\n"
        "nonet.softmax(x, 1)\n"  # both run there
        "os.sched_setaffinity(worker, allowed)\n"
        "nonet.softmax(x, 1)\n"  # the caller's processors are one: there is none to send the worker to
        "assert os.sched_getaffinity(worker) == allowed\n"
        "def cpu(thread):\n"
        "    with open(f'/proc/self/task/{thread}/stat') as file:\n"
        "        return int(file.read().rsplit(')', 1)[1].split()[36])\n"
        "for _ in range(100):\n"
        "    os.sched_setaffinity(0, one)\n"
        "    os.sched_setaffinity(worker, one)\n"
        "    nonet.softmax(x, 1)\n"
        "    os.sched_setaffinity(worker, allowed)\n"
        "    os.sched_setaffinity(0, allowed)\n"
        "    nonet.softmax(x, 1)\n"
        "    if cpu(os.getpid()) in one:\n"  # on a busy machine the caller may have been moved before its call
        "        break\n"
        "assert cpu(worker) not in one\n"
        "time.sleep(0.1)\n"
        "assert os.sched_getaffinity(worker) == allowed\n"
    )
    run = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
