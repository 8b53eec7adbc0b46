"""Variational autoencoders of images: `vae`, `vae-faces`."""

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
    files_as_samples,
    generate_path,
    labels_of,
    load_pictures,
    pixel_input,
    test_part,
)
from nonet.cli.presets import IMAGE_SETS, PicturePreset
from nonet.cli.reconstruct import predict as predict_errors
from nonet.cli.sequences import metadata_field, refuse
from nonet.cli.tasks import Job, Options
from nonet.models.vae import vae_loss
from nonet.nn import Module
from nonet.plot import grid
from nonet.tensor import as_tensor, no_grad
from nonet.train import Trainer
from nonet.train.generative import pca_errors
from nonet.train.log import to_json

_BATCH = 256
_COLUMNS = 10
_LIKELIHOOD = 200  # test images whose likelihood is estimated
predict = predict_errors


def prepare(preset: PicturePreset, options: Options, directory: str | None) -> Job:
    pictures = load_pictures(preset, options, directory)
    nonet.manual_seed(options.seed)
    model = models.build(preset.architecture, shape=pictures.input.shape, **preset.arguments[options.data])
    classes = int(vars(model)["classes"])
    if isinstance(model, models.ResidualVAE):
        model.start_at(seen(pictures.train.inputs, options.data in preset.flip))
    moves = [data.random_flip(preset.flip[options.data])] if options.data in preset.flip else []
    if options.data in preset.zoom:
        size = (pictures.input.height, pictures.input.width)
        moves.append(data.random_window(size, preset.zoom[options.data]))
    if options.data in preset.mix:
        moves.append(data.random_mix(preset.mix[options.data]))
    move = data.compose(*moves)

    def batch(rng: np.random.Generator, images: np.ndarray, labels: np.ndarray) -> data.Batch:
        images, labels = move(rng, images, labels)
        return (images, labels, images) if classes else (images, images)

    def as_it_is(rng: np.random.Generator, images: np.ndarray, labels: np.ndarray) -> data.Batch:
        return (images, labels, images) if classes else (images, images)

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        model: Any = trainer.model
        found = measure(model, pictures.test, pictures.train.inputs, options.data in preset.flip)
        count = min(_LIKELIHOOD, len(pictures.test))
        some = pictures.test.subset(slice(count))
        labels = (some.targets,) if classes else ()
        likelihood = float(model.log_likelihood(some.inputs, *labels, draws=50).mean())
        draw(out / PICTURE, model, pictures.test, options.seed)
        return {**found, "log_likelihood": likelihood, "picture": str(out / PICTURE)}

    return Job(
        model.to(device=options.device),
        vae_loss,
        data.DataLoader(pictures.train, options.batch_size, shuffle=True, seed=options.seed, transform=batch),
        data.DataLoader(pictures.validation, _BATCH, transform=as_it_is),
        [],
        pictures.fingerprint,
        {**pictures.input.metadata(), "classes": json.dumps(pictures.classes)},
        conclude,
        f"{len(pictures.test)} test images of {options.data}",
        inputs=2 if classes else 1,
    )


def seen(images: np.ndarray, mirrored: bool) -> np.ndarray:
    """The images, and their mirror images if training sees those."""
    return np.concatenate([images, images[..., ::-1]]) if mirrored else images


