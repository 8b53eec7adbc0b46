from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, GPU, check_op, each_isa, use_isa, use_place, use_threads
from nonet.nn import functional as F
from nonet.ops.attention import KeyValueCache, attention
from reference import attention as ref

# Scores of standard normal vectors are of size 1, sums have a few hundred terms of size 1/n.
CLOSE = {"rtol": 64 * EPS, "atol": 32 * EPS, "grad_rtol": 1e-4, "grad_atol": 1e-5}
# Probabilities p, which add up to 1, are off by up to 2^-9 p where products are of bfloat16: 2^-9 sum p |v|.
ROUNDED = CLOSE | {"atol": 2.0**-8}


CPU = nonet.ops.isa.available_isas()  # long sequences take the emulator of a GPU minutes


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def heads(batch, h, kv, queries, keys, size, value_size=None, seed=0):
    return draw(
        (batch, h, queries, size),
        (batch, kv, keys, size),
        (batch, kv, keys, value_size or size),
        seed=seed,
    )


def plain(q, k, v, is_causal=False, enable_gqa=False, scale=None):
    return ref.attention(q, k, v, scale=scale, shift=0 if is_causal else None)


def plain_gradient(dy, q, k, v, is_causal=False, enable_gqa=False, scale=None):
    return ref.attention_gradient(dy, q, k, v, scale=scale, shift=0 if is_causal else None)[:3]


def run(inputs, **attrs):
    more = {k: attrs.pop(k) for k in ("isas", "seed") if k in attrs}
    dtypes = attrs.pop("dtypes", ("float32",))
    check(plain, inputs, dtypes, attrs=attrs, reference_gradient=plain_gradient, **more)


def check(reference, inputs, dtypes=("float32", "bfloat16"), **more):
    for dtype in dtypes:
        close = CLOSE if dtype == "float32" else ROUNDED
        check_op(F.scaled_dot_product_attention, reference, inputs, dtypes=(dtype,), **(close | more))


def close_to(got, want, share):
    """Off by at most this share of the largest value."""
    np.testing.assert_allclose(got, want, rtol=0, atol=share * max(np.abs(want).max(initial=0), 1e-6))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("batch", "h", "kv", "queries", "keys", "size", "value_size"),
    [
        (1, 1, 1, 1, 1, 1, 1),
        (2, 3, 3, 5, 7, 4, 6),
        (1, 2, 1, 3, 300, 33, 70),  # few queries: keys and values where they lie
        (1, 2, 2, 4, 1, 16, 16),
        (2, 4, 2, 57, 129, 64, 64),
        (1, 6, 2, 130, 70, 8, 40),
        (1, 1, 1, 200, 260, 256, 256),
        (2, 2, 1, 90, 1100, 12, 20),  # ranges of keys
        (1, 2, 2, 40, 0, 4, 5),
        (1, 2, 2, 0, 40, 4, 5),
        (0, 2, 2, 3, 4, 4, 5),
    ],
)
def test_shapes(batch, h, kv, queries, keys, size, value_size, causal):
    inputs = heads(batch, h, kv, queries, keys, size, value_size)
    run(inputs, is_causal=causal, enable_gqa=True, dtypes=("float32", "bfloat16"))


