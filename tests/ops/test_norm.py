from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import (
    EPS,
    GPU,
    available_isas,
    check_op,
    each_place,
    shuffle_threads,
    use_isa,
    use_place,
    use_threads,
)
from reference.norm import layer_norm, layer_norm_gradient

SHAPES = [
    ((3, 5), 1),
    ((5,), 1),
    ((2, 3, 4), 2),
    ((2, 3, 4), 3),
    ((2, 2, 17), 1),
    ((4, 1), 1),
    ((0, 3), 1),
    ((2, 0), 1),
    ((65, 33), 1),
]
BOTH = ("float32", "bfloat16")


def data(shape, axes):
    rng = np.random.default_rng(0)
    normalized = shape[len(shape) - axes :]
    return (
        rng.standard_normal(shape) + 1,
        1 + 0.3 * rng.standard_normal(normalized),
        rng.standard_normal(normalized),
    )


def tolerances(n: int) -> dict[str, float]:
    # y is a few roundings from the mean and the root (whose sums are off by a handful more); a gradient subtracts means
    # of n products and, over rows, adds products.
    return {"rtol": 16 * EPS, "atol": 16 * EPS, "grad_rtol": 64 * EPS, "grad_atol": 8 * EPS * (8 + n**0.5)}


@pytest.mark.parametrize(("shape", "axes"), SHAPES)
@pytest.mark.parametrize("affine", ["both", "weight", "none"])
def test_layer_norm(shape, axes, affine):
    x, w, b = data(shape, axes)
    count = {"both": 3, "weight": 2, "none": 1}[affine]
    normalized = w.shape

    def gradient(dy, x, *wb, eps):
        return layer_norm_gradient(dy, x, normalized, wb[0] if wb else None, eps=eps)[:count]

    if w.size == 0:  # no row has an element
        assert nonet.nn.functional.layer_norm(x, normalized, w, b).shape == shape
        return
    check_op(
        lambda x, *wb, eps: nonet.nn.functional.layer_norm(x, normalized, *wb, eps=eps),
        lambda x, *wb, eps: layer_norm(x, normalized, *wb, eps=eps),
        [x, w, b][:count],
        attrs={"eps": 1e-3},
        reference_gradient=gradient,
        dtypes=BOTH,
        **tolerances(x.size),
    )


@pytest.mark.parametrize(("shape", "axes"), [s for s in SHAPES if 0 not in s[0]])
@pytest.mark.parametrize("affine", [True, False])
def test_rms_norm(shape, axes, affine):
    x, w, _ = data(shape, axes)
    normalized = w.shape

    def gradient(dy, x, *w, eps):
        return layer_norm_gradient(dy, x, normalized, w[0] if w else None, eps=eps, centred=False)[
            : 1 + affine
        ]

    check_op(
        lambda x, *w, eps: nonet.nn.functional.rms_norm(x, normalized, *w, eps=eps),
        lambda x, *w, eps: layer_norm(x, normalized, *w, eps=eps, centred=False),
        [x, w][: 1 + affine],
        attrs={"eps": 1e-3},
        reference_gradient=gradient,
        dtypes=BOTH,
        **tolerances(x.size),
    )


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 5), 1), ((2, 3, 4), 2), ((2, 2, 17), 1), ((65, 33), 1), ((3, 5000), 1)]
)
@pytest.mark.parametrize("centred", [True, False])
def test_sums_and_their_norm(shape, axes, centred):
    x, w, b = data(shape, axes)
    r = np.random.default_rng(1).standard_normal(shape)
    normalized = w.shape
    parameters = [w, b] if centred else [w]
    op = nonet.nn.functional.layer_norm if centred else nonet.nn.functional.rms_norm
    fused = nonet.add_layer_norm if centred else nonet.add_rms_norm

    def reference(x, r, w, b=None):
        return x + r, layer_norm(x + r, normalized, w, b, eps=1e-3, centred=centred)

    def gradient(dys, x, r, w, b=None):
        dx, dw, db = layer_norm_gradient(dys[1], x + r, normalized, w, eps=1e-3, centred=centred)
        return dx + dys[0], dx + dys[0], dw, db

    check_op(
        lambda x, r, *wb: fused(x, r, normalized, *wb, eps=1e-3),
        reference,
        [x, r, *parameters],
        reference_gradient=gradient,
        **tolerances(x.size),
    )
    for isa in available_isas():
        with use_isa(isa):
            for dtype in BOTH:
                got = fused(
                    nonet.tensor(x, dtype=dtype),
                    nonet.tensor(r, dtype=dtype),
                    normalized,
                    *parameters,
                    eps=1e-3,
                )
                total = nonet.tensor(x, dtype=dtype) + nonet.tensor(r, dtype=dtype)
                for a, e in zip(got, (total, op(total, normalized, *parameters, eps=1e-3)), strict=True):
                    assert a.dtype == dtype
                    np.testing.assert_array_equal(a.float().numpy(), e.float().numpy())


