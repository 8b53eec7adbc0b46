from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, GPU, check_op, use_place, use_threads
from nonet import nn
from nonet.nn import functional as F


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,), (2, 0, 3)])
@pytest.mark.parametrize("columns", [1, 4, 9, 0])
@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_embedding(shape, columns, dtype):
    rng = np.random.default_rng(0)
    w, index = rng.standard_normal((7, columns)), rng.integers(0, 7, shape).astype(dtype)
    check_op(
        lambda i, w: F.embedding(i, w),
        lambda i, w: w[i],
        [index, w],
        rtol=0,
        atol=0,
        dtypes=("float32", "bfloat16"),
    )


def gradient(index, dy, rows, padding=None, by_freq=False):
    out = np.zeros((rows, dy.shape[-1]))
    for i, d in zip(index.ravel(), dy.reshape(-1, dy.shape[-1]), strict=True):
        if i != padding:
            out[i] += d / (np.sum(index == i) if by_freq else 1)
    return out


@pytest.mark.parametrize("rows", [40, 20000])
@pytest.mark.parametrize("columns", [3, 33, 130])
@pytest.mark.parametrize("options", [{}, {"padding_idx": 3}, {"padding_idx": -2, "scale_grad_by_freq": True}])
def test_gradient_has_the_same_bytes_for_any_number_of_threads(rows, columns, options):
    rng = np.random.default_rng(columns)
    index = rng.integers(0, 40, (30, 40))
    dy = rng.standard_normal((30, 40, columns)).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        with use_threads(threads):
            w = nonet.tensor(np.zeros((rows, columns)), requires_grad=True)
            F.embedding(index, w, **options).backward(dy)
            results.append(w.grad.numpy())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    padding = options.get("padding_idx")
    want = gradient(index, dy, rows, padding if padding is None else padding % rows, len(options) > 1)
    np.testing.assert_allclose(results[0], want, rtol=0, atol=60 * 60 * EPS)  # at most about 60 terms per row


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("columns", [1, 6, 36])
@pytest.mark.parametrize("kinds", [1, 7, 300])
@pytest.mark.parametrize("options", [{}, {"padding_idx": 0}, {"padding_idx": -2, "scale_grad_by_freq": True}])
def test_gradient_on_a_device(kinds, columns, options, dtype):
    """Rows that occur in many of the spans that threads add up, in a few, and in one; in any order of the threads."""
    rng = np.random.default_rng(columns)
    index = rng.integers(0, kinds, (11, 40))
    dy = nonet.tensor(rng.standard_normal((11, 40, columns)), dtype=dtype)
    results = []
    with use_place(GPU) as device:
        for _ in range(2):
            w = nonet.zeros(300, columns, dtype=dtype, device=device, requires_grad=True)
            F.embedding(nonet.tensor(index, device=device), w, **options).backward(dy.to(device))
            results.append(w.grad.cpu().to("float32").numpy())
    np.testing.assert_array_equal(results[0], results[1])
    padding = options.get("padding_idx")
    padding = padding if padding is None else padding % 300
    values = dy.to("float32").numpy().astype(np.float64)
    want = gradient(index, values, 300, padding, len(options) > 1)
    bound = gradient(index, np.abs(values), 300, padding, len(options) > 1)
    terms = np.bincount(index.ravel(), minlength=300)[:, None]
    rounding = 2.0**-8 * np.abs(want) if dtype == "bfloat16" else 0
    assert np.all(np.abs(results[0] - want) <= (terms + 4) * EPS * bound + rounding)


@pytest.mark.parametrize("place", ["scalar", GPU])
def test_gradient_into_given_memory(place):
    for call in (
        lambda w: F.embedding([1, 1, 4], w),
        lambda w: F.embedding_bag([[1], [1], [4]], w, mode="sum"),
    ):
        with use_place(place) as device:
            w = nn.Parameter(nonet.zeros(5, 2, device=device))
            slot = nonet.tensor(np.full((5, 2), 7.0), device=device)
            version = slot.array.version
            w._slot = slot
            call(w).backward(np.ones((3, 2)))
            assert w.grad is slot
            assert slot.array.version == version + 1  # written once: nothing was copied over it
            np.testing.assert_array_equal(slot.cpu().numpy()[:, 0], [0, 2, 0, 0, 1])


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, np.inf])
@pytest.mark.parametrize("place", ["scalar", GPU])
def test_max_norm(p, place):
    a = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    with use_place(place) as device:
        w = nn.Parameter(nonet.tensor(a, device=device))
        version = w.array.version
        F.embedding([0, 2, 2], w, max_norm=1.0, norm_type=p)
        assert w.array.version > version
        norms = np.linalg.norm(a.astype(np.float64), p, axis=1)
        want = a / np.where(np.isin(np.arange(6), [0, 2]) & (norms > 1), norms + 1e-7, 1)[:, None]
        np.testing.assert_allclose(w.detach().cpu().numpy(), want, rtol=2 * EPS)


