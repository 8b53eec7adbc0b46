"""The module tree: names, state, copies, modes, and errors that say where."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import nonet
from nonet import nn


class Affine(nn.Module):
    def __init__(self, size: int):
        self.weight = nn.Parameter(np.ones(size))
        self.bias = None
        self.register_buffer("count", np.zeros(1))
        self.register_buffer("scratch", np.zeros(1), persistent=False)

    def forward(self, x):
        if x.shape[-1] != self.weight.shape[0]:
            raise ValueError(
                f"affine: input must have shape [..., {self.weight.shape[0]}], got {list(x.shape)}"
            )
        return x * self.weight

    def extra_repr(self):
        return f"size={self.weight.shape[0]}"


class Net(nn.Module):
    def __init__(self):
        self.first = Affine(3)
        self.block = Block()
        self.scale = nn.Parameter([2.0])

    def forward(self, x):
        return self.block(self.first(x)) * self.scale


class Block(nn.Module):
    def __init__(self):
        self.inner = Affine(3)
        self.tied = self.inner

    def forward(self, x):
        return self.inner(x)


def test_names_and_order():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == ["scale", "first.weight", "block.inner.weight"]
    assert [n for n, _ in net.named_buffers()] == [
        "first.count",
        "first.scratch",
        "block.inner.count",
        "block.inner.scratch",
    ]
    assert [n for n, _ in net.block.named_children()] == ["inner"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "block", "block.inner"]
    assert list(net.state_dict()) == [
        "scale",
        "first.weight",
        "first.count",
        "block.inner.weight",
        "block.inner.count",
        "block.tied.weight",
        "block.tied.count",
    ]
    assert net.get_submodule("block.inner") is net.block.inner
    with pytest.raises(AttributeError, match="Net has no module at 'block.other'"):
        net.get_submodule("block.other")
    assert repr(net) == (
        "Net(\n  (first): Affine(size=3)\n  (block): Block(\n"
        "    (inner): Affine(size=3)\n    (tied): Affine(size=3)\n  )\n)"
    )


def test_every_path_of_what_is_shared():
    net = Net()
    net.first.again = net.scale
    assert [n for n, _ in net.named_modules(remove_duplicate=False)] == [
        "",
        "first",
        "block",
        "block.inner",
        "block.tied",
    ]
    assert [n for n, _ in net.named_parameters("net", remove_duplicate=False)] == [
        "net.scale",
        "net.first.weight",
        "net.first.again",
        "net.block.inner.weight",
        "net.block.tied.weight",
    ]
    assert [n for n, _ in net.block.named_buffers(remove_duplicate=False)] == [
        "inner.count",
        "inner.scratch",
        "tied.count",
        "tied.scratch",
    ]
    assert "first.again" not in dict(net.named_parameters())


def test_state_dict_keep_vars():
    net = Net()
    kept = net.state_dict(keep_vars=True)
    assert list(kept) == list(net.state_dict())
    assert kept["first.weight"] is net.first.weight
    assert not net.state_dict()["first.weight"].requires_grad


def test_load_state_dict_writes_all_or_nothing():
    net, other = Net(), Net()
    with other.first.weight.mutable() as a:
        a[:] = [1, 2, 3]
    assert net.load_state_dict(other.state_dict()) == ([], [])
    with pytest.raises(TypeError, match="load_state_dict: expected a mapping, got list"):
        net.load_state_dict(list(other.state_dict()))
    np.testing.assert_array_equal(net.first.weight.numpy(), [1, 2, 3])
    state = {k: v.numpy() for k, v in Net().state_dict().items()}
    with pytest.raises(KeyError, match=r"missing keys \['scale'\], unexpected keys \['extra'\]"):
        net.load_state_dict({**{k: v for k, v in state.items() if k != "scale"}, "extra": np.zeros(1)})
    assert net.load_state_dict({"extra": np.zeros(1), "scale": [5.0]}, strict=False).unexpected_keys == [
        "extra"
    ]
    assert net.scale.item() == 5
    with pytest.raises(ValueError, match=r"wrong shapes: first.weight: expected \[3\], got \[4\]"):
        net.load_state_dict({**state, "scale": [9.0], "first.weight": np.zeros(4)})
    assert net.scale.item() == 5


def test_copies():
    net = Net().eval()
    net.first.weight.requires_grad = False
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert list(other.state_dict()) == list(net.state_dict())
        assert other.block.tied is other.block.inner
        assert not other.training
        assert not other.first.weight.requires_grad
        other.scale.fill_(7)
        assert net.scale.item() == 2
        assert other.scale.item() == 7


def test_copies_after_an_optimizer_moved_the_parameters():
    net = Net()
    optimizer = nonet.optim.SGD(net.parameters(), lr=0.5)
    twin = copy.deepcopy(net)
    nonet.sum(net(nonet.tensor(np.ones((2, 3))))).backward()
    optimizer.step()
    assert net.scale.item() == 2 - 0.5 * 6
    assert twin.scale.item() == 2
    assert pickle.loads(pickle.dumps(net)).scale.item() == net.scale.item()


def test_modes_and_gradients():
    net = Net()
    assert net.training
    assert not net.eval().block.inner.training
    assert net.train().block.inner.training
    nonet.sum(net(nonet.tensor(np.ones((1, 3))))).backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not net(nonet.tensor(np.ones((1, 3)))).requires_grad


def test_errors_carry_the_path():
    net = Net()
    net.block.inner.weight = nn.Parameter(np.ones(4))
    with pytest.raises(
        ValueError, match=r"^block.inner \(Affine\): affine: input must have shape \[..., 4\], got \[2, 3\]$"
    ):
        net(nonet.tensor(np.ones((2, 3))))
    with pytest.raises(ValueError, match=r"^Affine: affine: input must"):
        net.first(nonet.tensor(np.ones((2, 5))))
    with pytest.raises(TypeError, match=r"^Module: Module defines no forward\(\)$"):
        nn.Module()()


def test_register():
    m = nn.Module()
    m.register_parameter("p", None)
    m.register_parameter("q", nn.Parameter([1.0]))
    m.register_buffer("b", None)
    m.add_module("child", Affine(1))
    assert list(m.state_dict()) == ["q", "child.weight", "child.count"]
    with pytest.raises(TypeError, match="q must be a Parameter or None, got ndarray"):
        m.register_parameter("q", np.zeros(1))
    with pytest.raises(TypeError, match="add_module: child must be a Module or None, got int"):
        m.add_module("child", 3)
    for name in ("", "a.b", "forward"):
        with pytest.raises(KeyError, match=f"a member cannot be named '{name}'"):
            m.register_buffer(name, np.zeros(1))
    with pytest.raises(KeyError, match="'q' is taken by a Parameter"):
        m.register_buffer("q", np.zeros(1))


def test_assignment_to_parameters_and_buffers():
    m = Affine(3)
    m.count = m.count + 1
    m.scratch = nonet.tensor([5.0])
    assert list(m.state_dict()) == ["weight", "count"]
    assert m.state_dict()["count"].item() == 1
    assert isinstance(m.scratch, nonet.Buffer)
    with pytest.raises(
        ValueError, match=r"Affine: count is a buffer and must have no history, use detach\(\)"
    ):
        m.count = m(nonet.tensor(np.ones(3))).sum()
    with pytest.raises(TypeError, match="Affine: weight must be a Parameter or None, got Tensor"):
        m.weight = nonet.tensor(np.zeros(3))
    m.weight = nn.Parameter(np.zeros(3))
    m.weight = None
    assert list(m.parameters()) == []
    s = nn.Sequential(nn.ReLU())
    s.weight = nn.Parameter(np.zeros(3))
    with pytest.raises(TypeError, match="Sequential: weight must be a Parameter or None"):
        s.weight = nonet.tensor(0.0)


def test_parts_by_path():
    net = Net()
    assert net.get_parameter("block.inner.weight") is net.block.inner.weight
    assert net.get_buffer("first.count") is net.first.count
    for call, text in (
        (lambda: net.get_parameter("first.count"), "Net has no parameter at 'first.count'"),
        (lambda: net.get_buffer("first.weight.x"), "Net has no buffer at 'first.weight.x'"),
        (lambda: net.get_submodule("scale"), "Net has no module at 'scale'"),
    ):
        with pytest.raises(AttributeError, match=text):
            call()


def test_apply_visits_children_first():
    order = []
    net = Net()
    assert net.apply(lambda m: order.append(type(m).__name__)) is net
    assert order == ["Affine", "Affine", "Block", "Net"]


def test_conversion():
    net = Net()
    net.block.steps = nonet.Buffer([3])
    net.block.inner.scratch = nonet.tensor([0.5])
    net(nonet.tensor(np.ones((2, 3)))).sum().backward()
    weight = net.first.weight
    for change in (lambda: net.to("bfloat16"), net.bfloat16, lambda: net.to(dtype="bfloat16", device="cpu")):
        assert change() is net
        assert net.first.weight is weight
        assert {p.dtype for p in net.parameters()} == {p.grad.dtype for p in net.parameters()} == {"bfloat16"}
        assert net.block.steps.dtype == "int64"
        assert net.block.inner.scratch.dtype == "bfloat16"
        assert not net.block.inner.scratch.persistent
        assert not weight.numpy().flags.writeable
        assert weight.requires_grad
        assert net(nonet.tensor(np.ones((2, 3)), dtype="bfloat16")).dtype == "bfloat16"
        net.float()
        assert net.state_dict()["first.weight"].dtype == "float32"
        assert net.to("cpu").to(weight) is net
    optimizer = nonet.optim.SGD(net.parameters(), lr=0.5)
    net.zero_grad()
    net(nonet.tensor(np.ones((2, 3)))).sum().backward()
    optimizer.step()
    assert net.scale.item() == 2 - 0.5 * 6
    with pytest.raises(TypeError, match="dtype must be float32 or bfloat16, got int64"):
        net.to("int64")
    with pytest.raises(ValueError, match="device: expected cpu or cuda, got float16"):
        net.to("float16")
