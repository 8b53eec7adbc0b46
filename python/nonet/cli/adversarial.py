"""Generative adversarial networks: `gan`, `dcgan`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, io, models
from nonet.cli.errors import UsageError
from nonet.cli.pixels import (
    PICTURE,
    PixelInput,
    generate_path,
    labels_of,
    load_pictures,
    load_splits,
    pixel_input,
    test_part,
)
from nonet.cli.presets import IMAGE_SETS, PicturePreset
from nonet.cli.sequences import metadata_field, refuse
from nonet.cli.tasks import Job, Options
from nonet.nn import Module
from nonet.plot import grid
from nonet.train import Trainer
from nonet.train.generative import (
    class_shares,
    gaussian_samples,
    nearest_neighbour_accuracy,
    parzen_log_likelihood,
    parzen_sigma,
)
from nonet.train.judge import judged, train_judge
from nonet.train.log import to_json

_SAMPLES = 10_000  # of the Parzen window
_TEST = 5_000  # points at most that its likelihood is measured on
_TWO = 1_000  # of each side of the two-sample test


def prepare(preset: PicturePreset, options: Options, directory: str | None) -> Job:
    pictures = load_pictures(preset, options, directory)
    nonet.manual_seed(options.seed)
    model: Any = models.build(
        preset.architecture, shape=pictures.input.shape, **preset.arguments[options.data]
    )
    train = pictures.train
    fields = (train.inputs, train.targets) if model.classes else (train.inputs,)

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        model: Any = trainer.model
        found = measure(model, pictures.train, pictures.validation, pictures.test, options.seed)
        judge = train_judge(
            train.inputs, train.targets, len(pictures.classes), preset.judged[options.data], options.seed
        )
        accuracy = float((judged(judge, pictures.test.inputs) == pictures.test.targets).mean())
        labels = np.arange(_SAMPLES) % model.classes if model.classes else None
        kinds = judged(judge, model.sample(_SAMPLES, labels, options.seed))
        shares = class_shares(kinds, len(pictures.classes))
        io.write_png(out / PICTURE, picture(model, options.seed))
        known = {"coverage": min(shares), "shares": shares, "judge_accuracy": accuracy}
        if labels is not None:
            known["conditional_accuracy"] = float((kinds == labels).mean())
        return {**found, **known, "picture": str(out / PICTURE)}

    model = model.to(device=options.device)
    judging = [p for name, p in model.named_parameters() if not name.startswith("generator")]
    return Job(
        model,
        model.losses(),
        data.DataLoader(fields, options.batch_size, shuffle=True, drop_last=True, seed=options.seed),
        None,
        [],
        pictures.fingerprint,
        {**pictures.input.metadata(), "classes": json.dumps(pictures.classes)},
        conclude,
        f"{min(len(pictures.test), _TEST)} test images of {options.data}",
        after_update=lambda gan: gan.follow(),
        players=(judging, list(model.generator.parameters())),
    )


def measure(
    model: Any,
    train: data.ArrayDataset,
    validation: data.ArrayDataset,
    test: data.ArrayDataset,
    seed: int,
) -> dict[str, Any]:
    """Parzen log-likelihood of the test part, its sigma from the validation part; the floor is that of samples of a
    normal distribution in PCA's space. `two_sample`: accuracy of the nearest neighbour in telling samples from test
    images, 0.5 at best; `two_sample_floor` of the same normal distribution."""
    labels = np.arange(_SAMPLES) % model.classes if model.classes else None
    made = model.sample(_SAMPLES, labels, seed)
    rough = gaussian_samples(train.inputs, _SAMPLES, seed=seed)
    points, held = test.inputs[:_TEST], validation.inputs[:1000]
    two = min(_TWO, len(test))
    out: dict[str, Any] = {}
    for samples, value, kind in ((made, "value", "two_sample"), (rough, "floor", "two_sample_floor")):
        sigma = parzen_sigma(samples, held)
        likelihood = parzen_log_likelihood(samples, points, sigma)
        out[value] = float(likelihood.mean())
        out[kind] = nearest_neighbour_accuracy(samples[:two], test.inputs[:two])
        if value == "value":
            out["sigma"] = sigma
            # To choose by: the test part decides nothing.
            out["validation"] = float(parzen_log_likelihood(samples, held, sigma).mean())
            out["standard_error"] = float(likelihood.std() / np.sqrt(len(likelihood)))
            out["loss"] = -out["value"]
    return out


def picture(model: Any, seed: int, count: int = 64) -> np.ndarray:
    columns = model.classes or 8
    labels = np.arange(count) % model.classes if model.classes else None
    rows = grid.rows_of(list(model.sample(count, labels, seed)), columns)
    if not model.classes:
        rows += [list(strip) for strip in model.interpolated(2, columns, seed=seed)]
    return grid.grid(rows)


def evaluate(
    args: argparse.Namespace, preset: PicturePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    known = PixelInput.from_metadata(metadata, args.checkpoint)
    test = test_part(preset, metadata, name, args)
    train = load_splits(preset, name, args.data_dir).train
    whole = data.ArrayDataset(known.finish(train.inputs), train.targets)
    rest, validation = data.holdout(whole, preset.validation, 0)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    return {**measure(model, rest, validation, test, 0), "samples": min(len(test), _TEST)}


def describe(preset: PicturePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    size, _, _ = IMAGE_SETS[name]
    shape = pixel_input(preset, name, (3 if name == "folder" else 1, *size)).shape
    model: Any = models.build(preset.architecture, shape=shape, **preset.arguments[name])
    return model, (model.latent,)


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    return (int(vars(models.load_model(path))["latent"]),)


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    raise UsageError("a generator predicts no files; `nonet generate` lets it make images")


def generate(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """A PNG grid of --count samples; with --length N, of --count strips of N steps between two codes."""
    refuse(args, "models of images", "temperature", "top_k", "top_p", "repetition_penalty", "beam", "input")
    names = metadata_field(metadata, "classes", args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    path = generate_path(args)
    count = args.count if args.count > 1 else (8 if args.length else 64)
    labels = labels_of(args, model.classes, names, count)
    if args.length:
        rows = [list(strip) for strip in model.interpolated(count, args.length, labels, args.seed)]
    else:
        rows = grid.rows_of(list(model.sample(count, labels, args.seed)), max(1, round(count**0.5)))
    io.write_png(path, grid.grid(rows))
    print(to_json({"out": str(path), "count": count}) if args.json else path)
