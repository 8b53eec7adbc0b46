from __future__ import annotations

import numpy as np
import pytest

import nonet
from nonet import nn
from nonet.nn import functional as F

LAYERS = [
    (nn.ReLU(), F.relu, "ReLU()"),
    (nn.ReLU(inplace=True), F.relu, "ReLU(inplace=True)"),
    (nn.ReLU6(), F.relu6, "ReLU6()"),
    (nn.LeakyReLU(0.2), lambda x: F.leaky_relu(x, 0.2), "LeakyReLU(negative_slope=0.2)"),
    (nn.ELU(0.5, True), lambda x: F.elu(x, 0.5), "ELU(alpha=0.5, inplace=True)"),
    (nn.CELU(2.0), lambda x: F.celu(x, 2.0), "CELU(alpha=2.0)"),
    (nn.SELU(), F.selu, "SELU()"),
    (nn.GELU("tanh"), lambda x: F.gelu(x, "tanh"), "GELU(approximate='tanh')"),
    (nn.SiLU(), F.silu, "SiLU()"),
    (nn.Mish(), F.mish, "Mish()"),
    (nn.Softplus(2, 10), lambda x: F.softplus(x, 2, 10), "Softplus(beta=2, threshold=10)"),
    (nn.Softsign(), F.softsign, "Softsign()"),
    (nn.Tanh(), F.tanh, "Tanh()"),
    (nn.Tanhshrink(), F.tanhshrink, "Tanhshrink()"),
    (nn.Sigmoid(), F.sigmoid, "Sigmoid()"),
    (nn.LogSigmoid(), F.logsigmoid, "LogSigmoid()"),
    (nn.Hardtanh(-2, 1.5), lambda x: F.hardtanh(x, -2, 1.5), "Hardtanh(min_val=-2, max_val=1.5)"),
    (nn.Hardsigmoid(), F.hardsigmoid, "Hardsigmoid()"),
    (nn.Hardswish(), F.hardswish, "Hardswish()"),
    (nn.Hardshrink(0.3), lambda x: F.hardshrink(x, 0.3), "Hardshrink(0.3)"),
    (nn.Softshrink(0.3), lambda x: F.softshrink(x, 0.3), "Softshrink(0.3)"),
    (nn.Threshold(0.1, 20), lambda x: F.threshold(x, 0.1, 20), "Threshold(threshold=0.1, value=20)"),
    (nn.GLU(0), lambda x: F.glu(x, 0), "GLU(dim=0)"),
    (nn.PReLU(5), lambda x: F.leaky_relu(x, 0.25), "PReLU(num_parameters=5)"),
    (nn.RReLU(0.1, 0.3).eval(), lambda x: F.leaky_relu(x, 0.2), "RReLU(lower=0.1, upper=0.3)"),
    (nn.Softmax(-1), lambda x: F.softmax(x, -1), "Softmax(dim=-1)"),
    (nn.LogSoftmax(0), lambda x: F.log_softmax(x, 0), "LogSoftmax(dim=0)"),
    (nn.Softmin(1), lambda x: F.softmin(x, 1), "Softmin(dim=1)"),
    (nn.Softmax(), lambda x: F.softmax(x, 1), "Softmax(dim=None)"),
]


@pytest.mark.parametrize(("layer", "function", "text"), LAYERS, ids=lambda v: v if isinstance(v, str) else "")
def test_layer(layer, function, text):
    x = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32) * 3
    np.testing.assert_array_equal(layer(x).detach(), function(x))
    assert repr(layer) == text


def test_prelu_learns():
    layer = nn.PReLU()
    assert list(layer.state_dict()) == ["weight"] and layer.weight.tolist() == [0.25]
    layer(np.float32([-2, 3])).backward([1.0, 1.0])
    assert layer.weight.grad is not None and layer.weight.grad.tolist() == [-2]
    layer.weight.fill_(1.0)
    layer.reset_parameters()
    assert layer.weight.tolist() == [0.25]


def test_rrelu_draws_in_training_only():
    layer = nn.RReLU()
    x = np.full(100, -1.0, np.float32)
    nonet.manual_seed(0)
    first, second = layer(x).tolist(), layer(x).tolist()
    assert first != second
    nonet.manual_seed(0)
    assert layer(x).tolist() == first
    assert layer.eval()(x).tolist() == layer(x).tolist()


@pytest.mark.parametrize(("shape", "axis"), [((4,), 0), ((3, 4), 1), ((2, 3, 4), 0), ((2, 3, 4, 5), 1)])
def test_softmax_without_an_axis(shape, axis):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    np.testing.assert_array_equal(nn.Softmax()(x), F.softmax(x, axis))
    np.testing.assert_array_equal(nn.LogSoftmax()(x), F.log_softmax(x, axis))
    np.testing.assert_array_equal(nn.Softmin()(x), F.softmin(x, axis))


def test_softmax2d():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(nn.Softmax2d()(x), F.softmax(x, 1))
    np.testing.assert_array_equal(nn.Softmax2d()(x[0]), F.softmax(x[0], 0))
    with pytest.raises(ValueError, match=r"softmax2d: input must have shape \[N, C, H, W\]"):
        nn.Softmax2d()(x[0, 0])


def test_bad_arguments():
    with pytest.raises(ValueError, match="Hardtanh: min_val must be < max_val, got 1 and 1"):
        nn.Hardtanh(1, 1)
