from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, GPU, check_op, each_place, use_place, use_threads
from nonet import nn
from nonet.nn import functional as F
from reference import pool as reference

# shape, kernel, stride, padding, dilation, ceil_mode
MAX_CASES = [
    ((2, 3, 6, 7), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((1, 2, 7, 9), (3, 3), (2, 2), (1, 1), (1, 1), False),
    ((3, 9, 10), (3, 2), (2, 3), (1, 1), (1, 1), True),
    ((1, 2, 9, 8), (3, 2), (1, 1), (1, 0), (2, 3), False),
    ((2, 1, 5, 5), (5, 5), (5, 5), (0, 0), (1, 1), False),
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0), (1, 1), False),
    ((1, 1, 2, 40), (1, 3), (1, 3), (0, 1), (1, 2), True),
    ((0, 2, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1), False),
]
CHANNELS = [1, 3, 8, 17, 70]


def max_windows(shape, kernel, stride, padding, dilation, ceil):
    return [
        reference.regular(n, *spec, ceil, True)
        for n, *spec in zip(shape[-2:], kernel, stride, padding, dilation, strict=True)
    ]


def nhwc(a, requires_grad=False, device="cpu") -> nonet.Tensor:
    return nonet.Tensor(
        nonet.tensor(a, dtype="float32", device=device).array.to_format("nhwc"), requires_grad
    )


@pytest.mark.parametrize("case", MAX_CASES)
def test_max_pool2d(case):
    shape, kernel, stride, padding, dilation, ceil = case
    windows = max_windows(*case)
    x = np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape) / 8.0  # no ties
    check_op(
        lambda x: F.max_pool2d(x, kernel, stride, padding, dilation, ceil),
        lambda x: reference.pool2d(x, *windows, reference.maximum),
        [x],
        rtol=0,
        atol=0,
        dtypes=("float32", "bfloat16") if x.size < 200 else ("float32",),
    )
    _, index = F.max_pool2d(x, kernel, stride, padding, dilation, ceil, return_indices=True)
    assert index.dtype == "int64"
    np.testing.assert_array_equal(index.numpy(), reference.positions(x, *windows))


@pytest.mark.parametrize("case", MAX_CASES)
@each_place
def test_ties_and_special_values(case, place):
    shape, kernel, stride, padding, dilation, ceil = case
    rng = np.random.default_rng(1)
    windows = max_windows(*case)
    with use_place(place) as device:
        for choices in ([0.0, 1.0], [-np.inf], [np.nan, 1.0, -np.inf], [1e30, -1e30, np.inf], [-0.0, 0.0]):
            x = rng.choice(choices, shape).astype(np.float32)
            for t in (nonet.tensor(x, device=device), nhwc(x, device=device) if x.ndim == 4 else None):
                if t is None:
                    continue
                y, index = F.max_pool2d(t, kernel, stride, padding, dilation, ceil, return_indices=True)
                np.testing.assert_array_equal(index.cpu().numpy(), reference.positions(x, *windows))
                np.testing.assert_array_equal(
                    y.cpu().numpy(), reference.pool2d(x, *windows, reference.maximum)
                )


@pytest.mark.parametrize("shape", [(2, 3, 20, 31), (1, 1, 100, 101), (1, 40, 9, 8)])
@each_place
def test_large_windows(shape, place):
    """Whole images and quarters of them, which a device gives to many threads each."""
    rng = np.random.default_rng(2)
    with use_place(place) as device:
        for m in (1, 2):
            rows, columns = reference.adaptive(shape[2], m), reference.adaptive(shape[3], m)
            x = rng.standard_normal(shape).astype(np.float32)
            ties = rng.choice([0.0, 1.0, np.nan] if m == 2 else [0.0, -1.0], shape).astype(np.float32)
            want = reference.pool2d(x.astype(np.float64), rows, columns, reference.mean)
            for make in (lambda a: nonet.tensor(a, device=device), lambda a: nhwc(a, device=device)):
                got = F.adaptive_avg_pool2d(make(x), m).cpu().numpy()
                # A mean of n terms of size 4 is within n eps / 2 * 4, if they are added in a row.
                np.testing.assert_allclose(got, want, rtol=0, atol=2 * EPS * shape[2] * shape[3])
                y, index = F.adaptive_max_pool2d(make(ties), m, return_indices=True)
                np.testing.assert_array_equal(
                    y.cpu().numpy(), reference.pool2d(ties, rows, columns, reference.maximum)
                )
                np.testing.assert_array_equal(index.cpu().numpy(), reference.positions(ties, rows, columns))


