"""Precisions of the matrix product, and the packed copies of weights. Products of bfloat16 run where the processor has
them or a build emulates it; elsewhere every precision is the FMA kernel, and these tests say so."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import nonet
from helpers import EPS, GPU, available_isas, each_isa, each_place, use_isa, use_place, use_threads
from nonet import nn
from nonet.ops.matmul import matmul_flags

rng = np.random.default_rng(0)
PRECISIONS = ["highest", "high", "medium", "ieee"]
FLAGS = list(itertools.product([False, True], repeat=2))


@pytest.fixture
def tiles():
    if "amx" not in available_isas():
        pytest.skip("this processor has no AMX (.ci/emulate-avx512 runs these tests on emulated tiles)")
    with use_isa("amx"):
        yield


def product(a, b, precision, transpose=(False, False), device="cpu"):
    a = np.ascontiguousarray(a.T) if transpose[0] else a
    b = np.ascontiguousarray(b.T) if transpose[1] else b
    x, y = nonet.tensor(a, device=device), nonet.tensor(b, device=device)
    with nonet.set_matmul_precision(precision):
        return matmul_flags(x, y, *transpose).cpu().numpy()


def rms(x):
    return np.sqrt(np.nanmean(x * x))


def normwise(got, a, b, norm=np.nanmax):
    """The error of each element in units of |a||b| of its row and column: the largest, or another norm of them."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    scale = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=0)[None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(norm(np.abs(got - a @ b) / scale))


