"""Grey and colour images: netpbm (PGM, PPM) is read and PNG written here, every other format read through pillow."""

from __future__ import annotations

import re
import struct
import zlib
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from nonet.io.atomic import PathLike, write_bytes
from nonet.io.errors import FileError, MissingFileError

_space = rb"(?:\s|#[^\n]*\n)+"
_header = re.compile(rb"P([2356])" + 3 * (_space + rb"(\d{1,9})") + rb"\s")


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


def write_png(path: PathLike, pixels: np.ndarray) -> None:
    """Replaces `path` atomically by a PNG file of `pixels`: uint8 [H, W] or [1, H, W] (grey), or [3, H, W] (colours).

    The bytes are a pure function of the pixels and of zlib. TypeError for another dtype, ValueError for another shape.
    """
    if pixels.dtype != np.uint8:
        raise TypeError(f"write_png: pixels must be uint8, got {pixels.dtype}")
    planes = pixels[None] if pixels.ndim == 2 else pixels
    if planes.ndim != 3 or planes.shape[0] not in (1, 3) or 0 in planes.shape:
        raise ValueError(
            f"write_png: pixels must have shape [H, W], [1, H, W] or [3, H, W], got {list(pixels.shape)}"
        )
    channels, height, width = planes.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # a row begins with its filter: none
    rows[:, 1:] = planes.transpose(1, 2, 0).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    out = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in parts:
        out.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    write_bytes(path, b"".join(out))


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
        values = np.array([float(word) for word in takewhile(bytes.isdigit, words[:count])])
        if len(values) < count:
            raise FileError(f"{path}: expected {count} numbers after the header, found {len(values)}")
    else:
        stored = np.dtype(">u2" if maximum > 255 else np.uint8)
        if len(body) < count * stored.itemsize:
            raise FileError(f"{path}: expected {count * stored.itemsize} bytes of pixels, found {len(body)}")
        values = np.frombuffer(body, stored, count).astype(np.float64)
    if values.max() > maximum:
        raise FileError(f"{path}: expected values up to {maximum}, found {values.max():g}")
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
            if image.mode == "F":
                raise ValueError("floating-point pixels, which have no set range")
            deep = image.mode.startswith("I")
            grey = deep or image.mode in ("1", "L", "LA")
            pixels = np.asarray(image if deep else image.convert("L" if grey else "RGB"), dtype=np.float32)
    except UnidentifiedImageError as error:
        raise FileError(f"{path}: expected an image, found an unknown format") from error
    except Exception as error:  # pillow lets through whatever a damaged file brings about
        raise FileError(f"{path}: expected a complete image, found: {error}") from error
    if deep and not 0 <= pixels.min() <= pixels.max() <= 65535:
        raise FileError(
            f"{path}: expected pixels of at most 16 bits, found {pixels.min():g} to {pixels.max():g}"
        )
    pixels = pixels / np.float32(65535 if deep else 255)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
