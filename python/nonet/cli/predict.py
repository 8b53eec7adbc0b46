"""`nonet predict CHECKPOINT FILE…`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from nonet import data, io, models
from nonet.cli.device import check_device
from nonet.cli.errors import OK
from nonet.cli.evaluate import classes_of
from nonet.cli.images import ImageInput
from nonet.nn import Module, functional
from nonet.tensor import as_tensor, no_grad
from nonet.train.log import to_json

_BATCH = 256


def run(args: argparse.Namespace) -> int:
    check_device(args.device)
    metadata = io.load_metadata(args.checkpoint)
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
    return OK


def read_images(path: Path, image: ImageInput) -> np.ndarray:
    """The images of a file as float32 [N, 1, H, W] in the units of the set that the model was trained on.

    .npy and idx files hold [H, W], [N, H, W] or [N, 1, H, W] in those units already; pixels of image files are scaled
    to them, colours turned into their luma. The contents decide what a file is. io.FileError or DataError if it is
    none of these, or of another size.
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
        if len(images) == 3:
            images = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), images, axes=1)[None]
        images = images * np.float32(image.maximum)
    if images.dtype.kind not in "biuf":
        raise io.FileError(f"{path}: expected numbers, found {images.dtype}")
    shape, size = images.shape, (image.height, image.width)
    if len(shape) == 4 and shape[1] == 1:
        images = images[:, 0]
    if images.ndim == 2:
        images = images[None]
    if images.ndim != 3 or images.shape[1:] != size:
        raise io.FileError(
            f"{path}: expected images of {size[0]} x {size[1]} ([H, W], [N, H, W] or [N, 1, H, W]), "
            f"found shape {list(shape)}"
        )
    images = images[:, None].astype(np.float32)
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
