from __future__ import annotations

import numpy as np
import pytest

import nonet
from nonet import nn
from reference import conv as reference


def test_text_keys_and_start():
    nonet.manual_seed(0)
    layer = nn.Conv2d(8, 64, 5, padding=(2, 1), groups=2)
    assert repr(layer) == "Conv2d(8, 64, kernel_size=(5, 5), stride=(1, 1), padding=(2, 1), groups=2)"
    assert {k: v.shape for k, v in layer.state_dict().items()} == {"weight": (64, 4, 5, 5), "bias": (64,)}
    w = layer.weight.numpy()
    assert np.abs(w).max() <= 0.1
    assert abs(w.std() - 0.1 / np.sqrt(3)) < 0.002
    text = repr(nn.Conv1d(3, 4, 3, 2, dilation=2, bias=False, padding_mode="circular"))
    assert (
        text
        == "Conv1d(3, 4, kernel_size=(3,), stride=(2,), dilation=(2,), bias=False, padding_mode=circular)"
    )
    assert (
        repr(nn.Conv1d(3, 4, 3, padding="same"))
        == "Conv1d(3, 4, kernel_size=(3,), stride=(1,), padding=same)"
    )


NUMPY_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", list(NUMPY_MODES))
def test_padding_modes(mode):
    layer = nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode=mode)
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 7)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)), mode=NUMPY_MODES[mode]).astype(np.float64)
    want = reference.conv2d(padded, layer.weight.numpy().astype(np.float64), layer.bias.numpy())
    np.testing.assert_allclose(layer(x).numpy(), want, rtol=1e-6, atol=4e-6)


def test_conv1d():
    layer = nn.Conv1d(4, 6, 3, padding="same", padding_mode="reflect")
    assert layer(np.zeros((2, 4, 9), np.float32)).shape == (2, 6, 9)
    assert layer(np.zeros((4, 9), np.float32)).shape == (6, 9)


def test_transposed_text_keys_and_start():
    nonet.manual_seed(0)
    layer = nn.ConvTranspose2d(8, 64, 5, stride=2, padding=(2, 1), output_padding=1, groups=2)
    assert (
        repr(layer)
        == "ConvTranspose2d(8, 64, kernel_size=(5, 5), stride=(2, 2), padding=(2, 1), output_padding=(1, 1), groups=2)"
    )
    assert {k: v.shape for k, v in layer.state_dict().items()} == {"weight": (8, 32, 5, 5), "bias": (64,)}
    assert np.abs(layer.weight.numpy()).max() <= 1 / np.sqrt(32 * 25)
    assert (
        repr(nn.ConvTranspose1d(3, 4, 3, bias=False))
        == "ConvTranspose1d(3, 4, kernel_size=(3,), stride=(1,), bias=False)"
    )


def test_transposed_output_size():
    layer = nn.ConvTranspose2d(3, 4, 3, stride=(2, 3), padding=1)
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype(np.float32)
    assert layer(x).shape == (2, 4, 9, 16)
    w, b = layer.weight.numpy().astype(np.float64), layer.bias.numpy()
    want = reference.conv_transpose2d(x, w, b, (2, 3), (1, 1), (1, 2))
    for size in ((10, 18), (2, 4, 10, 18)):
        np.testing.assert_allclose(layer(x, size).numpy(), want, rtol=1e-6, atol=4e-6)
    assert layer(x[0], (10, 18)).shape == (4, 10, 18)
    with pytest.raises(
        ValueError,
        match=r"ConvTranspose2d: output_size must lie between \[9, 16\] and \[10, 18\], got \[11, 16\]",
    ):
        layer(x, (11, 16))
    with pytest.raises(ValueError, match=r"output_size must have 2 or 4 sizes, got \[9\]"):
        layer(x, [9])
    line = nn.ConvTranspose1d(3, 4, 3, stride=2, output_padding=1)
    assert line(x[:, :, 0]).shape == (2, 4, 14) and line(x[:, :, 0], [13]).shape == (2, 4, 13)


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(3, 4, 3, 2)])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.GELU()])
def test_fused_with_the_activation_behind(layer, activation):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype(np.float32)
    together = nn.Sequential(layer, activation)(x)
    np.testing.assert_allclose(together.numpy(), activation(layer(x)).numpy(), rtol=1e-6, atol=1e-6)


def test_errors():
    with pytest.raises(ValueError, match="Conv2d: groups must be positive, got 0"):
        nn.Conv2d(4, 4, 3, groups=0)
    with pytest.raises(
        ValueError, match="Conv2d: groups must divide the channels in and out, got 3 groups of 4"
    ):
        nn.Conv2d(4, 6, 3, groups=3)
    with pytest.raises(ValueError, match="Conv1d: padding 'same' needs a stride of 1"):
        nn.Conv1d(4, 4, 3, stride=2, padding="same")
    with pytest.raises(ValueError, match="Conv2d: padding_mode must be one of"):
        nn.Conv2d(4, 4, 3, padding_mode="mirror")
    with pytest.raises(
        ValueError, match="Conv2d: padding must be 'same', 'valid', an int or 2 ints, got 'full'"
    ):
        nn.Conv2d(4, 4, 3, padding="full")
    with pytest.raises(ValueError, match=r"Conv2d: kernel_size must be an int or 2 ints, got \(3, 3, 3\)"):
        nn.Conv2d(4, 4, (3, 3, 3))
    with pytest.raises(ValueError, match="ConvTranspose2d: padding_mode must be 'zeros', got 'reflect'"):
        nn.ConvTranspose2d(4, 4, 3, padding_mode="reflect")
    with pytest.raises(TypeError, match="ConvTranspose2d: padding must be an int or 2 ints, got 'same'"):
        nn.ConvTranspose2d(4, 4, 3, padding="same")
    with pytest.raises(ValueError, match="ConvTranspose1d: groups must divide the channels in and out"):
        nn.ConvTranspose1d(4, 3, 3, groups=2)
