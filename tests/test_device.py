"""Devices: memory, transfers, errors, the parts of a network that move."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import nonet
from helpers import GPU, emulator_only, why_no_gpu
from nonet import _core, io, nn
from nonet.cli import doctor, selftest

DTYPES = ["float32", "bfloat16", "int64", "int32", "uint8", "bool"]


@pytest.fixture(autouse=True)
def _gpu():
    if reason := why_no_gpu():
        pytest.skip(reason)


def on(values, **kwargs):
    return nonet.tensor(values, device=GPU, **kwargs)


# ---------------------------------------------------------------------------------------- memory and transfers


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 70001)], ids=str)
def test_there_and_back(dtype, shape):
    x = nonet.tensor(np.random.default_rng(0).integers(0, 2, shape), dtype=dtype)
    t = x.to(GPU)
    assert t.device == GPU and t.dtype == dtype and t.shape == shape
    assert t.to(GPU) is t and t.to(GPU, copy=True) is not t
    np.testing.assert_array_equal(t.cpu().numpy(), x.numpy())
    assert t.cpu().device == "cpu" and x.cpu() is x
    assert t.tolist() == x.tolist()


def test_creation():
    for make in (
        lambda **kw: nonet.zeros(3, 4, **kw),
        lambda **kw: nonet.ones(3, 4, dtype="bfloat16", **kw),
        lambda **kw: nonet.full((2, 3), 2.5, **kw),
        lambda **kw: nonet.full((2,), 2**60 + 1, **kw),
        lambda **kw: nonet.full((5,), True, **kw),
        lambda **kw: nonet.arange(7, **kw),
        lambda **kw: nonet.linspace(0, 1, 5, **kw),
        lambda **kw: nonet.eye(3, 4, **kw),
        lambda **kw: nonet.zeros_like(np.ones((2, 2), np.float32), **kw),
        lambda **kw: nonet.full_like(np.ones((2, 2), np.int32), 3, **kw),
    ):
        want, got = make(), make(device=f"{GPU}:0")
        assert got.device == GPU and got.dtype == want.dtype
        np.testing.assert_array_equal(got.cpu(), want)
    x = on([[1.0, 2.0]])
    for like in (nonet.zeros_like, nonet.ones_like, nonet.empty_like, nonet.rand_like):
        assert like(x).device == GPU
        assert like(x, device="cpu").device == "cpu"


@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("source", DTYPES)
def test_conversions(source, target):
    values = np.array(
        [0, 1, 2, 3, 200, 255] + [0.4, -0.6, 77.7, -1, 3e9, -3e9, 1e30, np.nan, np.inf, -np.inf] * 30
    )
    if source in ("float32", "bfloat16"):
        x = nonet.tensor(values.astype(np.float32), dtype=source)
    else:
        x = nonet.tensor(np.arange(-300, 301), dtype=source)
    got, want = x.to(GPU).to(target).cpu(), x.to(target)
    assert got.dtype == target
    np.testing.assert_array_equal(got.to("float32"), want.to("float32"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool"])
def test_writing(dtype):
    t = nonet.zeros(4, 33, dtype=dtype, device=GPU)
    version = t.array.version
    t.fill_(1)
    assert t.array.version > version and np.all(t.cpu().numpy() == 1)
    source = np.random.default_rng(0).integers(0, 2, (4, 33))
    t.copy_(source)
    np.testing.assert_array_equal(t.cpu().numpy().astype(np.int64), source)
    t.copy_(nonet.tensor(1 - source).to(GPU))
    np.testing.assert_array_equal(t.cpu().numpy().astype(np.int64), 1 - source)
    here = nonet.zeros(4, 33)
    here.copy_(t)
    np.testing.assert_array_equal(here, 1 - source)
    t[1, 2:4] = 1
    assert t.cpu().numpy()[1, 2:4].tolist() == [1, 1]
    with t.mutable() as a:
        a[...] = 0
    assert not np.any(t.cpu().numpy().astype(bool))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool"])
def test_views_and_strided_copies(dtype):
    x = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5) % 2
    t = nonet.tensor(x, dtype=dtype).to(GPU)
    array = t.array
    nhwc = array.to_format("nhwc")
    assert nhwc.format == "nhwc" and nhwc.device == GPU
    again = nhwc.to_format("plain").to_device("cpu").numpy()
    np.testing.assert_array_equal(again, nonet.tensor(x, dtype=dtype).array.numpy())
    np.testing.assert_array_equal(nhwc.to_device("cpu").numpy(), again)
    assert array.reshape((6, 20)).shares_memory(array)
    np.testing.assert_array_equal(array.reshape((6, 20)).to_device("cpu").numpy(), again.reshape(6, 20))


def test_memory_ends_where_the_array_does():
    """Vector loads stop at the last element, whatever the length and the offset of a view."""
    for n in (1, 3, 4, 5, 1023):
        t = on(np.arange(n + 1, dtype=np.float32))
        np.testing.assert_array_equal((t + t).cpu(), 2 * np.arange(n + 1))
        row = nonet.Tensor(on(np.arange(3 * n, dtype=np.float32).reshape(3, n)).array)
        np.testing.assert_array_equal(
            (row * row).cpu(), np.arange(3 * n).reshape(3, n).astype(np.float32) ** 2
        )


def test_statistics_and_running_out_of_memory():
    before = nonet.memory_stats(GPU)["in_use"]
    t = nonet.zeros(1000, device=GPU)
    assert nonet.memory_stats(GPU)["in_use"] - before >= 4000
    with pytest.raises(
        MemoryError, match=rf"out of memory on {GPU}: \d+ bytes wanted, \d+ in use by arrays, \d+ of"
    ):
        nonet.empty(2**44, device=GPU)
    assert nonet.memory_stats(GPU)["in_use"] - before >= 4000
    assert not np.any(t.cpu().numpy())
    del t
    assert nonet.memory_stats(GPU)["in_use"] == before
    nonet.reset_peak_memory(GPU)
    assert nonet.memory_stats(GPU)["peak"] == before


# ---------------------------------------------------------------------------------------- errors


def test_names():
    for bad in ("gpu", "cuda:8", "emulator:1"):
        with pytest.raises(ValueError, match=f"device: expected cpu or cuda, got {bad}"):
            nonet.zeros(2, device=bad)
    assert nonet.zeros(2, device="cpu:0").device == "cpu"


def test_two_devices_in_one_op_are_both_named():
    a, b = nonet.tensor([1.0, 2.0]), on([1.0, 2.0])
    for op in (
        lambda: a + b,
        lambda: b * a,
        lambda: nonet.where(a > 0, b, b),
        lambda: nonet.where(b > 0, b, a),
        lambda: _core.add_into(a.array, b.array),
    ):
        with pytest.raises(
            RuntimeError, match=f"arrays are on different devices, (cpu and {GPU}|{GPU} and cpu)"
        ):
            op()
    b.requires_grad_()
    for output in (b, b * 1.0):
        with pytest.raises(RuntimeError, match=f"backward: arrays are on different devices, {GPU} and cpu"):
            output.backward(a)


@emulator_only
def test_an_op_without_a_kernel_names_itself_and_the_device():
    """Whatever family it is: here one is left out, before it is used."""
    program = """
