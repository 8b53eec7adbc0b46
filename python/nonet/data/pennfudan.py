"""The Penn-Fudan pedestrians: street photos with a mask and a box per person.

Wang, Shi, Song, Shen, "Object Detection Combining Recognition and Segmentation", ACCV 2007.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonet.data.errors import DataError, MissingDataError
from nonet.data.files import PathLike, read_decoded, require_directory
from nonet.data.scenes import Scene, Scenes

PENNFUDAN_FILES = "PNGImages/NAME.png, PedMasks/NAME_mask.png and Annotation/NAME.txt"
_NAME = re.compile(r"FudanPed(\d{5})")
_TRAIN, _ALL = 60, 74  # numbers of the photos
_BOX = re.compile(r"\(Xmin, Ymin\) - \(Xmax, Ymax\) : \((\d+), (\d+)\) - \((\d+), (\d+)\)")


def load_pennfudan(directory: PathLike) -> Scenes:
    """The photos in `directory`, which has the folders `PNGImages`, `PedMasks` and `Annotation` of the set.

    FudanPed00001 to 60 are the training part, 61 to 74 the test part; other photos are left alone. Pixels
    are background (0) or pedestrian (1); boxes are those of the annotations, one class. DataError for a folder or file
    that is missing, damaged, or does not fit its photo; nonet.io.MissingExtraError without pillow.
    """
    folder = require_directory(directory, PENNFUDAN_FILES)
    photos = require_directory(folder / "PNGImages", "the photos of Penn-Fudan")
    found = {
        int(match[1]): path.stem for path in photos.glob("*.png") if (match := _NAME.fullmatch(path.stem))
    }
    missing = [number for number in range(1, _ALL + 1) if number not in found]
    if missing:
        raise MissingDataError(
            f"{photos}: expected FudanPed00001.png to FudanPed{_ALL:05}.png, "
            f"found {_ALL - len(missing)} of them, not FudanPed{missing[0]:05}.png"
        )
    scenes = [_scene(folder, found[number]) for number in range(1, _ALL + 1)]
    train, test = tuple(scenes[:_TRAIN]), tuple(scenes[_TRAIN:])
    return Scenes("pennfudan", train, test, ("background", "pedestrian"), ("pedestrian",))


def _scene(folder: Path, name: str) -> Scene:
    image = _pixels(folder / "PNGImages" / f"{name}.png")
    path = folder / "PedMasks" / f"{name}_mask.png"
    mask = _pixels(path)[0]
    if mask.shape != image.shape[1:]:
        raise DataError(
            f"{path}: expected a mask of {image.shape[1]} x {image.shape[2]} like its photo, "
            f"found {mask.shape[0]} x {mask.shape[1]}"
        )
    if len(image) == 1:
        image = np.repeat(image, 3, axis=0)
    return Scene(
        image, (mask > 0).astype(np.uint8), _boxes(folder / "Annotation" / f"{name}.txt", mask.shape)
    )


def _pixels(path: Path) -> NDArray[np.uint8]:
    """uint8 [C, H, W]."""
    from nonet.io.errors import FileError
    from nonet.io.image import read_image

    if not os.path.exists(path):
        raise MissingDataError(f"{path}: expected a file, found none")
    try:
        return np.rint(read_image(path) * 255).astype(np.uint8)
    except FileError as error:
        raise DataError(str(error)) from error


def _boxes(path: Path, size: tuple[int, ...]) -> NDArray[np.float32]:
    """The text counts pixels from 1 and names the first and the last of a box."""
    rows = [[float(v) for v in match.groups()] for match in _BOX.finditer(read_decoded(path, "latin-1"))]
    if not rows:
        raise DataError(f"{path}: expected lines 'Bounding box for object …', found none")
    boxes = np.zeros((len(rows), 5), np.float32)
    boxes[:, :4] = rows
    boxes[:, :2] -= 1
    height, width = size
    inside = (boxes[:, :4] >= 0).all() and (boxes[:, [2, 3]] <= (width, height)).all()
    if not (inside and (boxes[:, :2] < boxes[:, 2:4]).all()):
        raise DataError(f"{path}: expected boxes inside {width} x {height} pixels, found {rows}")
    return boxes
