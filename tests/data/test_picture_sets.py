"""Heartbeats, faces and styles: parts, labels, faults."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nonet import data


def write_pgm(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"P5 {pixels.shape[1]} {pixels.shape[0]} 255\n".encode() + pixels.tobytes())


def test_heartbeats(tmp_path):
    rows = np.array([[1, 0.5, 0.25], [5, -1, 2], [2, 0, 0]])
    (tmp_path / "ECG5000_TRAIN.txt").write_text("\n".join("  ".join(f"{v:e}" for v in row) for row in rows))
    np.save(tmp_path / "ECG5000_rest.npy", rows[:2])
    splits = data.load_ecg5000(tmp_path)
    np.testing.assert_array_equal(splits.train.inputs, rows[:, 1:].astype(np.float32))
    assert splits.train.targets.tolist() == [0, 4, 1] and len(splits.test) == 2
    assert splits.classes[0] == "normal" and len(splits.classes) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n1 2\n", "expected rows of a label and samples, found"),
        ("7 2 3\n", "labels from 1 to 5, found others"),
        ("1 nan 3\n", "expected finite samples"),
        ("", "expected rows of a label"),
    ],
)
def test_bad_heartbeats(tmp_path, text, message):
    (tmp_path / "ECG5000_TRAIN.txt").write_text(text)
    (tmp_path / "ECG5000_TEST.txt").write_text("1 2 3\n")
    with pytest.raises(data.DataError, match=message):
        data.load_ecg5000(tmp_path)


def test_missing_heartbeats(tmp_path):
    (tmp_path / "ECG5000_TRAIN.txt").write_text("1 2 3\n")
    with pytest.raises(
        data.MissingDataError, match="expected ECG5000_TRAIN.txt and .* found ECG5000_TRAIN.txt"
    ):
        data.load_ecg5000(tmp_path)


def test_faces(tmp_path):
    for person in range(1, 13):
        for image in (1, 2):
            write_pgm(
                tmp_path / f"s{person}" / f"{image}.pgm", np.full((4, 3), 10 * person + image, np.uint8)
            )
    splits = data.load_faces(tmp_path)
    assert splits.train.inputs.shape == (16, 1, 4, 3) and splits.test.inputs.shape == (8, 1, 4, 3)
    assert splits.classes[1] == "s2" and splits.classes[-1] == "s12"
    assert splits.test.inputs[:, 0, 0, 0].tolist() == [91, 92, 101, 102, 111, 112, 121, 122]
    write_pgm(tmp_path / "s3" / "3.pgm", np.zeros((4, 4), np.uint8))
    with pytest.raises(data.DataError, match="expected an image of 4 x 3 like the first one, found 4 x 4"):
        data.load_faces(tmp_path)
    with pytest.raises(data.MissingDataError, match="more than 4, found 1"):
        data.load_faces(_one(tmp_path))


def _one(folder: Path) -> Path:
    write_pgm(folder / "few" / "s1" / "1.pgm", np.zeros((4, 4), np.uint8))
    return folder / "few"


def test_styles_of_digits():
    styles = data.load_styles("digits", size=16)
    a, b = styles.train
    assert a.inputs.shape == b.inputs.shape == (719, 1, 16, 16) and a.inputs.dtype == np.uint8
    assert len(styles.test[0]) == len(styles.test[1]) == 359
    np.testing.assert_array_equal(styles.test[1].inputs, data.thickened_inverse(styles.test[0].inputs))
    assert a.inputs.mean() < 90 < b.inputs.mean()
    image = np.zeros((1, 1, 4, 5), np.uint8)
    image[0, 0, 1, 1] = 200
    thick = 255 - data.thickened_inverse(image)[0, 0]
    assert thick[:3, :3].tolist() == [[200] * 3] * 3 and thick.sum() == 1800


def test_styles_of_folders(tmp_path):
    for part, count in (("A", 6), ("B", 11)):
        for i in range(count):
            write_pgm(tmp_path / part / f"{i:02}.pgm", np.full((8, 8 + i), 20 * i, np.uint8))
    styles = data.load_styles("folder", tmp_path, 4)
    assert [len(part) for part in (*styles.train, *styles.test)] == [5, 9, 1, 2]
    assert styles.test[0].inputs[0, 0, 0, 0] == 80 and styles.classes == ()
    with pytest.raises(data.DataError, match="expected a directory with images in A and in B"):
        data.load_styles("folder", tmp_path / "A")


@pytest.mark.skipif("NONET_DATA" not in os.environ, reason="NONET_DATA names no folder of data sets")
def test_real_files():
    root = Path(os.environ["NONET_DATA"])
    if (root / "ecg5000").is_dir():
        beats = data.load_ecg5000(root / "ecg5000")
        assert beats.train.inputs.shape == (500, 140) and len(beats.test) == 1500
        assert (beats.train.targets == 0).sum() == 292
    if (root / "att_faces").is_dir():
        faces = data.load_faces(root / "att_faces")
        assert faces.train.inputs.shape == (360, 1, 112, 92) and len(faces.test) == 40
