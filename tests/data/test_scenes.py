"""Scenes, windows cut out of them, their random transforms, the generated set and the Penn-Fudan reader."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from nonet import data
from nonet.data import IGNORED, NO_BOX, DataError, Scene, cut, cut_boxes, cut_mask, fitted


def brute_cut(image: np.ndarray, window, size, fill):
    """Triangle filter over an endless plane that holds `fill` around the image, in float64, sample by sample."""
    top, left, height, width = window
    out = np.empty(size)
    h, w = image.shape
    for i in range(size[0]):
        for j in range(size[1]):
            total = weight = 0.0
            sy, sx = max(height / size[0], 1), max(width / size[1], 1)
            cy = top + (i + 0.5) * height / size[0] - 0.5
            cx = left + (j + 0.5) * width / size[1] - 0.5
            for y in range(int(np.floor(cy - sy)), int(np.ceil(cy + sy)) + 1):
                for x in range(int(np.floor(cx - sx)), int(np.ceil(cx + sx)) + 1):
                    k = max(0, 1 - abs(y - cy) / sy) * max(0, 1 - abs(x - cx) / sx)
                    inside = 0 <= y < h and 0 <= x < w
                    total += k * (image[y, x] if inside else fill)
                    weight += k
            out[i, j] = total / weight
    return out


@pytest.mark.parametrize(
    ("window", "size"),
    [
        ((0, 0, 9, 11), (9, 11)),
        ((0, 0, 9, 11), (4, 5)),
        ((2.5, 3.25, 4, 4), (8, 8)),
        ((-3, -2, 15, 16), (7, 9)),
        ((-30, 2, 10, 5), (3, 3)),
        ((1, 1, 0.5, 0.5), (4, 4)),
    ],
)
def test_cut(window, size):
    image = np.random.default_rng(0).integers(0, 256, (2, 9, 11)).astype(np.uint8)
    out = cut(image, window, size, fill=7)
    assert out.dtype == np.float32 and out.shape == (2, *size)
    for got, plane in zip(out, image.astype(np.float64), strict=True):
        np.testing.assert_allclose(got, brute_cut(plane, window, size, 7), atol=1e-3)


def test_the_whole_window_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 7)).astype(np.uint8)
    assert np.array_equal(cut(image, (0, 0, 5, 7), (5, 7)), image)
    assert np.array_equal(cut_mask(image[0], (0, 0, 5, 7), (5, 7)), image[0])


def test_cut_mask():
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(cut_mask(mask, (1, 1, 2, 2), (2, 2)), [[5, 6], [9, 10]])
    assert np.array_equal(cut_mask(mask, (0, 0, 2, 2), (4, 4))[::2, ::2], mask[:2, :2])
    out = cut_mask(mask, (-1, -1, 5, 6), (5, 6))
    assert np.array_equal(out[1:4, 1:5], mask)
    assert (out[0] == IGNORED).all() and (out[:, -1] == IGNORED).all() and out.dtype == np.uint8


def test_cut_boxes():
    boxes = np.array([[2, 3, 6, 9, 4], [0, 0, 2, 2, 1], [7, 7, 9, 9, 0], [0, 0, 0, 0, NO_BOX]], np.float32)
    out = cut_boxes(boxes, (2, 1, 8, 8), (16, 24))
    np.testing.assert_allclose(out[0], [3, 2, 15, 14, 4])
    assert out[1, 4] == NO_BOX  # all of it above the window
    np.testing.assert_allclose(out[2], [18, 10, 24, 14, 0])
    assert out[3, 4] == NO_BOX
    assert cut_boxes(boxes, (5, 1, 8, 8), (8, 8))[0, 4] == 4
    assert cut_boxes(boxes, (8, 1, 8, 8), (8, 8))[0, 4] == NO_BOX  # a sixth is left
    assert cut_boxes(boxes, (8, 1, 8, 8), (16, 16), visible=0)[0, 4] == 4
    np.testing.assert_array_equal(boxes[0], [2, 3, 6, 9, 4])  # not in place


def test_fitted():
    assert np.array_equal(fitted((50, 100), (64, 64)), [-25, 0, 100, 100])
    assert np.array_equal(fitted((100, 50), (64, 64)), [0, -25, 100, 100])
    assert np.array_equal(fitted((48, 64), (96, 128)), [0, 0, 48, 64])


def scene(height, width, boxes=((1, 1, 5, 6, 0),)):
    rng = np.random.default_rng(height * 100 + width)
    image = rng.integers(0, 256, (3, height, width)).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for x0, y0, x1, y1, _ in boxes:
        mask[int(y0) : int(y1), int(x0) : int(x1)] = 1
    return Scene(image, mask, np.array(boxes, np.float32).reshape(-1, 5))


def test_scene_arrays():
    scenes = [scene(16, 16), scene(8, 16, ()), scene(32, 32, ((0, 0, 32, 32, 2), (4, 8, 12, 16, 1)))]
    images, masks, boxes = data.scene_arrays(scenes, (16, 16))
    assert images.shape == (3, 3, 16, 16) and images.dtype == np.uint8
    assert np.array_equal(images[0], scenes[0].image) and np.array_equal(masks[0], scenes[0].mask)
    assert np.array_equal(images[1, :, 4:12], scenes[1].image)
    assert (images[1, :, :4] == 0).all() and (masks[1, :4] == IGNORED).all()
    assert boxes.shape == (3, 2, 5)
    np.testing.assert_array_equal(boxes[0], [[1, 1, 5, 6, 0], [0, 0, 0, 0, NO_BOX]])
    assert (boxes[1, :, 4] == NO_BOX).all()
    np.testing.assert_array_equal(boxes[2], [[0, 0, 16, 16, 2], [2, 4, 6, 8, 1]])
    with pytest.raises(ValueError, match="expected one or more scenes"):
        data.scene_arrays([], (4, 4))


def test_random_window_moves_image_mask_and_boxes_together():
    """The picture of a mask is its mask, wherever the window lies, and the box is that of the mask's pixels."""
    scenes = [scene(40, 40, ((8 + i, 10, 24 + i, 30, i),)) for i in range(8)]
    _, masks, boxes = data.scene_arrays(scenes, (40, 40))
    images = np.repeat(masks[:, None].astype(np.float32), 3, axis=1) * 100
    window = data.random_window((48, 32), (0.5, 1.5), 1.3, masks=(1,), boxes=(2,))
    moved = data.compose(window, data.random_flip(0.5, masks=(1,), boxes=(2,)))
    seen = set()
    for seed in range(4):
        got, mask, table, other = moved(np.random.default_rng(seed), images, masks, boxes, np.arange(8))
        assert got.shape == (8, 3, 48, 32) and mask.shape == (8, 48, 32) and table.shape == boxes.shape
        assert np.array_equal(other, np.arange(8))
        for i in range(8):
            sure = np.abs(got[i, 0] - 50) > 45  # away from the edges
            assert np.array_equal((got[i, 0] > 50)[sure], (mask[i] == 1)[sure])
            if table[i, 0, 4] == NO_BOX:
                continue
            rows, columns = np.nonzero(mask[i] == 1)
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(table[i, 0, :4], edges, atol=1.01)
            assert table[i, 0, 4] == i
            seen.add(tuple(edges))
    assert len(seen) > 20
    a = moved(np.random.default_rng(3), images, masks, boxes)
    b = moved(np.random.default_rng(3), images, masks, boxes)
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_random_colors():
    images = np.random.default_rng(0).uniform(0, 255, (32, 3, 4, 5)).astype(np.float32)
    out, labels = data.random_colors(0.4)(np.random.default_rng(1), images, np.arange(32))
    assert out.shape == images.shape and out.dtype == np.float32 and len(labels) == 32
    assert out.min() >= 0 and out.max() <= 255 and out.std() > 0
    assert len({float(v) for v in np.round(out.mean(axis=(1, 2, 3)), 3)}) == 32
    same, _ = data.random_colors(0)(np.random.default_rng(1), images, labels)
    np.testing.assert_allclose(same, images, atol=1e-3)


