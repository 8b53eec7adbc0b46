"""safetensors files: round trips, deterministic bytes, and an error with the file's name for every fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import nonet
from nonet import io

ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array(3, dtype=np.int64),
    "empty": np.zeros((0, 4), dtype=np.float32),
    "half": np.array([1.5, -2.0], dtype=ml_dtypes.bfloat16),
    "flags": np.array([True, False, True]),
    "bytes": np.arange(5, dtype=np.uint8),
    "wide": np.array([1e-300, np.nan, -np.inf]),
    "big": np.arange(4, dtype=">i4"),
    "transposed": np.arange(6, dtype=np.int32).reshape(2, 3).T,
}
TEXT = {"z": "last", "a": "first", "ü": "ß\n\"'"}


def test_round_trip(tmp_path):
    path = tmp_path / "x.safetensors"
    io.save_tensors(path, {**ARRAYS, "tensor": nonet.tensor([[1.0, 2.0]], dtype="bfloat16")}, TEXT)
    arrays, metadata = io.load_tensors(path)
    assert metadata == TEXT == io.load_metadata(path)
    assert set(arrays) == {*ARRAYS, "tensor"}
    for name, expected in ARRAYS.items():
        assert arrays[name].shape == expected.shape
        assert arrays[name].dtype == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(arrays[name], expected)
    assert arrays["tensor"].dtype == ml_dtypes.bfloat16
    assert os.listdir(tmp_path) == ["x.safetensors"]


def test_other_readers_understand_the_file(tmp_path):
    from safetensors.numpy import load_file, save_file

    io.save_tensors(tmp_path / "ours", {"x": ARRAYS["b"], "half": ARRAYS["half"]}, TEXT)
    np.testing.assert_array_equal(load_file(tmp_path / "ours")["x"], ARRAYS["b"])
    save_file({"x": ARRAYS["b"]}, tmp_path / "theirs", metadata={"k": "v"})
    arrays, metadata = io.load_tensors(tmp_path / "theirs")
    np.testing.assert_array_equal(arrays["x"], ARRAYS["b"])
    assert metadata == {"k": "v"}


def test_equal_contents_give_equal_bytes(tmp_path):
    io.save_tensors(tmp_path / "1", ARRAYS, TEXT)
    io.save_tensors(tmp_path / "2", dict(reversed(ARRAYS.items())), dict(reversed(TEXT.items())))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_arrays_are_aligned(tmp_path):
    path = tmp_path / "x"
    io.save_tensors(path, ARRAYS, TEXT)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    for name, array in ARRAYS.items():
        assert header[name]["data_offsets"][0] % array.dtype.itemsize == 0


def _damaged(data: bytes, how: str) -> bytes:
    length = int.from_bytes(data[:8], "little")
    flipped = bytearray(data)
    if how == "bit of an array":
        flipped[-1] ^= 1
        return bytes(flipped)
    if how == "bit of the metadata":
        flipped[data.index(b"first")] ^= 1
        return bytes(flipped)
    return {
        "empty": b"",
        "short header": data[:4],
        "half a header": data[: 8 + length // 2],
        "half an array": data[:-1],
        "longer": data + b"x",
        "no JSON": data[:8] + b"x" * length + data[8 + length :],
        "a JSON list": (2).to_bytes(8, "little") + b"[]",
        "other JSON": (13).to_bytes(8, "little") + b'{"x":{"y":1}}',
        "huge header": b"\xff" * 8 + data[8:],
        "wrong offsets": data.replace(b'"data_offsets":[0,', b'"data_offsets":[1,'),
        "unknown dtype": data.replace(b'"I64"', b'"Z64"'),
    }[how]


HOWS = [
    *(
        "empty",
        "short header",
        "half a header",
        "half an array",
        "longer",
        "no JSON",
        "a JSON list",
        "other JSON",
    ),
    *("huge header", "wrong offsets", "unknown dtype", "bit of an array", "bit of the metadata"),
]


@pytest.mark.parametrize("how", HOWS)
def test_damage_is_named(tmp_path, how):
    path = tmp_path / "x.safetensors"
    io.save_tensors(path, ARRAYS, TEXT)
    damaged = _damaged(path.read_bytes(), how)
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    with pytest.raises(io.FileError, match=r"x\.safetensors: expected .*found"):
        io.load_tensors(path)


def test_missing_and_unreadable(tmp_path):
    with pytest.raises(io.MissingFileError, match="nope: expected a safetensors file, found none"):
        io.load_tensors(tmp_path / "nope")
    with pytest.raises(FileNotFoundError):
        io.load_metadata(tmp_path / "nope")
    with pytest.raises(io.FileError, match="expected a readable file"):
        io.load_tensors(tmp_path)


def test_bad_arguments(tmp_path):
    with pytest.raises(TypeError, match="c must have a dtype of safetensors, got complex128"):
        io.save_tensors(tmp_path / "x", {"c": np.zeros(2, complex)})
    with pytest.raises(TypeError, match="metadata must map text to text"):
        io.save_tensors(tmp_path / "x", {}, {"a": 1})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="reserved"):
        io.save_tensors(tmp_path / "x", {"__metadata__": np.zeros(2)})
    assert not list(tmp_path.iterdir())


def test_libraries_are_imported_on_first_use():
    code = (
        "import sys, nonet.io; "
        "assert not {'safetensors', 'ml_dtypes', 'tqdm', 'PIL'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
