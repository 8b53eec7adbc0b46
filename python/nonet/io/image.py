"""Grey and colour images from files: netpbm (PGM, PPM) by itself, every other format through pillow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from nonet.io.atomic import PathLike
from nonet.io.errors import FileError, MissingFileError

_space = rb"(?:\s|#[^\n]*\n)+"
_header = re.compile(rb"P([2356])" + 3 * (_space + rb"(\d+)") + rb"\s")


class MissingExtraError(RuntimeError):
    """Something needs an optional package: the message names the extra that brings it."""


def read_image(path: PathLike) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The image in `path` as float32 [C, H, W] in [0, 1]; C = 1 (grey) or 3 (red, green, blue).

    PGM and PPM files (plain or binary, up to 16 bits) are read here, others through pillow (extra `vision`), which
    drops transparency. FileError if the file is missing, truncated or no image; MissingExtraError without pillow.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: expected an image file, found none") from error
    except OSError as error:
        raise FileError(f"{path}: expected a readable file, found: {error.strerror or error}") from error
    if data[:2] in (b"P2", b"P3", b"P5", b"P6"):
        return _read_netpbm(data, path)
    return _read_with_pillow(path)


def _read_netpbm(data: bytes, path: Path) -> np.ndarray:
    match = _header.match(data)
    if match is None:
        raise FileError(f"{path}: expected a PGM or PPM header (kind, width, height, maximum), found another")
    kind = int(match[1])
    width, height, maximum = int(match[2]), int(match[3]), int(match[4])
    if not (width and height and 0 < maximum < 65536):
        raise FileError(
            f"{path}: expected a size of at least 1 x 1 and a maximum in [1, 65535], "
            f"found {width} x {height} and {maximum}"
        )
    channels = 3 if kind in (3, 6) else 1
    count = width * height * channels
    body = data[match.end() :]
    if kind in (2, 3):
        words = re.sub(rb"#[^\n]*", b"", body).split()
        if len(words) < count or not all(word.isdigit() for word in words[:count]):
            raise FileError(f"{path}: expected {count} numbers after the header, found {len(words)} words")
        values = np.array([int(word) for word in words[:count]], dtype=np.float64)
    else:
        stored = np.dtype(">u2" if maximum > 255 else np.uint8)
        if len(body) < count * stored.itemsize:
            raise FileError(f"{path}: expected {count * stored.itemsize} bytes of pixels, found {len(body)}")
        values = np.frombuffer(body, stored, count).astype(np.float64)
    if values.max() > maximum:
        raise FileError(f"{path}: expected values up to {maximum}, found {int(values.max())}")
    image = (values / maximum).astype(np.float32).reshape(height, width, channels)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _read_with_pillow(path: Path) -> np.ndarray:
    try:
        from PIL import Image, UnidentifiedImageError  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: reading this format needs pillow; install the extra `vision` (pip install 'nonet[vision]')"
        ) from error
    try:
        with Image.open(path) as image:
            deep = image.mode.startswith("I") or image.mode == "F"
            grey = deep or image.mode in ("1", "L", "LA")
            pixels = np.asarray(image if deep else image.convert("L" if grey else "RGB"), dtype=np.float32)
    except UnidentifiedImageError as error:
        raise FileError(f"{path}: expected an image, found an unknown format") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise FileError(f"{path}: expected a complete image, found: {error}") from error
    pixels = pixels / np.float32(65535 if deep else 255)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
