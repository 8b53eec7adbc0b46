from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import check_op, each_place, use_place
from nonet import nn
from nonet.nn import functional as F


def pixel_shuffle(x: np.ndarray, r: int) -> np.ndarray:
    *lead, c, h, w = x.shape
    out = np.zeros((*lead, c // r**2, h * r, w * r), x.dtype)
    for i in range(r):
        for j in range(r):
            out[..., i::r, j::r] = x[..., i * r + j :: r * r, :, :]
    return out


def pixel_unshuffle(y: np.ndarray, r: int) -> np.ndarray:
    parts = [y[..., i::r, j::r] for i in range(r) for j in range(r)]
    return np.stack(parts, -3).reshape(*y.shape[:-3], y.shape[-3] * r * r, y.shape[-2] // r, y.shape[-1] // r)


def channel_shuffle(x: np.ndarray, groups: int) -> np.ndarray:
    each = x.shape[1] // groups
    return np.stack([x[:, g * each + k] for k in range(each) for g in range(groups)], 1)


def numbers(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize(
    ("shape", "r"), [((2, 8, 3, 4), 2), ((9, 2, 5), 3), ((2, 3, 4, 1, 1), 1), ((0, 4, 2, 3), 2)]
)
def test_pixel_shuffle(shape, r):
    x = numbers(*shape) / 64
    y = pixel_shuffle(x, r)
    for op, back, a, b in (
        (F.pixel_shuffle, pixel_unshuffle, x, y),
        (F.pixel_unshuffle, pixel_shuffle, y, x),
    ):
        check_op(
            lambda t, op=op: op(t, r),
            lambda _, b=b: b.astype(np.float64),
            [a],
            rtol=0,
            atol=0,
            grad_rtol=0,
            grad_atol=0,
            reference_gradient=lambda dy, _, back=back: (back(dy, r),),
        )


@pytest.mark.parametrize(
    ("shape", "groups"), [((2, 6, 3, 4), 2), ((1, 6, 5), 3), ((2, 4, 2, 2, 2), 4), ((2, 5, 1), 1)]
)
def test_channel_shuffle(shape, groups):
    x = numbers(*shape) / 64
    inverse = shape[1] // groups
    check_op(
        lambda x: F.channel_shuffle(x, groups),
        lambda x: channel_shuffle(x, groups),
        [x],
        rtol=0,
        atol=0,
        grad_rtol=0,
        grad_atol=0,
        reference_gradient=lambda dy, x: (channel_shuffle(dy, inverse),),
    )


@each_place
def test_channels_last(place):
    with use_place(place) as device:
        for dtype in ("float32", "uint8"):
            a = numbers(2, 12, 4, 6).astype(dtype)
            x = nonet.Tensor(nonet.tensor(a, device=device).array.to_format("nhwc"))
            for op, n in ((F.pixel_shuffle, 2), (F.pixel_unshuffle, 2), (F.channel_shuffle, 3)):
                y = op(x, n)
                assert y.array.format == "nhwc" and y.dtype == dtype
                np.testing.assert_array_equal(y.cpu().numpy(), op(a, n).numpy())


def test_layers():
    x = numbers(1, 8, 2, 2)
    for layer, text in (
        (nn.PixelShuffle(2), "PixelShuffle(upscale_factor=2)"),
        (nn.PixelUnshuffle(2), "PixelUnshuffle(downscale_factor=2)"),
        (nn.ChannelShuffle(2), "ChannelShuffle(groups=2)"),
    ):
        assert repr(layer) == text
        assert sorted(layer(x).numpy().ravel()) == sorted(x.ravel())


BAD = [
    (
        lambda: F.pixel_shuffle(np.zeros((4, 4)), 2),
        r"pixel_shuffle: input must have shape \[..., C, H, W\], got \[4, 4\]",
    ),
    (
        lambda: F.pixel_shuffle(np.zeros((6, 4, 4)), 2),
        r"the channels must be a multiple of upscale_factor\^2 = 4",
    ),
    (lambda: F.pixel_shuffle(np.zeros((4, 4, 4)), 0), "upscale_factor must be positive, got 0"),
    (
        lambda: F.pixel_unshuffle(np.zeros((4, 4, 5)), 2),
        "height and width must be multiples of downscale_factor = 2",
    ),
    (lambda: F.pixel_unshuffle(np.zeros((4, 4, 5)), -1), "downscale_factor must be positive, got -1"),
    (lambda: F.channel_shuffle(np.zeros((4, 4, 5)), 3), "groups must divide the channels, got 3 groups"),
    (lambda: F.channel_shuffle(np.zeros((4, 4)), 2), r"input must have shape \[N, C, ...\], got \[4, 4\]"),
]


@pytest.mark.parametrize(("call", "text"), BAD)
def test_bad_input(call, text):
    with pytest.raises(ValueError, match=text):
        call()
