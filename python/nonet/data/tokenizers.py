"""Tokenizers: bytes, and those of Hugging Face's library (extra `text`). Characters: `CharVocab`."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nonet.data.errors import DataError, MissingDataError
from nonet.data.files import PathLike
from nonet.io import MissingExtraError

__all__ = ["ByteTokenizer", "Tokenizer"]


class ByteTokenizer:
    """Every byte of UTF-8 is a token: 256 of them, and any text fits."""

    def __len__(self) -> int:
        return 256

    def encode(self, text: str) -> NDArray[np.int64]:
        """int64 [T]"""
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64)

    def decode(self, codes: ArrayLike) -> str:
        """The text; what is no UTF-8 becomes U+FFFD. ValueError outside 0 to 255."""
        array = np.asarray(codes)
        if array.size and (array.min() < 0 or array.max() > 255):
            raise ValueError("ByteTokenizer: codes must be in [0, 255]")
        return array.astype(np.uint8).tobytes().decode("utf-8", "replace")


class Tokenizer:
    """A tokenizer of the library `tokenizers`: a `tokenizer.json`, or one trained here.

    MissingExtraError without the library.
    """

    def __init__(self, inner: Any):
        self.inner = inner

    @classmethod
    def from_file(cls, path: PathLike) -> Tokenizer:
        """Of a tokenizer.json, or of a folder with one. DataError if it is missing or damaged."""
        library = _library()
        path = Path(path)
        file = path / "tokenizer.json" if path.is_dir() else path
        if not file.is_file():
            raise MissingDataError(f"{file}: expected a tokenizer.json, found none")
        try:
            return cls(library.Tokenizer.from_file(str(file)))
        except Exception as error:  # the library's own type
            raise DataError(f"{file}: expected a tokenizer.json, found: {error}") from error

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        return cls(_library().Tokenizer.from_str(text))

    @classmethod
    def train_bpe(cls, texts: Iterable[str], vocabulary: int, special: Sequence[str] = ()) -> Tokenizer:
        """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019) of at most so many tokens."""
        library = _library()
        inner = library.Tokenizer(library.models.BPE())
        inner.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(special),
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        inner.train_from_iterator(texts, trainer)
        return cls(inner)

    def __len__(self) -> int:
        return self.inner.get_vocab_size()

    def encode(self, text: str) -> NDArray[np.int64]:
        """int64 [T]"""
        return np.array(self.inner.encode(text).ids, np.int64)

    def decode(self, codes: ArrayLike) -> str:
        return self.inner.decode([int(code) for code in np.asarray(codes)])

    def token(self, name: str) -> int | None:
        """The number of a token, None if it is not known."""
        return self.inner.token_to_id(name)

    def to_json(self) -> str:
        return self.inner.to_str()

    def save(self, path: PathLike) -> None:
        self.inner.save(str(path))


def _library() -> Any:
    try:
        library = importlib.import_module("tokenizers")
        for part in ("decoders", "models", "pre_tokenizers", "trainers"):
            importlib.import_module(f"tokenizers.{part}")
    except ImportError as error:
        raise MissingExtraError("tokenizers need the extra `text` (pip install 'nonet[text]')") from error
    return library