import sys; sys.path.insert(0, sys.argv[1])
import nonet, helpers
assert not helpers.why_no_gpu()
from nonet import _emulator, nn
_emulator.leave_out("sort")
x = nonet.ones(3, device="emulator")
class Median(nn.Module):
    def forward(self, x):
        return nonet.sort(x).values
for call in (lambda: nonet.sort(x), lambda: nn.Sequential(Median())(x)):
    try: call()
    except RuntimeError as error: print(error)
print((x + x).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(Path(__file__).parent)], capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        "sort: there is no kernel for emulator; use .cpu()",
        "0 (Median): sort: there is no kernel for emulator; use .cpu()",
        "[2.0, 2.0, 2.0]",
    ], done.stderr


@emulator_only
def test_a_failed_launch_names_op_and_shape():
    from nonet import _emulator  # type: ignore[attr-defined]

    x = on(np.ones((3, 4), np.float32))
    for name, op in {
        "exp": lambda: nonet.exp(x),
        "mul": lambda: x * 2.0,
        "fill": lambda: x.fill_(1.0),
    }.items():
        _emulator.fail_next("misaligned address")
        with pytest.raises(
            RuntimeError, match=rf"^{name}: emulator: misaligned address \(result of shape \[3, 4\]\)"
        ):
            op()
        op()  # and it is over
    _emulator.fail_next("gone")
    with pytest.raises(RuntimeError, match="^synchronize: emulator: gone"):
        nonet.synchronize(GPU)