@each_isa
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("batch", "h", "kv", "queries", "keys", "size", "value_size"),
    [
        (2, 4, 2, 57, 129, 64, 64),
        (1, 6, 2, 130, 70, 8, 40),
        (1, 1, 1, 200, 260, 256, 256),
        (1, 2, 1, 16, 17, 1, 3),
        (2, 1, 1, 65, 64, 33, 70),
        (1, 2, 2, 129, 31, 20, 1),
        (1, 4, 1, 70, 700, 24, 24),  # ranges of keys
    ],
)
def test_products_of_bfloat16(isa, batch, h, kv, queries, keys, size, value_size, causal):
    """float32 operands that are rounded inside, and how far that takes the results."""
    q, k, v = heads(batch, h, kv, queries, keys, size, value_size)
    dy = draw((batch, h, queries, value_size), seed=1)[0]
    seen = np.random.default_rng(1).random((batch, 1, queries, keys)) > 0.2
    bias = draw((1, h, queries, keys), seed=2)[0]
    with use_isa(isa), nonet.set_matmul_precision("medium"):
        shift = 0 if causal else None
        t = [nonet.tensor(x, requires_grad=True) for x in (q, k, v)]
        y = F.scaled_dot_product_attention(*t, is_causal=causal, enable_gqa=True)
        y.backward(dy)
        close_to(y.detach().numpy(), ref.attention(q, k, v, shift=shift), 2.0**-7)
        want = ref.attention_gradient(dy, q, k, v, shift=shift)
        for got, w in zip(t, want, strict=False):
            close_to(got.grad.numpy(), w, 2.0**-5)
        rows = [nonet.tensor(rows_of(x, True), requires_grad=True) for x in (q, k, v)]
        plane = nonet.tensor(bias, requires_grad=True)
        if size != value_size:
            return
        y = attention(*rows, heads=h, kv_heads=kv, mask=seen, bias=plane)
        y.backward(rows_of(dy, True))
        close_to(y.detach().numpy(), rows_of(ref.attention(q, k, v, bias=bias, seen=seen), True), 2.0**-7)
        want = ref.attention_gradient(dy, q, k, v, bias=bias, seen=seen)
        for got, w in zip(rows, want, strict=False):
            close_to(got.grad.numpy(), rows_of(w, True), 2.0**-5)
        close_to(plane.grad.numpy(), want[3].sum(0, keepdims=True), 2.0**-5)


@pytest.mark.parametrize("seed", range(12))
def test_lengths(seed):
    rng = np.random.default_rng(seed)
    queries, keys = (int(2 ** rng.uniform(0, 11.0005)) for _ in range(2))
    size, value_size = (int(rng.integers(1, 80)) for _ in range(2))
    inputs = heads(1, 2, 1, queries, keys, size, value_size, seed)
    run(inputs, is_causal=bool(seed % 2), enable_gqa=True, scale=float(rng.uniform(0.05, 0.3)), isas=CPU)


@pytest.mark.parametrize(("queries", "keys"), [(2049, 2049), (1, 2049), (2049, 1)])
def test_longest(queries, keys):
    run(heads(1, 1, 1, queries, keys, 16), is_causal=queries == keys, isas=CPU)


@pytest.mark.parametrize(
    "shape", [(2, 3, 70, 150), (1, 3, 70, 150), (2, 1, 1, 150), (70, 150), (1, 1, 70, 1), (1,), (2, 3, 1, 1)]
)
@pytest.mark.parametrize("queries", [70, 3])
def test_additive_mask(shape, queries):
    shape = tuple(queries if n == 70 else n for n in shape)
    inputs = [*heads(2, 3, 3, queries, 150, 16), *draw(shape, seed=1)]
    inputs[3] = (
        np.where(inputs[3] > 1.2, -np.inf, inputs[3]) if len(shape) == 4 and shape[3] > 1 else inputs[3]
    )

    def gradient(dy, q, k, v, bias):
        *rest, ds = ref.attention_gradient(dy, q, k, v, bias=bias)
        full = (1,) * (4 - bias.ndim) + bias.shape
        axes = tuple(i for i in range(4) if full[i] == 1)
        return *rest, ds.sum(axis=axes, keepdims=True).reshape(bias.shape)

    # A gradient that sums up everything sums up the rounding of O to bfloat16, too.
    dtypes = ("float32", "bfloat16") if len(shape) == 4 else ("float32",)
    check(ref.attention, inputs, dtypes, reference_gradient=gradient, grad_atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 70, 290), (2, 1, 1, 290), (70, 290), (1, 3, 1, 290)])
@pytest.mark.parametrize("queries", [70, 2])
def test_boolean_mask(shape, queries):
    shape = tuple(queries if n == 70 else n for n in shape)
    seen = np.random.default_rng(1).random(shape) > 0.5
    seen[..., :140] &= seen[..., :140] & (np.random.default_rng(2).random((*shape[:-1], 1)) > 0.7)
    if shape[-2] > 1:
        seen[..., 1, :] = False
    check(
        lambda q, k, v, m: ref.attention(q, k, v, seen=m),
        [*heads(2, 3, 3, queries, 290, 16), seen],
        reference_gradient=lambda dy, q, k, v, m: ref.attention_gradient(dy, q, k, v, seen=m)[:3],
        grad=[0, 1, 2],
    )


