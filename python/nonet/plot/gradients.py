"""Norms of gradients over a training, a line per parameter: whether they vanish or explode on their way back.

python -m nonet.plot.gradients runs/PRESET/log.jsonl norms.png
"""

from __future__ import annotations

import json
import os
import sys
from io import BytesIO

from nonet import io
from nonet.plot import require_matplotlib

__all__ = ["draw", "read"]


def read(log: str | os.PathLike[str]) -> tuple[list[int], dict[str, list[float]]]:
    """The steps of a run's log at which norms were noted, and per parameter its norms there.

    Errors: FileError if the log is none, or has no norms.
    """
    steps: list[int] = []
    norms: dict[str, list[float]] = {}
    try:
        with open(log, encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
    except (OSError, ValueError) as error:
        raise io.FileError(f"{log}: expected the log of a run, found: {error}") from error
    for record in records:
        if found := record.get("gradient_norms"):
            steps.append(record["step"])
            for path, norm in found.items():
                norms.setdefault(path, []).append(norm)
    if not steps:
        raise io.FileError(f"{log}: expected lines with gradient_norms, found none")
    return steps, norms


def draw(log: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Draws the norms in the log of a run into `path`, as PNG.

    Errors: FileError, MissingExtraError without matplotlib.
    """
    steps, norms = read(log)
    require_matplotlib()
    from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]

    figure = Figure(figsize=(9, 5), layout="constrained")
    panel = figure.subplots()
    for name, values in norms.items():
        if len(values) == len(steps):
            panel.plot(steps, values, label=name, lw=1.2, marker=".")
    panel.set_yscale("log")
    panel.set_xlabel("step")
    panel.set_ylabel("norm of the gradient")
    panel.legend(fontsize="small", ncols=2)
    out = BytesIO()
    figure.savefig(out, format="png", dpi=120)
    io.write_bytes(path, out.getvalue())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m nonet.plot.gradients LOG OUT.png")
    draw(*sys.argv[1:])
