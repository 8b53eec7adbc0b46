"""Sound: PCM in wav files is read here, every other format through soundfile."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np

from nonet.io.atomic import PathLike
from nonet.io.errors import FileError, MissingFileError
from nonet.io.image import MissingExtraError


def read_audio(path: PathLike) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int]:
    """The sound in `path` as float32 [T] in [-1, 1], the mean of its channels, and its rate in samples per second.

    Wav files of integers (8 to 32 bits) are read here, others through soundfile (extra `audio`). FileError if the file
    is missing, damaged or no sound; MissingExtraError without soundfile.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(12)
            file.seek(0)
            if head[:4] == b"RIFF" and head[8:] == b"WAVE":
                try:
                    return _read_wave(file)
                except wave.Error as error:
                    if "unknown format" not in str(error):
                        raise
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: expected a sound file, found none") from error
    except OSError as error:
        raise FileError(f"{path}: expected a readable file, found: {error.strerror or error}") from error
    except (wave.Error, EOFError, ValueError) as error:
        raise FileError(f"{path}: expected a complete wav file, found: {error or 'its end'}") from error
    return _read_with_soundfile(path)


def _read_wave(file: Any) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int]:
    with wave.open(file) as sound:
        width, channels, rate = sound.getsampwidth(), sound.getnchannels(), sound.getframerate()
        count = sound.getnframes()
        raw = sound.readframes(count)
    if len(raw) != count * width * channels:
        raise EOFError(f"{len(raw)} of {count * width * channels} bytes of samples")
    if width == 1:  # the only one without a sign
        values = np.frombuffer(raw, np.uint8).astype(np.float32) - 128
    elif width == 3:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        values = (wide.reshape(-1).view("<i4") >> 8).astype(np.float32)
    else:
        values = np.frombuffer(raw, f"<i{width}").astype(np.float32)
    scaled = values * np.float32(2.0 ** (1 - 8 * width))
    return scaled.reshape(-1, channels).mean(axis=1, dtype=np.float32), rate


def _read_with_soundfile(path: Path) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int]:
    try:
        import soundfile  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError) as error:  # or its library is not there
        raise MissingExtraError(
            f"{path}: files other than PCM in wav need soundfile; "
            "install the extra `audio` (pip install 'nonet[audio]')"
        ) from error
    try:
        values, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except Exception as error:  # soundfile's errors are of many kinds
        raise FileError(f"{path}: expected a sound file, found: {error}") from error
    return values.mean(axis=1, dtype=np.float32), int(rate)
