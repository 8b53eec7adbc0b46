"""Forecasts of time series: `rnn-series`, `lstm-ett`."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, io, models
from nonet.cli.errors import UsageError
from nonet.cli.images import fingerprint, option_named
from nonet.cli.presets import SequencePreset
from nonet.cli.sequences import metadata_field, refuse
from nonet.cli.tasks import Job, Options
from nonet.nn import Module, functional
from nonet.plot.series import draw
from nonet.tensor import as_tensor, no_grad
from nonet.train import Trainer
from nonet.train.log import to_json

_BATCH = 256
_LEVEL = 0.9  # of the intervals
_COLUMNS = {"sunspots": 1, "ett": 7}  # so that a model can be described without its data


class MeanError:
    """Mean of the squared ("mse") or absolute ("mae") differences between output and target, times `scale`."""

    higher_is_better = False

    def __init__(self, name: str, scale: float = 1.0) -> None:
        self.name, self.scale = name, scale
        self.reset()

    def reset(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, output: np.ndarray, *targets: np.ndarray) -> None:
        error = output.astype(np.float64) - targets[0]
        self.total += float((np.square(error) if self.name == "mse" else np.abs(error)).sum())
        self.count += error.size

    def value(self) -> float:
        return self.total / self.count * self.scale if self.count else float("nan")


@dataclass(frozen=True)
class SeriesInput:
    """How rows of a series become a model's input: (x - mean) / std of `columns`, `block` rows for `horizon` others.
    Written into checkpoints as the metadata "series"."""

    columns: list[str]
    mean: list[float]
    std: list[float]
    block: int
    horizon: int

    def normalized(self, values: np.ndarray) -> np.ndarray:
        return ((values - np.array(self.mean)) / np.array(self.std)).astype(np.float32)

    def back(self, values: np.ndarray) -> np.ndarray:
        return values * np.array(self.std) + np.array(self.mean)

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], path: Any) -> SeriesInput:
        try:
            return cls(**metadata_field(metadata, "series", path))
        except TypeError as error:
            raise io.FileError(
                f"{path}: expected a checkpoint of a forecaster, found other metadata"
            ) from error

    def scale(self, metric: str) -> float:
        """MAE is in the series' own units if it has one column, all other errors in standard deviations."""
        return self.std[0] if metric == "mae" and len(self.std) == 1 else 1.0


def prepare(preset: SequencePreset, options: Options, directory: str | None) -> Job:
    series = _load(options.data, directory)
    mean, std = series.statistics()
    known = SeriesInput(
        list(series.columns),
        mean.tolist(),
        std.tolist(),
        preset.block[options.data],
        preset.horizon[options.data],
    )
    train, validation, _ = _parts(series, known)
    nonet.manual_seed(options.seed)
    model = models.build(
        preset.architecture,
        channels=len(known.columns),
        horizon=known.horizon,
        **preset.arguments[options.data],
    )
    held = data.DataLoader(validation, _BATCH)

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        forecaster: Any = trainer.model
        forecaster.calibrate(
            validation.targets - _forecasts(forecaster, validation, trainer.engine.context), _LEVEL
        )
        models.save_model(forecaster, out / "model.safetensors", trainer.metadata)
        return measure(forecaster, series, known, preset.metric, trainer.engine.context)

    return Job(
        model.to(device=options.device),
        functional.mse_loss if preset.metric == "mse" else functional.l1_loss,
        data.DataLoader(train, options.batch_size, shuffle=True, seed=options.seed),
        held,
        [MeanError(preset.metric, known.scale(preset.metric))],
        fingerprint(series.values),
        {"series": json.dumps(asdict(known))},
        conclude,
        f"test part of {options.data}, {known.horizon} steps ahead",
    )


def _load(name: str, directory: str | None) -> data.Series:
    with option_named(directory):
        return data.load_series(name, directory)


def _parts(series: data.Series, known: SeriesInput) -> list[data.ArrayDataset]:
    values = known.normalized(series.values)
    borders = (0, *series.borders)
    try:
        return [
            data.windows(values, begin, end, known.block, known.horizon)
            for begin, end in itertools.pairwise(borders)
        ]
    except ValueError as error:
        raise data.DataError(f"{series.name}: expected more rows: {error}") from error


def _forecasts(model: Module, part: data.ArrayDataset, context: Any = nonet.no_grad) -> np.ndarray:
    model.eval()
    device = next(model.parameters()).device
    out = []
    with no_grad(), context():
        for inputs, _ in data.DataLoader(part, _BATCH):
            out.append(np.asarray(model(as_tensor(inputs, device=device)).float().cpu()))
    return np.concatenate(out)


def measure(
    model: Any, series: data.Series, known: SeriesInput, metric: str, context: Any = nonet.no_grad
) -> dict[str, Any]:
    """Errors over all windows of the test part; the floor repeats the last value. `coverage`: the share of truths that
    lie in the intervals, which are to hold 90 % of them."""
    test = _parts(series, known)[2]
    forecasts = _forecasts(model, test, context)
    repeated = np.broadcast_to(test.inputs[:, -1:], test.targets.shape)
    errors = {}
    for name in ("mse", "mae"):
        for key, values in ((name, forecasts), (f"{name}_floor", repeated)):
            found = MeanError(name, known.scale(name))
            found.update(values, test.targets)
            errors[key] = found.value()
    low, high = model.interval(forecasts)
    other = "mae" if metric == "mse" else "mse"
    return {
        "value": errors[metric],
        "floor": errors[f"{metric}_floor"],
        other: errors[other],
        f"{other}_floor": errors[f"{other}_floor"],
        "loss": errors["mse"] if metric == "mse" else errors["mae"] / known.scale("mae"),
        "coverage": float(((low <= test.targets) & (test.targets <= high)).mean()),
    }


