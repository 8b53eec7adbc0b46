"""Peak memory of a training, in a process of its own per contestant.

The child imports the library and trains a tiny network first, so that modules, threads and kernels that load on first
use count for nobody. Then the kernel's mark of the largest resident size is set back, the workload is built and
trained, and what the mark gained is the result: parameters, gradients, moments, activations, scratch and caches.
"""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nonet.bench.errors import UnmeasuredError

__all__ = ["peak_bytes"]

PATIENCE = 900  # seconds for a child


def peak_bytes(workload: str, contestant: str, precisions: Sequence[str], threads: int, steps: int) -> int:
    """Bytes that `steps` training steps take at most beyond the imported library. Errors: UnmeasuredError."""
    options = [workload, contestant, ",".join(precisions), str(threads), str(steps)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "nonet.bench.memory", *options],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnmeasuredError(f"the process of {contestant}: {error}") from error
    if done.returncode != 0 or not done.stdout.strip().isdigit():
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise UnmeasuredError(f"the process of {contestant} ended with {done.returncode}: {last}")
    return int(done.stdout)


def _child(workload: str, contestant: str, precisions: str, threads: str, steps: str) -> int:
    from nonet.bench import mlp_step, models, networks
    from nonet.bench.opponents import set_threads
    from nonet.bench.run import Options
    from nonet.bench.workloads import WORKLOADS

    against = tuple(name for name in ("torch",) if contestant.startswith(name))
    set_threads(int(threads), against)
    options = Options(against=against, precisions=tuple(precisions.split(",")))
    variant = next(v for v in models.variants(options) if v.name == contestant)
    chosen = next(w for w in (*WORKLOADS, *networks.WORKLOADS) if w.name == workload)
    for trained, count in ((mlp_step.WORKLOAD, 2), (chosen, int(steps))):
        gc.collect()
        with Path("/proc/self/clear_refs").open("w") as file:
            file.write("5")  # sets the mark back (proc(5))
        before = _status("VmRSS")
        run = models.Run(trained, variant)
        if variant.before is not None:
            variant.before()
        for _ in range(count):
            run.step()
        gained = _status("VmHWM") - before
        del run
    return gained


def _status(field: str) -> int:
    """Bytes, of a line of /proc/self/status."""
    found = re.search(rf"^{field}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise UnmeasuredError(f"this kernel tells no {field}")
    return int(found[1]) * 1024


if __name__ == "__main__":
    print(_child(*sys.argv[1:]))
