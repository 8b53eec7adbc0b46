"""Tensors out of files that torch.save wrote, without unpickling anything.

Format: https://pytorch.org/docs/stable/notes/serialization.html. Since PyTorch 1.6 a file is an uncompressed zip of
`NAME/data.pkl` (the object, in which storages are named), `NAME/data/KEY` (the bytes of each) and `NAME/byteorder`.
Before, it was a row of pickles (a magic number, a version, facts about the machine, the object, the keys of the
storages), then the storages, each with its length in front.

A pickle is a program, and its usual interpreter runs whatever function it names. This one knows the words for numbers,
text, lists, dicts and tuples, and the names that the state of a model consists of: OrderedDict, the types of storages,
and the functions that make a tensor or a parameter, which are not called but noted down. Any other word or name is an
error.
"""

from __future__ import annotations

import math
import mmap
import pickletools
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nonet.io.atomic import PathLike
from nonet.io.errors import FileError, MissingFileError
from nonet.io.tensors import Arrays

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STORAGES = {
    "BFloat16Storage": "bfloat16",
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ShortStorage": "int16",
}
_MAKERS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
_DEPTH, _NODES = 32, 1 << 20  # how deep dicts may lie in dicts, and how much there may be in all of them


@dataclass(frozen=True)
class _Name:
    """A global of the pickle, by its name only."""

    module: str
    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class _View:
    """A tensor: a storage and where in it the elements lie."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Refused(ValueError):
    """What a file of tensors does not hold."""


def load_pth(path: PathLike) -> Arrays:
    """The tensors in a file of torch.save, by name, as arrays (bfloat16 with the dtype of ml_dtypes).

    The file holds a dict, usually a model's `state_dict`; names in dicts inside it are joined by dots, and numbers and
    text beside the tensors are left out. FileError names the file, what was expected and what was found: missing,
    truncated, damaged, another format, or anything that is no tensor, dict, list, number or text.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(4)
            file.seek(0)
            tree, read = _read_zip(file) if head == b"PK\3\4" else _read_legacy(file, len(head))
            out: Arrays = {}
            for name, view in _tensors(tree):
                if name in out:
                    raise _Refused(f"two tensors named {name}")
                out[name] = _array(name, view, read(view.storage))
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: expected a file of torch.save, found none") from error
    except OSError as error:
        raise FileError(f"{path}: expected a readable file, found: {error.strerror or error}") from error
    except _Refused as error:
        raise FileError(
            f"{path}: expected tensors in dicts, as torch.save writes them, found {error}"
        ) from error
    if not out:
        raise FileError(f"{path}: expected tensors in dicts, as torch.save writes them, found none")
    return out


# ------------------------------------------------------------------------------------------------ the two containers
_Reader = Callable[[_Storage], "np.ndarray[Any, Any]"]


def _read_zip(file: BinaryIO) -> tuple[Any, _Reader]:
    """The tree and what reads a storage of it, each of them once."""
    try:
        archive = zipfile.ZipFile(file)
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise _Refused("a zip without data.pkl" if not names else "a zip with several data.pkl")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise _Refused("a compressed zip")
        root = names[0].removesuffix("data.pkl")
        order = sys.byteorder
        if f"{root}byteorder" in archive.namelist():
            order = archive.read(f"{root}byteorder").decode("ascii", "replace")
            if order not in ("little", "big"):
                raise _Refused(f"the byte order {order!r}")
        tree = _Pickle(BytesIO(archive.read(names[0]))).run()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise _Refused(f"a truncated or damaged zip ({error})") from error
    known: dict[str, np.ndarray] = {}

    def read(storage: _Storage) -> np.ndarray:
        if storage.key not in known:
            try:
                known[storage.key] = _decoded(archive.read(f"{root}data/{storage.key}"), storage, order)
            except KeyError as error:
                raise _Refused(f"no bytes of storage {storage.key}") from error
            except (zipfile.BadZipFile, EOFError) as error:
                raise _Refused(f"a truncated or damaged zip ({error})") from error
        return _same(known[storage.key], storage)

    return tree, read


