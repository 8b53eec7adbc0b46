"""Spoken digits: the recordings of FSDD, one by one and joined to strings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nonet.data.errors import DataError, MissingDataError
from nonet.data.files import PathLike, require_directory
from nonet.data.streams import generator

FSDD_FILES = "recordings/DIGIT_SPEAKER_INDEX.wav"
_NAME = re.compile(r"(\d)_([^_]+)_(\d+)")
_TEST_INDICES = 5  # of each speaker and digit, the first ones


@dataclass(frozen=True, eq=False)
class Recording:
    """`signal` float32 [N] in [-1, 1]: `speaker` says `digit`."""

    signal: NDArray[np.float32]
    digit: int
    speaker: str


@dataclass(frozen=True, eq=False)
class Recordings:
    """The training and test part, and the rate of all of them in samples per second."""

    train: tuple[Recording, ...]
    test: tuple[Recording, ...]
    rate: int


def load_fsdd(directory: PathLike) -> Recordings:
    """The Free Spoken Digit Dataset (Jackson et al., https://github.com/Jakobovski/free-spoken-digit-dataset).

    `directory` has a folder `recordings`, or is it, with files DIGIT_SPEAKER_INDEX.wav; those of indices 0 to 4 are the
    test part. DataError if files are missing or damaged, or their rates differ.
    """
    from nonet.io.audio import read_audio
    from nonet.io.errors import FileError

    folder = require_directory(directory, FSDD_FILES)
    if (folder / "recordings").is_dir():
        folder = folder / "recordings"
    found = {path: match for path in folder.glob("*.wav") if (match := _NAME.fullmatch(path.stem))}
    if not found:
        raise MissingDataError(f"{folder}: expected {FSDD_FILES}, found no such file")
    parts: tuple[list[Recording], list[Recording]] = [], []
    rate = 0
    for path in sorted(found, key=lambda path: (found[path][2], int(found[path][1]), int(found[path][3]))):
        digit, speaker, index = found[path].groups()
        try:
            signal, its_rate = read_audio(path)
        except FileError as error:
            raise DataError(str(error)) from error
        if rate not in (0, its_rate):
            raise DataError(f"{path}: expected {rate} samples per second as before, found {its_rate}")
        rate = its_rate
        parts[int(index) < _TEST_INDICES].append(Recording(signal, int(digit), speaker))
    if not parts[0] or not parts[1]:
        raise DataError(f"{folder}: expected recordings of indices 0 to 4 and of others, found only one kind")
    return Recordings(tuple(parts[0]), tuple(parts[1]), rate)


class DigitStrings:
    """`count` strings of `low` to `high` digits, each of recordings of one speaker: sample i is (signal float32 [N],
    digits int64 [L]), a pure function of the recordings, `seed` and i; `sizes` [count] are the N. ValueError
    without recordings."""

    def __init__(
        self, recordings: Sequence[Recording], count: int, seed: int, low: int = 3, high: int = 7
    ) -> None:
        by_speaker: dict[str, list[Recording]] = {}
        for recording in recordings:
            by_speaker.setdefault(recording.speaker, []).append(recording)
        if not by_speaker:
            raise ValueError("DigitStrings: recordings must not be empty")
        self._parts: list[list[Recording]] = []
        speakers = sorted(by_speaker)
        rng = generator("strings", seed)
        for _ in range(count):
            own = by_speaker[speakers[int(rng.integers(len(speakers)))]]
            length = int(rng.integers(low, high + 1))
            self._parts.append([own[int(i)] for i in rng.integers(len(own), size=length)])
        self.sizes = np.array([sum(len(part.signal) for part in parts) for parts in self._parts], np.int64)

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        parts = self._parts[index]
        return np.concatenate([part.signal for part in parts]), np.array(
            [part.digit for part in parts], np.int64
        )
