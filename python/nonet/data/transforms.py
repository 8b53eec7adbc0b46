"""Image transforms on whole batches: padding, crops, flips, shifts, resizing."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nonet.data.errors import check_int
from nonet.data.loader import Batch, Transform


def compose(*transforms: Transform) -> Transform:
    """A `DataLoader` transform that applies these, one after the other, with one generator."""

    def composed(rng: np.random.Generator, *batch: NDArray[Any]) -> Batch:
        for transform in transforms:
            batch = transform(rng, *batch)
        return batch

    return composed


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
    return _cropping("random_shift", None, max_pixels, fill)


def random_crop(size: int | tuple[int, int], padding: int = 0, fill: float = 0) -> Transform:
    """A `DataLoader` transform that cuts a window of `size` out of every image, each at its own place.

    The image has a border of `padding` pixels of value `fill` then, and all places in it are equally likely. It takes
    images [N, C, H, W] as the first field and leaves the other fields alone. ValueError, when it is called, for images
    that are smaller than the window with their border.
    """
    padding = check_int("random_crop", "padding", padding, 0)
    return _cropping("random_crop", _pair("random_crop", size), padding, fill)


def _cropping(where: str, size: tuple[int, int] | None, padding: int, fill: float) -> Transform:
    """Windows of `size` (None: the images' own) of images with a border."""

    def crop(rng: np.random.Generator, images: NDArray[Any], *others: NDArray[Any]) -> Batch:
        if images.ndim != 4:
            raise ValueError(f"{where}: images must have shape [N, C, H, W], got {list(images.shape)}")
        window = images.shape[2:] if size is None else size
        space = [old + 2 * padding - new for old, new in zip(images.shape[2:], window, strict=True)]
        if min(space) < 0:
            raise ValueError(
                f"{where}: images must be at least {window[0]} x {window[1]} with a border of {padding}, "
                f"got {images.shape[2]} x {images.shape[3]}"
            )
        windows = sliding_window_view(pad(images, padding, fill), window, axis=(2, 3))
        n = len(images)
        dy, dx = (rng.integers(0, high, size=n, endpoint=True) for high in space)
        return np.ascontiguousarray(windows[np.arange(n), :, dy, dx]), *others

    return crop


def random_flip(
    probability: float = 0.5, masks: tuple[int, ...] = (), boxes: tuple[int, ...] = ()
) -> Transform:
    """A `DataLoader` transform that mirrors images left to right, each with this probability.

    It takes images [N, C, H, W] as the first field. The other fields whose numbers are in `masks` ([N, ..., H, W]) and
    in `boxes` ([N, M, 5], see `scene_arrays`) are mirrored with their image, the rest stays.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"random_flip: probability must be in [0, 1], got {probability!r}")

    def flip(rng: np.random.Generator, images: NDArray[Any], *others: NDArray[Any]) -> Batch:
        if images.ndim != 4:
            raise ValueError(f"random_flip: images must have shape [N, C, H, W], got {list(images.shape)}")
        flipped = rng.random(len(images)) < probability
        batch = [images, *others]
        for field in (0, *masks):
            batch[field] = np.array(batch[field])
            batch[field][flipped] = batch[field][flipped][..., ::-1]
        for field in boxes:
            batch[field] = np.array(batch[field])
            rows = batch[field][flipped]
            rows[..., [0, 2]] = images.shape[3] - rows[..., [2, 0]]
            batch[field][flipped] = rows
        return tuple(batch)

    return flip


def random_mix(share: float = 1.0) -> Transform:
    """A `DataLoader` transform that makes image i of the batch (1 - w) times itself and w times image N - 1 - i, with w
    from [0, share] for each. The first field are images [N, ...]; the others stay, so it is for tasks without labels.

    Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018 (there with the labels). ValueError for a share
    outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"random_mix: share must be in [0, 1], got {share!r}")

    def mix(rng: np.random.Generator, images: NDArray[Any], *others: NDArray[Any]) -> Batch:
        weights = rng.uniform(0, share, (len(images),) + (1,) * (images.ndim - 1)).astype(np.float32)
        return (images + weights * (images[::-1] - images), *others)

    return mix


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
    target = _pair("upsample", size)
    for axis, (old, new) in enumerate(zip(source, target, strict=True)):
        new = check_int("upsample", "size", new, old)
        if mode == "nearest":
            images = _nearest(images, axis - 2, old, new)
        else:
            images = _interpolate(images, axis - 2, old, new)
    return images


