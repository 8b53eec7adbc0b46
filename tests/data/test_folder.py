"""Images in folders named after their classes."""

from __future__ import annotations

import os

import numpy as np
import pytest

from nonet import data
from nonet.data import DataError, fit_square, load_folder


def write_ppm(path, pixels):
    """uint8 [C, H, W] as PGM or PPM, which need no pillow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels, height, width = pixels.shape
    head = f"P{6 if channels == 3 else 5} {width} {height} 255\n".encode()
    path.write_bytes(head + np.ascontiguousarray(pixels.transpose(1, 2, 0)).tobytes())


def picture(seed, channels=3, height=4, width=5):
    return np.random.default_rng(seed).integers(0, 256, (channels, height, width)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(("train/dog/b.ppm", "train/cat/x.PPM", "train/dog/a.ppm", "test/cat/y.ppm")):
        write_ppm(tmp_path / name, picture(i))
    write_ppm(tmp_path / "train/cat/grey.pgm", picture(9, 1))
    (tmp_path / "train/cat/notes.txt").write_text("x")
    (tmp_path / "train/cat/.hidden.ppm").write_text("x")
    (tmp_path / "train/README.md").write_text("x")
    (tmp_path / "train/.git").mkdir()
    return tmp_path


def test_folder(folder):
    splits = data.load("folder", folder)
    assert splits.name == "folder" and splits.classes == ("cat", "dog")
    assert splits.train.inputs.shape == (4, 3, 4, 5) and splits.train.inputs.dtype == np.uint8
    assert splits.train.targets.tolist() == [0, 0, 1, 1] and splits.train.targets.dtype == np.int64
    wanted = [np.repeat(picture(9, 1), 3, axis=0), picture(1), picture(2), picture(0)]
    assert np.array_equal(splits.train.inputs, wanted)
    assert np.array_equal(splits.test.inputs, [picture(3)]) and splits.test.targets.tolist() == [0]


def test_grey_images_stay_grey(tmp_path):
    for part in ("train", "test"):
        write_ppm(tmp_path / part / "a" / "1.pgm", picture(0, 1))
    assert load_folder(tmp_path).train.inputs.shape == (1, 1, 4, 5)


def test_sizes(folder):
    write_ppm(folder / "train/dog/c.ppm", picture(5, height=9, width=6))
    message = r"train/dog/c.ppm: expected an image of 4 x 5 like the first one, found 9 x 6; give a size"
    with pytest.raises(DataError, match=message):
        load_folder(folder)
    images = load_folder(folder, size=4).train.inputs
    assert images.shape == (5, 3, 4, 4)
    assert np.array_equal(images[1], np.rint(fit_square(picture(1).astype(np.float32), 4)))


def test_fit_square():
    image = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
    assert np.array_equal(fit_square(image, 4), image[:, :, 1:5])
    assert np.array_equal(fit_square(image, 2, shorter=4), image[:, 1:3, 2:4])
    assert fit_square(image, 3).shape == (1, 3, 3)
    np.testing.assert_allclose(fit_square(np.full((3, 50, 20), 7.0), 8), 7.0)
    assert fit_square(image, 10).shape == (1, 10, 10)


def test_faults(folder, tmp_path):
    with pytest.raises(DataError, match="expected a directory with images in train/CLASS and test/CLASS"):
        load_folder(tmp_path / "no")
    with pytest.raises(DataError, match="folder: expected a directory with .*, got none"):
        data.load("folder")
    with pytest.raises(ValueError, match="load_folder: size must be at least 1, got 0"):
        load_folder(folder, 0)
    (folder / "train/dog/bad.ppm").write_bytes(b"P6 4 5 255\nshort")
    with pytest.raises(DataError, match="bad.ppm: expected 60 bytes of pixels"):
        load_folder(folder)
    (folder / "train/dog/bad.ppm").unlink()
    write_ppm(folder / "test/horse/1.ppm", picture(0))
    with pytest.raises(DataError, match="test: expected the classes of the training part, found also horse"):
        load_folder(folder)
    for name in os.listdir(folder / "test"):
        os.rename(folder / "test" / name, folder / name)
    with pytest.raises(DataError, match="test: expected a directory per class with images in it, found none"):
        load_folder(folder)
    os.rmdir(folder / "test")
    with pytest.raises(DataError, match="test: expected a directory with"):
        load_folder(folder)


def test_formats_of_pillow(tmp_path):
    image_file = pytest.importorskip("PIL.Image", reason="needs pillow (extra vision)")
    pixels = picture(0, height=8, width=8)
    for part in ("train", "test"):
        (tmp_path / part / "a").mkdir(parents=True)
        image_file.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / part / "a" / "1.png")
    assert np.array_equal(load_folder(tmp_path).test.inputs, [pixels])
