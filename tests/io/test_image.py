from __future__ import annotations

import builtins

import numpy as np
import pytest

from nonet import io

GREY = np.array([[0, 128, 255], [7, 8, 9]], np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        b"P5\n3 2\n255\n" + GREY.tobytes(),
        b"P5 # by hand\n# two\n3\t2 #x\n255 " + GREY.tobytes(),
        b"P2\n3 2\n255\n0 128 255\n# rest\n7 8 9\n",
        b"P5\n3 2\n255\n" + GREY.tobytes() + b"more",
    ],
)
def test_grey(tmp_path, data):
    path = tmp_path / "x.pgm"
    path.write_bytes(data)
    image = io.read_image(path)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, GREY[None] / 255, rtol=1e-6)


def test_colour_and_depth(tmp_path):
    path = tmp_path / "x.ppm"
    path.write_bytes(b"P6\n1 2\n65535\n" + np.array([0, 1, 65535, 300, 2, 3], ">u2").tobytes())
    image = io.read_image(path)
    assert image.shape == (3, 2, 1)
    np.testing.assert_allclose(image[:, 1, 0] * 65535, [300, 2, 3], rtol=1e-6)
    path.write_bytes(b"P3 1 1 15 1 2 15 ")
    np.testing.assert_allclose(io.read_image(path)[:, 0, 0], np.array([1, 2, 15]) / 15, rtol=1e-6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P5\n3 2\n", "header"),
        (b"P5" + b" " * 5000, "header"),
        (b"P5\n0 2\n255\n", "size of at least 1 x 1"),
        (b"P5\n3 2\n70000\n" + GREY.tobytes(), "maximum"),
        (b"P5\n3 2\n255\n" + GREY.tobytes()[:-1], "6 bytes of pixels, found 5"),
        (b"P5\n3 2\n200\n" + GREY.tobytes(), "values up to 200, found 255"),
        (b"P2\n3 2\n255\n0 1 2", "6 numbers after the header, found 3"),
        (b"P2\n3 2\n255\n0 1 2 3 4 x", "6 numbers after the header, found 5"),
        (b"P2\n3 2\n255\n0 1 2 3 4 " + b"9" * 5000, "values up to 255, found inf"),
        (b"P5\n3 2\n" + b"9" * 5000 + b"\n", "header"),
    ],
)
def test_faults(tmp_path, data, message):
    path = tmp_path / "x.pgm"
    path.write_bytes(data)
    with pytest.raises(io.FileError, match=rf"x\.pgm: expected .*{message}"):
        io.read_image(path)


def test_missing(tmp_path):
    with pytest.raises(io.MissingFileError, match="found none"):
        io.read_image(tmp_path / "x.pgm")
    with pytest.raises(io.FileError, match="expected a readable file"):
        io.read_image(tmp_path)


def test_without_pillow_one_line_names_the_extra(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    with pytest.raises(io.MissingExtraError, match=r"x\.png: .*nonet\[vision\]"):
        io.read_image(tmp_path / "x.png")


def test_with_pillow(tmp_path, monkeypatch):
    image_file = pytest.importorskip("PIL.Image", reason="needs pillow (extra vision)")
    for name, mode, value in (
        ("grey.png", "L", 51),
        ("colour.png", "RGB", (51, 102, 255)),
        ("alpha.png", "LA", (51, 3)),
    ):
        image_file.new(mode, (3, 2), value).save(tmp_path / name)
        image = io.read_image(tmp_path / name)
        assert image.shape == (3 if mode == "RGB" else 1, 2, 3)
        np.testing.assert_allclose(image[0], 0.2, rtol=1e-6)
    image_file.new("I", (3, 2), 13107).save(tmp_path / "deep.tif")
    np.testing.assert_allclose(io.read_image(tmp_path / "deep.tif"), 0.2, rtol=1e-6)
    for mode, value, message in (("I", 65536, "at most 16 bits"), ("F", 0.5, "floating-point pixels")):
        image_file.new(mode, (3, 2), value).save(tmp_path / "x.tif")
        with pytest.raises(io.FileError, match=rf"x\.tif: .*{message}"):
            io.read_image(tmp_path / "x.tif")
    monkeypatch.setattr(image_file, "MAX_IMAGE_PIXELS", 2)  # DecompressionBombError is no OSError
    with pytest.raises(io.FileError, match=r"colour\.png: expected a complete image"):
        io.read_image(tmp_path / "colour.png")
    monkeypatch.undo()
    data = (tmp_path / "colour.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_bytes(b"no image")
    for name in ("cut.png", "text.png"):
        with pytest.raises(io.FileError, match=name):
            io.read_image(tmp_path / name)


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (3, 5, 7), (3, 1, 1)])
def test_png_written_here_is_read_by_pillow(tmp_path, shape):
    image_file = pytest.importorskip("PIL.Image", reason="needs pillow (extra vision)")
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    io.write_png(tmp_path / "x.png", pixels)
    with image_file.open(tmp_path / "x.png") as image:
        assert image.mode == ("RGB" if shape[0] == 3 else "L")
    read = io.read_image(tmp_path / "x.png")
    assert np.array_equal(np.rint(read * 255), pixels if pixels.ndim == 3 else pixels[None])


def test_png_faults(tmp_path):
    with pytest.raises(TypeError, match="write_png: pixels must be uint8, got float64"):
        io.write_png(tmp_path / "x", np.zeros((2, 2)))
    for shape in ((2, 3, 3), (4,), (3, 0, 2), (1, 3, 2, 2)):
        with pytest.raises(ValueError, match="write_png: pixels must have shape"):
            io.write_png(tmp_path / "x", np.zeros(shape, np.uint8))
    assert not list(tmp_path.iterdir())