def evaluate(
    args: argparse.Namespace, preset: SequencePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    series = _load(name, args.data_dir)
    known = SeriesInput.from_metadata(metadata, args.checkpoint)
    if list(series.columns) != known.columns:
        raise data.DataError(
            f"{name}: expected the columns {', '.join(known.columns)}, found {', '.join(series.columns)}"
        )
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    found = measure(model, series, known, preset.metric)
    return {**found, "samples": len(_parts(series, known)[2])}


def describe(preset: SequencePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    columns = _COLUMNS[name]
    model = models.build(
        preset.architecture, channels=columns, horizon=preset.horizon[name], **preset.arguments[name]
    )
    return model, (preset.block[name], columns)


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    known = SeriesInput.from_metadata(metadata, path)
    return known.block, len(known.columns)


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """The forecast behind the last rows of each CSV file."""
    known = SeriesInput.from_metadata(metadata, args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    for name, past in [(name, _rows(name, known)) for name in args.files]:
        forecast, low, high = ahead(model, known, past, known.horizon)
        if args.json:
            print(to_json({"file": name, **_record(known, forecast, low, high)}))
        else:
            print(name)
            print(_table(known, forecast, low, high), end="")


def _rows(path: str, known: SeriesInput) -> np.ndarray:
    """The values [R, C] of a file with the columns that the model was trained on."""
    table = data.read_table(path)
    missing = [name for name in known.columns if name not in table.columns]
    if missing:
        raise data.DataError(
            f"{path}: expected the columns {', '.join(known.columns)}, found no {missing[0]}"
        )
    if len(table.values) < known.block:
        raise data.DataError(f"{path}: expected at least {known.block} rows, found {len(table.values)}")
    return table.values[:, [table.columns.index(name) for name in known.columns]]


def ahead(
    model: Any, known: SeriesInput, past: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(forecast, low, high) [length, C] behind the rows `past` [R, C], in the series' own units.

    Beyond the model's horizon a forecast goes on from its own values, and the width of the intervals stays that of the
    last step: they are then too narrow.
    """
    values = known.normalized(past[-known.block :])
    parts: list[list[np.ndarray]] = [[], [], []]
    device = next(model.parameters()).device
    with no_grad():
        while sum(map(len, parts[0])) < length:
            forecast = np.asarray(model(as_tensor(values[None, -known.block :], device=device)).float().cpu())
            low, high = model.interval(forecast)
            if parts[0]:
                width = np.asarray(model.errors.cpu())[:, -1]
                low, high = forecast + width[0], forecast + width[1]
            for part, found in zip(parts, (forecast, low, high), strict=True):
                part.append(found[0])
            values = np.concatenate([values, forecast[0]])
    forecast, low, high = (known.back(np.concatenate(part)[:length]) for part in parts)
    return forecast, low, high


def _record(known: SeriesInput, forecast: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    parts = {"forecast": forecast, "low": low, "high": high}
    return {"columns": known.columns, "level": _LEVEL, **{key: part.tolist() for key, part in parts.items()}}


def _table(known: SeriesInput, forecast: np.ndarray, low: np.ndarray, high: np.ndarray) -> str:
    """CSV: a row per step, three columns for each of the series'."""
    names = [f"{name}{part}" for name in known.columns for part in ("", "_low", "_high")]
    rows = np.stack([forecast, low, high], axis=2).reshape(len(forecast), -1)
    lines = [",".join(("step", *names))]
    lines += [",".join((str(i), *(f"{v:.6g}" for v in row))) for i, row in enumerate(rows, 1)]
    return "\n".join(lines) + "\n"


def generate(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """--length steps behind the rows of the CSV file --input, or of the bundled series the model was trained on: CSV on
    stdout or to --out, with a picture beside it."""
    refuse(args, "forecasters", "prompt", "temperature", "top_k", "top_p", "repetition_penalty", "beam")
    known = SeriesInput.from_metadata(metadata, args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    if args.input is not None:
        past = _rows(args.input, known)
    elif metadata.get("data") == "sunspots":
        past = data.load_series("sunspots").values
    else:
        raise UsageError(f"--input must name a CSV file with the columns {', '.join(known.columns)}")
    forecast, low, high = ahead(model, known, past, args.length or known.horizon)
    picture = None
    if args.out is not None:
        io.write_text(Path(args.out), _table(known, forecast, low, high))
        picture = Path(args.out).with_suffix(".png")
        try:
            draw(picture, past[-4 * known.block :], forecast, low, high, known.columns)
        except io.MissingExtraError as error:
            picture = None
            print(f"nonet generate: no picture: {error}", file=sys.stderr)
    if args.json:
        record = _record(known, forecast, low, high)
        print(to_json({**record, "out": args.out, "picture": picture and str(picture)}))
    elif args.out is None:
        print(_table(known, forecast, low, high), end="")
    else:
        print(args.out, *([picture] if picture else []))
