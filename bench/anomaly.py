"""How the numbers of `nonet train anomaly` on heartbeats are chosen: on the training part alone.

    python -m nonet.bench.anomaly --data-dir ecg5000

Of each of six orders of the normal beats, three parts are held out in turn; a network learns the others (a twentieth of
them only calibrates, as in the preset) and is judged on the part that was held out and on the training part's strange
beats, weighted as the training part has them. The test part is never read.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import nonet
from nonet import data, models, optim
from nonet.nn import functional

QUANTILES = (0.95, 0.97, 0.98, 0.99, 1.0)
ORDERS, PARTS, BATCH, RATE, WARMUP = 6, 3, 16, 1e-3, 0.1


def accuracies(
    normal: np.ndarray,
    strange: np.ndarray,
    hidden: Sequence[int],
    noise: float,
    epochs: int,
    order: int,
    part: int,
) -> list[float]:
    """Of one network, by quantile."""
    rows = np.random.default_rng(order).permutation(len(normal))
    held = rows[part::PARTS]
    known = np.setdiff1d(rows, held)
    learned = np.random.default_rng(100 + order).permutation(known)[len(known) // 20 :]
    rng = np.random.default_rng(part)
    nonet.manual_seed(10 * order + part)
    model: Any = models.build(
        "Autoencoder", shape=normal.shape[1:], hidden=tuple(hidden), codes=8, noise=noise
    )
    optimizer = optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    steps = epochs * (len(learned) // BATCH)
    batches = iter(())
    for step in range(steps):
        if step % (len(learned) // BATCH) == 0:
            batches = iter(np.split(rng.permutation(learned), range(BATCH, len(learned), BATCH)))
        batch = normal[next(batches)]
        optimizer.zero_grad()
        functional.mse_loss(model(batch), batch).backward()
        warm = min(1.0, (step + 1) / (WARMUP * steps))
        optimizer.param_groups[0]["lr"] = RATE * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.step()
    model.eval()
    errors = [model.errors(x) for x in (normal[known], normal[held], strange)]
    out = []
    for quantile in QUANTILES:
        threshold = np.quantile(errors[0], quantile)
        right = len(normal) * (errors[1] <= threshold).mean() + len(strange) * (errors[2] > threshold).mean()
        out.append(float(right / (len(normal) + len(strange))))
    return out


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", required=True)
    args = parser.parse_args(argv)
    train = data.load_ecg5000(args.data_dir).train
    normal, strange = train.inputs[train.targets == 0], train.inputs[train.targets != 0]
    found = []
    for hidden, noise, epochs in itertools.product(((64,), (64, 32)), (0.0, 0.3, 0.7, 1.0), (100, 200)):
        runs = np.array(
            [
                accuracies(normal, strange, hidden, noise, epochs, order, part)
                for order in range(ORDERS)
                for part in range(PARTS)
            ]
        )
        for quantile, mean, spread in zip(QUANTILES, runs.mean(axis=0), runs.std(axis=0), strict=True):
            found.append((mean, spread, hidden, noise, epochs, quantile))
    for mean, spread, hidden, noise, epochs, quantile in sorted(found, reverse=True, key=lambda f: f[0])[:10]:
        print(
            f"{mean:.4f} ± {spread:.4f}  hidden {hidden}, noise {noise}, {epochs} epochs, quantile {quantile}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
