"""Sentence pairs for translation: Multi30k, files of tab-separated pairs, and numbers in words."""

from __future__ import annotations

from dataclasses import dataclass

from nonet.data.errors import DataError, MissingDataError
from nonet.data.files import PathLike, require_directory
from nonet.data.streams import permutation
from nonet.data.text import read_lines, read_tsv

Rows = tuple[tuple[str, str], ...]
MULTI30K_FILES = "train.de.gz, train.en.gz, val.*.gz and test_2016_flickr.*.gz"
TSV_FILES = "train.tsv and test.tsv, or one .tsv, of source and target sentences"
_PARTS = ("train", "val", "test_2016_flickr")


@dataclass(frozen=True)
class Pairs:
    """(source, target) sentences. characters: whether single characters are the source's words."""

    name: str
    train: Rows
    validation: Rows
    test: Rows
    characters: bool = False


def load_pairs(name: str, directory: PathLike | None = None) -> Pairs:
    """ "numbers" (generated, takes no directory), "multi30k" (German to English) or "tsv".

    "numbers" are numbers in digits and in English words: of the 10^6 below a million 20000, of which every tenth is for
    validation and every tenth for test. "multi30k" is the folder of its task 1 (Elliott et al., "Multi30K: multilingual
    English-German image descriptions", 2016), tested on test_2016_flickr. "tsv" has tab-separated pairs, a part for
    validation is cut from train.tsv unless there is a validation.tsv or val.tsv; a single file is cut into three.
    ValueError for another name, DataError for files.
    """
    if name == "numbers":
        if directory is not None:
            raise DataError(f"{name}: is generated, expected no directory, got {directory}")
        return _numbers()
    if name not in ("multi30k", "tsv"):
        raise ValueError(f"load_pairs: name must be one of numbers, multi30k, tsv, got {name!r}")
    wanted = MULTI30K_FILES if name == "multi30k" else TSV_FILES
    if directory is None:
        raise DataError(f"{name}: expected a directory with {wanted}, got none")
    folder = require_directory(directory, wanted)
    if name == "multi30k":
        train, validation, test = (_parallel(folder / part) for part in _PARTS)
        return Pairs(name, train, validation, test)
    files = {path.stem: path for path in sorted(folder.glob("*.tsv")) if path.is_file()}
    if "train" in files and "test" in files:
        train, test = _read(files["train"]), _read(files["test"])
        held = files.get("validation", files.get("val"))
        if held is not None:
            return Pairs(name, train, _read(held), test)
        train, validation = _cut(name, train, 2)
        return Pairs(name, train, validation, test)
    if len(files) != 1:
        raise MissingDataError(f"{folder}: expected {TSV_FILES}, found {', '.join(files) or 'none'}")
    train, validation, test = _cut(name, _read(next(iter(files.values()))), 3)
    return Pairs(name, train, validation, test)


def _read(path: PathLike) -> Rows:
    return tuple((row[0], row[1]) for row in read_tsv(path))


def _parallel(stem: PathLike) -> Rows:
    """The lines of stem.de and stem.en (.gz or not)."""
    sides = []
    for language in ("de", "en"):
        path = f"{stem}.{language}"
        try:
            sides.append(read_lines(f"{path}.gz"))
        except MissingDataError:
            sides.append(read_lines(path))
    if len(sides[0]) != len(sides[1]):
        raise DataError(
            f"{stem}: expected as many lines of de as of en, found {len(sides[0])} and {len(sides[1])}"
        )
    return tuple(zip(*sides, strict=True))


def _cut(name: str, rows: Rows, parts: int) -> tuple[Rows, ...]:
    """Training part and, of every tenth row, one or two parts more."""
    if len(rows) < 20:
        raise DataError(f"{name}: expected at least 20 pairs, found {len(rows)}")
    order = permutation(len(rows), "holdout", 0)
    shuffled = [rows[i] for i in order]
    size = len(rows) // 10
    cuts = [tuple(shuffled[i * size : (i + 1) * size]) for i in range(parts - 1)]
    return (tuple(shuffled[(parts - 1) * size :]), *cuts)


_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def number_words(number: int) -> str:
    """A number of 0 … 999999 in English words, without hyphens. ValueError for others."""
    if not 0 <= number < 1000000:
        raise ValueError(f"number_words: number must be in [0, 999999], got {number}")
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens = _TENS[number // 10 - 2]
        return tens if number % 10 == 0 else f"{tens} {_ONES[number % 10]}"
    if number < 1000:
        head, rest, join = f"{_ONES[number // 100]} hundred", number % 100, " and "
    else:
        head, rest, join = f"{number_words(number // 1000)} thousand", number % 1000, " "
    return head if rest == 0 else f"{head}{join}{number_words(rest)}"


def _numbers(count: int = 20000) -> Pairs:
    chosen = permutation(1000000, "numbers", 0)[:count]
    # A tenth of them short, or hardly any would be.
    rows = [
        (str(n), number_words(n))
        for n in (int(n) % 1000 if i % 10 == 0 else int(n) for i, n in enumerate(chosen))
    ]
    unique = list(dict.fromkeys(rows))
    train, validation, test = _cut("numbers", tuple(unique), 3)
    return Pairs("numbers", train, validation, test, characters=True)
