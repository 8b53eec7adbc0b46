"""Transforms of images against loops over pixels."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from nonet.data import (
    compose,
    pad,
    random_crop,
    random_flip,
    random_mix,
    random_shift,
    resize,
    upsample,
)


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


@pytest.mark.parametrize("size", [(8, 8), (5, 9), (3, 2), (1, 1), (13, 4)])
def test_resize(size):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8)).astype(np.uint8)
    out = resize(images, size)
    assert out.shape == (2, 3, *size) and out.dtype == np.float32
    want = images.astype(np.float64)
    for axis, (old, new) in enumerate(zip((8, 8), size, strict=True), 2):
        scale = max(old / new, 1.0)
        centre = (np.arange(new) + 0.5) * old / new - 0.5
        weights = np.maximum(0, 1 - np.abs(np.arange(old) - centre[:, None]) / scale)
        weights /= weights.sum(axis=1, keepdims=True)
        want = np.moveaxis(np.moveaxis(want, axis, -1) @ weights.T, -1, axis)
    np.testing.assert_allclose(out, want, atol=2e-4)
    assert resize(images.astype(np.float64), size).dtype == np.float64
    nearest = resize(images, size, "nearest")
    assert nearest.dtype == np.uint8
    for i in range(size[0]):
        for j in range(size[1]):
            pixel = images[..., int((i + 0.5) * 8 / size[0]), int((j + 0.5) * 8 / size[1])]
            assert np.array_equal(nearest[..., i, j], pixel)


def test_resize_is_pillows():
    image_file = pytest.importorskip("PIL.Image", reason="needs pillow (extra vision)")
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53)).astype(np.uint8)
    theirs = image_file.fromarray(pixels).resize((20, 11), image_file.Resampling.BILINEAR)
    assert np.abs(resize(pixels, (11, 20)) - np.asarray(theirs, np.float32)).max() <= 1  # they round twice


def test_resize_faults():
    with pytest.raises(ValueError, match="resize: mode must be 'bilinear' or 'nearest', got 'cubic'"):
        resize(np.zeros((4, 4)), 2, "cubic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="resize: size must be at least 1, got 0"):
        resize(np.zeros((4, 4)), 0)
    with pytest.raises(ValueError, match=re.escape("resize: size must be an int or (H, W), got (1, 2, 3)")):
        resize(np.zeros((4, 4)), (1, 2, 3))  # type: ignore[arg-type]


def test_random_crop():
    images = np.random.default_rng(0).random((300, 2, 6, 5)).astype(np.float32)
    out, labels = random_crop((4, 5), padding=1, fill=-1)(np.random.default_rng(1), images, np.arange(300))
    assert out.shape == (300, 2, 4, 5) and out.flags.c_contiguous and len(labels) == 300
    border = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    seen = set()
    for image, crop in zip(border, out, strict=True):
        places = [
            (y, x) for y in range(5) for x in range(3) if np.array_equal(image[:, y : y + 4, x : x + 5], crop)
        ]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) == 15
    whole, _ = random_crop(5)(np.random.default_rng(1), images[:, :, :5], labels)
    assert np.array_equal(whole, images[:, :, :5])
    with pytest.raises(
        ValueError, match="random_crop: images must be at least 9 x 9 with a border of 1, got 6 x 5"
    ):
        random_crop(9, 1)(np.random.default_rng(0), images)


def test_random_mix():
    images = np.random.default_rng(1).random((5, 1, 2, 3), dtype=np.float32)
    labels = np.arange(5)
    out, kept = random_mix(0.5)(np.random.default_rng(0), images, labels)
    assert out.dtype == np.float32 and np.array_equal(kept, labels)
    weights = (out - images) / (images[::-1] - images + 1e-9)
    own = np.median(weights.reshape(5, -1), axis=1)
    np.testing.assert_allclose(out, images + own[:, None, None, None] * (images[::-1] - images), atol=1e-5)
    assert own.min() >= 0 and own.max() <= 0.5 and len(set(np.round(own, 4))) >= 4
    assert np.array_equal(random_mix(0)(np.random.default_rng(0), images)[0], images)
    with pytest.raises(ValueError, match=re.escape("random_mix: share must be in [0, 1], got 2")):
        random_mix(2)


def test_random_flip():
    images = np.arange(2 * 3 * 4 * 100, dtype=np.float32).reshape(100, 2, 3, 4)
    masks = images[:, 0].astype(np.int64)
    boxes = np.tile(np.array([[0, 1, 3, 2, 5], [1, 0, 2, 3, -1]], np.float32), (100, 1, 1))
    kept = images.copy()
    out, moved, table = random_flip(masks=(1,), boxes=(2,))(np.random.default_rng(0), images, masks, boxes)
    flipped = np.array([not np.array_equal(a, b) for a, b in zip(out, images, strict=True)])
    assert 30 < flipped.sum() < 70 and np.array_equal(images, kept)
    assert np.array_equal(out[flipped], images[flipped][..., ::-1])
    assert np.array_equal(moved[flipped], masks[flipped][..., ::-1])
    assert np.array_equal(moved[~flipped], masks[~flipped])
    assert np.array_equal(table[flipped][0], [[1, 1, 4, 2, 5], [2, 0, 3, 3, -1]])
    assert np.array_equal(table[~flipped][0], boxes[0])
    assert np.array_equal(random_flip(0)(np.random.default_rng(0), images)[0], images)
    assert np.array_equal(random_flip(1)(np.random.default_rng(0), images)[0], images[..., ::-1])
    with pytest.raises(ValueError, match=re.escape("random_flip: probability must be in [0, 1], got 2")):
        random_flip(2)


def test_compose():
    images = np.random.default_rng(0).random((8, 1, 4, 4))
    both = compose(random_crop(3), random_flip())
    rng = np.random.default_rng(5)
    want = random_flip()(rng, *random_crop(3)(rng, images, np.arange(8)))
    got = both(np.random.default_rng(5), images, np.arange(8))
    assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
    assert np.array_equal(compose()(rng, images)[0], images)
