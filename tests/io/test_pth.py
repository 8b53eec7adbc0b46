"""load_pth on files written here opcode by opcode; tests/oracle/test_pth.py has those of torch itself."""

from __future__ import annotations

import contextlib
import re
import struct
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

from nonet import io

MAGIC = 0x1950A86A20F9469CFC6C


# ---- a pickle, as torch.save would write it
def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def items(pairs) -> bytes:
    return b"(" + b"".join(text(key) + value for key, value in pairs) + b"u"


def ordered(pairs) -> bytes:
    return b"ccollections\nOrderedDict\n)R" + items(pairs)


def sizes(values) -> bytes:
    return b"(" + b"".join(number(v) for v in values) + b"t"


def storage(key: str, kind: str, count: int, legacy: bool = False) -> bytes:
    view = b"N" if legacy else b""
    return (
        b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(count)
    ) + (view + b"tQ")


def tensor(key, shape, count, kind="FloatStorage", offset=0, strides=None, legacy=False) -> bytes:
    if strides is None:
        strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage(key, kind, count, legacy)
        + number(offset)
        + sizes(shape)
        + sizes(strides)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def write_zip(path, body, storages, order="little", **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", program(body))
        if order is not None:
            archive.writestr("archive/byteorder", order)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", "3\n")


VALUES = np.arange(6, dtype="<f4")
LEAF = tensor("0", [6], 6)


# ---- what is read
def test_state(tmp_path):
    body = ordered(
        [
            ("a.weight", tensor("0", [2, 3], 6)),
            ("a.bias", tensor("0", [2], 6, offset=3)),
            ("b", tensor("1", [], 1, kind="LongStorage")),
            ("t", tensor("0", [3, 2], 6, strides=[1, 3])),
            ("e", tensor("2", [0, 4], 0)),
        ]
    )
    body += b"}" + items([("_metadata", ordered([]))]) + b"b"  # attributes of the dict
    write_zip(
        tmp_path / "m.pth", body, {"0": VALUES.tobytes(), "1": np.array([7], "<i8").tobytes(), "2": b""}
    )
    got = io.load_pth(tmp_path / "m.pth")
    assert list(got) == ["a.weight", "a.bias", "b", "t", "e"]
    np.testing.assert_array_equal(got["a.weight"], VALUES.reshape(2, 3))
    np.testing.assert_array_equal(got["a.bias"], VALUES[3:5])
    assert got["b"].shape == () and got["b"].dtype == np.int64 and got["b"] == 7
    np.testing.assert_array_equal(got["t"], VALUES.reshape(2, 3).T)
    assert got["e"].shape == (0, 4) and got["e"].dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("BFloat16Storage", ml_dtypes.bfloat16),
        ("BoolStorage", "bool"),
        ("ByteStorage", "u1"),
        ("CharStorage", "i1"),
        ("DoubleStorage", "f8"),
        ("FloatStorage", "f4"),
        ("HalfStorage", "f2"),
        ("IntStorage", "i4"),
        ("LongStorage", "i8"),
        ("ShortStorage", "i2"),
    ],
)
@pytest.mark.parametrize("order", ["little", "big", None])
def test_dtypes_and_byte_orders(tmp_path, kind, dtype, order):
    values = np.array([0, 1, 1, 0, 1]).astype(dtype)
    swapped = (order or sys.byteorder) != sys.byteorder and values.itemsize > 1
    data = (values.byteswap() if swapped else values).tobytes()
    write_zip(tmp_path / "m", ordered([("x", tensor("0", [5], 5, kind))]), {"0": data}, order=order)
    got = io.load_pth(tmp_path / "m")["x"]
    assert got.dtype == values.dtype
    np.testing.assert_array_equal(got, values)


