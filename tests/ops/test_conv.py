from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import GPU, assert_close, available_isas, check_op, each_isa, use_isa, use_place, use_threads
from nonet import _core
from nonet.nn import functional as F
from nonet.ops.conv import conv2d_act
from reference import conv as reference

rng = np.random.default_rng(0)
EPS = float(np.finfo(np.float32).eps)


def random(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def check(x, w, b=None, dtypes=("float32",), isas=None, **attrs):
    inputs = [x, w] if b is None else [x, w, b]
    terms = w[0].size
    # The sums of products of normal numbers are about sqrt(terms), their errors eps sqrt(terms) times that.
    error = 4 * EPS * (terms + 4)
    pixels = x.size // max(x.shape[-3], 1)
    check_op(
        F.conv2d,
        reference.conv2d,
        inputs,
        attrs=attrs,
        rtol=4 * EPS,
        atol=error,
        grad_rtol=4 * EPS,
        grad_atol=4 * EPS * (max(pixels, w.shape[0] * w[0, 0].size) + 4),
        reference_gradient=reference.gradients,
        dtypes=dtypes,
        isas=isas,
    )


# channels in, out, kernel, stride, padding, dilation, groups
CASES = [
    (1, 6, (5, 5), (1, 1), (2, 2), (1, 1), 1),
    (3, 8, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    (6, 16, (5, 5), (1, 1), (0, 0), (1, 1), 1),
    (40, 33, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    (7, 5, (1, 1), (2, 3), (1, 0), (1, 1), 1),
    (5, 70, (3, 2), (1, 2), (1, 2), (2, 1), 1),
    (8, 8, (3, 3), (3, 1), (0, 4), (1, 2), 1),
    (6, 9, (3, 3), (1, 1), (1, 1), (1, 1), 3),
    (8, 4, (2, 3), (2, 2), (1, 1), (2, 2), 4),
    (4, 8, (3, 3), (1, 1), (1, 1), (1, 1), 4),
    (19, 19, (3, 3), (1, 1), (1, 1), (1, 1), 19),
    (5, 5, (3, 2), (2, 1), (1, 1), (1, 2), 5),
    (2, 3, (2, 2), (5, 4), (0, 0), (1, 1), 1),
    (300, 2, (1, 3), (1, 1), (0, 1), (1, 1), 1),
    (70, 66, (3, 3), (1, 1), (1, 1), (2, 2), 1),
]


@pytest.mark.parametrize("case", CASES)
def test_conv2d(case):
    c, o, kernel, stride, padding, dilation, groups = case
    x, w, b = random(3, c, 9, 12), random(o, c // groups, *kernel), random(o)
    check(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups)


# channels in, out, image, kernel, stride, padding, dilation: the gradient of the image is added up from products
FEW = [
    (6, 16, (14, 14), (5, 5), (1, 1), (0, 0), (1, 1)),
    (3, 64, (17, 18), (7, 7), (2, 2), (3, 3), (1, 1)),
    (3, 40, (9, 20), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 70, (12, 7), (2, 6), (1, 2), (0, 2), (1, 1)),
    (8, 50, (6, 23), (2, 9), (3, 1), (1, 8), (2, 1)),
    (5, 300, (5, 30), (1, 4), (1, 4), (0, 1), (1, 1)),
    (7, 90, (5, 30), (3, 2), (1, 5), (0, 0), (1, 1)),
]


@pytest.mark.parametrize("case", FEW)
def test_few_channels(case):
    c, o, image, kernel, stride, padding, dilation = case
    check(
        random(5, c, *image),
        random(o, c, *kernel),
        random(o),
        stride=stride,
        padding=padding,
        dilation=dilation,
    )


# images, channels in, height, width, channels out, padding: 3 x 3 kernels that take 16 multiplications per tile
TILED = [
    (2, 17, 9, 12, 33, (1, 1)),
    (3, 40, 7, 5, 16, (0, 2)),
    (20, 16, 2, 2, 35, (1, 1)),
    (1, 64, 13, 14, 70, (2, 1)),
    (1, 300, 8, 6, 20, (3, 0)),
    (20, 20, 1, 7, 18, (1, 1)),
    (1, 380, 9, 7, 370, (1, 1)),
]


@pytest.mark.parametrize("case", TILED)
def test_tiles(case):
    n, c, h, w, o, padding = case
    check(random(n, c, h, w), random(o, c, 3, 3), random(o), padding=padding)


# the same for kernels with stride 2, cut by parity
STRIDED = [
    (2, 17, 16, 20, 33, (1, 1)),
    (3, 40, 13, 17, 16, (0, 2)),
    (1, 16, 14, 13, 35, (3, 0)),
    (9, 16, 4, 4, 70, (1, 1)),
    (2, 20, 15, 18, 18, (2, 3)),
    (25, 31, 3, 2, 17, (1, 1)),
    (1, 16, 1, 120, 16, (2, 1)),
    (1, 380, 17, 14, 370, (1, 1)),
]


@pytest.mark.parametrize("kernel", [(3, 3), (4, 4), (3, 4), (4, 3)])
@pytest.mark.parametrize("case", STRIDED)
def test_strided_tiles(case, kernel):
    n, c, h, w, o, padding = case
    check(random(n, c, h, w), random(o, c, *kernel), random(o), padding=padding, stride=(2, 2))


@each_isa
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (4, 2)])
def test_tiles_are_as_exact(isa, kernel, stride):
    """The errors of highest, whose sums are cut otherwise, beside those of the definition."""
    x, w = random(2, 256, 14 * stride, 14 * stride), random(128, 256, kernel, kernel)
    dy = random(2, 128, 14, 14)
    options = {"stride": (stride, stride), "padding": (1, 1)}
    want = reference.gradients(dy, x.astype(np.float64), w.astype(np.float64), **options)
    want = [reference.conv2d(x.astype(np.float64), w.astype(np.float64), **options), *want[:2]]
    errors = {}
    with use_isa(isa):
        for precision in ("highest", "ieee"):
            with nonet.set_matmul_precision(precision):
                t = [nonet.tensor(v, requires_grad=True) for v in (x, w)]
                y = F.conv2d(*t, None, stride, 1)
                y.backward(nonet.tensor(dy))
            got = [y.detach(), *(v.grad for v in t)]
            errors[precision] = [
                float(np.sqrt(np.mean((a.numpy() - b) ** 2))) for a, b in zip(got, want, strict=True)
            ]
    for what, highest, ieee, most in zip(
        ("y", "dx", "dw"), errors["highest"], errors["ieee"], (1.4, 1.4, 3), strict=True
    ):
        assert 0 < highest < most * ieee, (what, highest, ieee)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (4, 2)])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_tiles_hand_on_what_is_not_finite(value, kernel, stride):
    x, w = random(2, 16, 8 * stride, 8 * stride), random(16, 16, kernel, kernel)
    x[1, 3, 2, 5] = value
    dy = random(2, 16, 8, 8)
    dy[0, 2, 7, 0] = value
    results = []
    for precision in ("highest", "ieee"):
        with nonet.set_matmul_precision(precision):
            t = [nonet.tensor(v, requires_grad=True) for v in (x, w)]
            y = F.conv2d(*t, None, stride, 1)
            y.backward(nonet.tensor(dy))
        results.append([y.detach().numpy(), *(v.grad.numpy() for v in t)])
    for highest, ieee in zip(*results, strict=True):
        finite = np.isfinite(ieee)
        assert not finite.all()
        np.testing.assert_array_equal(highest[~finite], ieee[~finite])
        if nonet._core.isa() == "amx":  # products of terms, whose tiles sum in another order
            np.testing.assert_allclose(highest[finite], ieee[finite], rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_array_equal(highest, ieee)


def as_bfloat16(x: np.ndarray) -> np.ndarray:
    bits = x.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


@each_isa
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (4, 2)])
@pytest.mark.parametrize("positive", [False, True])
def test_tiles_of_pairs(isa, kernel, stride, positive):
    """The errors of medium in tiles, of images with a mean and without, beside those that rounded operands have."""
    x, w = random(3, 64, 13 * stride, 11 * stride), random(48, 64, kernel, kernel)
    dy = random(3, 48, 13, 11)
    if positive:
        x = np.maximum(x, 0)
    options = {"stride": (stride, stride), "padding": (1, 1)}
    both = []
    for change in (np.asarray, as_bfloat16):
        x64, w64, dy64 = (change(v).astype(np.float64) for v in (x, w, dy))
        both.append(
            [reference.conv2d(x64, w64, **options), *reference.gradients(dy64, x64, w64, **options)[:2]]
        )
    with use_isa(isa), nonet.set_matmul_precision("medium"):
        t = [nonet.tensor(v, requires_grad=True) for v in (x, w)]
        y = F.conv2d(*t, None, stride, 1)
        y.backward(nonet.tensor(dy))
    for what, got, want, rounded in zip(
        ("y", "dx", "dw"), (y.detach(), t[0].grad, t[1].grad), *both, strict=True
    ):
        error, usual = (np.sqrt(np.mean((found - want) ** 2)) for found in (got.numpy(), rounded))
        assert error < 2.2 * usual, what
        if isa == "avx512_bf16":  # and pairs it was that multiplied
            assert error > 0.5 * usual, what


