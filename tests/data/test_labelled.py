from __future__ import annotations

import os
from pathlib import Path

import pytest

from nonet import data
from nonet.data import DataError

REAL = os.environ.get("NONET_DATA")


def test_lines_with_labels(tmp_path):
    (tmp_path / "train.tsv").write_text("good\tI like it\nbad\tI do not\n")
    (tmp_path / "test.txt").write_text("bad\tNo\n")
    sets = data.load_labelled("lines", tmp_path)
    assert sets.classes == ("bad", "good") and sets.train[0] == ["I like it", "I do not"]
    assert sets.train[1].tolist() == [1, 0] and sets.test[1].tolist() == [0]
    (tmp_path / "test.txt").write_text("ugly\tNo\n")
    with pytest.raises(DataError, match="found 'ugly' in the test part"):
        data.load_labelled("lines", tmp_path)
    (tmp_path / "test.txt").unlink()
    with pytest.raises(DataError, match=r"expected test\.tsv, found none"):
        data.load_labelled("lines", tmp_path)
    with pytest.raises(DataError, match="expected a directory with train.tsv"):
        data.load_labelled("lines", tmp_path / "none")
    with pytest.raises(ValueError, match="name must be one of trec, lines"):
        data.load_labelled("other", tmp_path)


def test_questions(tmp_path):
    (tmp_path / "TREC.train.all").write_text("0 What ?\n3 Who ?\n")
    (tmp_path / "TREC.test.all").write_text("5 How many ?\n")
    sets = data.load_labelled("trec", tmp_path)
    assert sets.train[0] == ["What ?", "Who ?"] and sets.train[1].tolist() == [0, 3]
    assert sets.classes[sets.test[1][0]] == "number"
    (tmp_path / "TREC.train.all").write_text("0 What ?\nnone\n")
    with pytest.raises(
        DataError, match=r"TREC\.train\.all:2: expected a class number and a question, found 'none'"
    ):
        data.load_labelled("trec", tmp_path)


@pytest.mark.skipif(not REAL, reason="NONET_DATA names no folder of data sets")
def test_real_questions():
    folder = Path(REAL or "") / "trec"
    if not folder.is_dir():
        pytest.skip("NONET_DATA has no trec")
    trec = data.load_labelled("trec", folder)
    assert len(trec.train[0]) == 5452 and len(trec.test[0]) == 500 and len(trec.classes) == 6