@each_isa
@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_rows_that_see_nothing_are_zero(isa, precision):
    with use_isa(isa), nonet.set_matmul_precision(precision):
        for queries in (2, 40):
            q, k, v = (nonet.tensor(x, requires_grad=True) for x in heads(1, 2, 2, queries, 200, 8))
            for mask in (np.zeros((queries, 200), bool), np.full((queries, 200), -np.inf)):
                mask[0, 150:] = 1 if mask.dtype == bool else 0
                y = F.scaled_dot_product_attention(q, k, v, mask)
                y.backward(np.ones(y.shape))
                assert (y.numpy()[:, :, 1:] == 0).all() and (y.numpy()[:, :, 0] != 0).all()
                assert (q.grad.numpy()[:, :, 1:] == 0).all()
                assert all(np.isfinite(x.grad.numpy()).all() for x in (q, k, v))
                q.grad = k.grad = v.grad = None


@each_isa
@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_extreme_scores(isa, precision):
    """Scores far apart, infinite and NaN, as the definition has them."""
    close = {"rtol": 1e-4, "atol": 1e-5} if precision == "highest" else {"rtol": 0, "atol": 2e-2}
    with (
        use_isa(isa),
        nonet.set_matmul_precision(precision),
        np.errstate(invalid="ignore", over="ignore"),
    ):
        for queries in (1, 30):
            q, k, v = (x.astype(np.float32) for x in heads(1, 1, 1, queries, 140, 4))
            for value in (1e4, 1e18, np.inf, np.nan):
                q[0, 0, 0, 0] = value
                got = F.scaled_dot_product_attention(q, k, v).numpy()
                want = ref.attention(*(x.astype(np.float64) for x in (q, k, v)))
                if value == 1e4 and precision == "highest":
                    np.testing.assert_allclose(got, want, rtol=2e-3, atol=1e-5)
                elif value != 1e4:
                    np.testing.assert_allclose(got, want, **close)


def test_without_batch_or_heads():
    q, k, v = draw((2, 5, 4), (2, 6, 4), (2, 6, 3))
    want = ref.attention(q[:, None], k[:, None], v[:, None])[:, 0]
    np.testing.assert_allclose(F.scaled_dot_product_attention(q, k, v).numpy(), want, atol=1e-6)
    np.testing.assert_allclose(F.scaled_dot_product_attention(q[0], k[0], v[0]).numpy(), want[0], atol=1e-6)
    seen = np.random.default_rng(3).random((2, 5, 6)) > 0.3
    want = ref.attention(q[:, None], k[:, None], v[:, None], seen=seen[:, None])[:, 0]
    np.testing.assert_allclose(F.scaled_dot_product_attention(q, k, v, seen).numpy(), want, atol=1e-6)
    five = [x.reshape(1, 2, 1, *x.shape[1:]) for x in (q, k, v)]
    got = F.scaled_dot_product_attention(*five, seen.reshape(1, 2, 1, 5, 6)).numpy()
    np.testing.assert_allclose(got.reshape(want.shape), want, atol=1e-6)


# ------------------------------------------------------------------------------------- heads where they lie


def rows_of(x, batch_first):
    """[B, H, T, E] as a linear layer gives it."""
    b, h, t, e = x.shape
    rows = x.transpose(0, 2, 1, 3).reshape(b, t, h * e)
    return rows if batch_first else rows.transpose(1, 0, 2)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("packed", [1, 2, 3])
