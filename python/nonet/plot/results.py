"""Figures of a run and of what a model found: loss curves, anomalies, confusions, attention. Extra `plot`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet import io
from nonet.plot.figures import BLUE, GREY, ORANGE, axes, save

__all__ = ["anomalies", "attention", "confusion", "curves", "read_log", "roc"]

PathLike = str | os.PathLike[str]


def read_log(path: PathLike) -> list[dict[str, Any]]:
    """The lines of a run's log.jsonl. FileError for a file that is missing or holds something else."""
    try:
        with open(path, encoding="utf-8") as file:
            records = [json.loads(line) for line in file if line.strip()]
    except (OSError, ValueError) as error:
        raise io.FileError(f"{path}: expected the log of a run, found: {error}") from error
    if not all(isinstance(record, dict) for record in records):
        raise io.FileError(f"{path}: expected the log of a run, found other JSON")
    return records


def curves(path: PathLike, log: PathLike | Sequence[Mapping[str, Any]]) -> None:
    """The losses of a run over its steps, and its other metrics below, from its log.jsonl or the records of one.

    Errors: FileError for a log without epochs, MissingExtraError without matplotlib.
    """
    given = read_log(log) if isinstance(log, (str, os.PathLike)) else log
    epochs = [record for record in given if record.get("event", "epoch") == "epoch"]
    if not epochs:
        raise io.FileError(
            f"{log if isinstance(log, (str, os.PathLike)) else 'log'}: expected epochs, found none"
        )
    others = sorted(
        name.removeprefix("validation_")
        for name in epochs[-1]
        if name.startswith("validation_") and name != "validation_loss"
    )
    rows = 1 + len(others)
    figure, panels = axes(rows, 1, (6.4, 1.2 + 2.2 * rows), sharex=True)
    steps = [record["step"] for record in epochs]
    for name, colour in (("loss", BLUE), ("validation_loss", ORANGE)):
        if name in epochs[-1]:
            values = [_number(record.get(name)) for record in epochs]
            label = "training" if name == "loss" else "validation"
            panels[0].plot(steps, values, color=colour, lw=1.6, label=label)
    panels[0].set_ylabel("loss")
    panels[0].legend(frameon=False)
    positive = [v for record in epochs for v in [_number(record.get("loss"))] if v == v]
    if positive and min(positive) > 0 and max(positive) > 20 * min(positive):
        panels[0].set_yscale("log")
    for name, panel in zip(others, panels[1:], strict=True):
        panel.plot(
            steps, [_number(record.get(f"validation_{name}")) for record in epochs], color=ORANGE, lw=1.6
        )
        panel.set_ylabel(name.replace("_", " "))
    panels[-1].set_xlabel("step")
    save(figure, path)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def roc(scores: NDArray[Any], positive: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(false positive rate, true positive rate) at every threshold, from (0, 0) to (1, 1), for scores [N] and truths
    [N]; equal scores are one threshold."""
    order = np.argsort(-scores, kind="stable")
    hits, values = np.cumsum(positive[order]), scores[order]
    ends = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    true = np.concatenate([[0], hits[ends]]) / max(int(positive.sum()), 1)
    false = np.concatenate([[0], ends + 1 - hits[ends]]) / max(int((~positive).sum()), 1)
    return false, true


def _area(y: NDArray[Any], x: NDArray[Any]) -> float:
    return float(((y[1:] + y[:-1]) * np.diff(x)).sum() / 2)


def anomalies(path: PathLike, errors: NDArray[Any], strange: NDArray[Any], threshold: float) -> None:
    """Histograms of the errors [N] of normal samples and of anomalies (`strange`, bool [N]) with the threshold, and the
    ROC curve with the point that it stands for. Errors: MissingExtraError without matplotlib."""
    figure, (left, right) = axes(1, 2, (9.5, 3.6))
    low = max(float(errors.min()), 1e-9)
    bins = np.geomspace(low, max(float(errors.max()), low * 1.01), 50)
    for chosen, colour, label in ((~strange, BLUE, "normal"), (strange, ORANGE, "anomaly")):
        left.hist(errors[chosen], bins=bins.tolist(), color=colour, alpha=0.65, label=label)
    left.axvline(threshold, color="black", lw=1.2, ls="--", label="threshold")
    left.set_xscale("log")
    left.set_xlabel("reconstruction error")
    left.set_ylabel("samples")
    left.legend(frameon=False)
    false, true = roc(errors, strange)
    right.plot(false, true, color=BLUE, lw=1.8)
    right.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":")
    found = errors > threshold
    right.plot([found[~strange].mean()], [found[strange].mean()], "o", color="black")
    right.set_xlabel("false alarms")
    right.set_ylabel("anomalies found")
    right.set_title(f"area under the curve {_area(true, false):.4f}", fontsize=10, loc="left")
    save(figure, path)


def confusion(path: PathLike, counts: NDArray[Any], classes: Sequence[str]) -> None:
    """Counts [true class, predicted class] as a matrix of shares of each true class, with the counts written in.

    Errors: ValueError for shapes, MissingExtraError without matplotlib.
    """
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(
            f"confusion: counts must have shape [{len(classes)}, {len(classes)}], got {list(counts.shape)}"
        )
    side = 1.6 + 0.42 * len(classes)
    figure, (panel,) = axes(1, 1, (side, side))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    panel.grid(False)
    for i, j in np.argwhere(counts > 0):
        colour = "white" if shares[i, j] > 0.5 else "black"
        panel.text(j, i, f"{int(counts[i, j])}", ha="center", va="center", color=colour, fontsize=8)
    panel.set_xticks(range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 2 else 0)
    panel.set_yticks(range(len(classes)), classes)
    panel.set_xlabel("found")
    panel.set_ylabel("true")
    save(figure, path)


def attention(
    path: PathLike, weights: NDArray[Any], rows: Sequence[str], columns: Sequence[str], title: str = ""
) -> None:
    """Attention weights [T, S], or [heads, T, S] with a panel per head: which of `columns` each of `rows` looks at.

    Errors: ValueError for shapes, MissingExtraError without matplotlib.
    """
    heads = weights[None] if weights.ndim == 2 else weights
    if heads.ndim != 3 or heads.shape[1:] != (len(rows), len(columns)):
        raise ValueError(
            f"attention: weights must have shape [{len(rows)}, {len(columns)}] or with an axis of heads in front, "
            f"got {list(weights.shape)}"
        )
    across = min(4, len(heads))
    down = -(-len(heads) // across)
    size = (1 + across * (0.6 + 0.2 * len(columns)), 1 + down * (0.6 + 0.2 * len(rows)))
    figure, panels = axes(down, across, size)
    for panel in panels[len(heads) :]:
        panel.set_axis_off()
    for i, (head, panel) in enumerate(zip(heads, panels, strict=False)):
        panel.imshow(head, cmap="viridis", vmin=0, aspect="auto")
        panel.grid(False)
        panel.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
        panel.set_yticks(range(len(rows)), rows, fontsize=7)
        if len(heads) > 1:
            panel.set_title(f"head {i + 1}", fontsize=8)
    if title:
        figure.suptitle(title, fontsize=10)
    save(figure, path)