@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (1, 3, 1, 1), (2, 3, 1, 7), (200, 3, 3, 3)])
def test_sizes(shape):
    check(random(*shape), random(4, 3, 3, 3), random(4), padding=(1, 1))
    check(random(*shape), random(4, 3, 1, 1))


@each_isa
@pytest.mark.parametrize(
    ("shape", "groups"), [((40, 20, 3, 3), 1), ((5, 3, 4, 2), 1), ((8, 3, 3, 3), 2), ((6, 1, 3, 3), 6)]
)
def test_weights_are_kept_for_inference(isa, shape, groups):
    """In the form that is read, until the parameter changes; a training step keeps nothing."""
    x = random(2, shape[1] * groups, 8, 9)
    layer = nonet.nn.Parameter(random(*shape))
    with use_isa(isa):
        _core.drop_packed_weights()
        trained = F.conv2d(x, layer, groups=groups)
        assert _core.cache_bytes() == 0
        for _ in range(2):
            with nonet.no_grad():
                for _ in range(2):
                    got = F.conv2d(x, layer, groups=groups).numpy()
            np.testing.assert_array_equal(got, F.conv2d(x, layer.numpy().copy(), groups=groups).numpy())
            assert (_core.cache_bytes() > 0) == (shape[1] > 1)
            layer.copy_(random(*shape))
        _core.drop_packed_weights()
    assert trained.requires_grad


