"""pad, random_shift and upsample against loops over pixels."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from nonet.data import pad, random_shift, upsample


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_pad(dtype):
    images = np.arange(1, 25).reshape(2, 1, 3, 4).astype(dtype)
    padded = pad(images, 2, fill=7)
    assert padded.dtype == dtype
    assert np.array_equal(padded, np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=7))
    assert np.array_equal(pad(images[0, 0], 0), images[0, 0])


def test_pad_bad_arguments():
    image = np.zeros((2, 2), np.uint8)
    for fill in (-1, 256, 0.5, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"pad: fill must be a value of uint8, got {fill}"):
            pad(image, 1, fill)
    with pytest.raises(ValueError, match="pad: pixels must be at least 0, got -1"):
        pad(image, -1)
    with pytest.raises(ValueError, match=re.escape("pad: images must have shape [..., H, W], got [3]")):
        pad(np.zeros(3), 1)


def test_random_shift_moves_every_image_within_the_limits():
    n, limit = 400, 2
    images = np.random.default_rng(0).random((n, 2, 5, 6)).astype(np.float32)
    labels = np.arange(n)
    shifted, same_labels = random_shift(limit, fill=-1)(np.random.default_rng(1), images, labels)
    assert same_labels is labels
    assert shifted.shape == images.shape
    assert shifted.dtype == np.float32
    seen = set()
    for image, moved in zip(images, shifted, strict=True):
        border = np.pad(image, ((0, 0), (limit, limit), (limit, limit)), constant_values=-1)
        offsets = [
            (dy, dx)
            for dy in range(2 * limit + 1)
            for dx in range(2 * limit + 1)
            if np.array_equal(border[:, dy : dy + 5, dx : dx + 6], moved)
        ]
        assert len(offsets) == 1
        seen.update(offsets)
    assert len(seen) == 25


def test_random_shift_of_zero_and_its_faults():
    images = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2)
    rng = np.random.default_rng(0)
    assert np.array_equal(random_shift(0)(rng, images)[0], images)
    with pytest.raises(ValueError, match=re.escape("images must have shape [N, C, H, W], got [2, 2]")):
        random_shift(1)(rng, images[0, 0])
    with pytest.raises(ValueError, match="random_shift: max_pixels must be at least 0, got -1"):
        random_shift(-1)


def bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    h, w = image.shape
    out = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * h / height - 0.5, 0), h - 1)
            x = min(max((j + 0.5) * w / width - 0.5, 0), w - 1)
            rows, cols = (math.floor(y), math.ceil(y)), (math.floor(x), math.ceil(x))
            top = image[rows[0], cols[0]] * (1 - x % 1) + image[rows[0], cols[1]] * (x % 1)
            bottom = image[rows[1], cols[0]] * (1 - x % 1) + image[rows[1], cols[1]] * (x % 1)
            out[i, j] = top * (1 - y % 1) + bottom * (y % 1)
    return out


@pytest.mark.parametrize("size", [28, (8, 11), (9, 8), (16, 31)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, np.float32, np.float64])
def test_bilinear(size, dtype):
    images = np.random.default_rng(0).integers(0, 17, (2, 1, 8, 8)).astype(dtype)
    out = upsample(images, size)
    height, width = size if isinstance(size, tuple) else (size, size)
    assert out.shape == (2, 1, height, width)
    assert out.dtype == (np.float64 if dtype == np.float64 else np.float32)
    eps = np.finfo(out.dtype).eps
    for image, enlarged in zip(images[:, 0], out[:, 0], strict=True):
        expected = bilinear(image.astype(np.float64), height, width)
        np.testing.assert_allclose(enlarged, expected, rtol=0, atol=8 * 16 * eps)


def test_bilinear_keeps_constants_and_single_pixels():
    assert np.array_equal(upsample(np.full((3, 3), 0.1), 7), np.full((7, 7), 0.1))
    assert np.array_equal(upsample(np.array([[5.0]]), (2, 3)), np.full((2, 3), 5.0))


def test_nearest():
    images = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    out = upsample(images, (4, 7), mode="nearest")
    assert out.dtype == np.uint8
    assert out.tolist() == [[[0, 0, 1, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 4, 5, 5]] * 2]


def test_upsample_bad_arguments():
    image = np.zeros((4, 4))
    with pytest.raises(ValueError, match="upsample: mode must be 'bilinear' or 'nearest', got 'cubic'"):
        upsample(image, 8, mode="cubic")
    with pytest.raises(ValueError, match="upsample: size must be at least 4, got 3"):
        upsample(image, (5, 3))
    with pytest.raises(ValueError, match=re.escape("upsample: size must be an int or (H, W), got (1, 2, 3)")):
        upsample(image, (1, 2, 3))
    with pytest.raises(TypeError, match=re.escape("upsample: size must be an integer, got 5.5")):
        upsample(image, 5.5)
    with pytest.raises(
        ValueError, match=re.escape("upsample: images must have shape [..., H, W], got [2, 0]")
    ):
        upsample(np.zeros((2, 0)), 4)
