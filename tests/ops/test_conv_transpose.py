from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, GPU, assert_close, check_op, each_isa, use_isa, use_place, use_threads
from nonet.nn import functional as F
from nonet.ops.conv_transpose import convolve_transposed
from nonet.ops.matmul import ACTIVATIONS
from reference import conv as reference

rng = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def check(x, w, b=None, dtypes=("float32",), **attrs):
    inputs = [x, w] if b is None else [x, w, b]
    groups = attrs.get("groups", 1)
    terms = w.size // max(w.shape[1], 1)  # of an output, at most
    gradient_terms = max(w[0].size, int(np.prod(x.shape, dtype=int)) // max(x.shape[1], 1))
    check_op(
        F.conv_transpose2d,
        reference.conv_transpose2d,
        inputs,
        attrs=attrs,
        rtol=4 * EPS,
        atol=4 * EPS * (terms // groups + 4),
        grad_rtol=4 * EPS,
        grad_atol=4 * EPS * (4 * gradient_terms + 4),
        reference_gradient=reference.transpose_gradients,
        dtypes=dtypes,
    )


# channels in, out, kernel, stride, padding, output_padding, dilation, groups
CASES = [
    (3, 8, (3, 3), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    (16, 6, (4, 4), (2, 2), (1, 1), (0, 0), (1, 1), 1),
    (5, 40, (3, 2), (2, 3), (1, 0), (1, 2), (1, 1), 1),
    (33, 1, (4, 4), (2, 2), (1, 1), (0, 0), (1, 1), 1),
    (4, 70, (1, 1), (2, 3), (0, 0), (0, 1), (1, 1), 1),
    (4, 6, (2, 2), (5, 4), (0, 0), (4, 0), (1, 1), 1),
    (6, 5, (3, 3), (2, 1), (2, 1), (0, 0), (2, 2), 1),
    (4, 6, (3, 2), (1, 1), (0, 1), (1, 2), (2, 3), 1),
    (6, 9, (3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 3),
    (8, 4, (2, 3), (2, 2), (1, 1), (1, 0), (2, 2), 4),
    (19, 19, (3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 19),
    (5, 5, (3, 2), (2, 1), (1, 1), (0, 0), (1, 2), 5),
    (5, 5, (2, 2), (4, 4), (0, 0), (3, 1), (1, 1), 5),
    (40, 36, (1, 1), (1, 1), (0, 0), (0, 0), (1, 1), 1),
    (20, 18, (3, 3), (1, 1), (1, 0), (0, 0), (1, 1), 1),
]


@pytest.mark.parametrize("case", CASES)
def test_conv_transpose2d(case):
    c, o, kernel, stride, padding, more, dilation, groups = case
    x, w, b = random(3, c, 5, 6), random(c, o // groups, *kernel), random(o)
    attrs = {
        "stride": stride,
        "padding": padding,
        "output_padding": more,
        "dilation": dilation,
        "groups": groups,
    }
    check(x, w, b, **attrs)


@pytest.mark.parametrize(
    ("padding", "more"), [((1, 1), (0, 0)), ((0, 2), (1, 0)), ((3, 1), (0, 1)), ((2, 0), (1, 1))]
)
@pytest.mark.parametrize(("c", "o"), [(17, 33), (64, 16)])
@pytest.mark.parametrize("kernel", [(3, 3), (4, 4), (3, 4)])
def test_strided_tiles(c, o, kernel, padding, more):
    """Kernels with stride 2 cut by parity, in tiles."""
    x, w, b = random(2, c, 9, 12), random(c, o, *kernel), random(o)
    check(x, w, b, stride=(2, 2), padding=padding, output_padding=more)


@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (1, 3, 1, 1), (2, 3, 1, 7), (150, 3, 2, 2), (2, 3, 5, 1)])
def test_sizes(shape):
    check(random(*shape), random(3, 4, 3, 3), random(4), padding=(0, 1), stride=(2, 2))
    check(random(*shape), random(3, 4, 1, 1))


@pytest.mark.parametrize("n", [0, 1, 2, 65])
@pytest.mark.parametrize(("c", "o", "kernel"), [(64, 33, (4, 4)), (3, 5, (1, 1)), (7, 2, (3, 2))])
def test_one_pixel_is_a_product(n, c, o, kernel):
    check(random(n, c, 1, 1), random(c, o, *kernel), random(o), stride=(2, 3))
    check(random(n, c, 1, 1), random(c, o, *kernel), stride=(1, 1))


def test_one_pixel_otherwise():
    x, w, b = random(5, 8, 1, 1), random(8, 4, 3, 3), random(8)
    check(x, w, b, groups=2)
    check(x, w, b[:4], stride=(2, 2), output_padding=(1, 0))
    check(x, w, b[:4], dilation=(2, 2))
    check(x, w, b[:4], padding=(1, 1))


@pytest.mark.parametrize("size", [1, 4])
def test_no_channels_in(size):
    x, w = np.ones((2, 0, size, size), np.float32), np.ones((0, 3, 3, 3), np.float32)
    y = F.conv_transpose2d(x, w, np.ones(3, np.float32), stride=2)
    np.testing.assert_array_equal(y.numpy(), np.ones((2, 3, 2 * size + 1, 2 * size + 1)))


def test_bfloat16():
    x, w, b = random(2, 3, 4, 4), random(3, 4, 3, 3), random(4)
    check(x, w, b, dtypes=("bfloat16",), padding=(1, 1), stride=(2, 2))
    check(x[:, :, :1, :1], w, b, dtypes=("bfloat16",))


@each_isa
@pytest.mark.parametrize("case", CASES[:4] + CASES[6:7] + CASES[8:9] + CASES[10:12])
def test_formats_and_threads(isa, case):
    c, o, kernel, stride, padding, more, dilation, groups = case
    x, w, b = random(37, c, 8, 9), random(c, o // groups, *kernel), random(o)
    results = set()
    with use_isa(isa):
        for threads in (1, 2, 3):
            with use_threads(threads):
                for format in ("plain", "nhwc"):
                    t = [nonet.tensor(v, requires_grad=True) for v in (x, w, b)]
                    t[0].array = t[0].array.to_format(format)
                    y = F.conv_transpose2d(*t, stride, padding, more, groups, dilation)
                    assert y.array.format == "nhwc"
                    y.backward(nonet.tensor(np.cos(np.arange(y.numel())).reshape(y.shape)))
                    results.add(tuple(v.numpy().tobytes() for v in (y.detach(), *(v.grad for v in t))))
    assert len(results) == 1
    want = reference.conv_transpose2d(
        *(v.astype(np.float64) for v in (x, w, b)), stride, padding, more, groups, dilation
    )
    assert_close(y.detach(), want, 4 * EPS, 4 * EPS * (w.size // w.shape[1] + 4), "forward")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_formats_on_a_device(case, dtype):
    """The same bytes from plain and nhwc images."""
    c, o, kernel, stride, padding, more, dilation, groups = case
    x, w, b = random(5, c, 5, 6), random(c, o // groups, *kernel), random(o)
    with use_place(GPU) as device:
        results = set()
        for format in ("plain", "nhwc"):
            t = [nonet.tensor(v, dtype=dtype, device=device, requires_grad=True) for v in (x, w, b)]
            t[0].array = t[0].array.to_format(format)
            y = F.conv_transpose2d(*t, stride, padding, more, groups, dilation)
            y.backward(nonet.tensor(np.cos(np.arange(y.numel())).reshape(y.shape), device=device))
            results.add(tuple(v.cpu().numpy().tobytes() for v in (y.detach(), *(v.grad for v in t))))
    assert len(results) == 1


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("size", [1, 4])
def test_activation(activation, size):
    # Stride 4 leaves pixels that no kernel reaches, which are f(bias).
    x, w, b = random(2, 3, size, size), random(3, 4, 3, 3) * 0.1, random(4)
    functions = {
        "relu": lambda z: np.maximum(z, 0),
        "tanh": np.tanh,
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    }

    def op(x, w, b):
        kind = ACTIVATIONS[activation]
        return convolve_transposed(x, w, b, (4, 4), (0, 0), (0, 0), (1, 1), 1, kind, "conv_transpose2d")

    def ref(x, w, b):
        return functions[activation](reference.conv_transpose2d(x, w, b, (4, 4)))

    check_op(op, ref, [x, w, b], atol=1e-5, grad_atol=1e-4)


@pytest.mark.parametrize("lead", [(2,), ()])
@pytest.mark.parametrize("length", [1, 6])
def test_conv_transpose1d(lead, length):
    x, w, b = random(*lead, 4, length), random(4, 3, 3), random(6)
    attrs = {"stride": 2, "padding": 1, "output_padding": 1, "dilation": 2, "groups": 2}

    def ref(x, w, b, **_):
        x4 = x.reshape(-1, 4, 1, length)
        y = reference.conv_transpose2d(x4, w[:, :, None], b, (1, 2), (0, 1), (0, 1), 2, (1, 2))
        return y.reshape(*lead, 6, -1)

    check_op(F.conv_transpose1d, ref, [x, w, b], attrs=attrs, atol=1e-5, grad_atol=1e-4)
    ones = F.conv_transpose1d(np.ones((*lead, 4, 1), np.float32), np.ones((4, 3, 5), np.float32))
    np.testing.assert_array_equal(ones.numpy(), np.full((*lead, 3, 5), 4))


def test_unbatched():
    x, w = random(3, 4, 5), random(3, 4, 3, 3)
    check_op(
        F.conv_transpose2d,
        lambda x, w: reference.conv_transpose2d(x[None], w)[0],
        [x, w],
        atol=2e-5,
        grad_atol=2e-5,
        grad=[0],
    )


def test_autocast_gives_bfloat16_and_gradients_in_float32():
    for size in (1, 4):
        x = nonet.tensor(random(2, 3, size, size), requires_grad=True)
        w = nonet.tensor(random(3, 4, 3, 3), requires_grad=True)
        with nonet.autocast("bfloat16"):
            y = F.conv_transpose2d(x, w, stride=2)
        assert y.dtype == "bfloat16"
        y.backward(np.ones(y.shape, np.float32))
        assert x.grad.dtype == w.grad.dtype == "float32"


def test_extreme_values():
    """An infinity or NaN reaches the outputs that its kernel covers, and no others; groups never mix."""
    w = np.ones((4, 1, 3, 3), np.float32)
    x = np.ones((1, 4, 6, 6), np.float32)
    x[0, 1, 2, 3], x[0, 2, 5, 5] = np.inf, np.nan
    for groups in (4, 2):
        got = F.conv_transpose2d(x, w, None, 2, 1, 1, groups).numpy()
        want = reference.conv_transpose2d(
            x.astype(np.float64), w.astype(np.float64), None, (2, 2), (1, 1), (1, 1), groups
        )
        np.testing.assert_array_equal(got, want)


def test_bad_input():
    x, w = np.zeros((2, 3, 5, 5), np.float32), np.zeros((3, 8, 3, 3), np.float32)
    cases = [
        (
            lambda: F.conv_transpose2d(x, np.zeros((4, 8, 3, 3), np.float32)),
            r"conv_transpose2d: weight must have shape \[in, out/groups, kh, kw\] = \[3, 8, 3, 3\], "
            r"got \[4, 8, 3, 3\]",
        ),
        (
            lambda: F.conv_transpose1d(x[0], np.zeros((8, 3, 3, 3), np.float32)),
            r"conv_transpose1d: weight must have shape \[in, out/groups, k\], got \[8, 3, 3, 3\]",
        ),
        (
            lambda: F.conv_transpose2d(x, w, np.zeros(7, np.float32)),
            r"bias must have shape \[out\] = \[8\], got \[7\]",
        ),
        (lambda: F.conv_transpose2d(x, w, stride=0), r"stride must be positive, got \(0, 0\)"),
        (lambda: F.conv_transpose2d(x, w, padding=-1), r"padding must not be negative"),
        (
            lambda: F.conv_transpose2d(x, w, padding=4),
            r"padding leaves nothing of the output, of size \(-1, -1\)",
        ),
        (
            lambda: F.conv_transpose2d(x, w, groups=2),
            "groups must divide the channels in and out, got 2 groups of 3",
        ),
        (
            lambda: F.conv_transpose2d(x, w, stride=2, output_padding=2),
            "output_padding must be at least 0 and smaller than stride or dilation, got 2 with stride 2",
        ),
        (
            lambda: F.conv_transpose2d(x[0, 0], w),
            r"input must have shape \[N, C, H, W\] or \[C, H, W\], got \[5, 5\]",
        ),
        (lambda: F.conv_transpose2d(x[:, :, :0], w), "input must have no empty axis but N and C"),
    ]
    for call, text in cases:
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError, match="conv_transpose2d: input must be float32 or bfloat16, got int64"):
        F.conv_transpose2d(x.astype(np.int64), w)