def _read_legacy(file: BinaryIO, size: int) -> tuple[Any, _Reader]:
    if size < 2:
        raise _Refused("another format")
    # Unlike a file, it gives no more than it has, whatever a length in it says.
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:1] != b"\x80" or _Pickle(data).run() != _MAGIC:
            raise _Refused("another format")
        version, facts = _Pickle(data).run(), _Pickle(data).run()
        if version != _PROTOCOL or not isinstance(facts, dict):
            raise _Refused(f"version {version!r} of the old format")
        order = "little" if facts.get("little_endian", True) else "big"
        interpreter = _Pickle(data)
        tree, keys = interpreter.run(), _Pickle(data).run()
        stored = {storage.key: storage for storage in interpreter.storages}
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(stored):
            raise _Refused("other storages than the tensors name")
        known: dict[str, np.ndarray] = {}
        for key in keys:
            storage = stored[key]
            count = int.from_bytes(data.read(8), order)  # type: ignore[arg-type]
            if count != storage.count:
                raise _Refused(f"{count} elements in storage {key} instead of {storage.count}")
            known[key] = _decoded(data.read(count * np.dtype(_dtype(storage)).itemsize), storage, order)
    return tree, lambda storage: _same(known[storage.key], storage)


def _decoded(data: bytes, storage: _Storage, order: str) -> np.ndarray:
    dtype = np.dtype(_dtype(storage))
    if len(data) != storage.count * dtype.itemsize:
        raise _Refused(
            f"{len(data)} bytes in storage {storage.key} instead of {storage.count * dtype.itemsize}"
        )
    values = np.frombuffer(data, dtype)
    return values if order == sys.byteorder or dtype.itemsize == 1 else values.byteswap()


def _same(values: np.ndarray, storage: _Storage) -> np.ndarray:
    if values.dtype != _dtype(storage) or len(values) != storage.count:
        raise _Refused(f"storage {storage.key} under two types")
    return values


def _dtype(storage: _Storage) -> Any:
    if storage.dtype == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return storage.dtype


# ------------------------------------------------------------------------------------------------ from tree to arrays
def _tensors(tree: Any) -> Iterator[tuple[str, _View]]:
    """(name, view) of every tensor in `tree`, in its order. Dicts that contain themselves end at the limits."""
    stack: list[tuple[str, Any, int]] = [("", tree, 0)]
    seen = 1
    while stack:
        path, node, depth = stack.pop()
        if isinstance(node, _View):
            yield path or "tensor", node
        elif isinstance(node, (dict, list, tuple)):
            seen += len(node)
            if depth == _DEPTH or seen > _NODES:
                raise _Refused(f"more dicts in dicts than any model has, at {path[:80]}")
            items = node.items() if isinstance(node, dict) else enumerate(node)
            below = [(f"{path}.{key}" if path else str(key), value, depth + 1) for key, value in items]
            stack.extend(reversed(below))
        elif isinstance(node, (_Name, _Storage)):
            raise _Refused(f"no tensor at {path or 'the top'}")


def _array(name: str, view: _View, values: np.ndarray) -> np.ndarray:
    shape, strides = view.shape, view.strides
    if len(shape) != len(strides) or min((view.offset, *shape, *strides), default=0) < 0:
        raise _Refused(f"{name} with impossible sizes {shape}, strides {strides}, offset {view.offset}")
    count = math.prod(shape)
    last = view.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if count > len(values) or (count and last >= len(values)):
        raise _Refused(f"{name} of shape {list(shape)} beyond the {len(values)} elements of its storage")
    if not count:
        return np.zeros(shape, values.dtype)
    size = values.itemsize
    windows = np.lib.stride_tricks.as_strided(values[view.offset :], shape, [s * size for s in strides])
    return np.ascontiguousarray(windows).reshape(shape)


# ------------------------------------------------------------------------------------------------ the pickle
_MARK = object()


