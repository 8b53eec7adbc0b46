"""Arrays in and out: NumPy, the buffer protocol, DLPack; lifetimes, read-only exports, versions, memory."""

from __future__ import annotations

import copy
import ctypes
import gc
import pickle
import re
import weakref

import ml_dtypes
import numpy as np
import pytest

import nonet
from nonet import _core

DTYPES = ["float32", "int64", "int32", "uint8", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 0, 3), (2, 3, 4, 5)])
def test_numpy_round_trip(dtype, shape):
    a = (np.random.default_rng(0).standard_normal(shape) * 3).astype(dtype)
    for make in (nonet.tensor, nonet.as_tensor, nonet.from_numpy):
        t = make(a)
        assert (t.dtype, t.shape, t.ndim, t.numel()) == (dtype, shape, len(shape), a.size)
        np.testing.assert_array_equal(t.numpy(), a)
        np.testing.assert_array_equal(np.asarray(t), a)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("float64", "float32"),
        ("float16", "float32"),
        ("int16", "int64"),
        ("uint16", "int64"),
        ("uint64", "int64"),
    ],
)
def test_other_dtypes_are_converted(given, kept):
    assert nonet.tensor(np.array([1, 2], given)).dtype == kept
    np.testing.assert_array_equal(nonet.tensor(np.array([1, 2], given)).numpy(), [1, 2])


ALIASES = [
    *((getattr(np, name), name) for name in ("float32", "int64", "int32", "uint8", "bool_")),
    *((np.dtype(name), name) for name in ("float32", "int64", "int32", "uint8", "bool")),
    *((kind, "bfloat16") for kind in (ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16))),
    *((float, "float32"), (int, "int64"), (bool, "bool")),
]


@pytest.mark.parametrize(("given", "name"), ALIASES, ids=str)
def test_dtypes_of_numpy_and_python(given, name):
    name = name.rstrip("_")
    x = nonet.tensor([1.0, 0.0])
    for made in (
        nonet.tensor([1, 0], dtype=given),
        nonet.as_tensor(x, given),
        nonet.full((2,), 1, dtype=given),
        nonet.zeros_like(x, dtype=given),
        nonet.arange(2, dtype=given),
        x.to(given),
        x.to(dtype=given),
    ):
        assert made.dtype == name
    if name in ("float32", "bfloat16"):
        assert {p.dtype for p in nonet.nn.Linear(2, 3, dtype=given).parameters()} == {name}
        assert {p.dtype for p in nonet.nn.Linear(2, 3).to(given).parameters()} == {name}
        leaf = nonet.tensor([1.0, 2.0], requires_grad=True)
        leaf.to(given).sum().backward()  # stays on the tape
        assert leaf.grad is not None and leaf.grad.tolist() == [1, 1]
        assert (nonet.as_tensor(leaf, given) is leaf) == (leaf.to(given) is leaf) == (name == "float32")
    else:
        assert nonet.full((), 2**62 + 1, dtype=np.int64).item() == 2**62 + 1
        with pytest.raises(TypeError, match=f"Module.to: dtype must be float32 or bfloat16, got {name}"):
            nonet.nn.Linear(2, 3).to(given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        *((np.float64, "float64"), (np.dtype("int16"), "int16"), (np.dtype(">f4"), ">f4"), (str, "str")),
        *((complex, "complex128"), (dict, "object"), (3, "3"), (np.floating, "<class 'numpy.floating'>")),
    ],
)
def test_other_dtypes_are_refused(given, words):
    for call in (lambda: nonet.tensor([1.0], dtype=given), lambda: nonet.tensor([1.0]).to(given)):
        with pytest.raises(TypeError, match=re.escape("dtype: expected one of float32, ")) as caught:
            call()
        assert str(caught.value).endswith(f"or Python's float or int, got {words}")
    with pytest.raises(TypeError, match="got '?float64"):
        nonet.autocast(np.float64)
    with nonet.autocast(ml_dtypes.bfloat16):
        assert nonet.is_autocast_enabled()