def test_faults():
    rng, flat = np.random.default_rng(0), np.zeros((2, 3))
    for transform in (data.random_window((4, 4), (1, 1)), data.random_colors(), data.random_flip()):
        with pytest.raises(ValueError, match=re.escape("images must have shape [N, C, H, W], got [2, 3]")):
            transform(rng, flat)
    for arguments in (((4, 4), (0, 1)), ((4, 4), (2, 1)), ((4, 4), (1, 1), 0.5)):
        with pytest.raises(ValueError, match="random_window: scale must be two rising numbers"):
            data.random_window(*arguments)
    with pytest.raises(ValueError, match="random_window: size must be at least 1, got 0"):
        data.random_window((4, 0), (1, 1))
    with pytest.raises(ValueError, match=r"random_colors: strength must be in \[0, 1\), got 1"):
        data.random_colors(1)
    with pytest.raises(ValueError, match="load_scenes: name must be one of shapes, pennfudan, got 'coco'"):
        data.load_scenes("coco")
    with pytest.raises(DataError, match=r"pennfudan: expected a directory with PNGImages/.*, got none"):
        data.load_scenes("pennfudan")
    with pytest.raises(DataError, match="shapes: comes with nonet, expected no directory, got x"):
        data.load_scenes("shapes", "x")


