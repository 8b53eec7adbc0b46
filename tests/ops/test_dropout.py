from __future__ import annotations

import math

import numpy as np
import pytest

import nonet
from helpers import GPU, available_isas, each_isa, use_isa, use_threads, why_no_gpu
from nonet.nn import functional as F

LAYERS = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]
ALPHA = -1.7580993408473766


@pytest.fixture(autouse=True)
def _seed():
    before = nonet.get_rng_state()
    nonet.manual_seed(12)
    yield
    nonet.set_rng_state(before)


def kept(n: int, p: float) -> np.ndarray:
    """The rule in words: a unit survives if its uniform number is at least p (rounded to 24 bits)."""
    return nonet.rand(n).numpy() >= np.float32(round(p * 2**24) / 2**24)


@each_isa
@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (4, 33), (2, 3, 2, 67)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_values_and_gradient(isa, p, shape, dtype):
    x = nonet.randn(shape, dtype=dtype, requires_grad=True)
    dy = nonet.randn(shape, dtype=dtype)
    state = nonet.get_rng_state()
    mask = kept(math.prod(shape), p).reshape(shape)
    nonet.set_rng_state(state)
    with use_isa(isa):
        y = F.dropout(x, p)
        y.backward(dy)
    scale = np.float32(1 / (1 - p))
    for got, source in ((y, x), (x.grad, dy)):
        want = np.where(mask, source.detach().numpy().astype(np.float32) * scale, np.float32(0))
        np.testing.assert_array_equal(got.detach().numpy(), want.astype(got.detach().numpy().dtype))
    assert nonet.get_rng_state()[1] == state[1] + (math.prod(shape) + 3) // 4


@each_isa
@pytest.mark.parametrize(
    ("op", "shape", "lead"),
    [
        (F.dropout1d, (3, 5, 7), 2),
        (F.dropout1d, (9, 7), 1),
        (F.dropout2d, (3, 5, 4, 9), 2),
        (F.dropout2d, (3, 5, 4), 2),
        (F.dropout3d, (2, 3, 2, 2, 2), 2),
        (F.dropout3d, (7, 2, 2, 2), 1),
        (F.dropout2d, (2, 3, 1, 1), 2),
    ],
)
def test_channels(isa, op, shape, lead):
    x = nonet.tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True)
    state = nonet.get_rng_state()
    mask = kept(math.prod(shape[:lead]), 0.4).reshape(shape[:lead] + (1,) * (len(shape) - lead))
    nonet.set_rng_state(state)
    with use_isa(isa):
        y = op(x, 0.4)
        y.backward(nonet.ones_like(y))
    scale = np.float32(1 / 0.6)
    np.testing.assert_array_equal(y.detach().numpy(), np.where(mask, x.detach().numpy() * scale, 0))
    np.testing.assert_array_equal(x.grad.numpy(), np.where(mask, scale, 0) * np.ones(shape, np.float32))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 5, 4, 8), (2, 3, 3, 1), (3, 5, 1, 7)])
def test_the_same_bits_on_a_device(shape, dtype):
    if reason := why_no_gpu():
        pytest.skip(reason)
    data = nonet.randn(shape, dtype=dtype)
    ops = [F.dropout, lambda x, p: F.alpha_dropout(x, p, training=True)]
    if len(shape) > 1:
        ops.append(lambda x, p: F.feature_alpha_dropout(x, p, training=True))
    for op in ops:
        results = []
        for device in ("cpu", GPU):
            nonet.manual_seed(7)
            x = nonet.Tensor(data.array.to_device(device), True)
            y = op(x, 0.3)
            y.backward(nonet.ones_like(y))
            assert x.grad is not None and y.device == x.grad.device == device
            results.append([v.detach().cpu().numpy().tobytes() for v in (y, x.grad)])
        assert results[0] == results[1]


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("channels", [False, True])
def test_alpha_dropout_keeps_the_moments(p, channels):
    x = nonet.randn(400, 500, requires_grad=True)
    y = F.feature_alpha_dropout(x, p, True) if channels else F.alpha_dropout(x, p, training=True)
    y.backward(nonet.ones_like(y))
    out = y.detach().numpy().astype(np.float64)
    a = 1 / math.sqrt((1 - p) * (1 + p * ALPHA**2))
    dropped = x.grad.numpy() == 0
    np.testing.assert_allclose(out[dropped], a * ALPHA - a * p * ALPHA, rtol=1e-6)
    np.testing.assert_allclose(
        out[~dropped], a * x.detach().numpy()[~dropped] - a * p * ALPHA, rtol=1e-5, atol=1e-6
    )
    n = out.size
    assert abs(dropped.mean() - p) < 5 * math.sqrt(p * (1 - p) / n)
    assert abs(out.mean()) < 5 / math.sqrt(n)
    assert abs((out**2).mean() - 1) < 5 * math.sqrt(4 / n)  # the fourth moment stays below 5


