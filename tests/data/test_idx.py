"""idx files: every type, both packings, every fault."""

from __future__ import annotations

import gzip
import os
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from nonet.data import DataError, MissingDataError, load_idx, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def images(n: int, size: int = 4) -> np.ndarray:
    return np.arange(n * size * size, dtype=np.uint8).reshape(n, size, size)


def write_set(folder: Path, form: str = "-{}.gz", **replaced: np.ndarray) -> Path:
    parts = {
        "train-images": images(6),
        "train-labels": np.array([0, 1, 2, 3, 8, 9], np.uint8),
        "t10k-images": images(2),
        "t10k-labels": np.array([9, 0], np.uint8),
    }
    parts |= {name.replace("_", "-"): array for name, array in replaced.items()}
    for name, array in parts.items():
        write(folder / (name + form.format(f"idx{3 if 'images' in name else 1}-ubyte")), idx(array))
    return folder


def fault(path: Path, text: str) -> str:
    return re.escape(f"{path}: ") + text


@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz"])
@pytest.mark.parametrize("dtype", CODES)
def test_types(tmp_path, name, dtype):
    array = (np.arange(24) * 5 - 3).astype(dtype).reshape(2, 3, 4)
    read = read_idx(write(tmp_path / name, idx(array)))
    assert read.dtype == np.dtype(dtype)
    assert read.dtype.isnative
    assert np.array_equal(read, array)
    read[0] = 0  # the caller's own memory


@pytest.mark.parametrize("form", ["-{}.gz", "-{}", ".{}.gz", ".{}"])
def test_set(tmp_path, form):
    splits = load_idx(write_set(tmp_path, form))
    assert splits.name == "mnist"
    assert splits.classes == tuple("0123456789")
    assert splits.train.inputs.shape == (6, 1, 4, 4)
    assert splits.train.inputs.dtype == np.uint8
    assert splits.test.targets.tolist() == [9, 0]
    assert splits.test.targets.dtype == np.int64
    assert np.array_equal(splits.train.inputs[:, 0], images(6))


def test_missing_directory(tmp_path):
    folder = tmp_path / "none"
    wanted = r"expected a directory with \{train,t10k\}-.*, found nothing there"
    with pytest.raises(MissingDataError, match=fault(folder, wanted)):
        load_idx(folder)
    folder.write_text("")
    with pytest.raises(MissingDataError, match=fault(folder, "expected a directory with .*, found a file")):
        load_idx(folder)


def test_unusable_directories(tmp_path, monkeypatch):
    with pytest.raises(MissingDataError, match="expected a directory with .*found nothing there"):
        load_idx(tmp_path / ("x" * 300))

    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(DataError, match="expected a readable directory, found: Permission denied"):
        load_idx(tmp_path)


def test_missing_files(tmp_path):
    names = "train-images-idx3-ubyte, train-images-idx3-ubyte.gz, train-images.idx3-ubyte, "
    with pytest.raises(MissingDataError, match=fault(tmp_path, f"expected one of {names}.*, found an empty")):
        load_idx(tmp_path)
    for i in range(9):
        (tmp_path / f"x{i}").touch()
    with pytest.raises(FileNotFoundError, match=f"{names}.*, found x0, x1, .*, x7, …$"):
        load_idx(tmp_path)
    with pytest.raises(MissingDataError, match=fault(tmp_path / "a.gz", "expected a file, found none")):
        read_idx(tmp_path / "a.gz")


def test_directory_in_place_of_a_file(tmp_path):
    with pytest.raises(DataError, match=fault(tmp_path, "expected a readable file, found: Is a directory")):
        read_idx(tmp_path)


def test_not_gzip(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(idx(images(2)))
    with pytest.raises(DataError, match=fault(path, "expected an intact gzip file, found: Not a gzipped")):
        read_idx(path)


@pytest.mark.parametrize("keep", [1, 5, 12, 40, -9, -8, -1])
def test_truncated_gzip(tmp_path, keep):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx(images(6)))[:keep])
    with pytest.raises(DataError, match=fault(path, "expected (a complete|an intact) gzip file, found")):
        read_idx(path)


def test_empty_gzip(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=fault(path, "expected an idx magic number of 4 bytes, found 0")):
        read_idx(path)


def test_bad_crc(tmp_path):
    path = tmp_path / "a.gz"
    data = bytearray(gzip.compress(idx(images(6))))
    data[-8] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=fault(path, "expected an intact gzip file, found: CRC check failed")):
        read_idx(path)


def test_every_flipped_byte_of_a_gzip_body_is_found(tmp_path):
    path = tmp_path / "a.gz"
    whole = gzip.compress(idx(images(6)))
    for at in range(10, len(whole)):
        data = bytearray(whole)
        data[at] ^= 0x55
        path.write_bytes(data)
        with pytest.raises(DataError, match=fault(path, "expected .*, found")):
            read_idx(path)


