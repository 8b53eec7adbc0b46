"""What an autoencoder of normal samples finds strange: `anomaly`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, io, models
from nonet.cli.classify import holdout
from nonet.cli.errors import UsageError
from nonet.cli.images import fingerprint, load_set, option_named
from nonet.cli.presets import PicturePreset
from nonet.cli.reconstruct import PictureError
from nonet.cli.sequences import metadata_field
from nonet.cli.tasks import Job, Options
from nonet.nn import Module, functional
from nonet.train import Trainer
from nonet.train.log import to_json

_NORMAL = 0  # the class that is
_SHAPES = {"digits": (64,), "ecg5000": (140,)}


def load(name: str, directory: str | None) -> data.Splits:
    """The set with rows [N, D]: digits with values in [0, 1], heartbeats as they are."""
    with option_named(directory):
        if name == "ecg5000":
            assert directory is not None
            return data.load_ecg5000(directory)
        splits = load_set(name, directory)
        train, test = (
            data.ArrayDataset(p.inputs.reshape(len(p), -1).astype(np.float32) / np.float32(16), p.targets)
            for p in (splits.train, splits.test)
        )
        return data.Splits(name, train, test, splits.classes)


def prepare(preset: PicturePreset, options: Options, directory: str | None) -> Job:
    splits = load(options.data, directory)
    normal = splits.train.subset(splits.train.targets == _NORMAL)
    train, validation = holdout(normal, preset.validation, options)
    nonet.manual_seed(options.seed)
    shape = splits.train.inputs.shape[1:]
    model = models.build(preset.architecture, shape=shape, **preset.arguments[options.data])

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        model: Any = trainer.model
        # All normal beats, so that the threshold also knows errors of samples the model has not learned by heart.
        model.calibrate(normal.inputs, preset.quantile[options.data])
        models.save_model(model, out / "model.safetensors", trainer.metadata)
        errors, strange = model.errors(splits.test.inputs), splits.test.targets != _NORMAL
        picture = _draw(out / "anomaly.png", errors, strange, float(model.threshold.item()))
        return {**measure(errors, strange, float(model.threshold.item())), **picture}

    return Job(
        model.to(device=options.device),
        functional.mse_loss,
        data.DataLoader(
            data.ArrayDataset(train.inputs, train.inputs),
            options.batch_size,
            shuffle=True,
            seed=options.seed,
        ),
        data.DataLoader(data.ArrayDataset(validation.inputs, validation.inputs), options.batch_size),
        [PictureError("mse")],
        fingerprint(splits.train.inputs, splits.train.targets),
        {"normal": json.dumps(splits.classes[_NORMAL]), "shape": json.dumps(list(shape))},
        conclude,
        f"{len(splits.test)} test samples of {options.data}",
    )


def measure(errors: np.ndarray, strange: np.ndarray, threshold: float) -> dict[str, Any]:
    """Accuracy at the threshold and area under the ROC curve; the floor calls everything what there is more of."""
    found = errors > threshold
    share = float(strange.mean())
    return {
        "value": float((found == strange).mean()),
        "floor": max(share, 1 - share),
        "auroc": area_under_roc(errors, strange),
        "loss": float(errors[~strange].mean()),
        "recall": float(found[strange].mean()),
        "false_alarms": float(found[~strange].mean()),
        "threshold": threshold,
    }


def area_under_roc(scores: np.ndarray, positive: np.ndarray) -> float:
    """The share of pairs of a positive and a negative in which the positive has the higher score; ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n, m = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


def _draw(path: Path, errors: np.ndarray, strange: np.ndarray, threshold: float) -> dict[str, str]:
    from nonet.plot.results import anomalies

    try:
        anomalies(path, errors, strange, threshold)
    except io.MissingExtraError as error:
        print(f"no picture: {error}", file=sys.stderr)
        return {}
    return {"picture": str(path)}


def evaluate(
    args: argparse.Namespace, preset: PicturePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    test = load(name, args.data_dir).test
    found = measure(model.errors(test.inputs), test.targets != _NORMAL, float(model.threshold.item()))
    return {**found, "samples": len(test)}


def describe(preset: PicturePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    shape = _SHAPES[name]
    return models.build(preset.architecture, shape=shape, **preset.arguments[name]), shape


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    return tuple(metadata_field(metadata, "shape", path))


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """Whether each row of a .npy or .csv file is normal: rows [N, D] in the units of the training data."""
    shape = input_shape(metadata, args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    read = [(name, _rows(name, shape)) for name in args.files]
    threshold = float(model.threshold.item())
    for name, rows in read:
        for index, error in enumerate(model.errors(rows).tolist()):
            strange = error > threshold
            if args.json:
                record = {"file": name, "index": index, "anomaly": strange, "error": error}
                print(to_json({**record, "threshold": threshold}))
            else:
                print(f"{name}[{index}]", "anomaly" if strange else "normal", f"{error:.6f}")


def _rows(path: str, shape: tuple[int, ...]) -> np.ndarray:
    if path.endswith(".npy"):
        try:
            rows = np.load(path, allow_pickle=False)
        except Exception as error:
            raise io.FileError(f"{path}: expected a complete .npy file of numbers, found: {error}") from error
    elif path.endswith((".csv", ".txt")):
        rows = data.read_table(path).values
    else:
        raise UsageError(f"{path}: expected a .npy or .csv file of rows")
    rows = rows[None] if rows.ndim == 1 else rows.reshape(len(rows), -1)
    if rows.dtype.kind not in "biuf" or rows.shape[1:] != shape:
        raise io.FileError(
            f"{path}: expected rows of {shape[0]} numbers, found {rows.dtype} {list(rows.shape)}"
        )
    return rows.astype(np.float32)