def test_bad_data():
    with pytest.raises(TypeError, match="tensor: expected numbers, got an array of dtype"):
        nonet.tensor(["a"])
    with pytest.raises(TypeError, match="dtype: expected one of float32, .* got float8"):
        nonet.tensor([1.0], dtype="float8")
    with pytest.raises(ValueError, match="uint64 values beyond int64"):
        nonet.tensor(np.array([2**63], np.uint64))
    with pytest.raises(TypeError, match="only floating dtypes have gradients, got int64"):
        nonet.tensor([1], requires_grad=True)
    with pytest.raises(RuntimeError, match="device: cuda is not available: "):
        nonet.tensor([1.0], device="cuda")
    with pytest.raises(ValueError, match="device: expected cpu or cuda, got tpu"):
        nonet.tensor([1.0], device="tpu")


def test_dtype_conversion_saturates():
    x = nonet.tensor([1.9, -1.9, 1e30, -1e30, np.nan, np.inf])
    big = np.iinfo(np.int64)
    np.testing.assert_array_equal(x.array.to("int64").numpy(), [1, -1, big.max, big.min, 0, big.max])
    np.testing.assert_array_equal(x.array.to("uint8").numpy(), [1, 0, 255, 0, 0, 255])
    np.testing.assert_array_equal(x.array.to("bool").numpy(), [1, 1, 1, 1, 1, 1])


def test_bfloat16_rounds_to_nearest_even():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20000, dtype=np.uint32)
    x = np.concatenate([bits.view(np.float32), np.float32([0, -0.0, np.inf, -np.inf, 1e-45, 3.4e38])])
    with np.errstate(invalid="ignore", over="ignore"):
        want = x.astype(ml_dtypes.bfloat16)
    got = nonet.tensor(x, dtype="bfloat16").numpy()
    assert got.dtype == ml_dtypes.bfloat16
    same = got.view(np.uint16) == want.view(np.uint16)
    assert (same | (np.isnan(x) & np.isnan(got.astype(np.float32)))).all()
    back = nonet.tensor(want).array.to("float32").numpy()
    np.testing.assert_array_equal(back, want.astype(np.float32))


def test_copies_and_sharing():
    a = np.zeros(4, np.float32)
    copied, shared = nonet.tensor(a), nonet.from_numpy(a)
    a[0] = 7
    assert copied.numpy()[0] == 0
    assert shared.numpy()[0] == 7
    shared.numpy()[1] = 8
    assert a[1] == 8
    a.flags.writeable = False
    frozen = nonet.from_numpy(a)
    assert not frozen.numpy().flags.writeable
    with pytest.raises(ValueError, match="memory was given read-only"):
        frozen.zero_()
    strided = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    np.testing.assert_array_equal(nonet.from_numpy(strided).numpy(), strided)


def test_lifetimes():
    a = np.arange(1000, dtype=np.float32)
    owner = weakref.ref(a)
    t = nonet.from_numpy(a)
    view = t.numpy()
    del a, t
    gc.collect()
    assert view.sum() == 499500
    assert owner() is not None
    del view
    gc.collect()
    assert owner() is None
    memory = memoryview(nonet.tensor(np.arange(5)))
    gc.collect()
    assert memory.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("dtype", DTYPES)
def test_buffer_protocol(dtype):
    a = np.arange(6).reshape(2, 3).astype(dtype)
    t = nonet.tensor(a)
    view = memoryview(t)
    assert (view.shape, view.strides, view.readonly) == (a.shape, a.strides, False)
    np.testing.assert_array_equal(np.frombuffer(view, a.dtype).reshape(2, 3), a)
    assert memoryview(nonet.Parameter(np.zeros(3))).readonly
    with pytest.raises((TypeError, BufferError)):
        memoryview(nonet.tensor([1.0], dtype="bfloat16"))


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_dlpack_round_trip(dtype, shape):
    t = nonet.tensor(np.ones(shape), dtype=dtype)
    back = nonet.from_dlpack(t)
    assert back.dtype == dtype
    assert back.shape == shape
    assert back.array.pointer == t.array.pointer or t.numel() == 0
    np.testing.assert_array_equal(back.array.to("float32").numpy(), np.ones(shape))