def test_export():
    x = on([1.0, 2.0])
    with pytest.raises(RuntimeError, match=rf"numpy: the tensor is on {GPU}; use \.cpu\(\)"):
        x.numpy()
    with pytest.raises(RuntimeError, match=rf"numpy: the tensor is on {GPU}; use \.cpu\(\)"):
        np.asarray(x)
    with pytest.raises(BufferError):
        memoryview(x)
    if GPU == "emulator":
        for export in (x.__dlpack_device__, x.__dlpack__):
            with pytest.raises(RuntimeError, match="dlpack: memory of the emulator is not another library's"):
                export()
    else:
        assert x.__dlpack_device__() == (2, 0)
        again = nonet.from_dlpack(x)
        assert again.device == GPU and again.tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(_core.from_dlpack(x.__dlpack__(dl_device=(1, 0))).numpy(), [1, 2])
    assert repr(x) == f"Tensor([1., 2.], dtype=float32, device={GPU})"
    assert x[0:1].cpu().tolist() == [1.0] and on([2.5]).item() == 2.5 and int(on(7)) == 7 and bool(on([True]))


# ---------------------------------------------------------------------------------------- the tape


def test_gradients_cross_devices():
    w = nonet.tensor([1.0, -2.0, 3.0], requires_grad=True)
    loss = (w.to(GPU) * on([2.0, 4.0, 8.0])).cpu() * 3.0
    loss.backward(np.ones(3, np.float32))
    assert w.grad is not None and w.grad.device == "cpu" and w.grad.tolist() == [6.0, 12.0, 24.0]
    v = on([1.0, 2.0], requires_grad=True)
    (v * v).backward(np.array([1.0, 10.0], np.float32))
    (v + 1.0).backward([1.0, 1.0])
    assert v.grad is not None and v.grad.device == GPU and v.grad.tolist() == [3.0, 41.0]


def test_numpy_operands_go_to_the_device_of_the_tensor():
    x, a = on([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0], np.float32)
    for got, want in [(x + a, [5, 7, 9]), (a - x, [3, 3, 3]), (x > a, [False] * 3), (x**2, [1, 4, 9])]:
        assert got.device == GPU
        np.testing.assert_array_equal(got.cpu(), want)
    np.testing.assert_array_equal(nonet.where(x > 1.5, a, 0.0).cpu(), [0, 5, 6])
    np.testing.assert_array_equal(x.masked_fill(a > 4.5, -1.0).cpu(), [1, -1, -1])
    np.testing.assert_array_equal(nonet.where(x > 1.5, 1.0, 0.0).cpu(), [0, 1, 1])


def test_integers_on_a_device():
    for dtype in ("int64", "int32", "uint8", "bool"):
        x = nonet.tensor([[7, 0, 3], [255, 1, 2]], dtype=dtype)
        z = nonet.tensor([2, 1, 3], dtype=dtype)
        t, u = x.to(GPU), z.to(GPU)
        ops = [nonet.add, nonet.mul, nonet.maximum, nonet.minimum, nonet.eq, nonet.lt, nonet.logical_xor]
        ops += [nonet.bitwise_and, nonet.bitwise_or, nonet.bitwise_xor]
        if dtype != "bool":
            ops += [nonet.sub, nonet.floor_divide, nonet.remainder, nonet.pow]
            for unary in (nonet.neg, nonet.abs, nonet.square, nonet.sign):
                np.testing.assert_array_equal(unary(t).cpu(), unary(x))
            np.testing.assert_array_equal((t * 3 - 1).cpu(), x * 3 - 1)
        for op in ops:
            np.testing.assert_array_equal(op(t, u).cpu(), op(x, z), err_msg=f"{op.__name__} {dtype}")
        np.testing.assert_array_equal((~t).cpu(), ~x)
        np.testing.assert_array_equal((t > 1).cpu(), x > 1)
    with pytest.raises(ValueError, match="division of integers by zero"):
        on([1, 2]) // 0


