"""Boxes around objects: `detect`."""

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
from nonet.models.detector import decode_boxes, detection_loss, encode_boxes
from nonet.nn import Module
from nonet.plot import scenes as paint
from nonet.tensor import Tensor
from nonet.train import AveragePrecision, Trainer
from nonet.train.log import to_json

_SURE = 0.3  # score from which on a box is shown


def prepare(preset: ScenePreset, options: Options, directory: str | None) -> Job:
    parts = load_parts(preset, options, directory)
    classes = len(parts.scenes.box_classes)
    nonet.manual_seed(options.seed)
    model = models.build(preset.architecture, classes=classes, **preset.arguments[options.data])
    change = augmentation(preset, options.data, boxes=(1,))

    # Fields: input, boxes (which the metric reads), and what the loss compares the output with.
    def finished(rng: np.random.Generator, images: np.ndarray, boxes: np.ndarray) -> data.Batch:
        size = (images.shape[2], images.shape[3])
        return parts.input.finish(images), boxes, *encode_boxes(boxes, classes, size)

    def augmented(rng: np.random.Generator, images: np.ndarray, boxes: np.ndarray) -> data.Batch:
        return finished(rng, *change(rng, images, boxes))

    train = data.DataLoader(
        data.ArrayDataset(parts.train[0], parts.train[2]),
        options.batch_size,
        shuffle=True,
        seed=options.seed,
        transform=augmented,
    )
    validation = data.ArrayDataset(parts.validation[0], parts.validation[2])

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        scenes = parts.scenes
        results = measure(trainer.model, scenes.test, parts.input, classes, trainer.engine.context)
        draw(out / PICTURE, trainer.model, picked(scenes.test), parts.input, classes, scenes.box_classes)
        return {**results, "floor": floor(scenes.train, scenes.test), "picture": str(out / PICTURE)}

    return Job(
        model.to(device=options.device),
        _loss_of_batch,
        train,
        data.DataLoader(validation, BATCH, transform=finished),
        [AveragePrecision(decode_boxes)],
        parts.fingerprint,
        {"classes": json.dumps(parts.scenes.box_classes), **parts.input.metadata()},
        conclude,
        f"boxes of {len(parts.scenes.test)} test scenes of {options.data}",
    )


def _loss_of_batch(output: Tensor, boxes: Tensor, heat: Tensor, reach: Tensor, weight: Tensor) -> Tensor:
    return detection_loss(output, heat, reach, weight)


def measure(
    model: Module,
    scenes: Sequence[data.Scene],
    image: SceneInput,
    classes: int,
    context: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
) -> dict[str, Any]:
    """AP50 in the pixels of the scenes as they are, and the loss on the canvas."""
    precision = AveragePrecision(decode_boxes)
    losses: list[float] = []
    for scene, output in each_output(model, scenes, image, _loss(classes), losses, context):
        precision.update_boxes(image.back_boxes(decode_boxes(output[None])[0], scene.size), scene.boxes)
    return {"value": precision.value(), "loss": float(np.mean(losses))}


def floor(train: Sequence[data.Scene], test: Sequence[data.Scene]) -> float:
    """AP50 of one box in every scene: the mean training box, in shares of the scene, of the commonest class."""
    shares = np.concatenate(
        [
            scene.boxes[:, :4] / np.array([scene.size[1], scene.size[0]] * 2, np.float32)
            for scene in train
            if len(scene.boxes)
        ]
    )
    label = np.bincount(np.concatenate([scene.boxes[:, 4] for scene in train]).astype(np.int64)).argmax()
    precision = AveragePrecision(decode_boxes)
    for scene in test:
        box = shares.mean(axis=0) * np.array([scene.size[1], scene.size[0]] * 2)
        precision.update_boxes(np.array([[*box, label, 1.0]], np.float32), scene.boxes)
    return precision.value()


def _loss(classes: int) -> Callable[[Tensor, np.ndarray, np.ndarray], Tensor]:
    def loss(output: Tensor, masks: np.ndarray, boxes: np.ndarray) -> Tensor:
        size = (masks.shape[1], masks.shape[2])
        return detection_loss(output, *encode_boxes(boxes, classes, size))

    return loss


def draw(
    path: Path,
    model: Module,
    scenes: Sequence[data.Scene],
    image: SceneInput,
    classes: int,
    names: Sequence[str],
) -> None:
    """A picture with each scene and its true boxes, and beside it the boxes found."""
    cells: list[list[np.ndarray]] = []
    for scene, output in each_output(model, scenes, image, _loss(classes), []):
        found = image.back_boxes(decode_boxes(output[None], least=_SURE)[0], scene.size)
        scale = picture_scale(scene.size)
        view = paint.scaled(scene.image, scale)
        true = [names[int(label)] for label in scene.boxes[:, 4]]
        cells.append(
            [
                paint.outlined(view, _times(scene.boxes, scale), true),
                paint.outlined(view, _times(found, scale), _labels(found, names)),
            ]
        )
    # Three scenes in a row.
    io.write_png(path, paint.table([[*chain(*cells[i : i + 3])] for i in range(0, len(cells), 3)]))


def _times(boxes: np.ndarray, scale: float) -> np.ndarray:
    return np.concatenate([boxes[:, :4] * scale, boxes[:, 4:]], axis=1)


def _labels(found: np.ndarray, names: Sequence[str]) -> list[str]:
    """Class and score; only digits and points of it are drawn."""
    return [f"{names[int(row[4])]} {row[5]:.2f}".strip() for row in found]


def evaluate(
    args: argparse.Namespace, preset: ScenePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    image = SceneInput.from_metadata(metadata, args.checkpoint)
    classes = len(classes_of(metadata, args.checkpoint))
    scenes = load(name, args.data_dir)
    if len(scenes.box_classes) != classes:
        raise data.DataError(
            f"{name}: expected objects of {classes} classes, found {len(scenes.box_classes)}"
        )
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    results = measure(model, scenes.test, image, classes)
    return {**results, "floor": floor(scenes.train, scenes.test), "samples": len(scenes.test)}


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """Boxes in pixels of the file, best first; with --out also a picture with their frames."""
    image = SceneInput.from_metadata(metadata, args.checkpoint)
    classes = classes_of(metadata, args.checkpoint)
    pictures = [read_picture(name) for name in args.files]
    outputs = outputs_of_files(args.checkpoint, image, pictures, args.device)
    views = output_paths(args.out, args.files, ".picture.png")
    for name, pixels, output, view in zip(args.files, pictures, outputs, views, strict=True):
        found = decode_boxes(output[None], least=_SURE)[0]
        found = image.back_boxes(found, (pixels.shape[1], pixels.shape[2]))
        labels = [classes[int(label)] for label in found[:, 4]]
        if view is not None:
            io.write_png(view, paint.outlined(pixels, found, _labels(found, classes)))
        if args.json:
            boxes = [[round(float(v), 2) for v in row[:4]] for row in found]
            scores = [round(float(row[5]), 4) for row in found]
            record = {"file": name, "boxes": boxes, "classes": labels, "scores": scores}
            print(to_json({**record, "picture": view and str(view)}))
            continue
        for row, label in zip(found, labels, strict=True):
            print(name, label, f"{row[5]:.4f}", *(f"{v:.1f}" for v in row[:4]))
        if not len(found):
            print(name, "nothing found")
