"""Tables of small images: samples, reconstructions with their errors, strips of interpolation. Needs NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["grid", "heat", "pixels", "reconstructions", "rows_of"]

_SIDE = 56  # pixels that a small image is enlarged to, in whole steps
_GAP = 2


def pixels(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Values [C, H, W] (C = 1 or 3) in [0, 1] as uint8 [3, H, W], enlarged by repeated pixels if it is small."""
    colours = np.broadcast_to(image, (3, *image.shape[1:])) if len(image) == 1 else image
    out = np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)
    factor = max(1, _SIDE // max(image.shape[1:]))
    return out.repeat(factor, axis=1).repeat(factor, axis=2)


def heat(values: NDArray[Any], top: float) -> NDArray[np.float64]:
    """Values [H, W] of 0 to `top` as colours [3, H, W] from black over red and yellow to white."""
    share = np.clip(values / max(top, 1e-12), 0, 1) * 3
    return np.stack([np.clip(share - start, 0, 1) for start in (0, 1, 2)])


def rows_of(images: Sequence[NDArray[Any]], columns: int) -> list[list[NDArray[Any]]]:
    """Images in rows of `columns`."""
    return [list(images[i : i + columns]) for i in range(0, len(images), columns)]


def grid(rows: Sequence[Sequence[NDArray[Any]]]) -> NDArray[np.uint8]:
    """Images [C, H, W] with values in [0, 1], all of one size, in rows on white: uint8 [3, H', W']."""
    shown = [[pixels(image) for image in row] for row in rows]
    height, width = shown[0][0].shape[1:]
    columns = max(map(len, shown))
    size = ((height + _GAP) * len(shown) + _GAP, (width + _GAP) * columns + _GAP)
    out = np.full((3, *size), 255, np.uint8)
    for i, row in enumerate(shown):
        for j, image in enumerate(row):
            top, left = _GAP + i * (height + _GAP), _GAP + j * (width + _GAP)
            out[:, top : top + height, left : left + width] = image
    return out


def reconstructions(
    originals: NDArray[Any], found: NDArray[Any], inputs: NDArray[Any] | None = None
) -> NDArray[np.uint8]:
    """A column per sample [N, C, H, W]: the original, the (noisy) input if there is one, what was made of it, and the
    absolute error as heat."""
    errors = np.abs(found.astype(np.float64) - originals).mean(axis=1)
    top = float(np.quantile(errors, 0.999)) if errors.size else 1.0
    rows = [list(originals)] + ([list(inputs)] if inputs is not None else []) + [list(found)]
    return grid([*rows, [heat(error, top) for error in errors]])