@each_isa
@pytest.mark.parametrize("kernel", [1, 3])
def test_results_that_no_cache_holds(isa, kernel):
    """Both images together are stored past the caches, each alone is not."""
    x, w, b = random(2, 5, 180, 190), random(64, 5, kernel, kernel), random(64)
    with use_isa(isa):
        one = [F.conv2d(x[i : i + 1], w, b).numpy() for i in (0, 1)]
        for threads in (1, 2):
            with use_threads(threads):
                np.testing.assert_array_equal(F.conv2d(x, w, b).numpy(), np.concatenate(one))


@pytest.mark.parametrize(("c", "o"), [(0, 3), (3, 0)])
def test_no_channels(c, o):
    y = F.conv2d(np.ones((2, c, 4, 4), np.float32), np.ones((o, c, 3, 3), np.float32), np.ones(o, np.float32))
    np.testing.assert_array_equal(y.numpy(), np.ones((2, o, 2, 2)))


def test_bfloat16():
    check(random(2, 3, 6, 6), random(4, 3, 3, 3), random(4), dtypes=("bfloat16",), padding=(1, 1))


def test_long_sum():
    check(random(1, 5000, 2, 2), random(3, 5000, 1, 1))
    check(random(1, 1, 1, 6000), random(2, 1, 1, 5000), isas=available_isas())
    check(random(1, 1, 1, 900), random(2, 1, 1, 700))