def test_dlpack_with_numpy():
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    t = nonet.from_dlpack(a)
    a[0, 0] = 5
    assert t.numpy()[0, 0] == 5
    np.testing.assert_array_equal(nonet.from_dlpack(a.T).numpy(), a.T)
    np.testing.assert_array_equal(nonet.from_dlpack(a[::-1, ::2]).numpy(), a[::-1, ::2])
    out = np.from_dlpack(t)
    np.testing.assert_array_equal(out, a)
    del t, a
    gc.collect()
    assert out[0, 0] == 5
    with pytest.raises(TypeError, match="from_dlpack: dtype must be one of"):
        nonet.from_dlpack(np.zeros(2))
    with pytest.raises(TypeError, match="expected an object with __dlpack__, got int"):
        nonet.from_dlpack(3)


def test_dlpack_capsules_are_taken_once_and_dropped_safely():
    t = nonet.tensor(np.ones(1000))
    capsule = t.__dlpack__()
    _core.from_dlpack(capsule)
    with pytest.raises(ValueError, match="used already"):
        _core.from_dlpack(capsule)
    t.__dlpack__()
    t.__dlpack__(max_version=(1, 1))
    gc.collect()
    before = nonet.memory_stats()["in_use"]
    for _ in range(100):
        nonet.from_dlpack(nonet.tensor(np.ones(1000)))
    assert nonet.memory_stats()["in_use"] == before


def test_parameter_exports_are_read_only():
    p = nonet.Parameter(np.zeros(3))
    assert not p.numpy().flags.writeable
    assert not np.asarray(p).flags.writeable
    assert not p.detach().numpy().flags.writeable
    assert p.array.cacheable
    capsule = p.__dlpack__(max_version=(1, 0))
    assert p.array.cacheable
    assert not _core.from_dlpack(capsule).numpy().flags.writeable
    p.__dlpack__()  # a consumer of the unversioned form may write at any time
    assert not p.array.cacheable


def test_versions_count_writes():
    p = nonet.Parameter(np.zeros(3))
    seen = [p.array.version]

    def bumped() -> bool:
        seen.append(p.array.version)
        return seen[-1] > seen[-2]

    p.copy_(np.ones(3))
    assert bumped()
    p.fill_(2)
    assert bumped()
    with p.mutable() as a:
        assert bumped()
        a[0] = 9
    assert bumped()
    assert p.numpy()[0] == 9
    with pytest.raises(ValueError, match="read-only"):
        a[0] = 1
    with pytest.raises(ValueError, match=r"copy_: source must have shape \[3\], got \[4\]"):
        p.copy_(np.ones(4))
    assert not bumped()
    assert p.numpy().tolist() == [9, 2, 2]


def test_formats():
    a = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    for dtype in ("float32", "int64", "uint8", "bfloat16"):
        plain = nonet.tensor(a, dtype=dtype).array
        image = plain.to_format("nhwc")
        assert (image.format, image.shape) == ("nhwc", (2, 3, 4, 5))
        np.testing.assert_array_equal(image.numpy(), plain.numpy())
        np.testing.assert_array_equal(image.reshape((6, 20)).numpy(), plain.numpy().reshape(6, 20))
        np.testing.assert_array_equal(image.to("float32").numpy(), plain.to("float32").numpy())
        np.testing.assert_array_equal(image.clone().numpy(), plain.numpy())
    with pytest.raises(ValueError, match="only arrays of rank 4"):
        nonet.tensor([1.0]).array.to_format("nhwc")