@pytest.mark.parametrize(("queries", "causal"), [(2, True), (75, True), (75, False)])
def test_rows_of_heads(batch_first, packed, queries, causal):
    keys = queries if packed == 1 else queries + 9
    kv = 2 if packed != 2 else 4
    q, k, v = heads(3, 4, kv, queries, keys, 12)
    rows = [rows_of(x, batch_first) for x in (q, k, v)]
    inputs = [np.concatenate(rows, axis=2)] if packed == 1 else rows
    if packed == 2:
        inputs = [rows[0], np.concatenate(rows[1:], axis=2)]
    shift = keys - queries if causal else None

    def reference(*inputs, **_):
        return rows_of(ref.attention(*parts(inputs), shift=shift), batch_first)

    def parts(inputs):
        if packed == 1:
            flat = np.split(inputs[0], np.cumsum([4 * 12, kv * 12]), axis=2)
        else:
            flat = list(inputs) if packed == 3 else [inputs[0], *np.split(inputs[1], 2, axis=2)]
        flat = flat if batch_first else [x.transpose(1, 0, 2) for x in flat]
        return [x.reshape(*x.shape[:2], -1, 12).transpose(0, 2, 1, 3) for x in flat]

    def gradient(dy, *inputs, **_):
        dy = dy if batch_first else dy.transpose(1, 0, 2)
        dy = dy.reshape(*dy.shape[:2], 4, 12).transpose(0, 2, 1, 3)
        out = [rows_of(g, batch_first) for g in ref.attention_gradient(dy, *parts(inputs), shift=shift)[:3]]
        if packed == 1:
            return [np.concatenate(out, axis=2)]
        return out if packed == 3 else [out[0], np.concatenate(out[1:], axis=2)]

    attrs = {"heads": 4, "kv_heads": kv, "causal": causal, "batch_first": batch_first}
    check_op(attention, reference, inputs, attrs=attrs, reference_gradient=gradient, **CLOSE)


def test_mask_and_bias_together():
    q, k, v = heads(2, 3, 3, 20, 30, 8)
    bias, seen = draw((1, 3, 20, 30), seed=1)[0], np.random.default_rng(2).random((2, 1, 1, 30)) > 0.4
    t = nonet.tensor(bias, requires_grad=True)
    rows = [nonet.tensor(rows_of(x, True), requires_grad=True) for x in (q, k, v)]
    y = attention(*rows, heads=3, mask=seen, bias=t)
    np.testing.assert_allclose(
        y.detach().numpy(), rows_of(ref.attention(q, k, v, bias=bias, seen=seen), True), atol=2e-6
    )
    dy = draw((2, 3, 20, 8), seed=3)[0]
    y.backward(rows_of(dy, True))
    dq, dk, dv, ds = ref.attention_gradient(dy, q, k, v, bias=bias, seen=seen)
    for got, want in zip(rows, (dq, dk, dv), strict=True):
        np.testing.assert_allclose(got.grad.numpy(), rows_of(want, True), atol=1e-5)
    np.testing.assert_allclose(t.grad.numpy(), ds.sum(0, keepdims=True), atol=1e-5)


# ------------------------------------------------------------------------------------- dropout


def kept_of(queries, keys, p, h=2, seed=5):
    """The factors of the probabilities, read from a run whose values are the unit vectors."""
    q = np.zeros((1, h, queries, 4), np.float32)
    k = np.zeros((1, h, keys, 4), np.float32)
    v = np.broadcast_to(np.eye(keys, dtype=np.float32), (1, h, keys, keys))
    generator = nonet.Generator(seed)
    return F.scaled_dot_product_attention(q, k, v, dropout_p=p, generator=generator).numpy() * keys


@each_isa
@pytest.mark.parametrize("shape", [(3, 5), (70, 131), (130, 260)])
def test_dropout(isa, shape):
    with use_isa(isa):
        kept = kept_of(*shape, 0.3)
        np.testing.assert_allclose(np.unique(kept.round(5)), [0, round(1 / 0.7, 5)], atol=1e-4)
        assert abs((kept > 0).mean() - 0.7) < 4 * np.sqrt(0.21 / kept.size)
        q, k, v = heads(1, 2, 2, *shape, 8)
        tensors = [nonet.tensor(x, requires_grad=True) for x in (q, k, v)]
        y = F.scaled_dot_product_attention(
            *tensors, dropout_p=0.3, is_causal=True, generator=nonet.Generator(5)
        )
        np.testing.assert_allclose(
            y.detach().numpy(), ref.attention(q, k, v, shift=0, kept=(kept > 0) / 0.7), atol=1e-5
        )
        dy = draw(y.shape, seed=3)[0]
        y.backward(dy)
        want = ref.attention_gradient(dy, q, k, v, shift=0, kept=(kept > 0) / 0.7)
        for got, w in zip(tensors, want, strict=False):
            np.testing.assert_allclose(got.grad.numpy(), w, atol=5e-5)


