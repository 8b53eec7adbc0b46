"""Data sets by name."""

from __future__ import annotations

import pytest

from nonet.data import SETS, DataError, load


def test_digits():
    assert SETS == ("digits", "mnist", "folder")
    assert len(load("digits").test) == 359


def test_faults(tmp_path):
    with pytest.raises(ValueError, match="load: name must be one of digits, mnist, folder, got 'cifar'"):
        load("cifar")
    with pytest.raises(DataError, match="digits: comes with nonet, expected no directory, got"):
        load("digits", tmp_path)
    with pytest.raises(DataError, match=r"mnist: expected a directory with \{train,t10k\}-.*, got none"):
        load("mnist")
    with pytest.raises(DataError, match="expected one of train-images-idx3-ubyte"):
        load("mnist", tmp_path)
