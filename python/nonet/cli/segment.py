"""A class for every pixel: `segment`."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, io, models
from nonet.cli.classify import classes_of
from nonet.cli.presets import ScenePreset
from nonet.cli.scenes import (
    BATCH,
    PICTURE,
    SceneInput,
    augmentation,
    each_output,
    load,
    load_parts,
    output_paths,
    outputs_of_files,
    picked,
    picture_scale,
    read_picture,
)
from nonet.cli.scenes import (
    describe as describe,
)
from nonet.cli.scenes import (
    input_shape as input_shape,
)
from nonet.cli.tasks import Job, Options
from nonet.models.unet import segmentation_loss
from nonet.nn import Module
from nonet.plot import scenes as paint
from nonet.tensor import Tensor
from nonet.train import MeanIoU, Trainer
from nonet.train.log import to_json


def prepare(preset: ScenePreset, options: Options, directory: str | None) -> Job:
    parts = load_parts(preset, options, directory)
    classes = len(parts.scenes.pixel_classes)
    nonet.manual_seed(options.seed)
    model = models.build(preset.architecture, classes=classes, **preset.arguments[options.data])
    change = augmentation(preset, options.data, masks=(1,))

    def augmented(rng: np.random.Generator, images: np.ndarray, masks: np.ndarray) -> data.Batch:
        images, masks = change(rng, images, masks)
        return parts.input.finish(images), masks

    def finished(rng: np.random.Generator, images: np.ndarray, masks: np.ndarray) -> data.Batch:
        return parts.input.finish(images), masks

    train = data.DataLoader(
        data.ArrayDataset(*parts.train[:2]),
        options.batch_size,
        shuffle=True,
        seed=options.seed,
        transform=augmented,
    )

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        test = parts.scenes.test
        results = measure(trainer.model, test, parts.input, classes, trainer.engine.context)
        draw(out / PICTURE, trainer.model, picked(test), parts.input)
        return {**results, "picture": str(out / PICTURE)}

    return Job(
        model.to(device=options.device),
        segmentation_loss,
        train,
        data.DataLoader(data.ArrayDataset(*parts.validation[:2]), BATCH, transform=finished),
        [MeanIoU(classes, data.IGNORED)],
        parts.fingerprint,
        {"classes": json.dumps(parts.scenes.pixel_classes), **parts.input.metadata()},
        conclude,
        f"pixels of {len(parts.scenes.test)} test scenes of {options.data}",
    )


def measure(
    model: Module,
    scenes: Sequence[data.Scene],
    image: SceneInput,
    classes: int,
    context: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
) -> dict[str, Any]:
    """Mean IoU over the pixels of the scenes as they are, the loss on the canvas, and the IoU of ground everywhere."""
    found, ground = MeanIoU(classes, data.IGNORED), MeanIoU(classes, data.IGNORED)
    losses: list[float] = []
    for scene, logits in each_output(model, scenes, image, _loss, losses, context):
        found.update_classes(predicted(logits, image, scene.size), scene.mask)
        ground.update_classes(np.zeros_like(scene.mask), scene.mask)
    return {"value": found.value(), "loss": float(np.mean(losses)), "floor": ground.value()}


def predicted(logits: np.ndarray, image: SceneInput, size: tuple[int, int]) -> np.ndarray:
    """Classes uint8 [H, W] of the pixels of a picture of this size, from logits on the canvas."""
    return np.argmax(image.back(logits, size), axis=0).astype(np.uint8)


def _loss(output: Tensor, masks: np.ndarray, boxes: np.ndarray) -> Tensor:
    return segmentation_loss(output, masks)


def draw(path: Path, model: Module, scenes: Sequence[data.Scene], image: SceneInput) -> None:
    """A picture with each scene, its true mask, and the predicted one."""
    cells: list[list[np.ndarray]] = []
    for scene, logits in each_output(model, scenes, image, _loss, []):
        mask = predicted(logits, image, scene.size)
        views = (scene.image, paint.tinted(scene.image, scene.mask), paint.tinted(scene.image, mask))
        cells.append([paint.scaled(view, picture_scale(scene.size)) for view in views])
    # Two scenes in a row.
    io.write_png(path, paint.table([[*chain(*cells[i : i + 2])] for i in range(0, len(cells), 2)]))


def evaluate(
    args: argparse.Namespace, preset: ScenePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    image = SceneInput.from_metadata(metadata, args.checkpoint)
    classes = len(classes_of(metadata, args.checkpoint))
    scenes = load(name, args.data_dir)
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    return {**measure(model, scenes.test, image, classes), "samples": len(scenes.test)}


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """Shares of the classes; with --out also the mask (class times 255 / (classes - 1)) and a picture of it."""
    image = SceneInput.from_metadata(metadata, args.checkpoint)
    classes = classes_of(metadata, args.checkpoint)
    pictures = [read_picture(name) for name in args.files]
    outputs = outputs_of_files(args.checkpoint, image, pictures, args.device)
    masks = output_paths(args.out, args.files, ".mask.png")
    views = output_paths(args.out, args.files, ".picture.png")
    for name, pixels, logits, path, view in zip(args.files, pictures, outputs, masks, views, strict=True):
        mask = predicted(logits, image, (pixels.shape[1], pixels.shape[2]))
        shares = {label: float((mask == i).mean()) for i, label in enumerate(classes)}
        if path is not None and view is not None:
            io.write_png(path, mask * np.uint8(255 // max(len(classes) - 1, 1)))
            io.write_png(view, paint.tinted(pixels, mask))
        if args.json:
            print(to_json({"file": name, "shares": shares, "mask": path and str(path)}))
        else:
            print(
                name,
                *(f"{label} {share:.4f}" for label, share in shares.items()),
                *([str(path)] if path else []),
            )