def test_parts_of_sums_and_their_norm():
    """Gradients of one of the two results, of one of the two inputs, and other dtypes."""
    x, w, b = data((4, 6), 1)
    r, g = np.random.default_rng(1).standard_normal((2, 4, 6)).astype(np.float32)
    for wanted in ([0], [1], [0, 1], [2]):
        for which in (0, 1):
            leaves = [
                nonet.tensor(x, dtype="float32", requires_grad=0 in wanted),
                nonet.tensor(r, dtype="bfloat16", requires_grad=1 in wanted),
                nonet.tensor(w, dtype="float32", requires_grad=2 in wanted),
            ]
            out = nonet.add_layer_norm(*leaves[:2], (6,), leaves[2], b)
            assert out[0].dtype == out[1].dtype == "float32"
            if which == 0 and wanted == [2]:
                continue
            out[which].backward(g)
            exact = x + np.asarray(leaves[1].detach().float())
            dx, dw, _ = layer_norm_gradient(g, exact, (6,), w)
            want = [g if which == 0 else dx] * 2 + [dw]
            for i, leaf in enumerate(leaves):
                if i not in wanted or (i == 2 and which == 0):
                    assert leaf.grad is None
                    continue
                assert leaf.grad.dtype == leaf.dtype
                error = 1e-5 if leaf.dtype == "float32" else 2.0**-7
                np.testing.assert_allclose(leaf.grad.float().numpy(), want[i], rtol=error, atol=error)


def test_the_reference_gradient_by_differences():
    x, w, b = data((3, 5), 1)
    for centred in (True, False):
        check_op(
            (lambda x, w, b: nonet.nn.functional.layer_norm(x, (5,), w, b))
            if centred
            else (lambda x, w, b: nonet.nn.functional.rms_norm(x, (5,), w, eps=1e-5)),
            lambda x, w, b, c=centred: layer_norm(x, (5,), w, b if c else None, centred=c),
            [x, w, b],
            grad=[0, 1, 2] if centred else [0, 1],
        )


@each_place
@pytest.mark.parametrize("n", [1000, 100_003])
def test_long_rows_and_a_large_mean(place, n):
    x = 1e3 + np.random.default_rng(1).standard_normal((2, n))
    x32 = x.astype(np.float32)
    with use_place(place) as device:
        got = nonet.nn.functional.layer_norm(nonet.tensor(x32, device=device), (n,)).cpu()
    # The mean is off by some eps times 1e3, so is every difference from it.
    np.testing.assert_allclose(got, layer_norm(x32.astype(np.float64), (n,)), rtol=1e-5, atol=8 * EPS * 1e3)


@each_place
@pytest.mark.parametrize("times", [1, 7000])
def test_special_values(place, times):
    x = np.array([[0.0, 0, 0], [1, np.nan, 2], [np.inf, 1, 2], [1e-30, -1e-30, 0]], np.float32)
    x = np.repeat(x, times, axis=1)
    with np.errstate(invalid="ignore"):
        want = layer_norm(x.astype(np.float64), (x.shape[1],))
    with use_place(place) as device:
        got = nonet.nn.functional.layer_norm(nonet.tensor(x, device=device), (x.shape[1],)).cpu()
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert (nonet.nn.functional.rms_norm(np.zeros((2, 3)), (3,)).numpy() == 0).all()


@pytest.mark.parametrize("shape", [(1, 40_000), (1000, 33), (200, 300)])
def test_threads(shape):
    x, w, b = (a.astype(np.float32) for a in data(shape, 1))
    for isa in available_isas():
        results = []
        for threads in (1, 2, 3):
            with use_isa(isa), use_threads(threads):
                tensors = [nonet.tensor(a, requires_grad=True) for a in (x, w, b)]
                y = nonet.nn.functional.layer_norm(tensors[0], (shape[1],), *tensors[1:])
                y.backward(x)
                results.append([y.detach().numpy().tobytes(), *(t.grad.numpy().tobytes() for t in tensors)])
        assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    "shape",
    [
        (1000, 2),
        (600, 5),
        (3000, 64),
        (9, 130),
        (500, 256),
        (3, 300),
        (700, 512),
        *((3, n) for n in (700, 1024, 1500, 2048, 3000, 4096, 4100, 16_000, 20_001)),
        (70, 9000),
        (40, 5001),
    ],
    ids=str,
)
def test_every_way_on_a_device(shape):
    x, w, b = data(shape, 1)
    g = np.random.default_rng(1).standard_normal(shape)
    n = shape[1]
    with use_place(GPU) as device:
        for dtype in BOTH:
            for centred in (True, False):
                results = []
                for place in ("cpu", device):
                    tensors = [
                        nonet.tensor(a, dtype=dtype, device=place, requires_grad=True) for a in (x, w, b)
                    ]
                    if centred:
                        y = nonet.nn.functional.layer_norm(tensors[0], (n,), *tensors[1:])
                    else:
                        y = nonet.nn.functional.rms_norm(tensors[0], (n,), tensors[1])
                        tensors.pop()
                    y.backward(nonet.tensor(g, dtype=dtype, device=place))
                    results.append([v.cpu().to("float32").numpy() for v in (y, *(t.grad for t in tensors))])
                error = 64 * EPS if dtype == "float32" else 2.0**-7
                for got, want in zip(results[1], results[0], strict=True):
                    np.testing.assert_allclose(got, want, rtol=error, atol=error * np.abs(want).max())


