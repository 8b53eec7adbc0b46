from __future__ import annotations

import numpy as np
import pytest

from nonet import data
from nonet.data import ByteTokenizer, DataError
from nonet.io import MissingExtraError


def test_bytes():
    coder = ByteTokenizer()
    codes = coder.encode("Größe ✓")
    assert codes.dtype == np.int64 and len(codes) == 11 and len(coder) == 256
    assert coder.decode(codes) == "Größe ✓"
    assert coder.decode(codes[:3]) == "Gr\ufffd"
    with pytest.raises(ValueError, match=r"codes must be in \[0, 255\]"):
        coder.decode([256])


def test_library(tmp_path):
    pytest.importorskip("tokenizers")
    texts = ["the cat sat on the mat", "the dog sat on the cat"] * 5
    coder = data.Tokenizer.train_bpe(texts, 280, ["<end>"])
    codes = coder.encode("the cat on the dog ü")
    assert coder.decode(codes) == "the cat on the dog ü"
    assert len(codes) < 15 and coder.token("<end>") == 0 and coder.token("nothing") is None
    coder.save(tmp_path / "tokenizer.json")
    for again in (
        data.Tokenizer.from_file(tmp_path),
        data.Tokenizer.from_file(tmp_path / "tokenizer.json"),
        data.Tokenizer.from_json(coder.to_json()),
    ):
        np.testing.assert_array_equal(again.encode("the cat"), coder.encode("the cat"))
        assert len(again) == len(coder)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"expected a tokenizer\.json, found"):
        data.Tokenizer.from_file(tmp_path)
    with pytest.raises(DataError, match=r"tokenizer\.json, found none"):
        data.Tokenizer.from_file(tmp_path / "other")


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"need the extra `text` \(pip install 'nonet\[text\]'\)"):
        data.Tokenizer.train_bpe(["a"], 10)
