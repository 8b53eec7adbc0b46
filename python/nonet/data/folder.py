"""Images in folders named after their classes: `train/CLASS/*` and `test/CLASS/*`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.data.dataset import ArrayDataset, Splits
from nonet.data.errors import DataError, MissingDataError, check_int
from nonet.data.files import PathLike, require_directory
from nonet.data.transforms import resize

FOLDER_FILES = "images in train/CLASS and test/CLASS"
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def load_folder(directory: PathLike, size: int | None = None, largest: int | None = None) -> Splits:
    """The images below `directory`, one folder per class in each of `train` and `test`.

    Returns uint8 images [N, C, H, W], C = 3 if one of them has colours and else 1, and int64 labels [N]; classes are
    the folders' names, in alphabetical order. Names that begin with a dot, and files that do not end like an image's,
    are left alone.

    size       every image becomes size x size (see `fit_square`)
    largest    so it does with this size if the images differ in theirs, or if they are higher or wider than this;
               without both they must have one size

    DataError for a missing or empty folder, a class of the test part that the training part lacks, a file that is no
    image, images of different sizes; nonet.io.MissingExtraError for other formats than PGM and PPM without pillow.
    """
    for name, value in (("size", size), ("largest", largest)):
        if value is not None:
            check_int("load_folder", name, value, 1)
    folder = require_directory(directory, FOLDER_FILES)
    files = {part: _files(require_directory(folder / part, FOLDER_FILES)) for part in ("train", "test")}
    classes = tuple(sorted(files["train"]))
    unknown = sorted(set(files["test"]) - set(classes))
    if unknown:
        raise DataError(
            f"{folder / 'test'}: expected the classes of the training part, found also {', '.join(unknown[:5])}"
        )
    paths = {
        part: [(path, i) for i, name in enumerate(classes) for path in found.get(name, ())]
        for part, found in files.items()
    }
    images = _images([path for part in paths.values() for path, _ in part], size, largest)
    channels = max(len(image) for image in images)
    count = len(paths["train"])
    train, test = (
        _dataset(part, [label for _, label in paths[name]], channels)
        for name, part in (("train", images[:count]), ("test", images[count:]))
    )
    return Splits("folder", train, test, classes)


def fit_square(image: NDArray[Any], size: int, shorter: int | None = None) -> NDArray[np.float32]:
    """The middle `size` x `size` pixels of `image` [C, H, W], scaled so that its shorter side is `shorter` (= size)."""
    shorter = size if shorter is None else shorter
    height, width = image.shape[1:]
    scale = shorter / min(height, width)
    rows, columns = (max(size, round(n * scale)) for n in (height, width))
    scaled = resize(image, (rows, columns))
    top, left = (rows - size) // 2, (columns - size) // 2
    return np.ascontiguousarray(scaled[:, top : top + size, left : left + size], np.float32)


def _files(folder: Path) -> dict[str, list[Path]]:
    """The image files of every class."""
    found: dict[str, list[Path]] = {}
    try:
        for entry in sorted(os.scandir(folder), key=lambda e: e.name):
            if entry.is_dir() and not entry.name.startswith("."):
                names = sorted(os.listdir(entry.path))
                images = [
                    n for n in names if not n.startswith(".") and Path(n).suffix.lower() in IMAGE_SUFFIXES
                ]
                if images:
                    found[entry.name] = [Path(entry.path) / name for name in images]
    except OSError as error:
        raise DataError(f"{folder}: expected readable directories, found: {error.strerror}") from error
    if not found:
        raise MissingDataError(f"{folder}: expected a directory per class with images in it, found none")
    return found


def _images(paths: Sequence[Path], size: int | None, largest: int | None) -> list[NDArray[np.uint8]]:
    """All of one height and width; what is too large is made smaller at once, so that it is not kept in memory."""
    images: list[NDArray[np.uint8]] = []
    for path in paths:
        image = read_pixels(path)
        if size is not None or (largest is not None and max(image.shape[1:]) > largest):
            image = _fitted(image, size or largest or 1)
        images.append(image)
    first = images[0].shape[1:]
    for path, image in zip(paths, images, strict=True):
        if image.shape[1:] != first:
            if largest is not None:
                return [_fitted(image, largest) for image in images]
            raise DataError(
                f"{path}: expected an image of {first[0]} x {first[1]} like the first one, "
                f"found {image.shape[1]} x {image.shape[2]}; give a size to scale them to"
            )
    return images


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """The image in a file as uint8 [C, H, W]. DataError for what is none, MissingExtraError without pillow."""
    from nonet.io.errors import FileError  # here, so that `nonet.data` needs NumPy alone
    from nonet.io.image import read_image

    try:
        return np.rint(read_image(path) * np.float32(255)).astype(np.uint8)
    except FileError as error:
        raise DataError(str(error)) from error


def _fitted(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    if image.shape[1:] == (size, size):
        return image
    return np.rint(fit_square(image, size)).astype(np.uint8)


def _dataset(images: Sequence[NDArray[np.uint8]], labels: Sequence[int], channels: int) -> ArrayDataset:
    out = np.empty((len(images), channels, *images[0].shape[1:]), np.uint8)
    for row, image in zip(out, images, strict=True):
        row[:] = image  # a grey one into three channels
    return ArrayDataset(out, np.array(labels, np.int64))