def test_dropout_is_the_same_everywhere():
    want = kept_of(20, 61, 0.5) > 0
    for isa in nonet.ops.isa.available_isas():
        for precision in ("highest", "medium"):
            with use_isa(isa), use_threads(1), nonet.set_matmul_precision(precision):
                np.testing.assert_array_equal(kept_of(20, 61, 0.5) > 0, want)
    assert (kept_of(20, 61, 1.0) == 0).all()
    nonet.manual_seed(3)
    a = F.scaled_dot_product_attention(*heads(1, 1, 1, 9, 9, 4), dropout_p=0.5)
    b = F.scaled_dot_product_attention(*heads(1, 1, 1, 9, 9, 4), dropout_p=0.5)
    assert (a.numpy() != b.numpy()).any()


@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize(("queries", "keys", "h"), [(1, 3000, 3), (300, 300, 3), (70, 1100, 1)])
def test_threads_do_not_matter(queries, keys, h, precision):
    results = []
    for count in (1, 2, 5):
        with use_threads(count), nonet.set_matmul_precision(precision):
            t = [nonet.tensor(x, requires_grad=True) for x in heads(2, h, h, queries, keys, 20)]
            bias = nonet.tensor(draw((1, h, queries, keys))[0], requires_grad=True)
            y = F.scaled_dot_product_attention(*t, bias, dropout_p=0.1, generator=nonet.Generator(1))
            y.backward(np.ones(y.shape))
            results.append([y.detach().numpy(), *(x.grad.numpy() for x in (*t, bias))])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@each_isa
def test_gradients_with_dropout_of_bfloat16_products(isa):
    """The draws of forward and backward pass are one."""
    kept = kept_of(70, 131, 0.3)
    q, k, v = heads(1, 2, 2, 70, 131, 8)
    dy = draw((1, 2, 70, 8), seed=3)[0]
    with use_isa(isa), nonet.set_matmul_precision("medium"):
        t = [nonet.tensor(x, requires_grad=True) for x in (q, k, v)]
        y = F.scaled_dot_product_attention(*t, dropout_p=0.3, generator=nonet.Generator(5))
        y.backward(dy)
    close_to(y.detach().numpy(), ref.attention(q, k, v, kept=(kept > 0) / 0.7), 2.0**-6)
    want = ref.attention_gradient(dy, q, k, v, kept=(kept > 0) / 0.7)
    for got, w in zip(t, want, strict=False):
        close_to(got.grad.numpy(), w, 2.0**-5)


def test_autocast():
    x = [nonet.tensor(a, requires_grad=True) for a in heads(1, 2, 2, 10, 10, 8)]
    with nonet.autocast("bfloat16"):
        y = F.scaled_dot_product_attention(*x, is_causal=True)
    assert y.dtype == "bfloat16"
    y.backward(np.ones(y.shape))
    assert all(t.grad.dtype == "float32" for t in x)


def test_bad_input():
    q, k, v = (np.zeros((1, 2, 3, 4)) for _ in range(3))
    op = "scaled_dot_product_attention"
    with pytest.raises(
        ValueError, match=rf"{op}: key must have shape \[..., H, S, E\] = \[1, 2, 3, 4\], got"
    ):
        F.scaled_dot_product_attention(q, np.zeros((1, 2, 3, 5)), v)
    with pytest.raises(ValueError, match=rf"{op}: key must have shape .* got \[1, 1, 3, 4\]"):
        F.scaled_dot_product_attention(q, k[:, :1], v[:, :1])
    with pytest.raises(
        ValueError, match=rf"{op}: value must have shape .* = \[1, 2, 3, 4\], got \[1, 2, 5, 4\]"
    ):
        F.scaled_dot_product_attention(q, k, np.zeros((1, 2, 5, 4)))
    with pytest.raises(ValueError, match=rf"{op}: key must have shape .* with as many axes as query"):
        F.scaled_dot_product_attention(q, k[0], v)
    with pytest.raises(ValueError, match=rf"{op}: the mask must broadcast to \[1, 2, 3, 3\], got \[2, 3\]"):
        F.scaled_dot_product_attention(q, k, v, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=f"{op}: attn_mask and is_causal exclude each other"):
        F.scaled_dot_product_attention(q, k, v, np.zeros((3, 3)), is_causal=True)
    with pytest.raises(TypeError, match=f"{op}: the mask must be bool or floating, got int64"):
        F.scaled_dot_product_attention(q, k, v, np.zeros((3, 3), int))
    with pytest.raises(ValueError, match=f"{op}: 3 query heads are no multiple of 2 key heads"):
        F.scaled_dot_product_attention(np.zeros((1, 3, 3, 4)), k, v, enable_gqa=True)
    with pytest.raises(TypeError, match="attention: query must be float32 or bfloat16, got int64"):
        F.scaled_dot_product_attention(*(x.astype(int) for x in (q, k, v)))
    with pytest.raises(ValueError, match=r"attention: dropout must be in \[0, 1\], got 2"):
        F.scaled_dot_product_attention(q, k, v, dropout_p=2.0)
    with pytest.raises(
        ValueError, match=r"attention: 5 heads and 5 key heads do not fit shapes \[1, 2, 16\]"
    ):
        attention(np.zeros((1, 2, 16)), heads=5)
    with pytest.raises(
        ValueError, match="attention: heads must be a positive multiple of kv_heads, got 3 and 2"
    ):
        attention(np.zeros((1, 2, 16)), heads=3, kv_heads=2)
    with pytest.raises(ValueError, match=r"attention: query must have 3 axes, got shape \[16\]"):
        attention(np.zeros(16), heads=2)
    with pytest.raises(TypeError, match="attention: mask must be bool and bias floating"):
        attention(np.zeros((1, 2, 12)), heads=2, mask=np.zeros((2, 2)))