@each_place
@pytest.mark.parametrize("channels", CHANNELS)
def test_channels_last(channels, place):
    a = np.random.default_rng(0).standard_normal((2, channels, 7, 9)).astype(np.float32)
    ops = [
        lambda x: F.max_pool2d(x, 3, 2, 1),
        lambda x: F.max_pool2d(x, 2, 1, 1, 2, True),
        lambda x: F.avg_pool2d(x, 3, 2, 1),
        lambda x: F.avg_pool2d(x, (2, 3), (3, 2), 1, True, False),
        lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: F.adaptive_max_pool2d(x, (2, None)),
    ]
    with use_place(place) as device:
        for op in ops:
            x, plain = nhwc(a, True, device), nonet.tensor(a, requires_grad=True)
            y, want = op(x), op(plain)
            assert y.array.format == "nhwc"
            # Sums of up to 63 terms in another order.
            np.testing.assert_allclose(y.detach().cpu().numpy(), want.numpy(), rtol=0, atol=63 * EPS)
            dy = np.random.default_rng(1).standard_normal(y.shape)
            y.backward(nhwc(dy, device=device))
            want.backward(dy)
            np.testing.assert_allclose(x.grad.cpu().numpy(), plain.grad.numpy(), rtol=4 * EPS, atol=4 * EPS)


AVG_CASES = [
    ((2, 3, 6, 7), (2, 2), (2, 2), (0, 0), False, True, None),
    ((1, 2, 7, 9), (3, 3), (2, 2), (1, 1), False, True, None),
    ((1, 2, 7, 9), (3, 3), (2, 2), (1, 1), True, False, None),
    ((3, 9, 10), (3, 2), (2, 3), (1, 1), True, True, None),
    ((2, 5, 5), (3, 4), (1, 2), (1, 2), True, True, 5),
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0), False, True, None),
    ((1, 1, 3, 40), (3, 37), (1, 1), (0, 0), False, True, None),
    ((0, 2, 4, 4), (2, 2), (2, 2), (0, 0), False, True, None),
]


@pytest.mark.parametrize("case", AVG_CASES)
def test_avg_pool2d(case):
    shape, kernel, stride, padding, ceil, include, divisor = case
    rows, columns = (
        reference.regular(n, *spec, 1, ceil, include)
        for n, *spec in zip(shape[-2:], kernel, stride, padding, strict=True)
    )
    if divisor:
        rows, columns = [(r, divisor) for r, _ in rows], [(c, 1) for c, _ in columns]
    x = np.random.default_rng(0).standard_normal(shape)
    terms = kernel[0] * kernel[1]
    check_op(
        lambda x: F.avg_pool2d(x, kernel, stride, padding, ceil, include, divisor),
        lambda x: reference.pool2d(x, rows, columns, reference.mean),
        [x],
        rtol=0,
        atol=terms * EPS * np.abs(x).max(initial=0),  # the mean of n terms: n * eps * the largest
        dtypes=("float32", "bfloat16") if x.size < 200 else ("float32",),
    )


@pytest.mark.parametrize("sizes", [(1, 1), (3, 4), (4, 5), (2, 1), (5, 6)])
@pytest.mark.parametrize("shape", [(1, 2, 4, 5), (2, 5, 3)])
def test_adaptive(shape, sizes):
    rows, columns = reference.adaptive(shape[-2], sizes[0]), reference.adaptive(shape[-1], sizes[1])
    x = np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape) / 64.0
    check_op(
        lambda x: F.adaptive_avg_pool2d(x, sizes),
        lambda x: reference.pool2d(x, rows, columns, reference.mean),
        [x],
        rtol=0,
        atol=100 * EPS * np.abs(x).max(),
    )
    check_op(
        lambda x: F.adaptive_max_pool2d(x, sizes),
        lambda x: reference.pool2d(x, rows, columns, reference.maximum),
        [x],
        rtol=0,
        atol=0,
    )
    _, index = F.adaptive_max_pool2d(x, sizes, return_indices=True)
    np.testing.assert_array_equal(index.numpy(), reference.positions(x, rows, columns))