def test_deepcopy_and_pickle():
    for t in (
        nonet.tensor([[1.0, 2.0]], requires_grad=True),
        nonet.tensor([1, 2]),
        nonet.tensor([1.5], dtype="bfloat16"),
        nonet.Parameter([3.0]),
        nonet.Buffer([4.0], persistent=False),
    ):
        for other in (copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
            assert type(other) is type(t)
            assert (other.dtype, other.requires_grad) == (t.dtype, t.requires_grad)
            np.testing.assert_array_equal(other.numpy(), t.numpy())
            assert other.array.pointer != t.array.pointer
            assert other.array.guarded == t.array.guarded
    assert copy.deepcopy(nonet.Buffer([1.0], persistent=False)).persistent is False
    shared = nonet.Parameter([1.0])
    a, b = copy.deepcopy([shared, shared])
    assert a is b


def test_sizes_beyond_memory():
    with pytest.raises(MemoryError, match="out of memory: 4398046511104 bytes wanted"):
        _core.Array((2**40,))
    with pytest.raises(ValueError, match="too many elements"):
        _core.Array((2**40, 2**40))
    with pytest.raises(ValueError, match="sizes must be >= 0"):
        _core.Array((-1,))
    with pytest.raises(ValueError, match="at most 8 axes"):
        _core.Array((1,) * 9)


def test_allocator_aligns_reuses_and_counts():
    gc.collect()
    before = nonet.memory_stats()["in_use"]
    sizes = [1, 16, 17, 1000, 4096, 100_000, 3_000_001]
    arrays = [_core.Array((n,)) for n in sizes]
    assert {a.pointer % 64 for a in arrays} == {0}
    assert nonet.memory_stats()["in_use"] - before >= 4 * sum(sizes)
    assert nonet.memory_stats()["in_use"] - before <= 5 * sum(sizes) + 64 * len(sizes)
    pointers = {a.pointer for a in arrays}
    del arrays
    gc.collect()
    assert nonet.memory_stats()["in_use"] == before
    assert {_core.Array((n,)).pointer for n in sizes} <= pointers
    nonet.empty_cache()
    assert nonet.memory_stats()["cached"] == 0


def test_freed_memory_of_one_size_is_given_up_for_another():
    """Larger sizes take memory anew, smaller ones serve themselves from larger blocks, which stay what they are."""
    gc.collect()
    nonet.empty_cache()
    nonet.reset_peak_memory()
    mebi, before = 1 << 20, nonet.memory_stats()["in_use"]
    for size in (3, 4, 5, 6, 5, 4, 3, 6):  # classes of their own
        arrays = [nonet.full((size * mebi // 4,), float(i)) for i in range(240 // size)]
        stats = nonet.memory_stats()
        assert stats["in_use"] + stats["cached"] <= stats["peak"] + 64 * mebi
        assert [float(a[0]) for a in arrays] == [float(a[-1]) for a in arrays] == list(range(len(arrays)))
        del arrays
        assert nonet.memory_stats()["in_use"] == before
    nonet.empty_cache()


def test_sizes_that_nobody_wants_any_more_make_room_for_others():
    gc.collect()
    nonet.empty_cache()
    nonet.reset_peak_memory()
    mebi = 1 << 20
    arrays = [nonet.zeros(3 * mebi // 4) for _ in range(40)]  # all that may be kept, in use at once
    del arrays

    def kept() -> int:
        array = _core.Array((5 * mebi // 4,))
        before = nonet.memory_stats()["cached"]
        del array
        return nonet.memory_stats()["cached"] - before

    assert kept() == 0
    for _ in range(1100):
        _core.Array((1,))
    kept()  # gives two of the others back
    assert kept() == 5 * mebi
    assert nonet.memory_stats()["cached"] <= 120 * mebi
    nonet.empty_cache()


def test_alien_dlpack_deleter_runs_once():
    """A producer written against the C structures: its deleter runs when the last tensor is gone, once."""
    calls = []

    class Managed(ctypes.Structure):
        pass

    deleter_type = ctypes.CFUNCTYPE(None, ctypes.POINTER(Managed))
    Managed._fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", deleter_type),
    ]
    memory = (ctypes.c_float * 4)(1, 2, 3, 4)
    shape = (ctypes.c_int64 * 2)(2, 2)
    deleter = deleter_type(lambda _: calls.append(1))
    address = ctypes.cast(memory, ctypes.c_void_p)
    managed = Managed(address, 1, 0, 2, 2, 32, 1, shape, None, 0, None, deleter)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    array = _core.from_dlpack(new(ctypes.addressof(managed), b"dltensor", None))
    assert array.numpy().tolist() == [[1, 2], [3, 4]]
    view = array.reshape((4,))
    del array
    assert not calls
    del view
    assert calls == [1]
    managed.device_type = 3
    with pytest.raises(RuntimeError, match="expected memory of a CPU or CUDA .*, got device 3"):
        _core.from_dlpack(new(ctypes.addressof(managed), b"dltensor", None))
    managed.device_type, managed.device_id = 2, 1
    with pytest.raises(RuntimeError, match="expected memory of cuda:0, got cuda:1"):
        _core.from_dlpack(new(ctypes.addressof(managed), b"dltensor", None))