def bag_reference(w, index, begins, mode, scales, padding):
    out = np.zeros((len(begins) - 1, w.shape[1]))
    for b in range(len(begins) - 1):
        kept = [j for j in range(begins[b], begins[b + 1]) if index[j] != padding]
        rows = w[index[kept]] * (scales[kept, None] if scales is not None else 1)
        if kept:
            out[b] = rows.max(0) if mode == "max" else rows.sum(0) / (len(kept) if mode == "mean" else 1)
    return out


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("columns", [1, 6, 21])
def test_bags(mode, padding, columns):
    rng = np.random.default_rng(1)
    w = rng.permutation(9 * columns).reshape(9, columns) / 16.0
    index = rng.integers(0, 9, 14)
    index[4:6] = 2
    begins = [0, 4, 4, 6, 13, 14]
    padded = -1 if padding is None else padding
    for offsets, last in ((begins[:-1], False), (begins, True)):
        check_op(
            lambda w, o=offsets, last=last: F.embedding_bag(
                index, w, o, mode=mode, include_last_offset=last, padding_idx=padding
            ),
            lambda w: bag_reference(w, index, begins, mode, None, padded),
            [w],
            rtol=8 * EPS,
            atol=8 * EPS * 14,
        )
    check_op(
        lambda w: F.embedding_bag(index.reshape(7, 2), w, mode=mode, padding_idx=padding),
        lambda w: bag_reference(w, index, list(range(0, 15, 2)), mode, None, padded),
        [w],
        dtypes=("float32", "bfloat16"),
    )


def test_bags_with_factors():
    rng = np.random.default_rng(2)
    w, s, index = rng.standard_normal((9, 5)), rng.standard_normal(14), rng.integers(0, 9, 14)
    begins = [0, 4, 4, 6, 13, 14]
    check_op(
        lambda w, s: F.embedding_bag(index, w, begins[:-1], mode="sum", per_sample_weights=s, padding_idx=1),
        lambda w, s: bag_reference(w, index, begins, "sum", s, 1),
        [w, s],
        atol=7 * 4 * EPS,  # at most 7 terms of size at most 4
    )


@pytest.mark.parametrize("place", ["scalar", GPU])
def test_bag_gradient_by_frequency(place):
    index = np.array([1, 1, 1, 3, 0])
    with use_place(place) as device:
        w = nonet.tensor(np.zeros((4, 2)), requires_grad=True, device=device)
        y = F.embedding_bag(index, w, [0, 2], mode="mean", scale_grad_by_freq=True)
        y.backward(np.array([[1.0, 2.0], [3.0, 6.0]]))
        want = np.array([1.0, (0.5 + 0.5 + 1) / 3, 0, 1.0])
        np.testing.assert_allclose(w.grad.cpu().numpy(), np.stack([want, 2 * want], 1), rtol=4 * EPS)


@pytest.mark.parametrize("place", ["scalar", GPU])
def test_empty_bags_and_indices_before_none(place):
    with use_place(place) as device:
        w = nonet.ones(3, 2, device=device)
        assert F.embedding_bag(np.zeros(0, np.int64), w, np.zeros(0, np.int64)).shape == (0, 2)
        y = F.embedding_bag(np.zeros((2, 0), np.int64), w, mode="max")
        np.testing.assert_array_equal(y.cpu().numpy(), np.zeros((2, 2)))


def test_bad_indices_on_a_device():
    """Values are not looked at there: what is out of range reads as 0, and gets no gradient."""
    with use_place(GPU) as device:
        w = nonet.ones(3, 2, device=device, requires_grad=True)
        y = F.embedding([2, 3, -1, 10**12], w)
        assert y.tolist() == [[1, 1], [0, 0], [0, 0], [0, 0]]
        y.backward(np.ones((4, 2)))
        assert w.grad.tolist() == [[0, 0], [0, 0], [1, 1]]
        y = F.embedding_bag([2, 3, 0], w, [0, 9], mode="sum")
        assert y.tolist() == [[2, 2], [0, 0]]