TILED_CASES = [
    (20, 18, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (20, 18, (4, 4), (2, 2), (1, 1), (1, 1), 1),
]


@each_isa
@pytest.mark.parametrize("case", CASES[:5] + CASES[7:9] + CASES[10:12] + TILED_CASES)
def test_formats_and_threads(isa, case):
    c, o, kernel, stride, padding, dilation, groups = case
    x, w, b = random(37, c, 16, 15), random(o, c // groups, *kernel), random(o)
    results = set()
    with use_isa(isa):
        for threads in (1, 2, 3):
            with use_threads(threads):
                for format in ("plain", "nhwc"):
                    t = [nonet.tensor(v, requires_grad=True) for v in (x, w, b)]
                    t[0].array = t[0].array.to_format(format)
                    y = F.conv2d(*t, stride, padding, dilation, groups)
                    dy = nonet.tensor(np.cos(np.arange(y.numel())).reshape(y.shape))
                    y.backward(nonet.tensor(dy))
                    results.add(tuple(v.numpy().tobytes() for v in (y.detach(), *(v.grad for v in t))))
    assert len(results) == 1
    want = reference.conv2d(*(v.astype(np.float64) for v in (x, w, b)), stride, padding, dilation, groups)
    assert_close(y.detach(), want, 4 * EPS, 4 * EPS * (w[0].size + 4), "forward")


def convolved(device, dtype, format, x, w, b, *options):
    t = [nonet.tensor(v, dtype=dtype, device=device, requires_grad=True) for v in (x, w, b)]
    t[0].array = t[0].array.to_format(format)
    y = F.conv2d(*t, *options)
    y.backward(nonet.tensor(np.cos(np.arange(y.numel())).reshape(y.shape), device=device))
    return [v.to("float32").cpu().numpy() for v in (y.detach(), *(v.grad for v in t))]


FOURS = [  # channels that are read four at a time
    (16, 20, (3, 3), (2, 1), (1, 1), (1, 1), 1),
    (24, 24, (1, 3), (1, 1), (0, 1), (1, 1), 2),
    (16, 16, (3, 3), (1, 2), (1, 1), (1, 1), 16),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES[:13] + FOURS)
def test_formats_on_a_device(case, dtype):
    """The same bytes from plain and nhwc images, which are read in other ways, in any order of the threads."""
    c, o, kernel, stride, padding, dilation, groups = case
    x, w, b = random(5, c, 9, 12), random(o, c // groups, *kernel), random(o)
    options = (stride, padding, dilation, groups)
    with use_place(GPU) as device:
        got = [convolved(device, dtype, format, x, w, b, *options) for format in ("plain", "nhwc", "nhwc")]
    for other in got[1:]:
        for a, z in zip(got[0], other, strict=True):
            np.testing.assert_array_equal(a, z)
    want = convolved("cpu", dtype, "plain", x, w, b, *options)
    pixels = want[0].size // o
    terms = [w[0].size + 1, o * w[0].size // c, pixels, pixels]
    for a, z, n in zip(got[0], want, terms, strict=True):
        # Two sums of n products of size about 4, rounded to the dtype.
        np.testing.assert_allclose(a, z, rtol=2.0**-7 if dtype == "bfloat16" else 0, atol=8 * EPS * (n + 4))


def test_many_pixels_and_channels_on_a_device():
    """The largest tiles of the products, in all three directions."""
    x, w, b = random(66, 68, 16, 16), random(72, 68, 1, 1), random(72)
    with use_place(GPU) as device:
        got = convolved(device, "float32", "nhwc", x, w, b)
        plain = F.conv2d(*(nonet.tensor(v, device=device) for v in (x, w, b)))
        np.testing.assert_array_equal(plain.cpu().numpy(), got[0])
    for a, z, n in zip(
        got, convolved("cpu", "float32", "nhwc", x, w, b), (69, 72, 16896, 16896), strict=True
    ):
        np.testing.assert_allclose(a, z, rtol=0, atol=8 * EPS * (n + 4))


def test_output_and_gradient_stay_nhwc():
    x = nonet.tensor(random(2, 3, 5, 5), requires_grad=True)
    y = F.conv2d(x, random(4, 3, 3, 3))
    assert y.array.format == "nhwc"


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_activation(activation):
    x, w, b = random(2, 3, 6, 6), random(4, 3, 3, 3) * 0.1, random(4)
    functions = {
        "relu": lambda z: np.maximum(z, 0),
        "tanh": np.tanh,
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    }

    def op(x, w, b):
        return conv2d_act(x, w, b, 1, 1, 1, 1, activation)

    def ref(x, w, b):
        return functions[activation](reference.conv2d(x, w, b, padding=(1, 1)))

    check_op(op, ref, [x, w, b], atol=1e-5, grad_atol=1e-4)


@pytest.mark.parametrize("lead", [(2,), ()])
def test_conv1d(lead):
    x, w, b = random(*lead, 4, 11), random(6, 2, 3), random(6)

    attrs = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}

    def ref(x, w, b, **_):
        x4 = x.reshape(-1, 4, 1, 11)
        y = reference.conv2d(x4, w[:, :, None], b, (1, 2), (0, 1), (1, 2), 2)
        return y.reshape(*lead, 6, -1)

    check_op(
        F.conv1d,
        ref,
        [x, w, b],
        attrs=attrs,
        atol=1e-5,
        grad_atol=1e-4,
    )


def test_unbatched():
    x, w = random(3, 6, 7), random(4, 3, 3, 3)
    check_op(F.conv2d, lambda x, w: reference.conv2d(x[None], w)[0], [x, w], atol=2e-5, grad=[0])


def test_same_and_valid():
    x = random(1, 2, 6, 7)
    w = random(3, 2, 4, 3)
    padded = np.pad(x, ((0, 0), (0, 0), (3, 3), (1, 1))).astype(np.float64)
    want = reference.conv2d(padded, w, dilation=(2, 1))
    got = F.conv2d(x, w, padding="same", dilation=(2, 1))
    assert_close(got, want, 4 * EPS, 4 * EPS * 30, "same")
    w = random(3, 2, 4, 4)
    want = reference.conv2d(np.pad(x, ((0, 0), (0, 0), (1, 2), (1, 2))).astype(np.float64), w)
    assert_close(F.conv2d(x, w, padding="same"), want, 4 * EPS, 4 * EPS * 40, "same, even kernel")
    assert F.conv2d(x, w, padding="valid").shape == (1, 3, 3, 4)


def test_extreme_values():
    """An infinity or NaN reaches the outputs under whose kernel it lies, and no others; groups never mix."""
    w = np.ones((8, 1, 3, 3), np.float32)
    x = np.ones((1, 4, 8, 8), np.float32)
    x[0, 1, 2, 3], x[0, 2, 5, 5] = np.inf, np.nan
    for weights, groups in ((w, 4), (w[:4], 4)):
        got = F.conv2d(x, weights, None, 1, 1, 1, groups).numpy()
        with np.errstate(invalid="ignore"):
            want = reference.conv2d(
                x.astype(np.float64), weights.astype(np.float64), None, (1, 1), (1, 1), (1, 1), groups
            )
        np.testing.assert_array_equal(got, want)
    big = F.conv2d(np.full((1, 1, 3, 3), 1e30, np.float32), np.full((1, 1, 3, 3), 1e-30, np.float32)).item()
    assert abs(big - 9) < 1e-5


def test_bad_input():
    x = np.zeros((2, 3, 5, 5), np.float32)
    with pytest.raises(
        ValueError,
        match=r"conv2d: weight must have shape \[out, in/groups, kh, kw\] = \[8, 3, 3, 3\], got \[8, 4, 3, 3\]",
    ):
        F.conv2d(x, np.zeros((8, 4, 3, 3), np.float32))
    with pytest.raises(
        ValueError, match=r"the kernel \(7, 3\) must not be larger than the padded input \(5, 5\)"
    ):
        F.conv2d(x, np.zeros((8, 3, 4, 2), np.float32), dilation=2)
    with pytest.raises(ValueError, match=r"conv2d: bias must have shape \[out\] = \[8\], got \[7\]"):
        F.conv2d(x, np.zeros((8, 3, 3, 3), np.float32), np.zeros(7, np.float32))
    with pytest.raises(ValueError, match=r"conv2d: stride must be positive, got \(0, 1\)"):
        F.conv2d(x, np.zeros((8, 3, 3, 3), np.float32), stride=(0, 1))
    with pytest.raises(ValueError, match=r"conv2d: padding must not be negative, got \(-1, -1, -1, -1\)"):
        F.conv2d(x, np.zeros((8, 3, 3, 3), np.float32), padding=-1)
    with pytest.raises(
        ValueError, match="conv2d: groups must divide the channels in and out, got 2 groups of 3 and 8"
    ):
        F.conv2d(x, np.zeros((8, 3, 3, 3), np.float32), groups=2)
    with pytest.raises(
        ValueError, match=r"conv2d: input must have shape \[N, C, H, W\] or \[C, H, W\], got \[3, 5\]"
    ):
        F.conv2d(np.zeros((3, 5), np.float32), np.zeros((8, 3, 3, 3), np.float32))
    with pytest.raises(ValueError, match="conv2d: padding 'same' needs a stride of 1, got"):
        F.conv2d(x, np.zeros((8, 3, 3, 3), np.float32), stride=2, padding="same")
    with pytest.raises(
        ValueError, match="conv1d: padding must be 'same', 'valid', an int or 1 ints, got 'full'"
    ):
        F.conv1d(np.zeros((3, 5), np.float32), np.zeros((8, 3, 3), np.float32), padding="full")
    with pytest.raises(TypeError, match="conv2d: stride must be an int or 2 ints, got 1.5"):
        F.conv2d(x, np.zeros((8, 3, 3, 3), np.float32), stride=1.5)
    with pytest.raises(TypeError, match="conv2d: input must be float32 or bfloat16, got int64"):
        F.conv2d(x.astype(np.int64), np.zeros((8, 3, 3, 3), np.float32))


# channels in, out, kernel, stride, padding, dilation
PRODUCTS = [
    (40, 33, (1, 1), (1, 1), (0, 0), (1, 1)),
    (24, 20, (3, 3), (2, 2), (1, 1), (1, 1)),
    (16, 35, (4, 4), (2, 2), (1, 1), (1, 1)),
    (18, 40, (3, 3), (1, 1), (1, 1), (1, 1)),
    (17, 16, (5, 2), (1, 3), (3, 0), (1, 1)),
    (16, 35, (3, 3), (1, 1), (1, 2), (2, 2)),
    (3, 64, (7, 7), (2, 2), (3, 3), (1, 1)),
]
# Of |A| |B|: what rounding the operands costs.
ROUNDED = {"highest": 8 * EPS, "high": 2.0**-10, "medium": 2.0**-7}


@each_isa
@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("case", PRODUCTS)
def test_precisions(isa, precision, case):
    c, o, kernel, stride, padding, dilation = case
    attrs = (None, stride, padding, dilation)
    x, w = random(3, c, 11, 14), random(o, c, *kernel)
    results = set()
    with use_isa(isa), nonet.set_matmul_precision(precision):
        for threads in (1, 3):
            with use_threads(threads):
                t = [nonet.tensor(v, requires_grad=True) for v in (x, w)]
                y = F.conv2d(*t, *attrs)
                dy = np.cos(np.arange(y.numel())).reshape(y.shape).astype(np.float32)
                y.backward(nonet.tensor(dy))
                got = [y.detach().numpy(), *(v.grad.numpy() for v in t)]
                results.add(tuple(v.tobytes() for v in got))
    assert len(results) == 1
    both = []
    for part in (np.asarray, np.abs):
        x64, w64, dy64 = (part(v.astype(np.float64)) for v in (x, w, dy))
        both.append([reference.conv2d(x64, w64, *attrs), *reference.gradients(dy64, x64, w64, *attrs)[:2]])
    for what, a, want, bound in zip(("y", "dx", "dw"), got, *both, strict=True):
        assert np.all(np.abs(a - want) <= ROUNDED[precision] * bound.max()), what
