"""Image transforms on whole batches: padding, random shifts, resizing."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nonet.data.errors import check_int
from nonet.data.loader import Batch, Transform


def pad(images: NDArray[Any], pixels: int, fill: float = 0) -> NDArray[Any]:
    """Put a border of p = `pixels` of value `fill` around `images`: [..., H, W] to [..., H + 2p, W + 2p].

    The dtype stays. ValueError if `images` has no two axes or its dtype cannot hold `fill`.
    """
    pixels = check_int("pad", "pixels", pixels, 0)
    height, width = _image_size("pad", images)
    if images.dtype.kind in "iu" and not (float(fill).is_integer() and _fits(int(fill), images.dtype)):
        raise ValueError(f"pad: fill must be a value of {images.dtype}, got {fill}")
    padded = np.full((*images.shape[:-2], height + 2 * pixels, width + 2 * pixels), fill, dtype=images.dtype)
    padded[..., pixels : pixels + height, pixels : pixels + width] = images
    return padded


def random_shift(max_pixels: int, fill: float = 0) -> Transform:
    """A `DataLoader` transform that moves every image by its own whole pixels.

    The moves are uniform in [-max_pixels, max_pixels] on each axis. It takes images [N, C, H, W] as the first
    field, leaves the other fields alone, and puts `fill` where nothing is moved in: the background value at
    that stage (after normalisation, the normalised one).
    """
    max_pixels = check_int("random_shift", "max_pixels", max_pixels, 0)

    def shift(rng: np.random.Generator, images: NDArray[Any], *others: NDArray[Any]) -> Batch:
        if images.ndim != 4:
            raise ValueError(f"random_shift: images must have shape [N, C, H, W], got {list(images.shape)}")
        size = images.shape[2:]
        windows = sliding_window_view(pad(images, max_pixels, fill), size, axis=(2, 3))
        dy, dx = rng.integers(0, 2 * max_pixels, size=(2, len(images)), endpoint=True)
        return np.ascontiguousarray(windows[np.arange(len(images)), :, dy, dx]), *others

    return shift


def upsample(
    images: NDArray[Any], size: int | tuple[int, int], mode: Literal["bilinear", "nearest"] = "bilinear"
) -> NDArray[Any]:
    """Enlarge `images` [..., h, w] to [..., H, W] with `size` = (H, W) or H = W, on half-pixel centres.

    Output pixel i samples input position (i + 1/2) h / H - 1/2, clamped at the borders; "bilinear" blends the
    two neighbours on each axis and returns float32 (float64 for float64), "nearest" keeps the dtype.
    ValueError for another mode or a size below the input's.
    """
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"upsample: mode must be 'bilinear' or 'nearest', got {mode!r}")
    source = _image_size("upsample", images)
    target = size if isinstance(size, tuple) else (size, size)
    if len(target) != 2:
        raise ValueError(f"upsample: size must be an int or (H, W), got {size!r}")
    for axis, (old, new) in enumerate(zip(source, target, strict=True)):
        new = check_int("upsample", "size", new, old)
        if mode == "nearest":
            images = np.take(images, (2 * np.arange(new) + 1) * old // (2 * new), axis=axis - 2)
        else:
            images = _interpolate(images, axis - 2, old, new)
    return images


def _interpolate(images: NDArray[Any], axis: int, old: int, new: int) -> NDArray[Any]:
    dtype = np.float64 if images.dtype == np.float64 else np.float32
    position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = position.astype(np.int64)
    weight = (position - low).astype(dtype).reshape(-1, *(1,) * (-1 - axis))
    start = np.take(images, low, axis=axis).astype(dtype, copy=False)
    end = np.take(images, np.minimum(low + 1, old - 1), axis=axis).astype(dtype, copy=False)
    return start + (end - start) * weight


def _image_size(where: str, images: NDArray[Any]) -> tuple[int, int]:
    if images.ndim < 2 or 0 in images.shape[-2:]:
        raise ValueError(f"{where}: images must have shape [..., H, W], got {list(images.shape)}")
    return images.shape[-2], images.shape[-1]


def _fits(value: int, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return limits.min <= value <= limits.max
