"""Pictures of scenes, pixel by pixel."""

from __future__ import annotations

import numpy as np

from nonet.plot import scenes
from nonet.plot.scenes import COLOURS, outlined, scaled, table, tinted


def test_tinted():
    image = np.full((3, 6, 6), 100, np.uint8)
    mask = np.zeros((6, 6), np.uint8)
    mask[1:5, 1:5] = 1
    mask[0, 0] = 255
    out = tinted(image, mask)
    assert out.dtype == np.uint8 and (image == 100).all()
    assert (out[:, mask == 0] == 100).all() and (out[:, 0, 0] == 100).all()
    assert np.array_equal(out[:, 1, 2], COLOURS[0])  # its edge
    inner = np.rint(100 * 0.45 + COLOURS[0].astype(float) * 0.55)
    np.testing.assert_allclose(out[:, 2, 3], inner, atol=1)


def test_outlined():
    image = np.zeros((3, 20, 30), np.uint8)
    boxes = np.array([[4, 3, 20, 15, 2, 0.9], [-5, 10, 50, 19.6, 0, 0.5]], np.float32)
    out = outlined(image, boxes, thickness=1)
    assert np.array_equal(out[:, 3, 4:20], np.repeat(COLOURS[2][:, None], 16, axis=1))
    assert np.array_equal(out[:, 14, 4], COLOURS[2]) and not out[:, 5, 8].any() and not out[:, 15, 20].any()
    assert np.array_equal(out[:, 10, 0], COLOURS[0]) and np.array_equal(out[:, 19, 29], COLOURS[0])
    assert not image.any()
    labelled = outlined(image, boxes[:1], ["7 x"], thickness=1)
    glyph = labelled[1, 3:12, 4:11] == 0
    assert [int("".join(map(str, row)), 2) for row in glyph[1:8, 1:6].astype(int)] == list(
        scenes._GLYPHS["7"]
    )
    np.testing.assert_array_equal(outlined(image, boxes[:0], []), image)
    outlined(image, np.array([[28, 18, 30, 20, 0]]), ["0123456789"])  # no room


def test_scaled_and_table():
    image = np.random.default_rng(0).integers(0, 256, (3, 4, 6)).astype(np.uint8)
    assert scaled(image, 2).shape == (3, 8, 12) and scaled(image, 0.01).shape == (3, 1, 1)
    assert np.array_equal(scaled(image, 1), image)
    out = table([[image, scaled(image, 2)], [image]])
    gap = scenes._GAP
    assert out.shape == (3, 8 + 4 + 3 * gap, 6 + 12 + 3 * gap)
    assert np.array_equal(out[:, gap + 2 : gap + 6, gap : gap + 6], image)
    assert (out[:, :gap] == 255).all() and (out[:, -gap - 4 : -gap, gap + 6 :] == 255).all()
