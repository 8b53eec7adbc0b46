"""The bundled digits: their values, their split, a damaged file."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from nonet.data import DataError, MissingDataError, digits, load_digits


def rows_in_order():
    splits = load_digits()
    images = np.empty((1797, 1, 8, 8), np.uint8)
    labels = np.empty(1797, np.int64)
    is_test = np.arange(1797) % 5 == 4
    for part, where in ((splits.train, ~is_test), (splits.test, is_test)):
        images[where], labels[where] = part.inputs, part.targets
    return images, labels


def test_shapes_and_split():
    splits = load_digits()
    assert splits.name == "digits"
    assert splits.classes == tuple("0123456789")
    assert splits.train.inputs.shape == (1438, 1, 8, 8)
    assert splits.test.inputs.shape == (359, 1, 8, 8)
    assert splits.train.inputs.dtype == np.uint8
    assert splits.train.targets.dtype == np.int64


def test_values_are_those_of_the_uci_file():
    images, labels = rows_in_order()
    assert images.max() == 16
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images[0, 0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    # Hashes of the uint8 pixels and labels as scikit-learn's load_digits returns them.
    assert hashlib.sha256(images.tobytes()).hexdigest() == (
        "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
    )
    assert hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest() == (
        "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0"
    )


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty"])
def test_damaged_file_is_named(monkeypatch, tmp_path, damage):
    data = bytearray(digits._FILE.read_bytes())
    if damage == "flipped":
        data[1000] ^= 1
    file = tmp_path / "digits.npz"
    file.write_bytes({"flipped": data, "truncated": data[:-1], "empty": b""}[damage])
    monkeypatch.setattr(digits, "_FILE", file)
    with pytest.raises(DataError, match=r"digits\.npz: expected the bundled digits .*, found \d+ bytes"):
        load_digits()


def test_missing_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(digits, "_FILE", tmp_path / "digits.npz")
    with pytest.raises(MissingDataError, match=r"digits\.npz: expected a file, found none"):
        load_digits()