def test_dicts_in_dicts_and_what_is_no_tensor(tmp_path):
    leaf = tensor("0", [6], 6)
    parameter = b"ctorch._utils\n_rebuild_parameter\n(" + leaf + b"\x88ccollections\nOrderedDict\n)RtR"
    body = b"}" + items(
        [
            ("epoch", number(3)),
            ("note", text("x")),
            ("loss", b"G" + struct.pack(">d", 0.5)),
            ("none", b"N"),
            ("state_dict", ordered([("w", parameter)])),
            ("list", b"](" + leaf + number(1) + b"e"),
        ]
    )
    write_zip(tmp_path / "m", body, {"0": VALUES.tobytes()})
    got = io.load_pth(tmp_path / "m")
    assert list(got) == ["state_dict.w", "list.0"]
    np.testing.assert_array_equal(got["state_dict.w"], VALUES)


def legacy(path, body, storages, facts=((b"X", "little_endian", b"\x88"),), version=1001, magic=MAGIC):
    keys = b"](" + b"".join(text(key) for key in storages) + b"e"
    head = b"}" + items([(name, value) for _, name, value in facts])
    with open(path, "wb") as file:
        for part in (number(magic), number(version), head, body, keys):
            file.write(program(part))
        for count, data in storages.values():
            file.write(struct.pack("<q", count) + data)


def test_files_from_before_the_zip(tmp_path):
    body = ordered(
        [
            ("w", tensor("94", [2, 3], 6, legacy=True)),
            ("b", tensor("17", [1], 1, "ShortStorage", legacy=True)),
        ]
    )
    legacy(tmp_path / "m", body, {"17": (1, b"\5\0"), "94": (6, VALUES.tobytes())})
    got = io.load_pth(tmp_path / "m")
    np.testing.assert_array_equal(got["w"], VALUES.reshape(2, 3))
    assert got["b"] == [5] and got["b"].dtype == np.int16


def test_names_of_python_2(tmp_path):
    """Short byte strings for keys, pairs for the OrderedDict, and the older function for tensors."""
    old = tensor("0", [6], 6).replace(b"_rebuild_tensor_v2", b"_rebuild_tensor")
    old = old.replace(b"\x89ccollections\nOrderedDict\n)RtR", b"tR")
    body = b"ccollections\nOrderedDict\n(](](U\1w" + old + b"eetR"
    write_zip(tmp_path / "m", body, {"0": VALUES.tobytes()})
    assert list(io.load_pth(tmp_path / "m")) == ["w"]


# ---- what is refused
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"cos\nsystem\n" + text("ls").join([b"(", b"tR"]), "os.system, which is not read"),
        (b"cbuiltins\neval\n" + text("1").join([b"(", b"tR"]), "builtins.eval, which is not read"),
        (b"cnumpy.core.multiarray\nscalar\n", "numpy.core.multiarray.scalar, which is not read"),
        (b"ctorch\nQInt8Storage\n", "torch.QInt8Storage, which is not read"),
        (b"(i" + b"os\nsystem\n", "a pickle with INST"),
        (b"cos\nsystem\n(o", "os.system"),
        (b"(cos\nsystem\no", "os.system"),
        (b"ccollections\nOrderedDict\n)\x81", "a pickle with NEWOBJ"),
        (b"\x82\1", "a pickle with EXT1"),
        (ordered([("x", number(1))]), "found none"),
        (number(1), "found none"),
        (ordered([("x", b"ctorch\nFloatStorage\n")]), "no tensor at x"),
        (ordered([("x", storage("0", "FloatStorage", 6))]), "no tensor at x"),
        (ordered([("x", b"ctorch\nFloatStorage\n)R")]), "damaged pickle"),
        (b"]q\0" + number(1) + b"}b", "an object with a state of its own"),
        (b"]q\0h\0a", "more dicts in dicts"),
        (b"}q\0" + b"".join(text(str(i)) + b"h\0s" for i in range(9)), "more dicts in dicts"),
        (b"}(" + b"}K\1u", "damaged pickle"),
        (b"K\1K\2", "damaged pickle"),
        (b"h\7", "damaged pickle"),
        (b"0", "a pickle with POP"),
        (b"s", "damaged pickle"),
        (ordered([("x", tensor("9", [6], 6))]), "no bytes of storage 9"),
        (ordered([("x", tensor("0", [7], 7))]), "24 bytes in storage 0 instead of 28"),
        (ordered([("x", tensor("0", [7], 6))]), r"x of shape \[7\] beyond the 6 elements"),
        (ordered([("x", tensor("0", [2], 6, offset=5))]), "beyond the 6 elements"),
        (ordered([("x", tensor("0", [2, 2], 6, strides=[6, 1]))]), "beyond the 6 elements"),
        (ordered([("x", tensor("0", [10**9, 10**9], 6, strides=[0, 0]))]), "beyond the 6 elements"),
        (ordered([("x", tensor("0", [2], 6, strides=[-1]))]), "impossible sizes"),
        (ordered([("x", tensor("0", [2], 6, offset=-1))]), "impossible sizes"),
        (ordered([("x", tensor("0", [-2], 6))]), "impossible sizes"),
        (ordered([("x", tensor("0", [2], 6, strides=[1, 1]))]), "impossible sizes"),
        (ordered([("x", tensor("0", [6], 6)), ("y", tensor("0", [6], 6, "IntStorage"))]), "under two types"),
        (ordered([("a.b", LEAF), ("a", ordered([("b", LEAF)]))]), "two tensors named a.b"),
    ],
)  # fmt: skip
def test_refused(tmp_path, body, message):
    write_zip(tmp_path / "m.pth", body, {"0": VALUES.tobytes()})
    with pytest.raises(io.FileError, match=rf"m\.pth: expected tensors in dicts.*{message}"):
        io.load_pth(tmp_path / "m.pth")


