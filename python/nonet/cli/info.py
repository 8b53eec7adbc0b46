"""`nonet info`."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
from typing import Any

import nonet
from nonet import _core
from nonet.cli.errors import OK
from nonet.ops.isa import available_isas
from nonet.train.log import to_json

# Distribution and module of every optional package, by the extra that brings it.
EXTRAS = {
    "vision": ("pillow", "PIL"),
    "plot": ("matplotlib", "matplotlib"),
    "tensorboard": ("tensorboardX", "tensorboardX"),
}


def run(args: argparse.Namespace) -> int:
    facts = collect()
    if args.json:
        print(to_json(facts))
        return OK
    print(f"nonet {facts['nonet']} on Python {facts['python']}, {facts['platform']}")
    lower = "" if facts["isa"] == facts["detected_isa"] else f" (this machine has {facts['detected_isa']})"
    emulated = "; avx512 and above are emulated, for tests" if facts["emulated"] else ""
    print(f"instruction set  {facts['isa']}{lower}{emulated}")
    print(f"threads          {facts['threads']} of {facts['cpus']} processors")
    print(f"CUDA             {_cuda(facts)}")
    for name, version in facts["packages"].items():
        print(f"{name:<16} {version}")
    for extra, version in facts["extras"].items():
        absent = f"missing (pip install 'nonet[{extra}]')"
        print(f"extra {extra:<10} {version or absent}")
    return OK


def collect() -> dict[str, Any]:
    """What `info` tells, as plain values."""
    required = ("numpy", "safetensors", "ml_dtypes", "tqdm")
    return {
        "nonet": nonet.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "isa": _core.isa(),
        "detected_isa": _core.detected_isa(),
        "isas": list(available_isas()),
        "emulated": _core.emulated(),
        "threads": nonet.num_threads(),
        "cpus": len(os.sched_getaffinity(0)),
        "cuda": nonet.cuda.is_available(),
        "cuda_reason": nonet.cuda.why_unavailable(),
        "gpu": nonet.cuda.device_info() if nonet.cuda.is_available() else None,
        "packages": {name: _version(name) for name in required},
        "extras": {
            extra: _version(package) if importlib.util.find_spec(module) is not None else None
            for extra, (package, module) in EXTRAS.items()
        },
    }


def _cuda(facts: dict[str, Any]) -> str:
    gpu = facts["gpu"]
    if gpu is None:
        return f"no: {facts['cuda_reason']}"
    return (
        f"{gpu['name']}, compute capability {gpu['capability']}, {gpu['memory_total'] / 2**30:.0f} GiB, "
        f"kernels {gpu['tier']}, driver for CUDA {gpu['driver']}, built with {gpu['runtime']}"
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