def test_layers():
    nonet.manual_seed(0)
    layer = nn.Embedding(100, 50, padding_idx=-1)
    a = layer.weight.numpy()
    assert layer.padding_idx == 99
    assert not a[99].any()
    assert abs(a[:99].std() - 1) < 0.05
    assert layer([[3, 99]]).shape == (1, 2, 50)
    fixed = nn.Embedding.from_pretrained(a)
    assert not fixed.weight.requires_grad
    np.testing.assert_array_equal(fixed([5]).numpy(), a[5:6])
    bag = nn.EmbeddingBag.from_pretrained(a, freeze=False, mode="sum")
    assert bag.weight.requires_grad
    np.testing.assert_allclose(bag([[5, 6]]).numpy()[0], a[5] + a[6])
    assert repr(layer) == "Embedding(100, 50, padding_idx=99)"


W = np.zeros((5, 3))
BAD = [
    (
        lambda: F.embedding([[0, 1], [2, 7]], W),
        IndexError,
        r"embedding: index 7 at position \[1, 1\] is out of range for 5 rows",
    ),
    (lambda: F.embedding([-1], W), IndexError, r"index -1 at position \[0\]"),
    (lambda: F.embedding([0.5], W), TypeError, "index must be int64 or int32, got float32"),
    (lambda: F.embedding([0], W[0]), ValueError, r"weight must have shape \[rows, columns\], got \[3\]"),
    (lambda: F.embedding([0], W.astype(int)), TypeError, "weight must be float32 or bfloat16, got int64"),
    (
        lambda: F.embedding([0], W, padding_idx=5),
        ValueError,
        "padding_idx must be a row of weight, from -5 to 4, got 5",
    ),
    (lambda: F.embedding([0], W, sparse=True), ValueError, "sparse must be False"),
    (
        lambda: F.embedding_bag([0, 1], W),
        ValueError,
        r"must have shape \[bags, n\], or \[J\] with offsets, got \[2\]",
    ),
    (lambda: F.embedding_bag([0, 1], W, [1]), ValueError, "offsets must begin with 0, got 1"),
    (
        lambda: F.embedding_bag([0, 1], W, [0, 3]),
        ValueError,
        "must rise from 0 to at most 2, got 3 at position 1",
    ),
    (lambda: F.embedding_bag([0, 1], W, [0, 2, 1]), ValueError, "got 1 at position 2"),
    (lambda: F.embedding_bag([[0]], W, mode="min"), ValueError, "mode must be sum, mean or max, got min"),
    (lambda: F.embedding_bag([[0]], W, per_sample_weights=[[1.0]]), ValueError, "need mode sum, got mean"),
    (
        lambda: F.embedding_bag([[0]], W, mode="sum", per_sample_weights=[1.0]),
        ValueError,
        "per_sample_weights must have shape",
    ),
    (
        lambda: nn.Embedding(3, 2, padding_idx=3),
        ValueError,
        "Embedding: padding_idx must be a row of 3, got 3",
    ),
    (lambda: nn.EmbeddingBag(3, 2, mode="min"), ValueError, "mode must be sum, mean or max"),
    (
        lambda: nn.Embedding(3, 2, _weight=W),
        ValueError,
        r"weight must have shape \[rows, columns\] = \[3, 2\], got \[5, 3\]",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_gradient_of_a_table_that_has_one():
    """Of a table that is also a linear layer's weight: only the rows in use are touched."""
    rng = np.random.default_rng(0)
    values, x = rng.standard_normal((9, 4)).astype(np.float32), rng.standard_normal((5, 4)).astype(np.float32)
    index = np.array([[1, 8, 1], [3, 2, 1]])
    for kind in (nonet.nn.Parameter, lambda t: nonet.tensor(t, requires_grad=True)):
        table = kind(values)
        for _ in range(2):  # gradients add up
            h = F.embedding(index, table, padding_idx=2)
            loss = (F.linear(x, table) * 2.0).sum() + (h * h).sum() + F.embedding([3], table).sum()
            loss.backward()
        want = np.tile(2 * x.sum(0), (9, 1))
        for i in index.reshape(-1):
            want[i] += 0 if i == 2 else 2 * values[i]
        want[3] += 1
        np.testing.assert_allclose(table.grad.numpy(), 2 * want, rtol=1e-5, atol=1e-5)