def family(name, m, n, k):
    a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
    if name == "uniform":
        a, b = rng.random((m, k)), rng.random((k, n))
    elif name == "log-uniform":
        a = np.sign(a) * 10.0 ** rng.uniform(-15, 15, (m, k))
        b = np.sign(b) * 10.0 ** rng.uniform(-15, 15, (k, n))
    elif name == "scaled":
        a, b = a * 10.0 ** rng.uniform(-12, 12, (m, 1)), b * 10.0 ** rng.uniform(-12, 12, (1, n))
    elif name == "cancelling":
        a[:, k // 2 :] = a[:, : k - k // 2]
        b[k // 2 :] = -b[: k - k // 2]
        order = rng.permutation(k)  # else errors, too, cancel wherever the halves fall into blocks alike
        a, b = a[:, order], b[order]
    elif name == "relu":
        a, b = np.maximum(a, 0), b * (rng.random((1, n)) < 0.7)
    return a.astype(np.float32), b.astype(np.float32)


FAMILIES = ["normal", "uniform", "log-uniform", "scaled", "cancelling", "relu"]
# Rounding an operand to t bits moves a product by at most 2^-t of |a||b|, and sums of squares bound the sum of them.
LIMITS = {"highest": 8 * EPS, "ieee": 8 * EPS, "high": 2.0**-14, "medium": 2.0**-7}
GPU_LIMITS = LIMITS | {"high": 2.0**-10}  # TF32 keeps 11 bits


@each_place
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_error(place, precision, name):
    limit = (GPU_LIMITS if place == GPU else LIMITS)[precision]
    with use_place(place) as device:
        for (m, n, k), transpose in zip(
            [(70, 45, 600), (33, 64, 1030), (16, 16, 32), (40, 100, 77)], FLAGS, strict=True
        ):
            a, b = family(name, m, n, k)
            assert normwise(product(a, b, precision, transpose, device), a, b) <= limit, (m, n, k)


@each_isa
@pytest.mark.parametrize("name", FAMILIES)
def test_highest_is_no_less_accurate_than_fma(isa, name):
    with use_isa(isa):
        for k in (64, 512, 2048, 8192):
            a, b = family(name, 48, 48, k)
            error = {p: normwise(product(a, b, p), a, b, rms) for p in ("highest", "ieee")}
            # Where one product outweighs the sum, terms have no fewer roundings: docs/accuracy.md.
            most = 1.1 if name == "log-uniform" else 1.0
            assert error["highest"] <= most * error["ieee"], (k, error)


def test_highest_over_a_long_sum(tiles):
    a, b = family("normal", 32, 32, 65536)
    error = {p: normwise(product(a, b, p), a, b) for p in ("highest", "ieee")}
    assert error["highest"] <= error["ieee"]


def test_medium_is_the_product_of_rounded_operands():
    if "avx512_bf16" not in available_isas():
        pytest.skip("this processor has no AVX512_BF16 (.ci/emulate-avx512 runs this test under emulation)")
    a, b = (nonet.tensor(x).to("bfloat16").to("float32").numpy() for x in family("normal", 70, 45, 600))
    with use_isa("avx512_bf16"):
        assert normwise(product(a, b, "medium"), a, b) <= LIMITS["highest"]
        a, b = family("normal", 70, 45, 600)
        error = [normwise(product(a, b, p), a, b) for p in ("highest", "high", "medium")]
        assert max(error[:2]) <= LIMITS["highest"] < error[2] / 64


def test_precisions_differ_and_are_ordered(tiles):
    a, b = family("normal", 64, 64, 256)
    error = [normwise(product(a, b, p), a, b) for p in ("highest", "high", "medium")]
    assert error[0] < error[1] / 4 < error[2] / 64


@pytest.fixture(params=[("amx", "highest"), ("avx512_bf16", "medium")], ids=lambda p: p[0])
def products_of_bfloat16(request):
    """The precision that runs on them."""
    isa, precision = request.param
    if isa not in available_isas():
        pytest.skip(f"this processor has no {isa} (.ci/emulate-avx512 runs these tests under emulation)")
    with use_isa(isa):
        yield precision


@pytest.mark.parametrize("transpose", FLAGS)
def test_tiles_out_of_range_give_what_fma_gives(products_of_bfloat16, transpose):
    """Infinities, NaN, overflow, underflow and denormals, each in one tile: that tile is bit for bit the FMA kernel's,
    and the others stay as they were."""
    m, n, k = 96, 96, 70
    plain = family("normal", m, n, k)
    for value in (np.inf, -np.inf, np.nan, 3e38, 1e-30, 1e-39, 1e30, np.float32(2**-97)):
        a, b = plain[0].copy(), plain[1].copy()
        a[40] *= 0
        a[40, 5] = value
        if abs(value) == np.float32(1e30):
            b[5, 50] = 1e30
        with np.errstate(all="ignore"):
            got = product(a, b, products_of_bfloat16, transpose)
            fma = product(a, b, "ieee", transpose)
        before = product(*plain, products_of_bfloat16, transpose)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(fma))
        inside = got[32:64] if abs(value) != np.float32(1e30) else got[32:64, 32:64]
        fma_inside = fma[32:64] if abs(value) != np.float32(1e30) else fma[32:64, 32:64]
        np.testing.assert_array_equal(inside.view(np.int32), fma_inside.view(np.int32), err_msg=str(value))
        np.testing.assert_array_equal(got[:32, :32].view(np.int32), before[:32, :32].view(np.int32))
    b[:] = np.inf  # against a zero row
    with np.errstate(all="ignore"):
        assert np.isnan(product(np.zeros_like(a), b, products_of_bfloat16, transpose)).all()


@each_isa
@pytest.mark.parametrize("precision", PRECISIONS)
def test_same_bytes_for_any_number_of_threads(isa, precision):
    with use_isa(isa):
        for m, n, k in [(130, 200, 300), (700, 40, 90), (17, 900, 600)]:
            a, b = family("normal", m, n, k)
            want = product(a, b, precision).view(np.int32)
            for threads in (1, 2, 3):
                with use_threads(threads):
                    np.testing.assert_array_equal(product(a, b, precision).view(np.int32), want)


@each_place
@pytest.mark.parametrize("precision", PRECISIONS)
def test_linear_and_gradients(place, precision):
    """Bias and batch axes; the backward pass keeps its forward's precision."""
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((3, 30, 50), (70, 50), (70,)))
    dy = rng.standard_normal((3, 30, 70)).astype(np.float32)
    limit = (GPU_LIMITS if place == GPU else LIMITS)[precision]
    with use_place(place) as device:
        tensors = [nonet.tensor(v, requires_grad=True, device=device) for v in (x, w, b)]
        y = nn.functional.linear(*tensors, precision=precision)
        y.backward(dy)
    rows, drows = x.reshape(-1, 50), dy.reshape(-1, 70)
    assert normwise(y.cpu().numpy().reshape(-1, 70) - b, rows, w.T) <= limit + 8 * EPS
    dx, dw, db = (t.grad.cpu().numpy() for t in tensors)
    assert normwise(dx.reshape(-1, 50), drows, w) <= limit
    assert normwise(dw, drows.T, rows) <= limit
    np.testing.assert_allclose(db, drows.sum(0), rtol=1e-4, atol=1e-4)