def test_parts_of_gradients_on_a_device():
    """What is wanted, whatever the order of blocks and threads."""
    x, w, b = data((1500, 40), 1)
    with use_place(GPU) as device:
        for n, rows in ((40, 1500), (6000, 10)):
            first = None
            for seed, wanted in enumerate(([0, 1, 2], [0, 1, 2], [0], [1], [2])):
                shuffle_threads(seed)
                tensors = [
                    nonet.tensor(a, dtype="float32", device=device, requires_grad=i in wanted)
                    for i, a in enumerate((x.reshape(rows, n), np.resize(w, n), np.resize(b, n)))
                ]
                y = nonet.nn.functional.layer_norm(tensors[0], (n,), *tensors[1:])
                y.backward(nonet.tensor(x.reshape(rows, n) ** 2, dtype="float32", device=device))
                first = first or [t.grad.cpu().numpy() for t in tensors]
                for i, t in enumerate(tensors):
                    if i in wanted:
                        np.testing.assert_array_equal(t.grad.cpu(), first[i])
                    else:
                        assert t.grad is None


def test_layers():
    layer = nonet.nn.LayerNorm([3, 4])
    assert {k: v.shape for k, v in layer.state_dict().items()} == {"weight": (3, 4), "bias": (3, 4)}
    assert (layer.weight.numpy() == 1).all() and (layer.bias.numpy() == 0).all()
    assert repr(layer) == "LayerNorm((3, 4), eps=1e-05, elementwise_affine=True, bias=True)"
    assert list(nonet.nn.LayerNorm(3, bias=False).state_dict()) == ["weight"]
    assert not nonet.nn.LayerNorm(3, elementwise_affine=False).state_dict()
    assert list(nonet.nn.RMSNorm(3).state_dict()) == ["weight"]
    assert repr(nonet.nn.RMSNorm(3)) == "RMSNorm((3,), eps=None, elementwise_affine=True)"
    x = nonet.randn(5, 3, dtype="bfloat16", requires_grad=True)
    y = nonet.nn.LayerNorm(3)(x)  # float32 parameters beside a bfloat16 input
    y.backward(nonet.ones(5, 3))
    assert y.dtype == x.grad.dtype == "bfloat16"


def test_only_wanted_gradients():
    x, w, b = (nonet.tensor(a) for a in data((4, 3), 1))
    w.requires_grad_()
    nonet.nn.functional.layer_norm(x, (3,), w, b).backward(nonet.ones(4, 3))
    assert w.grad is not None and x.grad is None and b.grad is None


def test_bad_input():
    F = nonet.nn.functional
    with pytest.raises(
        ValueError, match=r"layer_norm: input must end in the axes normalized_shape = \[4\], got \[2, 3\]"
    ):
        F.layer_norm(np.zeros((2, 3)), (4,))
    with pytest.raises(ValueError, match="layer_norm: input must end in"):
        F.layer_norm(np.zeros(3), (2, 3))
    with pytest.raises(ValueError, match="rms_norm: normalized_shape must name at least one axis"):
        F.rms_norm(np.zeros(3), ())
    with pytest.raises(
        ValueError, match=r"layer_norm: bias must have shape normalized_shape = \[3\], got \[2\]"
    ):
        F.layer_norm(np.zeros((2, 3)), (3,), np.zeros(3), np.zeros(2))
    with pytest.raises(
        ValueError, match=r"layer_norm: residual must have shape \[like input\] = \[2, 3\], got \[3\]"
    ):
        nonet.add_layer_norm(np.zeros((2, 3)), np.zeros(3), (3,))
    with pytest.raises(TypeError, match="layer_norm: input must be float32 or bfloat16, got int64"):
        F.layer_norm(np.zeros((2, 3), int), (3,))
    with pytest.raises(TypeError, match="rms_norm: weight must be float32 or bfloat16, got int64"):
        F.rms_norm(np.zeros((2, 3)), (3,), np.ones(3, int))
