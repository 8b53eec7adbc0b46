"""Scenes with what a model found in them, as pixels: tints, outlines, numbers, tables of pictures. Needs NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet import data

__all__ = ["COLOURS", "outlined", "scaled", "table", "tinted"]

# Okabe & Ito's, which the colour-blind can tell apart: of classes 0, 1, 2 …, over again.
COLOURS = np.array(
    [
        [230, 159, 0],
        [86, 180, 233],
        [0, 158, 115],
        [240, 228, 66],
        [0, 114, 178],
        [213, 94, 0],
        [204, 121, 167],
    ],
    np.uint8,
)
_TINT = 0.55
_GAP = 6  # pixels of white around pictures in a table

# Rows of five bits, top to bottom.
_GLYPHS = {
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    ".": (0, 0, 0, 0, 0, 12, 12),
    " ": (0,) * 7,
}


def scaled(image: NDArray[Any], factor: float) -> NDArray[np.uint8]:
    """`image` uint8 [3, H, W], its sides times `factor`."""
    height, width = (max(1, round(side * factor)) for side in image.shape[1:])
    return np.rint(data.resize(image, (height, width))).clip(0, 255).astype(np.uint8)


def tinted(image: NDArray[np.uint8], mask: NDArray[Any]) -> NDArray[np.uint8]:
    """`image` [3, H, W] with a tint, and a line around it, on the pixels whose class in `mask` [H, W] is above 0."""
    out = image.astype(np.float32)
    for label in np.unique(mask):
        if not 0 < label < data.IGNORED:
            continue
        here = mask == label
        colour = COLOURS[(int(label) - 1) % len(COLOURS)].astype(np.float32)[:, None]
        out[:, here] = out[:, here] * (1 - _TINT) + colour * _TINT
        framed = np.pad(here, 1, mode="edge")
        inner = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
        out[:, here & ~inner] = colour
    return np.rint(out).astype(np.uint8)


def outlined(
    image: NDArray[np.uint8], boxes: NDArray[Any], labels: Sequence[str] = (), thickness: int = 2
) -> NDArray[np.uint8]:
    """`image` [3, H, W] with a frame for each of `boxes` [M, 5 or more] (left, top, right, bottom, class).

    A frame has its class's colour, and the digits and points of its label in the upper left corner.
    """
    out = image.copy()
    _, height, width = image.shape
    for i, (left, top, right, bottom, label) in enumerate(boxes[:, :5]):
        x0, x1 = sorted(int(np.clip(round(float(v)), 0, width)) for v in (left, right))
        y0, y1 = sorted(int(np.clip(round(float(v)), 0, height)) for v in (top, bottom))
        colour = COLOURS[int(label) % len(COLOURS)][:, None, None]
        for rows, columns in (
            (slice(y0, y0 + thickness), slice(x0, x1)),
            (slice(max(y1 - thickness, 0), y1), slice(x0, x1)),
            (slice(y0, y1), slice(x0, x0 + thickness)),
            (slice(y0, y1), slice(max(x1 - thickness, 0), x1)),
        ):
            out[:, rows, columns] = colour
        if i < len(labels):
            _write(out, labels[i], y0, x0, colour)
    return out


def _write(image: NDArray[np.uint8], text: str, top: int, left: int, ground: NDArray[np.uint8]) -> None:
    """What of `text` has a glyph, black on `ground`, from this corner on as far as there is room."""
    known = [_GLYPHS[letter] for letter in text if letter in _GLYPHS]
    if not known:
        return
    ink = np.zeros((9, 6 * len(known) + 1), bool)
    for i, glyph in enumerate(known):
        bits = (np.array(glyph)[:, None] >> np.arange(4, -1, -1)) & 1
        ink[1:8, 6 * i + 1 : 6 * i + 6] = bits == 1
    place = image[:, top : top + ink.shape[0], left : left + ink.shape[1]]
    place[:] = np.where(ink[: place.shape[1], : place.shape[2]], 0, ground)


def table(rows: Sequence[Sequence[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Pictures [3, H, W] in rows on white; each in the middle of its column and row."""
    heights = [max(picture.shape[1] for picture in row) for row in rows]
    columns = max(len(row) for row in rows)
    widths = [max(row[i].shape[2] for row in rows if i < len(row)) for i in range(columns)]
    out = np.full(
        (3, sum(heights) + _GAP * (len(rows) + 1), sum(widths) + _GAP * (columns + 1)), 255, np.uint8
    )
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        left = _GAP
        for picture, width in zip(row, widths, strict=False):
            y, x = top + (height - picture.shape[1]) // 2, left + (width - picture.shape[2]) // 2
            out[:, y : y + picture.shape[1], x : x + picture.shape[2]] = picture
            left += width + _GAP
        top += height + _GAP
    return out
