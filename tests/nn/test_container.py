from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import nonet
from helpers import EPS
from nonet import nn
from nonet.nn import module as module_file


class Scale(nn.Module):
    def __init__(self, factor: float):
        self.weight = nn.Parameter(np.full((2,), float(factor)))

    def forward(self, input):
        return nonet.tensor(np.asarray(input) * self.weight.numpy())


def factors(container) -> list[float]:
    return [float(m.weight.numpy()[0]) for m in container]


def test_sequential_by_number():
    net = nn.Sequential(Scale(2), Scale(3))
    net.append(Scale(5)).insert(1, Scale(7))
    assert factors(net) == [2, 7, 3, 5]
    assert list(net.state_dict()) == ["0.weight", "1.weight", "2.weight", "3.weight"]
    np.testing.assert_array_equal(net(np.ones(2)).numpy(), [210, 210])
    assert factors(net[1:3]) == [7, 3]
    assert factors(net.__add__([Scale(9)])) == [2, 7, 3, 5, 9]
    del net[1]
    net.extend([Scale(11)])
    net[-1] = Scale(13)
    assert factors(net) == [2, 3, 5, 13]
    assert net.pop(0).weight.numpy()[0] == 2
    assert len(net) == 3
    assert net[0] in net
    assert list(net.state_dict()) == ["0.weight", "1.weight", "2.weight"]
    np.testing.assert_array_equal(net(np.ones(2)).numpy(), [195, 195])
    x = np.ones(2)
    assert nn.Sequential()(x) is x


def test_sequential_by_name():
    net = nn.Sequential({"first": Scale(2), "second": Scale(3)})
    assert list(net.state_dict()) == ["first.weight", "second.weight"]
    assert list(net[1:].state_dict()) == ["second.weight"]
    net.second = Scale(4)
    np.testing.assert_array_equal(net(np.ones(2)).numpy(), [8, 8])
    net.first = Scale(10)
    np.testing.assert_array_equal(net(np.ones(2)).numpy(), [40, 40])


def test_sequential_repeated():
    net = nn.Sequential(Scale(2), Scale(3))
    for many in (net * 3, 3 * net):
        assert factors(many) == [2, 3] * 3
        assert many[4] is net[0]
        assert list(many.state_dict())[-1] == "5.weight"
        assert len(list(many.parameters())) == 2
        np.testing.assert_array_equal(many(np.ones(2)).numpy(), [216, 216])
    same = net
    net *= 2
    assert net is same
    assert factors(net) == [2, 3, 2, 3]
    net *= 1
    np.testing.assert_array_equal(net(np.ones(2)).numpy(), [36, 36])
    with pytest.raises(TypeError, match="Sequential: expected an int to repeat by, got float"):
        net * 2.0
    with pytest.raises(ValueError, match="Sequential: expected to be repeated at least once, got 0"):
        net *= 0


def test_the_plan_follows_every_change():
    net = nn.Sequential(Scale(2), Scale(3))
    want = 6.0
    for change, factor in [
        (lambda: net.append(Scale(5)), 5),
        (lambda: setattr(net, "0", Scale(4)), 2),
        (lambda: delattr(net, "2"), 1 / 5),
        (lambda: net.insert(0, Scale(3)), 3),
        (lambda: net.__setitem__(0, Scale(1)), 1 / 3),
    ]:
        assert net(np.ones(2)).numpy()[0] == want
        change()
        want = round(want * factor)
    assert net(np.ones(2)).numpy()[0] == want


def test_copies_have_a_plan_of_their_own():
    net = nn.Sequential(Scale(2), Scale(3))
    net(np.ones(2))
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        with nonet.no_grad():
            other[0].weight.fill_(5)
        assert other(np.ones(2)).numpy()[0] == 15
        assert net(np.ones(2)).numpy()[0] == 6


def test_an_observer_sees_every_module():
    seen = []
    net = nn.Sequential(Scale(2), nn.Sequential(Scale(3)))
    net(np.ones(2))
    module_file.observer = lambda module, args, out: seen.append(type(module).__name__)
    try:
        net(np.ones(2))
    finally:
        module_file.observer = None
    assert seen == ["Scale", "Scale", "Sequential", "Sequential"]


def test_errors_name_the_path():
    net = nn.Sequential(nn.Identity(), nn.Sequential(nn.Flatten(3)))
    with pytest.raises(IndexError, match=r"^1\.0 \(Flatten\): flatten: axis must be in"):
        net(np.zeros((2, 2)))


def test_module_list():
    layers = nn.ModuleList([Scale(2), Scale(3)])
    layers += [Scale(5)]
    assert factors(layers) == [2, 3, 5]
    assert factors(layers[::2]) == [2, 5]
    assert list(layers[1:].state_dict()) == ["0.weight", "1.weight"]
    assert len(list(layers.parameters())) == 3
    for call, error in [
        (lambda: layers[3], IndexError),
        (lambda: layers.append(3), TypeError),
        (lambda: layers.insert(7, Scale(1)), IndexError),
        (lambda: layers(1), TypeError),
        (lambda: nn.Sequential(Scale(1), 2), TypeError),
        (lambda: nn.Sequential({"forward": Scale(1)}), KeyError),
        (lambda: nn.Sequential({"a.b": Scale(1)}), KeyError),
    ]:
        with pytest.raises(error):
            call()


