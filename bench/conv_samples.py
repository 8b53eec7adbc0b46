"""Elements of a convolution's result and gradients in float64, chosen at random: what a contestant must agree with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Geometry", "Sample", "sample_image", "sample_output", "sample_weight"]

PIXELS = 48
CHANNELS = 48
WEIGHTS = 24


@dataclass(frozen=True)
class Geometry:
    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Sample:
    """Elements found and wanted, and the sums of |a| |b| behind them."""

    what: str
    got: np.ndarray
    want: np.ndarray
    bound: np.ndarray


def sample_output(what: str, got: np.ndarray, image: np.ndarray, weight: np.ndarray, g: Geometry) -> Sample:
    """Of output [N, O, OH, OW] = conv(image [N, C, H, W], weight [O, C, k, k])."""
    n, rows, columns, channels = _places(got)
    taps = np.arange(g.kernel)
    y = rows[:, None] * g.stride - g.padding + taps
    x = columns[:, None] * g.stride - g.padding + taps
    patches = _patches(image, n, y, x)
    return _products(what, got, patches, weight[channels].transpose(0, 2, 3, 1), (n, rows, columns, channels))


def sample_image(what: str, got: np.ndarray, output: np.ndarray, weight: np.ndarray, g: Geometry) -> Sample:
    """Of the gradient of the image [N, C, H, W] for the gradient of the output [N, O, OH, OW]."""
    n, rows, columns, channels = _places(got)
    taps = np.arange(g.kernel)

    def positions(at: np.ndarray) -> np.ndarray:
        far = at[:, None] + g.padding - taps
        return np.where(far % g.stride == 0, far // g.stride, -1)

    patches = _patches(output, n, positions(rows), positions(columns))
    return _products(
        what, got, patches, weight[:, channels].transpose(1, 2, 3, 0), (n, rows, columns, channels)
    )


def sample_weight(what: str, got: np.ndarray, image: np.ndarray, output: np.ndarray, g: Geometry) -> Sample:
    """Of the gradient of the weights [O, C, k, k]."""
    rng = np.random.default_rng(1)
    at = [rng.integers(0, size, WEIGHTS) for size in got.shape]
    want, bound = np.zeros(WEIGHTS), np.zeros(WEIGHTS)
    for t, (o, c, i, j) in enumerate(zip(*at, strict=True)):
        ys, rows = _overlap(i, image.shape[2], output.shape[2], g)
        xs, columns = _overlap(j, image.shape[3], output.shape[3], g)
        products = image[:, c, ys, xs].astype(np.float64) * output[:, o, rows, columns]
        want[t], bound[t] = products.sum(), np.abs(products).sum()
    return Sample(what, got[tuple(at)], want, bound)


def _places(got: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, corners among them, and channels of an image."""
    rng = np.random.default_rng(0)
    n, rows, columns = (rng.integers(0, got.shape[axis], PIXELS) for axis in (0, 2, 3))
    rows[:4] = [0, 0, got.shape[2] - 1, got.shape[2] - 1]
    columns[:4] = [0, got.shape[3] - 1, 0, got.shape[3] - 1]
    return n, rows, columns, np.sort(rng.permutation(got.shape[1])[:CHANNELS])


def _patches(image: np.ndarray, n: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """[pixels, k, k, channels] of pixels y, x [pixels, k]; 0 outside the image."""
    inside = ((y >= 0) & (y < image.shape[2]))[:, :, None] & ((x >= 0) & (x < image.shape[3]))[:, None, :]
    y, x = y.clip(0, image.shape[2] - 1), x.clip(0, image.shape[3] - 1)
    values = image[n[:, None, None], :, y[:, :, None], x[:, None, :]].astype(np.float64)
    return values * inside[..., None]


def _products(
    what: str, got: np.ndarray, patches: np.ndarray, weight: np.ndarray, at: tuple[np.ndarray, ...]
) -> Sample:
    """patches [pixels, k, k, depth] with weight [channels, k, k, depth]."""
    n, rows, columns, channels = at
    w = weight.astype(np.float64)
    a, b = patches.reshape(len(patches), -1), w.reshape(len(w), -1)
    found = got[n[:, None], channels[None], rows[:, None], columns[:, None]]
    return Sample(what, found, a @ b.T, np.abs(a) @ np.abs(b).T)


def _overlap(tap: int, size: int, outputs: int, g: Geometry) -> tuple[slice, slice]:
    """The pixels of the image under a tap, and the pixels of the output, along one axis."""
    inside = [p for p in range(outputs) if 0 <= p * g.stride + tap - g.padding < size]
    first = inside[0] * g.stride + tap - g.padding if inside else 0
    image = slice(first, first + (len(inside) - 1) * g.stride + 1 if inside else 0, g.stride)
    return image, slice(inside[0], inside[-1] + 1) if inside else slice(0)