@each_isa
def test_batches_and_bfloat16(isa):
    a, b = (
        rng.standard_normal((5, 40, 64)).astype(np.float32),
        rng.standard_normal((5, 64, 48)).astype(np.float32),
    )
    with use_isa(isa):
        got = nonet.matmul(a, b).numpy()
        for i in range(5):
            assert normwise(got[i], a[i], b[i]) <= 8 * EPS
        short = [nonet.tensor(v, dtype="bfloat16") for v in (a, b)]
        exact = [s.to("float32").numpy().astype(np.float64) for s in short]
        out = nonet.matmul(*short)
        assert out.dtype == "bfloat16"
        want = exact[0] @ exact[1]
        np.testing.assert_allclose(out.to("float32").numpy(), want, rtol=2.0**-8, atol=1e-4)


def test_setting():
    assert nonet.get_matmul_precision() == "highest"
    with nonet.set_matmul_precision("medium"):
        assert nonet.get_matmul_precision() == "medium"
        with nonet.set_matmul_precision("ieee"):
            assert nonet.get_matmul_precision() == "ieee"
        assert nonet.get_matmul_precision() == "medium"
    assert nonet.get_matmul_precision() == "highest"
    nonet.set_matmul_precision("high")
    assert nonet.get_matmul_precision() == "high"
    nonet.set_matmul_precision("highest")
    with pytest.raises(
        ValueError, match="precision: expected one of ieee, highest, high, medium, got 'fast'"
    ):
        nonet.set_matmul_precision("fast")
    assert nonet.get_matmul_precision() == "highest"
    with pytest.raises(ValueError, match="precision: expected one of"):
        nonet.matmul(np.ones((2, 2), np.float32), np.ones((2, 2), np.float32), precision="fast")


# ------------------------------------------------------------------------------------------------ autocast


@each_isa
def test_autocast_stores_bfloat16_and_keeps_float32_parameters(isa):
    """Values and gradients of a small network within the rounding of its stored activations."""
    nonet.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),  # a maximum would pass gradients to other pixels where rounding makes ties
        nn.Flatten(),
        nn.Linear(8 * 16, 40),
        nn.LayerNorm(40),
    )
    draw = np.random.default_rng(0)
    x = draw.standard_normal((32, 1, 8, 8)).astype(np.float32)
    label = draw.integers(0, 40, 32)
    gradients = []
    with use_isa(isa):
        for enabled in (False, True):
            model.zero_grad()
            with nonet.autocast(enabled=enabled):
                y = model(x)
                assert y.dtype == ("bfloat16" if enabled else "float32")
                assert nonet.softmax(y).dtype == "float32"
                loss = nn.functional.cross_entropy(y, label)
            assert loss.dtype == "float32"
            loss.backward()
            gradients.append([p.grad.numpy().copy() for p in model.parameters()])
            assert all(p.grad.dtype == "float32" for p in model.parameters())
    assert not nonet.is_autocast_enabled()
    for want, got in zip(*gradients, strict=True):
        assert np.linalg.norm(got - want) <= 0.05 * np.linalg.norm(want) + 1e-4


def test_autocast_mixes_dtypes_and_ends():
    a = nonet.tensor(rng.standard_normal((4, 5)).astype(np.float32), requires_grad=True)
    b = nonet.tensor(rng.standard_normal((5, 3)).astype(np.float32), dtype="bfloat16", requires_grad=True)

    @nonet.autocast("bfloat16")
    def product():
        with nonet.autocast(enabled=False), pytest.raises(TypeError, match="must have one dtype"):
            nonet.matmul(a, b)
        return nonet.matmul(a, b)

    y = product()
    assert y.dtype == "bfloat16"
    assert not nonet.is_autocast_enabled()
    nonet.nn.functional.mse_loss(y.to("float32"), np.zeros((4, 3), np.float32)).backward()
    assert (a.grad.dtype, b.grad.dtype) == ("float32", "bfloat16")
    with nonet.autocast():
        loss = nn.functional.mse_loss(nonet.matmul(a, b), np.zeros((4, 3), np.float32))
    assert loss.dtype == "float32"
    with pytest.raises(TypeError, match="autocast: dtype must be bfloat16, got float32"):
        nonet.autocast("float32")
    with nonet.set_matmul_precision("medium"), nonet.autocast():
        assert nonet.get_matmul_precision() == "medium"
        assert nonet.is_autocast_enabled()
    assert nonet.get_matmul_precision() == "highest"


