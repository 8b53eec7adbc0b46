from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, check_op, each_isa, each_place, use_isa, use_place, use_threads
from nonet import nn
from nonet.nn import functional as F
from reference import resize as reference

rng = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def check(x, rows, columns, **options):
    def ref(x):
        return reference.resize(x, rows, columns)

    def gradient(dy, x):
        return (reference.resize(dy, rows.T, columns.T),)

    # Weights in float32, taps in two steps; cubic weights reach 1.3, and an input may serve many outputs.
    served = np.abs(rows).sum(0).max() * np.abs(columns).sum(0).max()
    check_op(
        lambda x: F.interpolate(x, **options),
        ref,
        [x],
        rtol=8 * EPS,
        atol=32 * EPS * np.abs(x).max(initial=1),
        grad_rtol=8 * EPS,
        grad_atol=32 * EPS * max(served, 1) * 4,
        reference_gradient=gradient,
        dtypes=("float32", "bfloat16") if x.size < 500 else ("float32",),
    )


MODES = [("nearest", None), ("nearest-exact", None), ("bilinear", False), ("bilinear", True)]
MODES += [("bicubic", False), ("bicubic", True)]
SIZES = [  # channels, from, to
    (3, (5, 6), (10, 12)),
    (1, (4, 7), (9, 7)),
    (2, (9, 10), (4, 3)),
    (2, (1, 1), (3, 5)),
    (2, (6, 5), (1, 1)),
    (1, (7, 40), (5, 97)),
    (2, (3, 4), (3, 4)),
]


@pytest.mark.parametrize(("mode", "align"), MODES)
@pytest.mark.parametrize("case", SIZES)
def test_size(mode, align, case):
    c, n, m = case
    kind = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    rows, columns = (reference.matrix(a, b, kind, bool(align)) for a, b in zip(n, m, strict=True))
    check(random(2, c, *n), rows, columns, size=m, mode=mode, align_corners=align)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("factor", [2, (0.6, 1.3), 3.7, (1.05, 0.3)])
def test_scale_factor(mode, factor):
    kind = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    factors = factor if isinstance(factor, tuple) else (factor, factor)
    x = random(1, 2, 8, 11)
    sizes = [int(n * f) for n, f in zip((8, 11), factors, strict=True)]
    for recompute in (None, True):
        rows, columns = (
            reference.matrix(n, m, kind, False, 0 if recompute or (n == m and kind == "linear") else f)
            for n, m, f in zip((8, 11), sizes, factors, strict=True)
        )
        check(x, rows, columns, scale_factor=factor, mode=mode, recompute_scale_factor=recompute)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("case", SIZES)
def test_antialias(mode, case):
    c, n, m = case
    kind = {"bilinear": "linear", "bicubic": "cubic"}[mode]
    rows, columns = (reference.matrix(a, b, kind, antialias=True) for a, b in zip(n, m, strict=True))
    check(random(2, c, *n), rows, columns, size=m, mode=mode, antialias=True)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear"])
@pytest.mark.parametrize(("n", "m"), [(5, 10), (7, 3), (1, 4), (33, 70)])
def test_one_axis(mode, n, m):
    columns = reference.matrix(n, m, mode)
    check_op(
        lambda x: F.interpolate(x, m, mode=mode),
        lambda x: np.einsum("qj,ncj->ncq", columns, x),
        [random(2, 3, n)],
        atol=32 * EPS,
        grad_atol=1e-4,
    )


def test_area_is_adaptive_pooling():
    x = random(2, 3, 8, 9)
    np.testing.assert_array_equal(
        F.interpolate(x, (3, 4), mode="area").numpy(), F.adaptive_avg_pool2d(x, (3, 4)).numpy()
    )
    np.testing.assert_array_equal(
        F.interpolate(x[:, :, 0], 4, mode="area").numpy(), F.adaptive_avg_pool1d(x[:, :, 0], 4).numpy()
    )


@each_place
@pytest.mark.parametrize("channels", [1, 3, 8, 17, 70])
def test_channels_last(channels, place):
    """A channels-last image stays one, both ways."""
    a = random(2, channels, 7, 9)
    with use_place(place) as device:
        for mode, size in (
            ("nearest", (14, 18)),
            ("bilinear", (5, 21)),
            ("bicubic", (9, 4)),
            ("bilinear", (7, 12)),
        ):
            plain = nonet.tensor(a, requires_grad=True, device=device)
            x = nonet.Tensor(plain.array.to_format("nhwc"), True)
            y, want = F.interpolate(x, size, mode=mode), F.interpolate(plain, size, mode=mode)
            assert y.array.format == "nhwc"
            np.testing.assert_allclose(
                y.detach().cpu().numpy(), want.detach().cpu().numpy(), rtol=0, atol=32 * EPS
            )
            dy = nonet.tensor(random(*y.shape), device=device)
            y.backward(nonet.Tensor(dy.array.to_format("nhwc")))
            want.backward(dy)
            assert x.grad.array.format == "nhwc"
            np.testing.assert_allclose(
                x.grad.cpu().numpy(), plain.grad.cpu().numpy(), rtol=8 * EPS, atol=128 * EPS
            )