def test_module_dict():
    d = nn.ModuleDict({"a": Scale(2)})
    d.update([("b", Scale(3))])
    d["c"] = Scale(5)
    assert d.keys() == ["a", "b", "c"]
    assert list(d) == ["a", "b", "c"]
    assert factors(d.values()) == [2, 3, 5]
    assert list(d.state_dict()) == ["a.weight", "b.weight", "c.weight"]
    assert d.pop("b").weight.numpy()[0] == 3
    assert "b" not in d
    assert "training" not in d
    del d["a"]
    assert len(d) == 1
    d.clear()
    assert len(d) == 0
    for call, error in [
        (lambda: d["z"], KeyError),
        (lambda: d.__setitem__("keys", Scale(1)), KeyError),
        (lambda: d.__setitem__(3, Scale(1)), TypeError),
        (lambda: d.__setitem__("x", 1), TypeError),
    ]:
        with pytest.raises(error):
            call()


def test_parameter_containers():
    p = nn.ParameterList([np.ones(2), nn.Parameter(np.zeros(3))])
    p.append(nonet.tensor([1.0]))
    assert [list(x.shape) for x in p] == [[2], [3], [1]]
    assert list(p.state_dict()) == ["0", "1", "2"]
    assert all(isinstance(x, nn.Parameter) for x in p)
    assert "Parameter of shape [3], float32" in repr(p)
    assert repr(p[:2]) == (
        "ParameterList(\n  (0): Parameter of shape [2], float32\n  (1): Parameter of shape [3], float32\n)"
    )
    assert list(nn.ModuleDict(modules={"w": nn.ReLU()})) == ["w"]
    d = nn.ParameterDict(parameters={"w": np.ones(2)})
    d["b"] = np.zeros(1)
    assert list(d.state_dict()) == ["w", "b"]
    assert d.get("z") is None
    assert d.get("b") is d["b"]


def test_shape_layers():
    x = np.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(nn.Unflatten(1, (2, -1))(x).numpy(), x.reshape(2, 2, 3))
    np.testing.assert_array_equal(nn.Flatten()(x.reshape(2, 2, 3)).numpy(), x)
    assert nn.Identity(3, a=4)(x) is x
    for bad in (lambda: nn.Unflatten("N", (2, 3)), lambda: nn.Unflatten(1, 2), lambda: nn.Unflatten(1, ())):
        with pytest.raises(TypeError):
            bad()


def test_padding_layers():
    x = np.arange(6.0).reshape(1, 2, 3)
    np.testing.assert_array_equal(
        nn.ConstantPad1d(1, 9)(x).numpy(), np.pad(x, [(0, 0), (0, 0), (1, 1)], constant_values=9)
    )
    np.testing.assert_array_equal(nn.ZeroPad2d((1, 0, 0, 2))(x).numpy(), np.pad(x, [(0, 0), (0, 2), (1, 0)]))
    np.testing.assert_array_equal(
        nn.ReflectionPad1d(2)(x).numpy(), np.pad(x, [(0, 0), (0, 0), (2, 2)], mode="reflect")
    )
    with pytest.raises(
        ValueError, match=r"input must have shape \[N, C, H, W\] or that without N, got \[2, 3\]"
    ):
        nn.ReplicationPad2d(1)(x[0])
    with pytest.raises(ValueError, match="CircularPad2d: padding must be an int or 4 ints"):
        nn.CircularPad2d((1, 2))


def apart(net: nn.Sequential, x: nonet.Tensor) -> nonet.Tensor:
    for layer in net:
        x = layer(x)
    return x


ACTIVATIONS = [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, lambda: nn.GELU("tanh"), nn.ELU]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: nn.Linear(5, 7), (3, 5)),
        (lambda: nn.Linear(5, 7, bias=False), (2, 3, 5)),
        (lambda: nn.Conv2d(2, 3, 3, padding=1, stride=2), (2, 2, 6, 5)),
        (lambda: nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular", groups=2), (2, 2, 6, 5)),
    ],
)
def test_fused_blocks_compute_what_their_layers_do(layer, shape, activation):
    nonet.manual_seed(0)
    net = nn.Sequential(layer(), activation(), nn.Identity())
    keys = list(net.state_dict())
    a = np.random.default_rng(0).standard_normal(shape)
    results = []
    for run in (apart, lambda net, x: net(x)):
        x = nonet.tensor(a, requires_grad=True)
        net.zero_grad()
        y = run(net, x)
        y.backward(np.random.default_rng(1).standard_normal(y.shape))
        results.append(
            [y.detach().numpy(), x.grad.numpy(), *[p.grad.numpy().copy() for p in net.parameters()]]
        )
    assert len(net._plan) == (
        3 if activation is nn.ELU or ("gelu" in repr(net[1]).lower() and len(shape) == 4) else 2
    )
    for want, got in zip(*results, strict=True):
        # The same products and sums; the activation's polynomial may be rounded once more between the two steps.
        np.testing.assert_allclose(got, want, rtol=16 * EPS, atol=16 * EPS * np.abs(want).max())
    assert list(net.state_dict()) == keys


def test_only_own_classes_are_fused():
    class Doubled(nn.ReLU):
        def forward(self, input):
            return input * 2.0

    net = nn.Sequential(nn.Linear(2, 2), Doubled())
    x = np.array([[1.0, -2.0]])
    np.testing.assert_array_equal(net(x).detach().numpy(), (net[0](x) * 2.0).detach().numpy())
    net[1] = nn.ReLU()
    net[1].forward = lambda input: input * 3.0
    np.testing.assert_array_equal(net(x).detach().numpy(), (net[0](x) * 3.0).detach().numpy())


def test_errors_of_fused_blocks_name_the_layer():
    net = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU()))
    with pytest.raises(ValueError, match=r"^0\.0 \(Linear\): linear: "):
        net(np.zeros((2, 5)))
