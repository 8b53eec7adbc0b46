"""Scenes: pictures of any size with a class per pixel and a box per object, and windows cut out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.data.errors import check_int
from nonet.data.loader import Batch, Transform
from nonet.data.transforms import taps, weighted

IGNORED = 255  # in a mask: a pixel that counts for nothing
NO_BOX = -1  # in a table of boxes: the class of a row that holds none


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture: `image` uint8 [3, H, W], `mask` uint8 [H, W] (class of each pixel, 0 = background, `IGNORED`), `boxes`
    float32 [M, 5] (left, top, right, bottom, class).

    Coordinates are edges, in pixels: the box of the whole picture is (0, 0, W, H). Classes of boxes count from 0.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    boxes: NDArray[np.float32]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.mask.shape[0], self.mask.shape[1]


@dataclass(frozen=True, eq=False)
class Scenes:
    """A named set of scenes: training part, test part, names of the classes of pixels and of boxes."""

    name: str
    train: tuple[Scene, ...]
    test: tuple[Scene, ...]
    pixel_classes: tuple[str, ...]
    box_classes: tuple[str, ...]


def fitted(size: tuple[int, int], canvas: tuple[int, int]) -> NDArray[np.float64]:
    """The window [4] of a picture of `size` that `canvas` shows when the whole picture is scaled into its middle.

    A window is (top, left, height, width) in pixels of the picture; here it reaches over two of its edges, unless the
    picture has the shape of the canvas.
    """
    (height, width), (rows, columns) = size, canvas
    scale = max(height / rows, width / columns)
    h, w = rows * scale, columns * scale
    return np.array([(height - h) / 2, (width - w) / 2, h, w])


def cut(
    images: NDArray[Any], window: Sequence[float] | NDArray[Any], size: tuple[int, int], fill: float = 0.0
) -> NDArray[np.float32]:
    """`window` (top, left, height, width) of `images` [..., h, w], scaled to [..., H, W] with `size` = (H, W).

    On half-pixel centres; what shrinks is averaged under a triangle, as by `resize`. `fill` lies around the images.
    """
    out = images.astype(np.float32) - np.float32(fill)
    top, left, height, width = (float(v) for v in window)
    out = weighted(out, -2, *taps(images.shape[-2], top, height, size[0]))
    out = weighted(out, -1, *taps(images.shape[-1], left, width, size[1]))
    return (out + np.float32(fill)).astype(np.float32, copy=False)


def cut_mask(
    masks: NDArray[Any], window: Sequence[float] | NDArray[Any], size: tuple[int, int], fill: int = IGNORED
) -> NDArray[Any]:
    """`window` of `masks` [..., h, w] as [..., H, W]: the pixel under each centre, `fill` outside."""
    top, left, height, width = (float(v) for v in window)
    rows, inside_rows = _nearest(masks.shape[-2], top, height, size[0])
    columns, inside_columns = _nearest(masks.shape[-1], left, width, size[1])
    picked = masks[..., rows[:, None], columns]
    return np.where(inside_rows[:, None] & inside_columns, picked, np.asarray(fill, masks.dtype))


def cut_boxes(
    boxes: NDArray[Any], window: Sequence[float] | NDArray[Any], size: tuple[int, int], visible: float = 0.3
) -> NDArray[Any]:
    """`boxes` [..., M, 5] in the pixels of `window` scaled to `size`, cut at its edges.

    A box of which less than the share `visible` is left, or less than two pixels on an axis, becomes a row without one.
    """
    top, left, height, width = (float(v) for v in window)
    out = boxes.copy()
    out[..., [0, 2]] = (out[..., [0, 2]] - left) * (size[1] / width)
    out[..., [1, 3]] = (out[..., [1, 3]] - top) * (size[0] / height)
    whole = _area(out)
    out[..., [0, 2]] = out[..., [0, 2]].clip(0, size[1])
    out[..., [1, 3]] = out[..., [1, 3]].clip(0, size[0])
    small = np.minimum(out[..., 2] - out[..., 0], out[..., 3] - out[..., 1]) < 2
    gone = small | (_area(out) < visible * whole) | (out[..., 4] == NO_BOX)
    out[gone] = (0, 0, 0, 0, NO_BOX)
    return out


def scene_arrays(
    scenes: Sequence[Scene], canvas: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """All `scenes`, scaled into a `canvas` (H, W): images [N, 3, H, W], masks [N, H, W], boxes [N, M, 5].

    Black and `IGNORED` around the picture; M is the largest number of boxes in one of them, at least 1, and rows
    without a box have the class `NO_BOX`. ValueError without scenes.
    """
    if not scenes:
        raise ValueError("scene_arrays: expected one or more scenes, got none")
    most = max(1, *(len(scene.boxes) for scene in scenes))
    images = np.empty((len(scenes), 3, *canvas), np.uint8)
    masks = np.empty((len(scenes), *canvas), np.uint8)
    boxes = np.zeros((len(scenes), most, 5), np.float32)
    boxes[..., 4] = NO_BOX
    for i, scene in enumerate(scenes):
        window = fitted(scene.size, canvas)
        images[i] = np.rint(cut(scene.image, window, canvas)).clip(0, 255)
        masks[i] = cut_mask(scene.mask, window, canvas)
        boxes[i, : len(scene.boxes)] = cut_boxes(scene.boxes, window, canvas, visible=0)
    return images, masks, boxes


def random_window(
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: float = 1.0,
    fill: float = 0.0,
    masks: tuple[int, ...] = (),
    boxes: tuple[int, ...] = (),
) -> Transform:
    """A `DataLoader` transform that shows a window of every image, each its own, at `size` (H, W).

    The window's sides are those of the image times a number from `scale` (log-uniform), its width times a number from
    [1/ratio, ratio] and its height divided by it; it lies anywhere inside the image, or around it if it is larger.
    It takes images [N, C, h, w] as the first field, and gives float32; other fields whose numbers are in `masks`
    ([N, h, w]) and `boxes` ([N, M, 5]) follow their image (see `cut`, `cut_mask`, `cut_boxes`), the rest stays.
    """
    size = (check_int("random_window", "size", size[0], 1), check_int("random_window", "size", size[1], 1))
    if not (0 < scale[0] <= scale[1] and ratio >= 1):
        raise ValueError(
            f"random_window: scale must be two rising numbers above 0 and ratio at least 1, got {scale}, {ratio}"
        )

    def shown(rng: np.random.Generator, images: NDArray[Any], *others: NDArray[Any]) -> Batch:
        if images.ndim != 4:
            raise ValueError(f"random_window: images must have shape [N, C, H, W], got {list(images.shape)}")
        n, channels, height, width = images.shape
        factor = np.exp(rng.uniform(*np.log(scale), size=n))
        stretch = np.exp(rng.uniform(-np.log(ratio), np.log(ratio), size=n))
        h, w = height * factor / stretch, width * factor * stretch
        top, left = rng.random(n) * (height - h), rng.random(n) * (width - w)
        windows = np.stack([top, left, h, w], axis=1)
        batch = [np.empty((n, channels, *size), np.float32), *others]
        for field in masks:
            batch[field] = np.empty((n, *size), others[field - 1].dtype)
        for field in boxes:
            batch[field] = np.empty_like(others[field - 1])
        for i, window in enumerate(windows):
            batch[0][i] = cut(images[i], window, size, fill)
            for field in masks:
                batch[field][i] = cut_mask(others[field - 1][i], window, size)
            for field in boxes:
                batch[field][i] = cut_boxes(others[field - 1][i], window, size)
        return tuple(batch)

    return shown


def random_colors(strength: float = 0.4, maximum: float = 255.0) -> Transform:
    """A `DataLoader` transform that changes brightness, contrast and saturation of every image, each its own way.

    Images [N, 3, H, W] of values 0 to `maximum` as float32 in that range. The three factors are uniform in
    [1 - strength, 1 + strength]: of the whole image, of the distance to its mean, and of that to each pixel's grey.
    """
    if not 0 <= strength < 1:
        raise ValueError(f"random_colors: strength must be in [0, 1), got {strength!r}")

    def change(rng: np.random.Generator, images: NDArray[Any], *others: NDArray[Any]) -> Batch:
        if images.ndim != 4:
            raise ValueError(f"random_colors: images must have shape [N, C, H, W], got {list(images.shape)}")
        light, contrast, colour = rng.uniform(
            1 - strength, 1 + strength, size=(3, len(images), 1, 1, 1)
        ).astype(np.float32)
        out = images.astype(np.float32)
        grey = out.mean(axis=1, keepdims=True)
        out = grey + (out - grey) * colour
        mean = out.mean(axis=(1, 2, 3), keepdims=True)
        out = (mean + (out - mean) * contrast) * light
        return np.clip(out, 0, np.float32(maximum)), *others

    return change


def _nearest(old: int, start: float, length: float, new: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    position = np.floor(start + (np.arange(new) + 0.5) * (length / new)).astype(np.int64)
    return position.clip(0, old - 1), (position >= 0) & (position < old)


def _area(boxes: NDArray[Any]) -> NDArray[Any]:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