@each_isa
def test_same_bytes_for_any_number_of_threads(isa):
    a = random(3, 5, 40, 37)
    with use_isa(isa):
        for format in ("plain", "nhwc"):
            results = set()
            for threads in (1, 2, 3):
                with use_threads(threads):
                    parts = []
                    for mode in ("nearest", "bilinear", "bicubic"):
                        for size in ((90, 80), (17, 90), (90, 17)):
                            x = nonet.Tensor(nonet.tensor(a).array.to_format(format), True)
                            y = F.interpolate(x, size, mode=mode)
                            y.backward(y.detach())
                            parts += [y.detach().numpy().tobytes(), x.grad.numpy().tobytes()]
                    results.add(tuple(parts))
            assert len(results) == 1


@each_place
def test_extreme_values(place):
    """What is not read does not reach the result: an infinity stays where its weight is."""
    x = np.ones((1, 1, 4, 6), np.float32)
    x[0, 0, 1, 2], x[0, 0, 3, 5] = np.inf, np.nan
    with use_place(place) as device:
        y = F.interpolate(nonet.tensor(x, device=device), (8, 12)).cpu().numpy()
        np.testing.assert_array_equal(y, x.repeat(2, 2).repeat(2, 3))
        dy = np.zeros((1, 1, 8, 12), np.float32)
        dy[0, 0, 0, 0], dy[0, 0, 7, 11] = np.inf, np.nan
        t = nonet.tensor(np.ones((1, 1, 4, 6), np.float32), device=device, requires_grad=True)
        F.interpolate(t, (8, 12), mode="bilinear").backward(nonet.tensor(dy, device=device))
        g = t.grad.cpu().numpy()[0, 0]
        assert np.isinf(g[0, 0]) and np.isnan(g[3, 5]) and np.isfinite(g[1:3]).all()


def test_empty():
    assert F.interpolate(np.zeros((0, 3, 4, 4), np.float32), 8).shape == (0, 3, 8, 8)
    assert F.interpolate(np.zeros((2, 0, 4), np.float32), 8).shape == (2, 0, 8)


def test_layers():
    x = random(1, 2, 4, 5)
    assert repr(nn.Upsample(scale_factor=2)) == "Upsample(scale_factor=2.0, mode='nearest')"
    assert repr(nn.Upsample(size=(3, 4), mode="bilinear")) == "Upsample(size=(3, 4), mode='bilinear')"
    assert nn.Upsample(scale_factor=(2, 3))(x).shape == (1, 2, 8, 15)
    np.testing.assert_array_equal(nn.UpsamplingNearest2d(scale_factor=2)(x), x.repeat(2, 2).repeat(2, 3))
    np.testing.assert_array_equal(
        nn.UpsamplingBilinear2d((9, 7))(x), F.interpolate(x, (9, 7), mode="bilinear", align_corners=True)
    )


BAD = [
    (
        lambda x: F.interpolate(x[0, 0], 2),
        r"input must have shape \[N, C, L\] or \[N, C, H, W\], got \[4, 5\]",
    ),
    (lambda x: F.interpolate(x), "give either size or scale_factor"),
    (lambda x: F.interpolate(x, 2, 2), "give either size or scale_factor"),
    (
        lambda x: F.interpolate(x, 2, mode="cubic"),
        "mode must be one of nearest, nearest-exact, linear, .* got 'cubic'",
    ),
    (lambda x: F.interpolate(x, 2, mode="linear"), "mode linear resamples 1 axes, input has 2"),
    (
        lambda x: F.interpolate(x, 2, align_corners=True),
        "align_corners belongs to linear, bilinear and bicubic",
    ),
    (lambda x: F.interpolate(x, 2, antialias=True), "antialias belongs to bilinear and bicubic"),
    (lambda x: F.interpolate(x, (2, 2, 2)), r"size must be an int or 2 ints, got \(2, 2, 2\)"),
    (
        lambda x: F.interpolate(x, scale_factor=(2.0,)),
        r"scale_factor must be a number or 2 numbers, got \(2.0,\)",
    ),
    (lambda x: F.interpolate(x, scale_factor=-1), "scale_factor must be positive, got -1"),
    (lambda x: F.interpolate(x, scale_factor=0.1), r"size must be positive, got \[0, 0\]"),
    (lambda x: F.interpolate(x, 0), r"size must be positive, got \[0, 0\]"),
    (
        lambda x: F.interpolate(x, 2, recompute_scale_factor=True),
        "recompute_scale_factor needs a scale_factor",
    ),
    (lambda x: F.interpolate(x[:, :, :0], 2), "input must have no empty axis but N and C"),
]


@pytest.mark.parametrize(("call", "text"), BAD)
def test_bad_input(call, text):
    with pytest.raises(ValueError, match=text):
        call(np.zeros((1, 2, 4, 5), np.float32))


def test_bad_dtype():
    with pytest.raises(TypeError, match="interpolate: input must be float32 or bfloat16, got int64"):
        F.interpolate(np.zeros((1, 2, 4, 5), np.int64), 2)