@pytest.mark.parametrize("magic", ["01000803", "00000a03", "00000800", "00000821"])
def test_bad_magic(tmp_path, magic):
    path = write(tmp_path / "a", bytes.fromhex(magic) + bytes(200))
    wanted = (
        "expected an idx magic number 0x0000TTRR with type TT one of 08, 09, 0b, 0c, 0d, 0e and rank RR "
        f"from 1 to 32, found 0x{magic}$"
    )
    with pytest.raises(DataError, match=fault(path, wanted)):
        read_idx(path)


def test_gzip_under_a_plain_name(tmp_path):
    path = write(tmp_path / "a", gzip.compress(idx(images(1))))
    with pytest.raises(
        DataError, match=fault(path, r".*, found 0x1f8b08.* \(gzip: its name must end in \.gz\)")
    ):
        read_idx(path)


def test_short_headers(tmp_path):
    path = write(tmp_path / "a", b"\0\0")
    with pytest.raises(DataError, match=fault(path, "expected an idx magic number of 4 bytes, found 2")):
        read_idx(path)
    write(path, idx(images(1))[:9])
    with pytest.raises(DataError, match=fault(path, "expected 12 bytes of sizes, found 5")):
        read_idx(path)


def test_wrong_rank_and_type(tmp_path):
    path = write(tmp_path / "a", idx(images(1)))
    with pytest.raises(DataError, match=fault(path, "expected an idx array of rank 1, found rank 3")):
        read_idx(path, rank=1)
    with pytest.raises(DataError, match=fault(path, "expected values of type float32, found uint8")):
        read_idx(path, dtype=np.float32)


@pytest.mark.parametrize("name", ["a", "a.gz"])
def test_size_against_header(tmp_path, name):
    whole = idx(np.zeros((2, 3), np.int16))
    path = write(tmp_path / name, whole[:-1])
    wanted = r"expected 12 bytes after the header \(2 x 3 of int16\), found "
    with pytest.raises(DataError, match=fault(path, wanted + "11$")):
        read_idx(path)
    write(path, whole + b"\0")
    with pytest.raises(DataError, match=fault(path, wanted + "more$")):
        read_idx(path)


@pytest.mark.parametrize("name", ["a", "a.gz"])
@pytest.mark.parametrize("size", [0xFFFFFFFF, 1])
def test_lying_header_takes_no_memory(tmp_path, name, size):
    body = bytes(20_000_000)
    sizes = b"".join(s.to_bytes(4, "big") for s in (size, size, size))
    path = write(tmp_path / name, bytes([0, 0, 0x0E, 3]) + sizes + (body[:1000] if size > 1 else body))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=fault(path, r"expected \d+ bytes after the header")):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_size_zero(tmp_path):
    path = write(tmp_path / "a", bytes([0, 0, 8, 2]) + bytes(4) + b"\xff" * 4)
    with pytest.raises(DataError, match=fault(path, "expected sizes of at least 1, found 0 x 4294967295")):
        read_idx(path)


def test_number_of_labels(tmp_path):
    write_set(tmp_path, train_labels=np.zeros(5, np.uint8))
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    wanted = "expected 6 labels, one for each image of train-images-idx3-ubyte.gz, found 5"
    with pytest.raises(DataError, match=fault(path, wanted)):
        load_idx(tmp_path)


def test_empty_labels(tmp_path):
    write_set(tmp_path, t10k_labels=np.zeros(0, np.uint8))
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    with pytest.raises(DataError, match=fault(path, "expected sizes of at least 1, found 0$")):
        load_idx(tmp_path)


def test_label_out_of_range(tmp_path):
    write_set(tmp_path, t10k_labels=np.array([3, 10], np.uint8))
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    with pytest.raises(DataError, match=fault(path, "expected labels from 0 to 9, found 10 at row 1")):
        load_idx(tmp_path)
    assert load_idx(tmp_path, name="letters", classes=11).classes[-1] == "10"


def test_image_sizes_differ(tmp_path):
    write_set(tmp_path, t10k_images=images(2, size=5))
    wanted = "expected t10k images of 4 x 4 like the train images, found 5 x 5"
    with pytest.raises(DataError, match=fault(tmp_path, wanted)):
        load_idx(tmp_path)


def test_labels_in_place_of_images(tmp_path):
    write_set(tmp_path, train_images=np.zeros(6, np.uint8))
    path = tmp_path / "train-images-idx3-ubyte.gz"
    with pytest.raises(DataError, match=fault(path, "expected an idx array of rank 3, found rank 1")):
        load_idx(tmp_path)


@pytest.mark.skipif("NONET_DATA" not in os.environ, reason="needs NONET_DATA/mnist")
def test_real_mnist():
    splits = load_idx(Path(os.environ["NONET_DATA"]) / "mnist")
    assert splits.train.inputs.shape == (60000, 1, 28, 28)
    assert splits.test.inputs.shape == (10000, 1, 28, 28)
    assert splits.train.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert splits.train.inputs.mean() == pytest.approx(33.318421, abs=1e-6)