def test_share_and_independence():
    n = 1_000_000
    for p in (0.01, 0.3, 0.9):
        gone = F.dropout(nonet.ones(n), p).numpy() == 0
        assert abs(gone.mean() - p) < 5 * math.sqrt(p * (1 - p) / n)
        both = (gone[1:] & gone[:-1]).mean()
        assert abs(both - p * p) < 10 * math.sqrt(p * p / n)
    assert not np.array_equal(F.dropout(nonet.ones(100)).numpy(), F.dropout(nonet.ones(100)).numpy())


@pytest.mark.parametrize("name", LAYERS)
def test_layer_modes(name):
    layer = getattr(nonet.nn, name)(0.5)
    x = nonet.tensor(
        np.random.default_rng(1).standard_normal((4, 8, 6) if name != "Dropout3d" else (4, 8, 6, 2))
    )
    state = nonet.get_rng_state()
    y = layer(x).numpy()
    assert not np.array_equal(y, x.numpy())
    nonet.set_rng_state(state)
    np.testing.assert_array_equal(y, layer(x).numpy())
    layer.eval()
    assert layer(x) is x
    assert getattr(nonet.nn, name)(0.0)(x) is x
    assert (getattr(nonet.nn, name)(1.0)(x).numpy() == 0).all()
    assert repr(layer) == f"{name}(p=0.5, inplace=False)"
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=rf"{name}: p must be in \[0, 1\]"):
            getattr(nonet.nn, name)(p)


def test_dropped_infinities_and_nan_are_gone():
    x = nonet.tensor(np.full(1000, np.nan))
    y = F.dropout(x, 0.5).numpy()
    assert ((y == 0) | np.isnan(y)).all() and (y == 0).any()
    x = nonet.tensor([np.inf, np.nan], requires_grad=True)
    F.dropout(x, 1.0).backward([1.0, 1.0])
    assert x.grad.tolist() == [0, 0]


def test_empty():
    for shape in ((0,), (2, 0), (0, 3, 4)):
        x = nonet.tensor(np.zeros(shape), requires_grad=True)
        y = F.dropout(x, 0.5)
        y.backward(np.zeros(shape))
        assert y.shape == x.grad.shape == shape
    assert F.dropout2d(np.zeros((0, 3, 2, 2)), 0.5).shape == (0, 3, 2, 2)
    assert F.feature_alpha_dropout(np.zeros((2, 0)), 0.5, True).shape == (2, 0)


def test_format_is_kept():
    x = nonet.Tensor(nonet.randn(2, 5, 3, 4).array.to_format("nhwc"), requires_grad=True)
    y = F.dropout(x, 0.5)
    assert y.array.format == "nhwc"
    y.backward(nonet.ones(2, 5, 3, 4))  # a gradient in the other format meets the same mask
    np.testing.assert_array_equal(x.grad.numpy() != 0, y.detach().numpy() != 0)
    assert F.dropout2d(x, 0.5).shape == x.shape


@pytest.mark.parametrize("shape", [(100_003,), (50, 30, 67), (3, 2, 20_000)])
def test_the_same_mask_everywhere(shape):
    x = nonet.randn(shape)
    state = nonet.get_rng_state()
    results = []
    for isa in available_isas():
        for threads in (1, 2, 3):
            with use_isa(isa), use_threads(threads):
                nonet.set_rng_state(state)
                out = [F.dropout(x, 0.3).numpy().tobytes()]
                if len(shape) == 3:
                    out.append(F.dropout1d(x, 0.3).numpy().tobytes())
                results.append(out)
    assert all(result == results[0] for result in results)


def test_bad_input():
    with pytest.raises(ValueError, match=r"dropout: p must be in \[0, 1\], got 1.5"):
        F.dropout(np.zeros(3), 1.5)
    with pytest.raises(TypeError, match="dropout: input must be float32 or bfloat16, got int64"):
        F.dropout(np.zeros(3, int), 0.5)
    with pytest.raises(
        ValueError, match=r"dropout1d: input must have shape \[N, C, L\] or \[C, L\], got \[3\]"
    ):
        F.dropout1d(np.zeros(3), 0.5)
    with pytest.raises(
        ValueError, match=r"feature_alpha_dropout: input must have shape \[N, C, \*\], got \[3\]"
    ):
        F.feature_alpha_dropout(np.zeros(3), 0.5)
