"""Running text for language models, cut into training, validation and test parts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nonet.data.errors import DataError
from nonet.data.files import PathLike, require_directory
from nonet.data.text import CharVocab, read_text

TEXT_FILES = "one or more .txt files"


@dataclass(frozen=True)
class Corpus:
    """A text in three parts, which follow each other: the last tenth is the test part, and a tenth of what is before it
    the validation part."""

    name: str
    train: str
    validation: str
    test: str

    def vocab(self) -> CharVocab:
        """The characters of all parts."""
        return CharVocab.from_text(self.train + self.validation + self.test)


def load_corpus(name: str, directory: PathLike | None = None) -> Corpus:
    """ "topics", the help texts of Python itself, which differ by its version; or "text", the .txt files of a folder.

    ValueError for another name, DataError for files or a text of less than 100 characters.
    """
    if name == "topics":
        if directory is not None:
            raise DataError(f"{name}: comes with Python, expected no directory, got {directory}")
        from pydoc_data.topics import topics

        return split_text(name, "\n".join(topics[key] for key in sorted(topics)))
    if name != "text":
        raise ValueError(f"load_corpus: name must be one of topics, text, got {name!r}")
    if directory is None:
        raise DataError(f"{name}: expected a directory with {TEXT_FILES}, got none")
    return split_text(name, read_text(require_directory(directory, TEXT_FILES)))


def split_text(name: str, text: str) -> Corpus:
    """`text` as a corpus. DataError if it has less than 100 characters."""
    if len(text) < 100:
        raise DataError(f"{name}: expected a text of at least 100 characters, found {len(text)}")
    test = len(text) - len(text) // 10
    validation = test - test // 10
    return Corpus(name, text[:validation], text[validation:test], text[test:])


def bigram_nats(train: NDArray[np.int64], test: NDArray[np.int64], size: int) -> float:
    """Nats per code that pairs of neighbours predict: -log p(b | a) over `test`, p the share of b after a in `train`
    with one count added to each (Laplace)."""
    counts = np.ones((size, size))
    np.add.at(counts, (train[:-1], train[1:]), 1)
    probability = counts / counts.sum(axis=1, keepdims=True)
    return float(-np.log(probability[test[:-1], test[1:]]).mean())


_TOKEN = re.compile(r"['’]\w+|\w+(?:-\w+)*|[^\w\s]")
_NO_SPACE_BEFORE = re.compile(r" (?=[.,;:!?)\]}%]|['’]\w)")
_NO_SPACE_AFTER = re.compile(r"(?<=[(\[{$#]) ")


def words(text: str) -> list[str]:
    """The words of `text`, hyphens inside; what follows an apostrophe, and every other sign, is a word of its own."""
    return _TOKEN.findall(text)


def sentence(tokens: Iterable[str]) -> str:
    """`words` joined again, with the usual spaces."""
    return _NO_SPACE_AFTER.sub("", _NO_SPACE_BEFORE.sub("", " ".join(tokens)))


class WordVocab:
    """Code i stands for `tokens[i]`; the first four are for padding, unknown words, and the begin and end of a text.

    ValueError if the first ones are others, or a token is there twice.
    """

    pad, unknown, begin, end = range(4)
    special = ("<pad>", "<unk>", "<bos>", "<eos>")

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tuple(tokens)
        self._codes = {token: code for code, token in enumerate(self.tokens)}
        if self.tokens[:4] != self.special:
            raise ValueError(f"WordVocab: tokens must begin with {self.special}, got {self.tokens[:4]}")
        if len(self._codes) != len(self.tokens):
            raise ValueError("WordVocab: tokens must differ")

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[Iterable[str]],
        least: int = 1,
        largest: int | None = None,
        extra: Sequence[str] = (),
    ) -> WordVocab:
        """The tokens that `texts` have at least `least` times, the most frequent `largest` of them, behind `extra`."""
        counts = Counter(token for text in texts for token in text)
        for token in (*cls.special, *extra):
            counts.pop(token, None)
        ordered = sorted(counts, key=lambda token: (-counts[token], token))
        return cls([*cls.special, *extra, *(token for token in ordered[:largest] if counts[token] >= least)])

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, tokens: Iterable[str], ends: bool = False) -> NDArray[np.int64]:
        """The codes of `tokens`, int64 [T], with `ends` between those for begin and end."""
        codes = [self._codes.get(token, self.unknown) for token in tokens]
        return np.array([self.begin, *codes, self.end] if ends else codes, np.int64)

    def decode(self, codes: Iterable[int]) -> list[str]:
        """The tokens of `codes` up to the first end, without padding and begin."""
        out: list[str] = []
        for code in codes:
            if code == self.end:
                break
            if code not in (self.pad, self.begin):
                out.append(self.tokens[int(code)])
        return out