@pytest.mark.parametrize("big", [(5000, 3), (3, 5000), (7, 4100, 2), (1, 1), (4, 0, 3)], ids=str)
def test_sums_of_broadcast_gradients(big):
    x = np.random.default_rng(0).standard_normal(big).astype(np.float32)
    for small in [(1,) * len(big), (1, *big[1:]), (*big[:-1], 1)]:
        axes = tuple(i for i, n in enumerate(small) if n == 1)
        got = _core.sum_to(on(x).array, small).to_device("cpu").numpy()
        bound = np.abs(x).astype(np.float64).sum(axis=axes, keepdims=True)
        error = np.abs(got - x.astype(np.float64).sum(axis=axes, keepdims=True))
        assert np.all(error <= 300 * np.finfo(np.float32).eps * bound)  # 2048 / 8 in a row, then a tree


# ---------------------------------------------------------------------------------------- random numbers


@pytest.mark.parametrize("n", [0, 1, 5, 4099])
def test_generators_are_equal(n):
    a, b = nonet.Generator(5), nonet.Generator(5)

    def draws(generator, device):
        kw = {"generator": generator, "device": device}
        yield nonet.rand(n, **kw)
        yield nonet.rand(3, n, dtype="bfloat16", **kw)
        yield nonet.uniform(n, low=-2.0, high=5.0, **kw)
        yield nonet.randint(-5, 1000, (n,), **kw)
        yield nonet.randperm(n, **kw)
        yield nonet.bernoulli(nonet.full((n,), 0.3, device=device), generator=generator)
        yield nonet.randn(n, **kw)

    for here, there in zip(draws(a, "cpu"), draws(b, GPU), strict=True):
        assert there.device == GPU and there.dtype == here.dtype
        if (
            here.shape == (n,) and here.dtype == "float32" and n > 0 and float(here.numpy().min()) < -2
        ):  # normal
            np.testing.assert_allclose(there.cpu(), here, rtol=1e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(there.cpu(), here)
    np.testing.assert_array_equal(a.state.numpy(), b.state.numpy())


# ---------------------------------------------------------------------------------------- networks


class Affine(nn.Module):
    """All ops of it are element-wise."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(np.array([1.0, 2.0, 3.0], np.float32))
        self.shift = nn.Parameter(np.zeros(3, np.float32))
        self.seen = nonet.Buffer(np.array([0]))

    def forward(self, x):
        return x * self.scale + self.shift


def test_module_moves_in_place_and_back():
    net = Affine()
    scale = net.scale
    assert net.to(GPU) is net and net.scale is scale
    assert {v.device for v in (*net.parameters(), *net.buffers())} == {GPU}
    x = np.ones((4, 3), np.float32)
    net(on(x)).backward(x)
    assert scale.grad is not None and scale.grad.device == GPU and scale.grad.tolist() == [4.0, 4.0, 4.0]
    assert net.cpu() is net and scale.device == "cpu" and scale.grad.device == "cpu"
    net.to("bfloat16", device=GPU)
    assert scale.dtype == "bfloat16" and net.seen.dtype == "int64" and scale.device == net.seen.device == GPU
    if GPU == "cuda":
        assert net.cuda() is net and scale.device == "cuda"
    elif not nonet.cuda.is_available():
        with pytest.raises(RuntimeError, match="device: cuda is not available: "):
            net.cuda()
    with pytest.raises(ValueError, match="got cuda:3"):
        net.cuda(3)


def test_copies_pickles_and_checkpoints(tmp_path):
    net = Affine().to(GPU)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.scale.device == GPU and other.scale.tolist() == [1.0, 2.0, 3.0]
        assert other.scale is not net.scale and not other.scale.array.shares_memory(net.scale.array)
    io.save_tensors(tmp_path / "a.safetensors", net.state_dict())
    arrays, _ = io.load_tensors(tmp_path / "a.safetensors")
    assert arrays["scale"].tolist() == [1.0, 2.0, 3.0]
    net.scale.fill_(0.0)
    net.load_state_dict(arrays)
    assert net.scale.device == GPU and net.scale.tolist() == [1.0, 2.0, 3.0]
    here = Affine()
    here.load_state_dict({**net.state_dict(), "scale": on([5.0, 6.0, 7.0])})
    assert here.scale.device == "cpu" and here.scale.tolist() == [5.0, 6.0, 7.0]
    half = on([1.5], dtype="bfloat16")
    assert pickle.loads(pickle.dumps(half)).cpu().numpy().dtype == ml_dtypes.bfloat16


def test_an_optimizer_follows_its_parameters():
    net = Affine()
    optimizer = nonet.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    x = np.ones((2, 3), np.float32)
    net(x).backward(x)
    optimizer.step()
    want = net.scale.tolist()
    momentum = optimizer.state[net.scale]["momentum_buffer"].tolist()
    net.to(GPU)
    optimizer._follow()
    assert net.scale.tolist() == want
    state = optimizer.state[net.scale]["momentum_buffer"]
    assert state.device == GPU and state.tolist() == momentum
    assert optimizer.state_dict()["state"][0]["momentum_buffer"].tolist() == momentum
    optimizer.zero_grad()
    net(on(x)).backward(x)
    assert net.scale.grad is not None and net.scale.grad.array.shares_memory(net.scale._slot.array)
    net.cpu()
    optimizer.step()
    assert net.scale.device == "cpu"
    np.testing.assert_allclose(net.scale, np.float32(want) - 0.5 * (0.9 * np.float32(momentum) + 2))
    with pytest.raises(RuntimeError, match=f"optimizer: arrays are on different devices, cpu and {GPU}"):
        nonet.optim.SGD([nn.Parameter([1.0]), nn.Parameter(on([1.0]))], lr=0.1)


# ---------------------------------------------------------------------------------------- the device itself


def test_tiers():
    before = _core.tier(GPU)
    assert before == "sm90a" or GPU == "cuda"
    try:
        for name in ("simt", "mma80", "sm90a"):
            _core.set_tier(GPU, name)
            assert _core.tier(GPU) == name
            assert (on([1.0]) + 1.0).tolist() == [2.0]
        with pytest.raises(ValueError, match="set_tier: expected simt, mma80 or sm90a"):
            _core.set_tier(GPU, "sm100")
    finally:
        _core.set_tier(GPU, before)
    info = _core.device_info(GPU)
    assert info["capability"] == "9.0" or GPU == "cuda"
    assert info["memory_total"] > info["memory_free"] > 0


def test_without_a_gpu_the_reason_is_told():
    if nonet.cuda.is_available():
        pytest.skip("there is a GPU")
    assert nonet.cuda.device_count() == 0 and nonet.cuda.why_unavailable()
    for use in (
        lambda: nonet.zeros(2, device="cuda"),
        lambda: nonet.tensor([1.0]).cuda(),
        nonet.cuda.device_info,
    ):
        with pytest.raises(
            RuntimeError, match="device: cuda is not available: (nonet was built without|there is no)"
        ):
            use()
    done = subprocess.run(
        [sys.executable, "-m", "nonet", "train", "lenet5", "--device", "cuda"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert nonet.cuda.why_unavailable() in done.stderr and done.stderr.count("\n") == 1


# ---------------------------------------------------------------------------------------- what stands beside a tensor


def test_arrays_go_where_the_tensor_is():
    """A layer on a device takes NumPy arrays, as one on the CPU does."""
    rng = np.random.default_rng(0)
    x, image = rng.standard_normal((4, 6), np.float32), rng.standard_normal((2, 1, 5, 5), np.float32)
    calls = [
        (nn.Linear(6, 3), (x,)),
        (nn.Bilinear(6, 6, 3), (x, x)),
        (nn.Conv2d(1, 2, 3), (image,)),
        (nn.Embedding(5, 3), (np.array([[1, 4], [0, 0]]),)),
        (nn.CrossEntropyLoss(), (on(x), np.array([1, 0, 5, 2]))),
        (nn.MSELoss(), (on(x), x + 1)),
    ]
    for module, inputs in calls:
        there = copy.deepcopy(module).to(GPU)
        out = there(*inputs)
        assert out.device == GPU
        here = module(*[t.cpu() if isinstance(t, nonet.Tensor) else t for t in inputs])
        np.testing.assert_allclose(out.detach().cpu().numpy(), here.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose((on(x) @ x.T).cpu().numpy(), x @ x.T, rtol=1e-5, atol=1e-6)
    with pytest.raises(RuntimeError, match=f"{GPU}.*cpu|cpu.*{GPU}"):
        nn.functional.linear(on(x), nonet.tensor(x))


@pytest.mark.parametrize("family", [name for name in selftest.CHECKS if name not in selftest.ONLY_CPU])
def test_self_test(family):
    """What `nonet doctor` computes on a GPU."""
    check = doctor.examine(family, GPU)
    assert check["ok"], check["problem"]