# ---- shapes
def test_shapes():
    shapes = data.load_shapes(40, 10)
    again = data.load_shapes(20, 5)
    assert (len(shapes.train), len(shapes.test)) == (40, 10)
    assert shapes.pixel_classes == ("ground", "digit") and len(shapes.box_classes) == 10
    for part, other in ((shapes.train, again.train), (shapes.test, again.test)):
        for a, b in zip(part, other, strict=False):
            assert np.array_equal(a.image, b.image) and np.array_equal(a.boxes, b.boxes)
    counts = set()
    for s in (*shapes.train, *shapes.test):
        assert s.image.shape == (3, 64, 64) and s.image.dtype == s.mask.dtype == np.uint8
        assert set(np.unique(s.mask)) == {0, 1}
        counts.add(len(s.boxes))
        covered = np.zeros((64, 64), bool)
        for x0, y0, x1, y1, label in s.boxes.astype(int):
            assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 64 and 0 <= label < 10
            ink = s.mask[y0:y1, x0:x1]
            assert ink[0].any() and ink[-1].any() and ink[:, 0].any() and ink[:, -1].any()
            covered[y0:y1, x0:x1] = True
        assert not s.mask[~covered].any()
    assert counts == {1, 2, 3, 4}
    assert data.load_scenes("shapes").name == "shapes"


# ---- Penn-Fudan
needs_photos = pytest.mark.skipif("NONET_DATA" not in os.environ, reason="needs NONET_DATA/pennfudan")


@needs_photos
def test_pennfudan():
    pytest.importorskip("PIL", reason="needs pillow (extra vision)")
    scenes = data.load_scenes("pennfudan", Path(os.environ["NONET_DATA"]) / "pennfudan")
    assert (len(scenes.train), len(scenes.test)) == (60, 14)
    assert [sum(len(s.boxes) for s in part) for part in (scenes.train, scenes.test)] == [129, 31]
    first = scenes.train[0]
    assert first.size == (536, 559)
    np.testing.assert_array_equal(first.boxes, [[159, 181, 302, 431, 0], [419, 170, 535, 486, 0]])
    for s in (*scenes.train, *scenes.test):
        assert s.image.shape == (3, *s.size) and set(np.unique(s.mask)) == {0, 1}
        for x0, y0, x1, y1, _ in s.boxes.astype(int):
            assert s.mask[y0:y1, x0:x1].mean() > 0.2


@needs_photos
def test_pennfudan_faults(tmp_path):
    pytest.importorskip("PIL", reason="needs pillow (extra vision)")
    source = Path(os.environ["NONET_DATA"]) / "pennfudan"
    with pytest.raises(DataError, match="expected a directory with PNGImages/NAME.png"):
        data.load_pennfudan(tmp_path / "no")
    with pytest.raises(DataError, match="PNGImages: expected a directory with the photos"):
        data.load_pennfudan(tmp_path)
    shutil.copytree(source, tmp_path / "set")
    folder = tmp_path / "set"
    text = folder / "Annotation" / "FudanPed00007.txt"
    whole = text.read_text()
    for body, message in (
        ("", "FudanPed00007.txt: expected lines 'Bounding box"),
        (
            whole.replace("(Xmin, Ymin) - (Xmax, Ymax) : (", "(Xmin, Ymin) - (Xmax, Ymax) : (9"),
            "inside 539 x 381",
        ),
    ):
        text.write_text(body)
        with pytest.raises(DataError, match=message):
            data.load_pennfudan(folder)
    text.write_text(whole)
    shutil.copy(
        folder / "PedMasks" / "FudanPed00001_mask.png", folder / "PedMasks" / "FudanPed00003_mask.png"
    )
    with pytest.raises(
        DataError, match="FudanPed00003_mask.png: expected a mask of 445 x 479 .*, found 536 x 559"
    ):
        data.load_pennfudan(folder)
    (folder / "PedMasks" / "FudanPed00002_mask.png").write_bytes(b"GIF89a")
    with pytest.raises(DataError, match="FudanPed00002_mask.png: expected"):
        data.load_pennfudan(folder)
    (folder / "PedMasks" / "FudanPed00002_mask.png").unlink()
    with pytest.raises(DataError, match="FudanPed00002_mask.png: expected a file, found none"):
        data.load_pennfudan(folder)
    (folder / "PNGImages" / "FudanPed00070.png").unlink()
    with pytest.raises(
        DataError, match=r"expected FudanPed00001\.png to .*, found 73 of them, not FudanPed00070"
    ):
        data.load_pennfudan(folder)