# ------------------------------------------------------------------------------------- on a device


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dropout_on_a_device(dtype):
    """The same pairs are dropped, in the forward and the backward pass."""
    with use_place(GPU) as device:
        packed, bias, dy = draw((2, 70, 3 * 4 * 20), (1, 4, 70, 70), (2, 70, 80))
        results = []
        for place in ("cpu", device):
            x = nonet.tensor(packed, dtype=dtype, device=place, requires_grad=True)
            b = nonet.tensor(bias, device=place, requires_grad=True)
            options = {"heads": 4, "bias": b, "causal": True, "dropout": 0.3}
            y = attention(x, generator=nonet.Generator(3), **options)
            y.backward(nonet.tensor(dy, dtype=dtype, device=place))
            results.append([t.cpu().to("float32").numpy() for t in (y.detach(), x.grad, b.grad)])
        error = 2e-5 if dtype == "float32" else 2.0**-6
        for got, want in zip(results[1], results[0], strict=True):
            np.testing.assert_allclose(got, want, rtol=error, atol=error * np.abs(want).max())


@pytest.mark.parametrize("place", ["cpu", GPU])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_cache(place, dtype):
    """Queries on what a cache holds, one after the other and some at a time."""
    with use_place(place if place == GPU else nonet._core.isa()) as device:
        packed = nonet.tensor(draw((2, 30, (4 + 2 * 2) * 12))[0], dtype=dtype, device=device)
        want = attention(packed, heads=4, kv_heads=2, causal=True).cpu().to("float32").numpy()
        cache = KeyValueCache(2, 2, 32, 12, dtype=dtype, device=device)
        got = []
        for first, last in ((0, 17), (17, 18), (18, 19), (19, 24), (24, 30)):
            part = packed[:, first:last]
            cache.append(part, part, 4 * 12, 6 * 12)
            got.append(cache.attend(part, 4).cpu().to("float32").numpy())
        error = 1e-5 if dtype == "float32" else 2.0**-7
        np.testing.assert_allclose(np.concatenate(got, axis=1), want, rtol=error, atol=error)
        cache.select(np.array([1, 1, 0]))
        again = cache.attend(packed[np.array([1, 1, 0])][:, 24:30], 4).cpu().to("float32").numpy()
        np.testing.assert_array_equal(again, got[-1][[1, 1, 0]])
        with pytest.raises(ValueError, match="attention: 3 rows at 30 do not fit into a cache of 32"):
            cache.append(packed[np.array([0, 1, 0]), :3], packed[np.array([0, 1, 0]), :3], 48, 72)


def test_large_heads_on_a_device():
    with use_place(GPU) as device:
        q = nonet.tensor(np.zeros((1, 1, 2, 257)), device=device)
        with pytest.raises(ValueError, match="on a device heads have at most 256 elements, got 257 and 257"):
            F.scaled_dot_product_attention(q, q, q)