@pytest.mark.parametrize("shape", [(2, 3, 11), (3, 11), (1, 1, 1)])
def test_one_axis(shape):
    x = np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape) / 16.0
    n = shape[-1]
    k = min(n, 3)

    def along(windows, reduce):
        return lambda x: reference.pool2d(x[..., None, :], [([0], 1)], windows, reduce)[..., 0, :]

    regular = reference.regular(n, k, 2, k // 2, 1, True, False)
    cases = [
        (lambda x: F.max_pool1d(x, k, 2, k // 2, 1, True), along(regular, reference.maximum)),
        (lambda x: F.avg_pool1d(x, k, 2, k // 2, True, False), along(regular, reference.mean)),
        (lambda x: F.adaptive_avg_pool1d(x, 4), along(reference.adaptive(n, 4), reference.mean)),
        (lambda x: F.adaptive_max_pool1d(x, 4), along(reference.adaptive(n, 4), reference.maximum)),
    ]
    for op, want in cases:
        check_op(op, want, [x], rtol=4 * EPS, atol=4 * EPS)


def test_same_bytes_for_any_number_of_threads():
    a = np.random.default_rng(0).standard_normal((3, 65, 33, 35)).astype(np.float32)
    for make in (lambda: nonet.tensor(a, requires_grad=True), lambda: nhwc(a, True)):
        results = []
        for threads in (1, 2, 3):
            with use_threads(threads):
                parts = []
                for op in (lambda x: F.max_pool2d(x, 3, 2, 1), lambda x: F.avg_pool2d(x, 3, 2, 1)):
                    x = make()
                    y = op(x)
                    y.backward(y.detach())
                    parts += [y.numpy(), x.grad.numpy()]
                results.append(parts)
        for other in results[1:]:
            for got, want in zip(other, results[0], strict=True):
                np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("place", ["scalar", GPU])
def test_unpool(place):
    with use_place(place) as device:
        a = np.random.default_rng(0).standard_normal((2, 3, 6, 8)).astype(np.float32)
        for make in (
            lambda: nonet.tensor(a, requires_grad=True, device=device),
            lambda: nhwc(a, True, device),
        ):
            x = make()
            y, index = nn.MaxPool2d(2, return_indices=True)(x)
            back = nn.MaxUnpool2d(2)(y, index)
            assert back.array.format == x.array.format
            mask = np.zeros((2, 3, 48))
            np.put_along_axis(mask, index.cpu().numpy().reshape(2, 3, -1), 1, 2)
            np.testing.assert_array_equal(back.detach().cpu().numpy(), a * mask.reshape(x.shape))
            back.backward(np.full(x.shape, 2.0))
            np.testing.assert_array_equal(x.grad.cpu().numpy(), 2 * mask.reshape(x.shape))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("lead", [(2, 70), (3,), (0, 2)])
@each_place
def test_unpool_where_indices_repeat(lead, dtype, place):
    """The last one stays, and all of them get its gradient."""
    rng = np.random.default_rng(0)
    a, index = rng.integers(-9, 9, (*lead, 3, 5)), rng.integers(0, 24, (*lead, 3, 5))
    want = np.zeros((*lead, 24))
    np.put_along_axis(want, index.reshape(*lead, 15), a.reshape(*lead, 15), len(lead))
    dy = rng.integers(-9, 9, (*lead, 24))
    gradient = np.take_along_axis(dy, index.reshape(*lead, 15), len(lead))
    with use_place(place) as device:
        for format in ("plain", "nhwc") if len(lead) == 2 else ("plain",):
            t = nonet.tensor(a, dtype=dtype, device=device).array.to_format(format)
            x = nonet.Tensor(t, True)
            y = F.max_unpool2d(x, nonet.tensor(index, device=device), 2, 1)
            np.testing.assert_array_equal(
                y.detach().cpu().numpy().astype(np.float64), want.reshape(*lead, 4, 6)
            )
            y.backward(nonet.tensor(dy.reshape(*lead, 4, 6), dtype=dtype, device=device))
            np.testing.assert_array_equal(x.grad.cpu().numpy().astype(np.float64), gradient.reshape(a.shape))


def test_unpool_to_a_size():
    y, index = F.max_pool1d(np.arange(7.0).reshape(1, 7), 2, return_indices=True)
    np.testing.assert_array_equal(
        nn.MaxUnpool1d(2)(y, index, output_size=(7,)).numpy(), [[0, 1, 0, 3, 0, 5, 0]]
    )
    with pytest.raises(
        ValueError, match=r"max_unpool1d: output_size must lie within one stride of \[6\], got \[9\]"
    ):
        F.max_unpool1d(y, index, 2, output_size=[9])
    with pytest.raises(IndexError, match="max_unpool1d: index 9 is out of range for 6 positions"):
        F.max_unpool1d(y, index * 0 + 9, 2)
    with pytest.raises(TypeError, match="max_unpool1d: input must be float32 or bfloat16, got int64"):
        F.max_unpool1d(index, index, 2)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool(p):
    x = np.random.default_rng(0).random((2, 3, 6, 7)) + 0.1
    rows, columns = (
        reference.regular(6, 3, 2, 0, 1, True, False),
        reference.regular(7, 2, 2, 0, 1, True, False),
    )

    def norm(values, count):
        # A window that is cut off counts as if its mean were that of a whole one.
        return ((values**p).sum(-1) / values.shape[-1] * 6) ** (1 / p)

    check_op(
        lambda x: F.lp_pool2d(x, p, (3, 2), 2, True),
        lambda x: reference.pool2d(x, rows, columns, norm),
        [x],
        rtol=16 * EPS,
        atol=0,
    )
    line = nn.LPPool1d(p, 3)(x[:, :, 0]).numpy()
    want = (x[:, :, 0, :6].reshape(2, 3, 2, 3) ** p).sum(-1) ** (1 / p)
    np.testing.assert_allclose(line, want, rtol=16 * EPS)
    assert repr(nn.LPPool2d(2, 3)) == "LPPool2d(norm_type=2, kernel_size=3, stride=None, ceil_mode=False)"


BAD = [
    (lambda: F.lp_pool1d(np.zeros((3, 4)), 0, 2), ValueError, "lp_pool1d: norm_type must not be 0"),
    (
        lambda: F.max_pool2d(np.zeros((3, 4)), 2),
        ValueError,
        r"must have shape \[N, C, H, W\] or \[C, H, W\], got \[3, 4\]",
    ),
    (
        lambda: F.max_pool1d(np.zeros((3, 4)), 5),
        ValueError,
        r"kernel_size \[5\] exceeds the padded input, of size 4",
    ),
    (
        lambda: F.max_pool1d(np.zeros((3, 4)), 2, padding=2),
        ValueError,
        "padding must be between 0 and half of",
    ),
    (lambda: F.max_pool1d(np.zeros((3, 4)), 0), ValueError, r"kernel_size must be > 0, got \[0\]"),
    (lambda: F.max_pool2d(np.zeros((3, 4, 4)), 2, 0), ValueError, r"stride must be > 0, got \[0, 0\]"),
    (
        lambda: F.max_pool2d(np.zeros((3, 4, 4)), (2, 2, 2)),
        ValueError,
        "kernel_size must be an int or 2 ints",
    ),
    (lambda: F.max_pool2d(np.zeros((1, 0, 4, 4)), 2), ValueError, "must have no empty axis but N"),
    (
        lambda: F.avg_pool2d(np.zeros((3, 4, 4), np.int64), 2),
        TypeError,
        "must be float32 or bfloat16, got int64",
    ),
    (lambda: F.avg_pool2d(np.zeros((3, 4, 4)), 2, divisor_override=0), ValueError, "must not be 0"),
    (lambda: F.adaptive_avg_pool2d(np.zeros((3, 4, 4)), (-2, 1)), ValueError, "output_size must be >= 0"),
    (
        lambda: F.adaptive_avg_pool2d(np.zeros((3, 4, 4)), (1, 1, 1)),
        ValueError,
        "output_size must be an int or 2",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
