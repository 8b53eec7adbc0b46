"""Sentences with labels: the questions of TREC, and files of labels and texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nonet.data.errors import DataError, MissingDataError
from nonet.data.files import PathLike, require_directory
from nonet.data.text import read_lines, read_tsv

LABELLED_FILES = {
    "trec": "TREC.train.all and TREC.test.all, a class number and a question per line",
    "lines": "train.tsv and test.tsv (or .txt), a label, a tab and a text per line",
}
TREC_CLASSES = ("abbreviation", "entity", "description", "human", "location", "number")
_ENDINGS = (".tsv", ".txt", ".tsv.gz", ".txt.gz")
Part = tuple[list[str], NDArray[np.int64]]


@dataclass(frozen=True)
class LabelledText:
    """Sentences and the numbers of their classes, of a training and a test part."""

    train: Part
    test: Part
    classes: tuple[str, ...]


def load_labelled(name: str, directory: PathLike) -> LabelledText:
    """ "trec", questions by the kind of their answer (Li, Roth, "Learning question classifiers", 2002), or "lines", any
    sentences with labels; see `LABELLED_FILES`.

    ValueError for another name, DataError for a file that is missing or has another form.
    """
    if name not in LABELLED_FILES:
        raise ValueError(f"load_labelled: name must be one of {', '.join(LABELLED_FILES)}, got {name!r}")
    folder = require_directory(directory, LABELLED_FILES[name])
    if name == "trec":
        train, test = (_trec(folder / f"TREC.{part}.all") for part in ("train", "test"))
        return LabelledText(train, test, TREC_CLASSES)
    rows = [read_tsv(_either(folder, part)) for part in ("train", "test")]
    classes = tuple(sorted({label for label, _ in rows[0]}))
    number = {label: i for i, label in enumerate(classes)}
    for label, _ in rows[1]:
        if label not in number:
            raise DataError(
                f"{folder}: expected the labels of the training part, found {label!r} in the test part"
            )
    train, test = (
        ([text for _, text in part], np.array([number[label] for label, _ in part], np.int64))
        for part in rows
    )
    return LabelledText(train, test, classes)


def _trec(path: Path) -> Part:
    sentences, labels = [], []
    for number, line in enumerate(read_lines(path, "latin-1"), 1):
        label, _, text = line.partition(" ")
        if not label.isdigit() or int(label) >= len(TREC_CLASSES):
            raise DataError(f"{path}:{number}: expected a class number and a question, found {line[:40]!r}")
        sentences.append(text)
        labels.append(int(label))
    return sentences, np.array(labels, np.int64)


def _either(folder: Path, part: str) -> Path:
    for ending in _ENDINGS:
        path = folder / (part + ending)
        if path.is_file():
            return path
    raise MissingDataError(f"{folder}: expected {part}.tsv, found none")
