"""Image classifiers: `ann`, `lenet5`, `resnet18`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, io, models
from nonet.cli.images import ImageInput, fingerprint, image_input, load_set, loader, maximum_of
from nonet.cli.presets import IMAGE_SETS, Classifier
from nonet.cli.tasks import Job, Options
from nonet.nn import Module, functional
from nonet.tensor import as_tensor, no_grad
from nonet.train import Accuracy, Trainer
from nonet.train.log import to_json

_BATCH = 256


def prepare(preset: Classifier, options: Options, directory: str | None) -> Job:
    splits = load_set(options.data, directory, largest=preset.largest)
    train, validation = holdout(splits.train, preset.validation, options)
    image = image_input(preset, options.data, train, maximum_of(options.data))
    classes = len(splits.classes)
    nonet.manual_seed(options.seed)
    arguments = preset.model_arguments((image.height, image.width), classes)
    model = models.build(preset.architecture, **arguments).to(device=options.device)
    batches = loader(
        train,
        image,
        options.batch_size,
        shuffle=True,
        seed=options.seed,
        shift=preset.shift.get(options.data, 0),
        flip=preset.flip.get(options.data, 0.0),
    )
    test = loader(splits.test, image, _BATCH)

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        measured = trainer.evaluate(test)
        return {"value": measured[preset.metric], "loss": measured["loss"]}

    return Job(
        model,
        functional.cross_entropy,
        batches,
        loader(validation, image, _BATCH),
        [Accuracy()],
        fingerprint(splits.train.inputs, splits.train.targets),
        {"classes": json.dumps(splits.classes), **image.metadata()},
        conclude,
        f"{len(splits.test)} test images of {options.data}",
    )


def holdout(
    train: data.ArrayDataset, share: float, options: Options
) -> tuple[data.ArrayDataset, data.ArrayDataset]:
    """The training part without, and the validation part."""
    try:
        return data.holdout(train, share, options.seed)
    except ValueError as error:
        raise data.DataError(
            f"{options.data}: expected more training images, found {len(train)}: {error}"
        ) from error


def evaluate(
    args: argparse.Namespace, preset: Classifier, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    image = ImageInput.from_metadata(metadata, args.checkpoint)
    test = load_set(name, args.data_dir, size=image.shorter).test
    size = test.inputs.shape[2:]
    if size != (image.height, image.width):
        found = " x ".join(map(str, size))
        raise data.DataError(f"{name}: expected images of {image.height} x {image.width}, found {found}")
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    accuracy, loss = Accuracy(), 0.0
    with no_grad():
        for inputs, labels in loader(test, image, _BATCH):
            logits = model(as_tensor(inputs, device=args.device))
            target = as_tensor(labels, device=args.device)
            loss += functional.cross_entropy(logits, target).item() * len(labels)
            accuracy.update(np.asarray(logits.cpu()), labels)
    return {"value": accuracy.value(), "loss": loss / len(test), "samples": len(test)}


def describe(preset: Classifier, name: str) -> tuple[Module, tuple[int, ...]]:
    size, classes, maximum = IMAGE_SETS[name]
    image = ImageInput(
        *size, maximum, preset.resize.get(name), preset.flatten, 0.0, 1.0, colour=preset.colour
    )
    return models.build(preset.architecture, **preset.model_arguments(size, classes)), image.shape()


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    return ImageInput.from_metadata(metadata, path).shape()


# ---- predict
def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    image = ImageInput.from_metadata(metadata, args.checkpoint)
    classes = classes_of(metadata, args.checkpoint)
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    # All files are read before the first result is printed: a bad one costs nothing.
    read = [(name, read_images(Path(name), image)) for name in args.files]
    for name, images in read:
        if args.invert:
            images = image.maximum - images
        for index, row in enumerate(_probabilities(model, image, images, args.device)):
            best = int(np.argmax(row))
            label, probability = classes[best], float(row[best])
            if args.json:
                record = {"file": name, "index": index, "class": label, "probability": probability}
                print(to_json(record))
            else:
                print(f"{name}[{index}]" if len(images) > 1 else name, label, f"{probability:.4f}")


def classes_of(metadata: dict[str, str], path: str) -> list[str]:
    try:
        return [str(name) for name in json.loads(metadata["classes"])]
    except (KeyError, TypeError, ValueError) as error:
        raise io.FileError(f"{path}: expected metadata with class names, found none") from error


def read_images(path: Path, image: ImageInput) -> np.ndarray:
    """The images of a file as float32 [N, C, H, W] in the units of the set that the model was trained on.

    .npy and idx files hold [H, W], [N, H, W] or [N, C, H, W] in those units already; pixels of image files are scaled
    to them, and colours turned into their luma if the model sees no colours. The contents decide what a file is. An
    image file of another size is scaled and cut if the model was trained so. io.FileError or DataError if it is none of
    these, or of another size.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(6)
    except OSError as error:
        kind = io.MissingFileError if isinstance(error, FileNotFoundError) else io.FileError
        raise kind(f"{path}: expected an image file, found: {error.strerror or error}") from error
    if head == b"\x93NUMPY":
        images = _read_npy(path)
    elif head[:2] in (b"\0\0", b"\x1f\x8b"):
        images = data.read_idx(path)
    else:
        images = io.read_image(path)
        if len(images) == 3 and not image.colour:
            images = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), images, axes=1)[None]
        images = images * np.float32(image.maximum)
        if image.shorter is not None and images.shape[1:] != (image.height, image.width):
            images = data.fit_square(images, image.height, image.shorter)
        images = images[None]
    if images.dtype.kind not in "biuf":
        raise io.FileError(f"{path}: expected numbers, found {images.dtype}")
    shape, size = images.shape, (image.height, image.width)
    if images.ndim == 2:
        images = images[None]
    if images.ndim == 3:
        images = images[:, None]
    channels = (1, 3) if image.colour else (1,)
    if images.ndim != 4 or images.shape[2:] != size or images.shape[1] not in channels:
        raise io.FileError(
            f"{path}: expected images of {size[0]} x {size[1]} ([H, W], [N, H, W] or [N, {channels[-1]}, H, W]), "
            f"found shape {list(shape)}"
        )
    images = images.astype(np.float32)
    if not np.isfinite(images).all():
        raise io.FileError(f"{path}: expected finite numbers, found NaN or infinity")
    return images


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged header also ends in MemoryError, TokenError, TypeError …
        raise io.FileError(f"{path}: expected a complete .npy file of numbers, found: {error}") from error


def _probabilities(model: Module, image: ImageInput, images: np.ndarray, device: str | None) -> np.ndarray:
    out = []
    with no_grad():
        for start in range(0, len(images), _BATCH):
            inputs = image.finish(image.enlarge(images[start : start + _BATCH]))
            logits = model(as_tensor(inputs, device=device))
            out.append(np.asarray(functional.softmax(logits, dim=1).cpu()))
    return np.concatenate(out) if out else np.zeros((0, 1))
