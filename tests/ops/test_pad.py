from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import check_op, each_place, use_place, use_threads
from nonet.nn import functional as F

MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def reference(x: np.ndarray, pad, mode="constant", value=0.0) -> np.ndarray:
    grow, crop = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
    for i in range(len(pad) // 2):
        low, high = pad[2 * i], pad[2 * i + 1]
        grow[-1 - i] = (max(low, 0), max(high, 0))
        crop[-1 - i] = slice(max(-low, 0), x.shape[-1 - i] + max(low, 0) + high)
    more = {"constant_values": value} if mode == "constant" else {}
    return np.pad(x, grow, mode=MODES.get(mode, mode), **more)[tuple(crop)]


CASES = [
    ((5,), (2, 3)),
    ((2, 7), (1, 0)),
    ((2, 3, 7), (0, 0, 2, 1)),
    ((2, 3, 5, 6), (1, 2, 2, 0)),
    ((1, 2, 4, 3, 5), (1, 1, 2, 2, 3, 0)),
    ((2, 3, 5), (-1, 2)),
    ((2, 5, 5), (-2, -1, 3, -2)),
    ((3, 4), (0, 0)),
]


@pytest.mark.parametrize(("shape", "pad"), CASES)
@pytest.mark.parametrize("mode", ["constant", *MODES])
def test_pad(shape, pad, mode):
    x = np.random.default_rng(0).standard_normal(shape)
    attrs = {"pad": pad, "mode": mode}
    if mode == "constant":
        attrs["value"] = 1.5
    check_op(F.pad, reference, [x], attrs=attrs, rtol=0, atol=0, dtypes=("float32", "bfloat16"))


def test_constant_pads_any_axis_and_empty_arrays():
    x = np.random.default_rng(0).standard_normal((2, 3, 2))
    check_op(F.pad, reference, [x], attrs={"pad": (1, 0, 0, 2, 3, 1)}, rtol=0, atol=0)
    assert F.pad(np.zeros((0, 2)), (1, 1)).shape == (0, 4)
    np.testing.assert_array_equal(F.pad(np.zeros((2, 0)), (1, 1), value=3.0).numpy(), np.full((2, 2), 3.0))
    np.testing.assert_array_equal(F.pad(np.ones((2, 1)), (-1, 0)).numpy(), np.zeros((2, 0)))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("mode", ["constant", *MODES])
@each_place
def test_other_dtypes(dtype, mode, place):
    x = np.arange(12).reshape(3, 4).astype(dtype)
    with use_place(place) as device:
        for pad in ((2, 1), (0, 1, 2, 1), (-1, 0)):
            got = F.pad(nonet.tensor(x, device=device), pad, mode)
            assert got.dtype == dtype
            np.testing.assert_array_equal(got.cpu().numpy(), reference(x, pad, mode))


@pytest.mark.parametrize("mode", ["constant", *MODES])
@pytest.mark.parametrize("channels", [3, 8])
@each_place
def test_channels_last(mode, channels, place):
    a = np.random.default_rng(0).standard_normal((2, channels, 5, 6)).astype(np.float32)
    pad = (1, 2, 3, 0)
    plain = nonet.tensor(a, requires_grad=True)
    want = F.pad(plain, pad, mode)
    dy = nonet.tensor(np.random.default_rng(1).standard_normal(want.shape), dtype="float32")
    want.backward(dy)
    with use_place(place) as device:
        x = nonet.Tensor(nonet.tensor(a, device=device).array.to_format("nhwc"), requires_grad=True)
        y = F.pad(x, pad, mode)
        assert y.array.format == "nhwc"
        np.testing.assert_array_equal(y.detach().cpu().numpy(), want.numpy())
        y.backward(nonet.Tensor(dy.to(device).array.to_format("nhwc")))
        np.testing.assert_array_equal(x.grad.cpu().numpy(), plain.grad.numpy())
        all_axes = (1, 2, 3, 0, 1, 1)
        np.testing.assert_array_equal(
            F.pad(x, all_axes).detach().cpu().numpy(), F.pad(plain, all_axes).numpy()
        )


def test_same_bytes_for_any_number_of_threads():
    a = np.random.default_rng(0).standard_normal((5, 7, 33, 41)).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        with use_threads(threads):
            x = nonet.tensor(a, requires_grad=True)
            F.pad(x, (4, 5, 6, 7), "reflect").backward(F.pad(a * 2, (4, 5, 6, 7), "circular"))
            results.append(x.grad.numpy())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


BAD = [
    ((2, 3), (1,), "constant", "two numbers per axis, got 1"),
    ((3,), (1, 1, 1, 1), "constant", r"pad names 2 axes, input has shape \[3\]"),
    ((2, 3), (-2, -2), "constant", "leaves nothing of axis 1 of size 3"),
    (
        (2, 3),
        (3, 0),
        "reflect",
        "reflect padding must be smaller than the axis, got 3 and 0 for axis 1 of size 3",
    ),
    (
        (2, 3),
        (0, 4),
        "circular",
        "circular padding must not exceed the axis, got 0 and 4 for axis 1 of size 3",
    ),
    ((2, 0), (1, 1), "replicate", "leaves nothing"),
    ((2, 3), (1, 1), "mirror", "mode must be constant, reflect, replicate or circular, got mirror"),
]


@pytest.mark.parametrize(("shape", "pad", "mode", "text"), BAD)
def test_bad_input(shape, pad, mode, text):
    with pytest.raises(ValueError, match=text):
        F.pad(np.zeros(shape), pad, mode)
    with pytest.raises(ValueError, match="value belongs to mode constant"):
        F.pad(np.zeros(4), (1, 1), "reflect", 2.0)
