"""Convolutions and training steps in CPU time of one thread: figures for a machine that others use at the same time.

    python -m nonet.bench.busy [conv] [models] [--only PATTERNS] [--seconds S]

Wall time, and whatever several threads do that wait for each other, says nothing on such a machine. What the calling
thread alone has computed is counted by the kernel; what remains of the others is their share of caches and memory.
Calls of all contestants take turns, and the least time of each is taken. Float32 throughout; PyTorch in both of its
layouts. Nothing is checked here: `nonet bench conv` does that.
"""

from __future__ import annotations

import argparse
import fnmatch
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import nonet
from nonet import _core
from nonet.bench.bench_conv import MODES, contestant
from nonet.bench.conv_cases import CASES
from nonet.bench.machine import machine
from nonet.bench.models import Run, Variant
from nonet.bench.workloads import WORKLOADS

MODELS = ("cnn-lenet5", "cnn-resnet18", "gan")


def least_seconds(calls: Sequence[Callable[[], Any]], seconds: float) -> list[float]:
    """CPU time of this thread in the shortest of each one's calls, which alternate."""
    least = [math.inf] * len(calls)
    end = time.perf_counter() + seconds * len(calls)
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:
        for i, call in enumerate(calls):
            call()  # so that its own data are in the caches
            start = time.thread_time()
            call()
            least[i] = min(least[i], time.thread_time() - start)
        rounds += 1
    return least


def convolutions(
    wanted: Callable[[str], bool],
) -> Iterator[tuple[str, list[Callable[[], Any]], float | None]]:
    """Name, calls (nonet, PyTorch contiguous and channels-last) and operations."""
    for case in filter(lambda case: wanted(case.name), CASES):
        for mode in MODES:
            rng = np.random.default_rng(0)
            x = rng.standard_normal(case.shape, dtype=np.float32)
            dy = rng.standard_normal(case.out_shape, dtype=np.float32)
            weights = case.weights(rng)
            sides = [("nonet", ""), ("torch", "contiguous"), ("torch", "channels_last")]
            calls = [contestant(*side)(case, mode, x, dy, weights).call for side in sides]
            yield f"{case.name} | {mode}", calls, case.costs(mode, 4)[0]


def steps(wanted: Callable[[str], bool]) -> Iterator[tuple[str, list[Callable[[], Any]], float | None]]:
    """Training steps: nonet, PyTorch with its default and with its fused Adam."""
    import torch  # pyright: ignore[reportMissingImports]

    for workload in filter(lambda w: w.name in MODELS and wanted(w.name), WORKLOADS):
        sides = [
            Variant(nonet, "nonet", "highest", True),
            Variant(torch, "torch", "float32", True),
            Variant(torch, "torch", "float32, fused Adam", True, fused=True),
        ]
        yield f"{workload.name} | train", [Run(workload, side).step for side in sides], None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m nonet.bench.busy", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("parts", nargs="*", help="conv, models (default: both)")
    parser.add_argument("--only", default="*", help="patterns of cases, separated by commas")
    parser.add_argument("--seconds", type=float, default=0.3, help="per contestant")
    options = parser.parse_args(arguments)
    import torch  # pyright: ignore[reportMissingImports]

    nonet.set_num_threads(1)
    torch.set_num_threads(1)
    patterns = options.only.split(",")

    def wanted(name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    print(f"{machine()['cpu']}, {_core.isa()}, torch {torch.__version__}, one thread, CPU time\n")
    for part, cases, first, second in (
        ("conv", convolutions, "torch, contiguous", "torch, channels last"),
        ("models", steps, "torch", "torch, fused Adam"),
    ):
        if options.parts and part not in options.parts:
            continue
        print(f"| case | | nonet | GF/s | {first} | {second} | x best | x {first} |")
        print("|---|---|--:|--:|--:|--:|--:|--:|")
        ratios: dict[str, list[tuple[float, float]]] = {}
        for name, calls, flops in cases(wanted):
            own, default, other = least_seconds(calls, options.seconds)
            pair = min(default, other) / own, default / own
            kind = name.split("-")[0] if name.startswith(("pool", "norm")) else part
            ratios.setdefault(f"{kind}, {name.split(' | ')[1]}", []).append(pair)
            rate = "" if flops is None else f"{flops / own / 1e9:.0f}"
            times = " | ".join(f"{1e3 * s:.3g} ms" for s in (default, other))
            print(
                f"| {name} | {1e3 * own:.3g} ms | {rate} | {times} | {pair[0]:.2f} | {pair[1]:.2f} |",
                flush=True,
            )
        print()
        for kind, pairs in ratios.items():
            best, default = (math.exp(sum(math.log(p[i]) for p in pairs) / len(pairs)) for i in (0, 1))
            print(
                f"* {kind}: {best:.2f} times as fast as the better variant, {default:.2f} times as {first}"
                f" (geometric means of {len(pairs)})"
            )
        print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
