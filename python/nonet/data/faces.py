"""Faces: images in a folder per person, such as the AT&T (Olivetti) database."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from nonet.data.dataset import ArrayDataset, Splits
from nonet.data.errors import DataError, MissingDataError
from nonet.data.files import PathLike, require_directory
from nonet.data.folder import IMAGE_SUFFIXES, read_pixels

FACE_FILES = "a folder of images for each person (s1, s2 …)"
_HELD_OUT = 4


def load_faces(directory: PathLike, held_out: int = _HELD_OUT) -> Splits:
    """uint8 images [N, 1, H, W] and int64 numbers of people [N]; the last `held_out` people are the test part.

    People are folders, in the order of the numbers in their names; all images have one size. AT&T Laboratories
    Cambridge's (formerly Olivetti Research Laboratory's) database has 10 images of 92 x 112 of each of 40 people.
    DataError for files that are missing, damaged or of different sizes; nonet.io.MissingExtraError for other formats
    than PGM without pillow.
    """
    folder = require_directory(directory, FACE_FILES)
    people: list[tuple[str, list[Path]]] = []
    for entry in sorted((e for e in os.scandir(folder) if e.is_dir()), key=lambda e: _natural(e.name)):
        files = sorted(
            (p for p in Path(entry.path).iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=_by_name
        )
        if files:
            people.append((entry.name, files))
    if len(people) <= held_out:
        raise MissingDataError(f"{folder}: expected {FACE_FILES}, more than {held_out}, found {len(people)}")
    images: list[np.ndarray] = []
    labels: list[int] = []
    for number, (_, files) in enumerate(people):
        for path in files:
            pixels = read_pixels(path)
            if len(pixels) == 3:
                pixels = np.rint(pixels.mean(axis=0, keepdims=True)).astype(np.uint8)
            if images and pixels.shape != images[0].shape:
                sizes = [" x ".join(map(str, image.shape[1:])) for image in (images[0], pixels)]
                raise DataError(
                    f"{path}: expected an image of {sizes[0]} like the first one, found {sizes[1]}"
                )
            images.append(pixels)
            labels.append(number)
    rows = ArrayDataset(np.stack(images), np.array(labels, np.int64))
    test = rows.targets >= len(people) - held_out
    return Splits("faces", rows.subset(~test), rows.subset(test), tuple(name for name, _ in people))


def _natural(name: str) -> list[tuple[int, str]]:
    """s2 before s10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _by_name(path: Path) -> list[tuple[int, str]]:
    return _natural(path.name)
