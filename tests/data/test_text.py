"""Text files, lines, TSV and the character vocabulary."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.data import CharVocab, DataError, MissingDataError, read_lines, read_text, read_tsv


def test_file_and_folder(tmp_path):
    (tmp_path / "b.txt").write_bytes("\ufeffzwei\r\nüber".encode())
    assert read_text(tmp_path) == read_text(tmp_path / "b.txt") == "zwei\nüber"
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "c.txt").write_text("three\n")
    (tmp_path / "d.md").write_text("no")
    assert read_text(tmp_path) == "one\nzwei\nüber\nthree\n"


def test_faults(tmp_path):
    with pytest.raises(
        MissingDataError, match=re.escape(f"{tmp_path}: expected a directory with .txt files")
    ):
        read_text(tmp_path)
    path = tmp_path / "a.txt"
    with pytest.raises(MissingDataError, match=r"a\.txt: expected a file, found none"):
        read_text(path)
    path.write_text("")
    for read in (read_text, read_lines, read_tsv):
        with pytest.raises(DataError, match=r"a\.txt: expected text, found an empty file"):
            read(path)
    path.write_bytes(b"abc\nde\xe9f\n")
    with pytest.raises(DataError, match=r"a\.txt:2:3: expected utf-8 text, found byte 0xe9"):
        read_text(tmp_path)
    assert read_text(path, "latin-1") == "abc\ndeéf\n"


def test_lines(tmp_path):
    path = tmp_path / "lines.gz"
    path.write_bytes(gzip.compress("a\u2028b\x0bc\n\nlast\n".encode()))
    assert read_lines(path) == ["a\u2028b\x0bc", "", "last"]


def test_tsv(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text('ja\t"yes\n\nnein\tno\n')
    assert read_tsv(path) == [("ja", '"yes'), ("nein", "no")]
    with pytest.raises(DataError, match=r"pairs\.tsv:1: expected 3 tab-separated fields, found 2"):
        read_tsv(path, 3)


def test_vocabulary():
    vocab = CharVocab.from_text("hello\nü")
    assert vocab.characters == "\nehloü"
    assert len(vocab) == 6
    codes = vocab.encode("hol\nü")
    assert codes.dtype == np.int64
    assert codes.tolist() == [2, 4, 3, 0, 5]
    assert vocab.decode(codes) == "hol\nü"
    assert vocab.encode("").shape == (0,)
    assert vocab.decode([]) == ""
    assert vocab == CharVocab("\nehloü")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 0x10FFFF), min_size=1), st.randoms())
def test_round_trip_in_any_order(points, random):
    text = "".join(map(chr, points))  # lone surrogates among them
    characters = list(set(text))
    random.shuffle(characters)
    vocab = CharVocab("".join(characters))
    codes = vocab.encode(text)
    assert codes.tolist() == [characters.index(c) for c in text]
    assert vocab.decode(codes) == text


def test_vocabulary_faults():
    vocab = CharVocab("abd")
    for text, at in (("abcz", 2), ("zz", 0), ("ab ", 2)):
        message = f"CharVocab: expected one of 3 characters, found {text[at]!r} at position {at}"
        with pytest.raises(DataError, match=re.escape(message)):
            vocab.encode(text)
    with pytest.raises(ValueError, match=r"CharVocab: codes must be in \[0, 2\], got 3"):
        vocab.decode([0, 3])
    with pytest.raises(ValueError, match=r"CharVocab: codes must be in \[0, 2\], got -1"):
        vocab.decode(np.array([-1]))
    with pytest.raises(ValueError, match=r"CharVocab: codes must have shape \[T\], got \[1, 1\]"):
        vocab.decode([[0]])
    with pytest.raises(TypeError, match="CharVocab: codes must be integers, got float64"):
        vocab.decode([0.5])
    with pytest.raises(ValueError, match="CharVocab: characters must not be empty"):
        CharVocab("")
    with pytest.raises(ValueError, match="CharVocab: characters must differ, got 'a' twice"):
        CharVocab("aba")