def measure(
    model: Any, test: data.ArrayDataset, train: np.ndarray | None = None, mirrored: bool = False
) -> dict[str, Any]:
    """-ln p + KL per image with one draw of the codes of each; the floor takes all pixels as independent, with their
    means (and variances where the model's pixels are normal). `mse` of reconstructions beside that of PCA with as many
    codes, and with `mirrored` that of PCA of the images and their mirror images."""
    total = 0.0
    nonet.manual_seed(0)  # the same draws for everybody
    model.eval()
    device = next(model.parameters()).device
    with no_grad():
        for i in range(0, len(test), _BATCH):
            part = as_tensor(test.inputs[i : i + _BATCH], device=device)
            labels = (as_tensor(test.targets[i : i + _BATCH], device=device),) if model.classes else ()
            total += vae_loss(model(part, *labels), part).item() * len(part)
    labels = (test.targets,) if model.classes else ()
    found = model.reconstructed(test.inputs, *labels)
    value = total / len(test)
    out = {
        "value": value,
        "loss": value,
        "mse": float(np.square(found.astype(np.float64) - test.inputs).mean()),
    }
    if train is not None:
        out["floor"] = independent(train, test.inputs, isinstance(model, models.ResidualVAE))
        out["pca_mse"] = float(pca_errors(train, test.inputs, model.codes).mean())
        if mirrored:
            both = seen(train, True)
            out["pca_mirrored_mse"] = float(pca_errors(both, test.inputs, model.codes).mean())
    return out


def independent(train: np.ndarray, test: np.ndarray, normal: bool) -> float:
    """-ln p per test image of pixels that are independent of each other, normal or of Bernoulli's distribution."""
    mean = train.mean(axis=0, dtype=np.float64)
    if normal:
        variance = train.var(axis=0, dtype=np.float64) + 1e-4  # of the steps of pixels, at least
        cost = 0.5 * (np.square(test - mean) / variance + np.log(2 * np.pi * variance))
    else:
        mean = mean.clip(1e-6, 1 - 1e-6)
        cost = -(test * np.log(mean) + (1 - test) * np.log(1 - mean))
    return float(cost.sum() / len(test))


def draw(path: Path, model: Any, test: data.ArrayDataset, seed: int) -> None:
    """Three rows of samples, then originals and reconstructions, then strips from one test image to another."""
    count = 3 * _COLUMNS
    kinds = np.arange(count) % model.classes if model.classes else None
    rows = grid.rows_of(list(model.sample(count, kinds, seed)), _COLUMNS)
    shown = test.subset(np.linspace(0, len(test) - 1, _COLUMNS).astype(np.int64))
    labels = (shown.targets,) if model.classes else ()
    rows += [list(shown.inputs), list(model.reconstructed(shown.inputs, *labels))]
    if not model.classes:
        rows += [list(s) for s in model.interpolated(shown.inputs[:3], shown.inputs[-3:], _COLUMNS)]
    io.write_png(path, grid.grid(rows))


def evaluate(
    args: argparse.Namespace, preset: PicturePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    test = test_part(preset, metadata, name, args)
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    return {**measure(model, test), "samples": len(test)}


def describe(preset: PicturePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    size, _, _ = IMAGE_SETS[name]
    shape = pixel_input(preset, name, (1, *size)).shape
    return models.build(preset.architecture, shape=shape, **preset.arguments[name]), shape


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    return PixelInput.from_metadata(metadata, path).shape


def generate(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """A PNG grid: --count samples; or of two or more images in the file --input, strips from each to the next and
    reconstructions."""
    refuse(args, "models of images", "temperature", "top_k", "top_p", "repetition_penalty", "beam")
    known = PixelInput.from_metadata(metadata, args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    path = generate_path(args)
    if args.input is None:
        count = 64 if args.count == 1 else args.count
        names = metadata_field(metadata, "classes", args.checkpoint)
        images = model.sample(count, labels_of(args, model.classes, names, count), args.seed)
        rows = grid.rows_of(list(images), max(1, round(count**0.5)))
    else:
        images = files_as_samples([args.input], known)[0]
        if model.classes:
            raise UsageError("--input needs a model without classes")
        rows = [list(images), list(model.reconstructed(images))]
        if len(images) > 1:
            steps = args.length or _COLUMNS
            rows += [list(s) for s in model.interpolated(images[:-1], images[1:], steps)]
    io.write_png(path, grid.grid(rows))
    print(to_json({"out": str(path), "count": len(images)}) if args.json else path)