def test_damaged_containers(tmp_path):
    body = ordered([("x", tensor("0", [6], 6))])
    path = tmp_path / "m"
    with pytest.raises(io.MissingFileError, match="expected a file of torch.save, found none"):
        io.load_pth(path)
    with pytest.raises(io.FileError, match="expected a readable file"):
        io.load_pth(tmp_path)
    for data in (b"", b"\x80", b"x" * 100, b"\x80\x02.", program(number(3)), b"PK\3\4rest"):
        path.write_bytes(data)
        with pytest.raises(io.FileError, match=f"{re.escape(str(path))}: expected tensors"):
            io.load_pth(path)
    write_zip(path, body, {"0": VALUES.tobytes()}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(io.FileError, match="a compressed zip"):
        io.load_pth(path)
    write_zip(path, body, {"0": VALUES.tobytes()}, order="middle")
    with pytest.raises(io.FileError, match="the byte order 'middle'"):
        io.load_pth(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(io.FileError, match="a zip without data.pkl"):
        io.load_pth(path)


@pytest.mark.parametrize("write", ["zip", "legacy"])
def test_every_truncation_is_an_error(tmp_path, write):
    path = tmp_path / "m"
    if write == "zip":
        write_zip(path, ordered([("x", tensor("0", [6], 6))]), {"0": VALUES.tobytes()})
    else:
        legacy(path, ordered([("x", tensor("0", [6], 6, legacy=True))]), {"0": (6, VALUES.tobytes())})
    whole = path.read_bytes()
    assert list(io.load_pth(path)) == ["x"]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(io.FileError):
            io.load_pth(path)


def test_every_flipped_byte_is_an_error_of_the_file_or_harmless(tmp_path):
    path = tmp_path / "m"
    legacy(path, ordered([("x", tensor("0", [6], 6, legacy=True))]), {"0": (6, VALUES.tobytes())})
    whole = bytearray(path.read_bytes())
    for place in range(len(whole)):
        for bit in (1, 0x80):
            damaged = bytearray(whole)
            damaged[place] ^= bit
            path.write_bytes(damaged)
            with contextlib.suppress(io.FileError):
                io.load_pth(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 7}, "version 7 of the old format"),
        ({"magic": 5}, "another format"),
        ({"storages": {"1": (6, VALUES.tobytes())}}, "other storages"),
        ({"storages": {"0": (5, VALUES.tobytes())}}, "5 elements in storage 0 instead of 6"),
    ],
)
def test_files_from_before_the_zip_that_are_refused(tmp_path, options, message):
    body = ordered([("x", tensor("0", [6], 6, legacy=True))])
    legacy(tmp_path / "m", body, **{"storages": {"0": (6, VALUES.tobytes())}, **options})
    with pytest.raises(io.FileError, match=message):
        io.load_pth(tmp_path / "m")
