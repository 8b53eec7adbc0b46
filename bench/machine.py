"""Where and with what a benchmark ran: everything that a figure depends on."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import nonet
from nonet import _core

__all__ = ["available_memory", "cache_sizes", "commit", "differences", "environment", "machine", "versions"]

# What changes which kernels a library picks, or with how many threads.
VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "NONET_ISA",
    "NONET_NUM_THREADS",
)


def machine() -> dict[str, Any]:
    return {
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "isa": _core.isa(),
        "detected_isa": _core.detected_isa(),
        "emulated": _core.emulated(),
        "threads": nonet.num_threads(),
        "caches": cache_sizes(),
    }


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What makes two machines incomparable, in words; empty if nothing does."""
    names = {"cpu": "CPU model", "isa": "instruction set", "threads": "number of threads"}
    if a.get("emulated", False) != b.get("emulated", False):
        return ["an emulated and a real instruction set"]
    return [
        f"{words} {a.get(key)} and {b.get(key)}" for key, words in names.items() if a.get(key) != b.get(key)
    ]


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name and family, model and stepping: virtual machines mask the name."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return platform.machine()
    found = dict(re.findall(r"^(model name|cpu family|model|stepping)\s*:\s*(.*)$", text, re.MULTILINE))
    numbers = [found[key] for key in ("cpu family", "model", "stepping") if key in found]
    name = found.get("model name") or platform.machine()
    return f"{name} ({'/'.join(numbers)})" if numbers else name


def cache_sizes(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> dict[str, int]:
    """Bytes of the caches that hold data, `L1` to `L3`, as one processor sees them; empty if the system tells none."""
    out: dict[str, int] = {}
    for index in sorted(root.glob("index*")):
        try:
            kind, level, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
            scale = {"K": 2**10, "M": 2**20, "G": 2**30}[size[-1]]
            if kind != "Instruction":
                out[f"L{level}"] = int(size[:-1]) * scale
        except (OSError, KeyError, ValueError, IndexError):
            continue
    return out


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that can be allocated without swapping; 1 GiB if the system does not say."""
    try:
        match = re.search(r"^MemAvailable:\s*(\d+) kB", meminfo.read_text(), re.MULTILINE)
    except OSError:
        match = None
    return int(match[1]) * 1024 if match else 2**30


def versions() -> dict[str, str | None]:
    """Python's and the libraries'; None for one that is not installed."""
    out: dict[str, str | None] = {"nonet": nonet.__version__, "python": platform.python_version()}
    for name in ("numpy", "torch"):
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            out[name] = None
    return out


def environment() -> dict[str, str]:
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def commit() -> str:
    """The commit of the source tree that this file lies in, `-dirty` if it was changed; else the package's version."""
    here = Path(__file__).resolve().parent.parent
    if (here / "csrc").is_dir():
        try:
            done = subprocess.run(
                ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
                capture_output=True,
                text=True,
                timeout=10,
            )
            if done.returncode == 0:
                return done.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return f"nonet {nonet.__version__}"


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
