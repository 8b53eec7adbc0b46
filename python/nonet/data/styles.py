"""Two sets of images without pairs: digits and their thickened inverse, or two folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.data.dataset import ArrayDataset
from nonet.data.digits import load_digits
from nonet.data.errors import DataError, MissingDataError
from nonet.data.files import PathLike, require_directory
from nonet.data.folder import IMAGE_SUFFIXES, fit_square, read_pixels
from nonet.data.transforms import upsample

STYLE_FILES = "images in A and in B"


@dataclass(frozen=True, eq=False)
class Styles:
    """Images uint8 [N, C, size, size] of 0 to 255 of the styles A and B, with labels [N] (zeros if there are none).

    classes: their names, none without labels.
    """

    name: str
    train: tuple[ArrayDataset, ArrayDataset]
    test: tuple[ArrayDataset, ArrayDataset]
    classes: tuple[str, ...] = ()


def thickened_inverse(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 - the largest of each pixel's 3 x 3 neighbours, of images [N, C, H, W]: thick, dark on light."""
    framed = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = images.shape[2:]
    out = np.zeros_like(images)
    for top in range(3):
        for left in range(3):
            np.maximum(out, framed[:, :, top : top + height, left : left + width], out=out)
    return (255 - out).astype(np.uint8)


def load_styles(name: str, directory: PathLike | None = None, size: int = 16) -> Styles:
    """The styles of "digits" or "folder", scaled to size x size.

    "digits"  A: the bundled digits; B: other ones, thickened and inverted. Training images alternate between A and B,
              so that no digit is in both; all test images are in both. Takes no directory
    "folder"  images in the folders A and B of the directory; every fifth of each is the test part

    ValueError for another name, DataError for missing or damaged files; nonet.io.MissingExtraError as of `load_folder`.
    """
    if name == "digits":
        if directory is not None:
            raise DataError(f"digits: comes with nonet, expected no directory, got {directory}")
        return _digits(size)
    if name != "folder":
        raise ValueError(f"load_styles: name must be digits or folder, got {name!r}")
    if directory is None:
        raise DataError(f"folder: expected a directory with {STYLE_FILES}, got none")
    folder = require_directory(directory, STYLE_FILES)
    both = [_images(require_directory(folder / part, STYLE_FILES), size) for part in ("A", "B")]
    channels = max(image.shape[0] for images in both for image in images)
    parts: list[Any] = [[], []]
    for images in both:
        rows = np.stack([np.broadcast_to(image, (channels, size, size)) for image in images])
        test = np.arange(len(rows)) % 5 == 4
        for part, chosen in zip(parts, (~test, test), strict=True):
            part.append(ArrayDataset(rows[chosen], np.zeros(int(chosen.sum()), np.int64)))
    return Styles("folder", tuple(parts[0]), tuple(parts[1]))


def _digits(size: int) -> Styles:
    splits = load_digits()

    def enlarged(part: ArrayDataset) -> ArrayDataset:
        pixels = np.rint(upsample(part.inputs, size) * (255 / 16)).astype(np.uint8)
        return ArrayDataset(pixels, part.targets)

    train, test = enlarged(splits.train), enlarged(splits.test)
    turn = np.arange(len(train)) % 2 == 0
    other = train.subset(~turn)
    return Styles(
        "digits",
        (train.subset(turn), ArrayDataset(thickened_inverse(other.inputs), other.targets)),
        (test, ArrayDataset(thickened_inverse(test.inputs), test.targets)),
        splits.classes,
    )


def _images(folder: Path, size: int) -> list[NDArray[np.uint8]]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if len(paths) < 5:
        raise MissingDataError(f"{folder}: expected at least 5 images, found {len(paths)}")
    return [np.rint(fit_square(read_pixels(path), size)).astype(np.uint8) for path in paths]
