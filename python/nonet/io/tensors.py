"""Named arrays with text beside them, in safetensors files.

Format: https://github.com/huggingface/safetensors. A file is 8 bytes (length of the header, little-endian), a JSON
header (name -> dtype, shape, byte range; `__metadata__` -> text), and the arrays' bytes. Files are written here and
read by the safetensors library, whose own writer puts the metadata in another order each time: equal contents give
equal bytes only so. `nonet.crc32` in the metadata is the CRC-32 of the header without it, and of the arrays.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from nonet.io.atomic import PathLike, replacing
from nonet.io.errors import FileError, MissingFileError
from nonet.tensor import Tensor

Arrays: TypeAlias = "dict[str, np.ndarray[Any, Any]]"

_CRC = "nonet.crc32"
_dtypes = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
}


def save_tensors(
    path: PathLike, tensors: Mapping[str, Tensor | np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Replaces `path` atomically by a safetensors file of `tensors` (by name, any shape) and `metadata`.

    The bytes are a pure function of the contents. Errors: TypeError for a dtype that the format lacks or for metadata
    that is no text, ValueError for a reserved name, OSError of the file system.
    """
    arrays = {name: _array_of(name, value) for name, value in tensors.items()}
    text = dict(sorted((metadata or {}).items()))
    for key, value in text.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise TypeError(f"save_tensors: metadata must map text to text, got {key!r}: {value!r}")
    if "__metadata__" in arrays or _CRC in text:
        raise ValueError(f"save_tensors: the name __metadata__ and the metadata key {_CRC} are reserved")
    # Larger items first, which keeps every array aligned to its own item size.
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": text}
    start = 0
    for name in order:
        array = arrays[name]
        header[name] = {
            "dtype": _dtypes[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        start += array.nbytes
    crc = zlib.crc32(_encoded(header))
    for name in order:
        crc = zlib.crc32(_bytes_of(arrays[name]), crc)
    text[_CRC] = f"{crc:08x}"
    head = _encoded(header)
    head += b" " * (-len(head) % 8)
    with replacing(path) as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name in order:
            file.write(_bytes_of(arrays[name]))


def load_tensors(path: PathLike) -> tuple[Arrays, dict[str, str]]:
    """The arrays by name and the metadata of a safetensors file; bfloat16 has the dtype of ml_dtypes.

    FileError names the file, what was expected and what was found: missing, truncated, damaged, another format.
    """
    import ml_dtypes  # noqa: F401  before safetensors, which otherwise refuses bfloat16
    import safetensors

    path = Path(path)
    crc, metadata = _checked_header(path)
    try:
        with safetensors.safe_open(path, framework="np") as file:
            # Sorted: the library's order may differ from the file's.
            arrays: Arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except safetensors.SafetensorError as error:
        raise FileError(f"{path}: expected a safetensors file, found a damaged one: {error}") from error
    if crc is not None:
        expected, found = crc
        order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
        for name in order:
            found = zlib.crc32(_bytes_of(arrays[name]), found)
        if found != expected:
            raise FileError(
                f"{path}: expected contents with CRC-32 {expected:08x}, found {found:08x}: damaged"
            )
    return arrays, metadata


def load_metadata(path: PathLike) -> dict[str, str]:
    """The metadata alone, without reading the arrays. FileError as `load_tensors`, but for damage of the arrays."""
    return _checked_header(Path(path))[1]


def _checked_header(path: Path) -> tuple[tuple[int, int] | None, dict[str, str]]:
    """((expected CRC, CRC of the header), metadata) after checks that give better messages than the library's."""
    header, size = _read_header(path)
    metadata = header.get("__metadata__", {})
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    try:
        end = max((entry["data_offsets"][1] for entry in entries), default=0)
        texts = all(isinstance(key, str) and isinstance(value, str) for key, value in metadata.items())
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise FileError(f"{path}: expected the header of a safetensors file, found other JSON") from error
    if not texts or not isinstance(end, int):
        raise FileError(f"{path}: expected the header of a safetensors file, found other JSON")
    if size != end:
        found = "a truncated file" if size < end else "a longer file"
        raise FileError(f"{path}: expected {end} bytes of arrays, found {size}: {found}")
    crc = metadata.pop(_CRC, None)
    if crc is None:
        return None, metadata
    try:
        return (int(crc, 16), zlib.crc32(_encoded(header))), metadata
    except ValueError as error:
        raise FileError(f"{path}: expected a CRC-32 of 8 digits, found {crc!r}") from error


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of the file and the number of bytes after it."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                wanted = f"8 + {length}" if size >= 8 else "at least 8"
                raise FileError(
                    f"{path}: expected a safetensors header of {wanted} bytes, found a file of {size}"
                )
            head = file.read(length)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: expected a safetensors file, found none") from error
    except OSError as error:
        raise FileError(f"{path}: expected a readable file, found: {error.strerror or error}") from error
    try:
        header = json.loads(head)
    except ValueError as error:
        raise FileError(f"{path}: expected a safetensors header in JSON, found other bytes") from error
    if not isinstance(header, dict):
        raise FileError(f"{path}: expected the header of a safetensors file, found other JSON")
    return header, size - 8 - length


def _array_of(name: str, value: Tensor | np.ndarray) -> np.ndarray:
    array = value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.name not in _dtypes:
        raise TypeError(f"save_tensors: {name} must have a dtype of safetensors, got {array.dtype}")
    little = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype
    return np.ascontiguousarray(array, dtype=little).reshape(array.shape)


def _bytes_of(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _encoded(header: dict[str, Any]) -> bytes:
    return json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
