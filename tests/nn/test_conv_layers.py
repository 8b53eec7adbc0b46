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