def resize(
    images: NDArray[Any], size: int | tuple[int, int], mode: Literal["bilinear", "nearest"] = "bilinear"
) -> NDArray[Any]:
    """Resize `images` [..., h, w] to [..., H, W] with `size` = (H, W) or H = W, on half-pixel centres.

    An axis that grows is treated as `upsample` does. One that shrinks is averaged by "bilinear" under a triangle of two
    output pixels' width, so that nothing of the image is skipped (pillow's filter of that name); "nearest" takes the
    pixel under the centre. ValueError for another mode, TypeError and ValueError for the size.
    """
    if mode not in ("bilinear", "nearest"):
        raise ValueError(f"resize: mode must be 'bilinear' or 'nearest', got {mode!r}")
    source = _image_size("resize", images)
    target = [check_int("resize", "size", new, 1) for new in _pair("resize", size)]
    for axis, (old, new) in enumerate(zip(source, target, strict=True)):
        if new >= old or mode == "nearest":
            wanted = (new, images.shape[-1]) if axis == 0 else (images.shape[-2], new)
            images = upsample(images, wanted, mode) if new >= old else _nearest(images, axis - 2, old, new)
        else:
            images = _shrink(images, axis - 2, old, new)
    return images


def _nearest(images: NDArray[Any], axis: int, old: int, new: int) -> NDArray[Any]:
    return np.take(images, (2 * np.arange(new) + 1) * old // (2 * new), axis=axis)


def _shrink(images: NDArray[Any], axis: int, old: int, new: int) -> NDArray[Any]:
    index, weights = taps(old, 0.0, float(old), new)
    return weighted(images, axis, index, weights / weights.sum(axis=0))


def taps(old: int, start: float, length: float, new: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(pixels [K, new] of `old`, their weights) for `new` samples of the stretch that begins at `start`.

    Each sample is a mean under a triangle as wide as two samples, or two pixels if these are farther apart. The weights
    of a sample sum up to 1 where all of the triangle lies on the axis, and to less at its ends and beyond them.
    """
    step = length / new
    centre = start + (np.arange(new) + 0.5) * step - 0.5
    width = max(step, 1.0)
    first = np.floor(centre - width).astype(np.int64) + 1
    index = first + np.arange(int(np.ceil(2 * width)) + 1)[:, None]
    weights = np.maximum(0, 1 - np.abs(index - centre) / width)
    weights /= weights.sum(axis=0)
    weights[(index < 0) | (index >= old)] = 0
    return index.clip(0, old - 1), weights


def weighted(
    images: NDArray[Any], axis: int, index: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[Any]:
    """Sum over k of weights[k] times the pixels index[k] on `axis` (-2 or -1); float32, or float64 for float64.

    A loop over the few taps: as a product of matrices it would be mostly zeros, and wake the threads of a BLAS.
    """
    dtype = np.float64 if images.dtype == np.float64 else np.float32
    shape = (-1, 1) if axis == -2 else (-1,)
    out: NDArray[Any] | None = None
    for row, weight in zip(index, weights.astype(dtype), strict=True):
        if weight.any():
            part = np.take(images, row, axis=axis).astype(dtype, copy=False) * weight.reshape(shape)
            out = part if out is None else np.add(out, part, out=out)
    if out is None:
        rank = images.ndim + axis
        out = np.zeros((*images.shape[:rank], index.shape[1], *images.shape[rank + 1 :]), dtype)
    return out


def _interpolate(images: NDArray[Any], axis: int, old: int, new: int) -> NDArray[Any]:
    dtype = np.float64 if images.dtype == np.float64 else np.float32
    position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = position.astype(np.int64)
    weight = (position - low).astype(dtype).reshape(-1, *(1,) * (-1 - axis))
    start = np.take(images, low, axis=axis).astype(dtype, copy=False)
    end = np.take(images, np.minimum(low + 1, old - 1), axis=axis).astype(dtype, copy=False)
    return start + (end - start) * weight


def _pair(where: str, size: int | tuple[int, int]) -> tuple[int, int]:
    target = size if isinstance(size, tuple) else (size, size)
    if len(target) != 2:
        raise ValueError(f"{where}: size must be an int or (H, W), got {size!r}")
    return target


def _image_size(where: str, images: NDArray[Any]) -> tuple[int, int]:
    if images.ndim < 2 or 0 in images.shape[-2:]:
        raise ValueError(f"{where}: images must have shape [..., H, W], got {list(images.shape)}")
    return images.shape[-2], images.shape[-1]


def _fits(value: int, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return limits.min <= value <= limits.max