# ------------------------------------------------------------------------------------------------ packed weights


@pytest.fixture
def budget():
    nonet.empty_cache()
    before = nonet.cache_budget()
    yield
    nonet.set_cache_budget(before)
    nonet.empty_cache()


X = rng.standard_normal((64, 96)).astype(np.float32)


def forward(layer):
    with nonet.no_grad():
        return layer(X).numpy().copy()


def expected(layer):
    return X.astype(np.float64) @ layer.weight.numpy().T + layer.bias.numpy()


@each_isa
@pytest.mark.parametrize("precision", PRECISIONS)
def test_packed_copies_are_reused_and_never_stale(isa, precision, budget):
    layer = nn.Linear(96, 130)
    with use_isa(isa), nonet.set_matmul_precision(precision):
        limit = LIMITS[precision] * np.linalg.norm(X, axis=1).max() * 4
        first = forward(layer)
        kept = nonet.cache_bytes()
        assert kept > 0
        np.testing.assert_array_equal(forward(layer), first)
        assert nonet.cache_bytes() == kept
        np.testing.assert_array_equal(
            nn.functional.linear(X, layer.weight.numpy().copy(), layer.bias).numpy(), first
        )

        optimizer = nonet.optim.SGD(layer.parameters(), lr=0.1)
        for change in ("step", "copy_", "fill_", "mutable", "load_state_dict", "index"):
            if change == "step":
                layer(X).sum().backward()
                optimizer.step()
            elif change == "copy_":
                layer.weight.copy_(rng.standard_normal((130, 96)).astype(np.float32))
            elif change == "fill_":
                layer.weight.fill_(0.5)
            elif change == "mutable":
                with layer.weight.mutable() as values:
                    values[:] = 2
                    np.testing.assert_allclose(forward(layer), expected(layer), rtol=0, atol=100 * limit)
                    values[:] = 3
                    np.testing.assert_allclose(forward(layer), expected(layer), rtol=0, atol=100 * limit)
            elif change == "load_state_dict":
                layer.load_state_dict({"weight": rng.random((130, 96)), "bias": rng.random(130)})
            else:
                with nonet.no_grad():
                    layer.weight[3] = 7.0
            np.testing.assert_allclose(
                forward(layer), expected(layer), rtol=0, atol=100 * limit, err_msg=change
            )
        assert nonet.cache_bytes() == kept


def test_budget_and_lifetime(budget):
    layers = [nn.Linear(96, 128) for _ in range(4)]
    forward(layers[0])
    one = nonet.cache_bytes()
    assert one > 0
    for layer in layers[1:]:
        forward(layer)
    assert nonet.cache_bytes() == 4 * one
    nonet.set_cache_budget(2 * one)
    assert nonet.cache_bytes() == 2 * one
    for layer in layers:
        np.testing.assert_allclose(forward(layer), expected(layer), rtol=0, atol=1e-4)
        assert nonet.cache_bytes() <= 2 * one
    layer = None
    layers.clear()
    assert nonet.cache_bytes() == 0
    nonet.set_cache_budget(0)
    forward(nn.Linear(96, 128))
    assert nonet.cache_bytes() == 0
    with pytest.raises(
        ValueError, match="set_cache_budget: expected a number of bytes of at least 0, got -1"
    ):
        nonet.set_cache_budget(-1)


def test_memory_open_to_others_is_not_cached(budget):
    layer = nn.Linear(96, 128)
    layer.weight.__dlpack__()  # the old form: whoever holds it may write
    forward(layer)
    assert nonet.cache_bytes() == 0
