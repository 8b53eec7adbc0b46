"""A training step of a 16-32-10 MLP, batch 1, cross-entropy, Adam: what a step costs when the arithmetic is nothing.

    python -m nonet.bench.mlp_step [--against torch] [--json]

Both sides get the same weights and the same sample; their losses over 20 steps are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from nonet.bench.harness import compare  # type: ignore[import-not-found]

import nonet
from nonet import nn

RNG = np.random.default_rng(0)
WEIGHTS = [(RNG.standard_normal(s) * 0.3).astype(np.float32) for s in ((32, 16), (32,), (10, 32), (10,))]
X = RNG.standard_normal((1, 16)).astype(np.float32)
LABEL = np.array([3])


def nonet_step() -> Callable[[], Any]:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10))
    for parameter, value in zip(model.parameters(), WEIGHTS, strict=True):
        parameter.copy_(value)
    optimizer = nonet.optim.Adam(model.parameters(), lr=1e-3)
    x, label = nonet.tensor(X), nonet.tensor(LABEL)

    def step() -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), label)
        loss.backward()
        optimizer.step()
        return loss

    return step


def torch_steps() -> dict[str, Callable[[], Any]]:
    import torch  # type: ignore[import-not-found]

    def make(fused: bool) -> Callable[[], Any]:
        model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), WEIGHTS, strict=True):
                parameter.copy_(torch.from_numpy(value))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
        x, label = torch.from_numpy(X), torch.from_numpy(LABEL)

        def step() -> Any:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), label)
            loss.backward()
            optimizer.step()
            return loss

        return step

    return {"torch": make(False), "torch, fused Adam": make(True)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", choices=["torch"])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    makers = {"nonet": nonet_step()}
    if arguments.against:
        makers |= torch_steps()
        losses = {name: [float(step().detach()) for _ in range(20)] for name, step in makers.items()}
        for name, values in losses.items():
            if not np.allclose(values, losses["nonet"], rtol=1e-4):
                print(f"losses differ: nonet {losses['nonet']}, {name} {values}", file=sys.stderr)
                return 1
    timings = compare(makers)
    rows = {
        name: {"us": t.median * 1e6, "q1": t.low * 1e6, "q3": t.high * 1e6, "clean": t.clean}
        for name, t in timings.items()
    }
    if arguments.json:
        print(json.dumps({"bench": "mlp_step", "threads": nonet.num_threads(), "rows": rows}))
    else:
        for name, row in rows.items():
            mark = "" if row["clean"] else "  (machine was busy)"
            print(f"{name:20s} {row['us']:8.1f} us  [{row['q1']:.1f}, {row['q3']:.1f}]{mark}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