class _Pickle:
    """One pickle of `file`: run() gives its value and leaves the file behind it. `storages` are those it named."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: list[_Storage] = []

    def run(self) -> Any:
        try:
            for code, argument, _ in pickletools.genops(self.file):
                if code.name == "STOP":
                    (value,) = self.stack
                    return value
                word = _WORDS.get(code.name)
                if word is None:
                    raise _Refused(f"a pickle with {code.name}, which state of a model does not need")
                word(self, argument)
        except _Refused:
            raise
        # Whatever a damaged program brings about: stacks that are too short, keys that cannot be hashed …
        except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
            raise _Refused(f"a truncated or damaged pickle ({error})") from error
        raise _Refused("a pickle without an end")

    # ---- the stack
    def push(self, value: Any) -> None:
        self.stack.append(value)

    def marked(self) -> list[Any]:
        """Takes off everything above the last mark, and the mark."""
        place = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def top(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise IndexError("stack too short")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return tuple(values)

    # ---- words
    def memoize(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def store(self, items: list[Any]) -> None:
        owner = self.stack[-1]
        if not isinstance(owner, dict) or len(items) % 2:
            raise TypeError("items for no dict")
        owner.update(zip(items[::2], items[1::2], strict=True))

    def append(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError("items for no list")
        self.stack[-1].extend(items)

    def name(self, module: str, name: str) -> None:
        known = (
            (module, name) == ("collections", "OrderedDict")
            or (module == "torch" and name in _STORAGES)
            or (module == "torch._utils" and name in _MAKERS)
        )
        if not known:
            raise _Refused(f"{module}.{name}, which is not read: it could run anything")
        self.push(_Name(module, name))

    def persistent(self) -> None:
        identity = self.stack.pop()
        if not (isinstance(identity, tuple) and len(identity) in (5, 6) and identity[0] == "storage"):
            raise TypeError("no storage")
        kind, key, count = identity[1], identity[2], identity[4]
        if not (isinstance(kind, _Name) and kind.name in _STORAGES and isinstance(key, str)):
            raise TypeError("no storage")
        if type(count) is not int or count < 0:
            raise TypeError("a storage without a size")
        if len(identity) == 6 and identity[5] is not None:
            raise _Refused("a storage that is part of another, as PyTorch before 0.4 wrote them")
        storage = _Storage(key, _STORAGES[kind.name], count)
        self.storages.append(storage)
        self.push(storage)

    def reduce(self) -> None:
        function, arguments = self.top(2)
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise TypeError("a call of no function")
        if function.name == "OrderedDict":
            self.push(dict(*arguments))  # Python 2 hands over the pairs
        elif function.name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            storage, offset, shape, strides = arguments[:4]
            numbers = (offset, *shape, *strides)
            if not isinstance(storage, _Storage) or any(type(n) is not int for n in numbers):
                raise TypeError("no tensor")
            self.push(_View(storage, offset, tuple(shape), tuple(strides)))
        elif function.name == "_rebuild_parameter":
            if not isinstance(arguments[0], _View):
                raise TypeError("no tensor")
            self.push(arguments[0])
        else:
            raise TypeError(f"a call of {function.name}")

    def build(self) -> None:
        """Attributes of an OrderedDict (the versions of the modules) are dropped."""
        owner, state = self.top(2)
        if not isinstance(owner, dict) or not isinstance(state, dict):
            raise _Refused("an object with a state of its own")
        self.push(owner)


_LITERALS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_LITERALS += ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING")


def _constant(value: Any) -> Callable[[_Pickle, Any], None]:
    return lambda p, _: p.push(value)


_WORDS: dict[str, Callable[[_Pickle, Any], Any]] = {
    "PROTO": lambda p, _: None,
    "FRAME": lambda p, _: None,
    "MARK": _constant(_MARK),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_DICT": lambda p, _: p.push({}),
    "EMPTY_LIST": lambda p, _: p.push([]),
    "EMPTY_TUPLE": _constant(()),
    "TUPLE1": lambda p, _: p.push(p.top(1)),
    "TUPLE2": lambda p, _: p.push(p.top(2)),
    "TUPLE3": lambda p, _: p.push(p.top(3)),
    "TUPLE": lambda p, _: p.push(tuple(p.marked())),
    "SETITEM": lambda p, _: p.store(list(p.top(2))),
    "SETITEMS": lambda p, _: p.store(p.marked()),
    "APPEND": lambda p, _: p.append(list(p.top(1))),
    "APPENDS": lambda p, _: p.append(p.marked()),
    "BINPUT": lambda p, index: p.memoize(index),
    "LONG_BINPUT": lambda p, index: p.memoize(index),
    "MEMOIZE": lambda p, _: p.memoize(None),
    "BINGET": lambda p, index: p.push(p.memo[index]),
    "LONG_BINGET": lambda p, index: p.push(p.memo[index]),
    "GLOBAL": lambda p, names: p.name(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda p, _: p.name(*p.top(2)),
    "BINPERSID": lambda p, _: p.persistent(),
    "REDUCE": lambda p, _: p.reduce(),
    "BUILD": lambda p, _: p.build(),
    **dict.fromkeys(_LITERALS, lambda p, value: p.push(value)),
}
