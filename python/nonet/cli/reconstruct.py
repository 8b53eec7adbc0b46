"""Autoencoders of images: `autoencoder-linear`, `autoencoder`, `denoise`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, io, models
from nonet.cli.errors import UsageError
from nonet.cli.images import option_named
from nonet.cli.pixels import (
    PICTURE,
    PixelInput,
    files_as_samples,
    generate_path,
    load_pictures,
    load_splits,
    pixel_input,
    test_part,
)
from nonet.cli.presets import IMAGE_SETS, PicturePreset
from nonet.cli.scenes import output_paths
from nonet.cli.sequences import refuse
from nonet.cli.tasks import Job, Options
from nonet.nn import Module, functional
from nonet.plot import grid
from nonet.train import Trainer
from nonet.train.generative import pca_errors
from nonet.train.log import to_json

_SHOWN = 12
_PCA = 64  # components of the floor of `denoise` beside the noisy input


class PictureError:
    """Of outputs and targets [N, ...]: "mse" per pixel, "squared_error" per sample, or "psnr" in dB of all pixels."""

    def __init__(self, name: str) -> None:
        self.name, self.higher_is_better = name, name == "psnr"
        self.reset()

    def reset(self) -> None:
        self.total, self.samples, self.elements = 0.0, 0, 0

    def update(self, output: np.ndarray, *targets: np.ndarray) -> None:
        error = output.astype(np.float64) - targets[0]
        self.total += float(np.square(error).sum())
        self.samples += len(error)
        self.elements += error.size

    def value(self) -> float:
        if not self.samples:
            return float("nan")
        if self.name == "squared_error":
            return self.total / self.samples
        mse = self.total / self.elements
        return mse if self.name == "mse" else psnr(mse)


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of values in [0, 1]."""
    return 10 * math.log10(1 / max(mse, 1e-20))


def prepare(preset: PicturePreset, options: Options, directory: str | None) -> Job:
    pictures = load_pictures(preset, options, directory)
    nonet.manual_seed(options.seed)
    model = build(preset, options.data, pictures.input.shape)
    noise = preset.noise

    def corrupted(rng: np.random.Generator, images: np.ndarray, clean: np.ndarray) -> data.Batch:
        return images + rng.standard_normal(images.shape, np.float32) * np.float32(noise), clean

    train = data.DataLoader(
        data.ArrayDataset(pictures.train.inputs, pictures.train.inputs),
        options.batch_size,
        shuffle=True,
        seed=options.seed,
        transform=corrupted if noise else None,
    )
    held = pictures.validation.inputs
    metric = PictureError(preset.metric)
    test = pictures.test.inputs

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        model: Any = trainer.model
        measured = measure(model, preset, test)
        floors = floors_of(preset, model.codes, pictures.train.inputs, test)
        draw(out / PICTURE, model, test[:: max(1, len(test) // _SHOWN)][:_SHOWN], noise)
        return {**measured, **floors, "picture": str(out / PICTURE)}

    return Job(
        model.to(device=options.device),
        functional.mse_loss,
        train,
        data.DataLoader(data.ArrayDataset(noisy(held, noise), held), preset.batch_size[options.data]),
        [metric],
        pictures.fingerprint,
        pictures.input.metadata(),
        conclude,
        f"{len(test)} test images of {options.data}",
    )


def build(preset: PicturePreset, name: str, shape: tuple[int, ...]) -> Module:
    return models.build(preset.architecture, shape=shape, **preset.arguments[name])


def noisy(images: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    """The same noise in every run, for what is measured."""
    if not noise:
        return images
    rng = np.random.default_rng(seed)
    return images + rng.standard_normal(images.shape, np.float32) * np.float32(noise)


def measure(model: Any, preset: PicturePreset, images: np.ndarray) -> dict[str, Any]:
    found = model.reconstructed(noisy(images, preset.noise))
    metric = PictureError(preset.metric)
    metric.update(found, images)
    return {"value": metric.value(), "loss": float(np.square(found.astype(np.float64) - images).mean())}


def floors_of(preset: PicturePreset, codes: int, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """PCA with as many components; for noise the noisy input, and what PCA leaves of it."""
    if not preset.noise:
        error = float(pca_errors(train, test, codes).mean())
        return {"floor": error * (1 if preset.metric == "mse" else test[0].size)}
    error = noisy(test, preset.noise) - test
    mean = train.reshape(len(train), -1).mean(axis=0, dtype=np.float64)
    rows = train.reshape(len(train), -1) - mean
    components = min(_PCA, rows.shape[1] - 1)
    basis = np.linalg.eigh(rows.T @ rows)[1][:, -components:]
    given = noisy(test, preset.noise).reshape(len(test), -1) - mean
    kept = (given @ basis) @ basis.T + mean - test.reshape(len(test), -1)
    return {
        "floor": psnr(float(np.square(error.astype(np.float64)).mean())),
        "pca": psnr(float(np.square(kept).mean())),
    }


def draw(path: Path, model: Any, images: np.ndarray, noise: float) -> None:
    given = noisy(images, noise)
    io.write_png(path, grid.reconstructions(images, model.reconstructed(given), given if noise else None))


def evaluate(
    args: argparse.Namespace, preset: PicturePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    test = test_part(preset, metadata, name, args)
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    return {**measure(model, preset, test.inputs), "samples": len(test)}


def describe(preset: PicturePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    size, _, _ = IMAGE_SETS[name]
    shape = pixel_input(preset, name, (1, *size)).shape
    return build(preset, name, shape), shape


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    return PixelInput.from_metadata(metadata, path).shape


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """The error of each image; with --out also pictures of original, reconstruction and error."""
    known = PixelInput.from_metadata(metadata, args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    samples = files_as_samples(args.files, known, args.invert)
    paths = output_paths(args.out, args.files, ".picture.png")
    for name, images, path in zip(args.files, samples, paths, strict=True):
        found = model.reconstructed(images)
        errors = np.square(found.astype(np.float64) - images).reshape(len(images), -1).mean(axis=1)
        if path is not None:
            io.write_png(path, grid.reconstructions(images, found))
        for index, error in enumerate(errors.tolist()):
            if args.json:
                print(to_json({"file": name, "index": index, "mse": error, "picture": path and str(path)}))
            else:
                print(
                    f"{name}[{index}]" if len(images) > 1 else name, f"{error:.6f}", *([path] if path else [])
                )


def generate(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """A PNG grid of reconstructions: of the file --input, or of test images of a set that comes with nonet."""
    refuse(
        args,
        "autoencoders",
        "prompt",
        "length",
        "temperature",
        "top_k",
        "top_p",
        "repetition_penalty",
        "beam",
    )
    from nonet.cli.presets import PRESETS

    preset: Any = PRESETS[metadata["preset"]]
    known = PixelInput.from_metadata(metadata, args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    if args.input is not None:
        images = files_as_samples([args.input], known)[0]
    elif metadata.get("data") == "digits":
        with option_named(None):
            images = known.finish(load_splits(preset, "digits", None).test.inputs)
    else:
        raise UsageError("--input must name a file of images to reconstruct")
    path = generate_path(args)
    draw(path, model, images[: max(args.count, _SHOWN) if args.count == 1 else args.count], preset.noise)
    print(to_json({"out": str(path)}) if args.json else path)
