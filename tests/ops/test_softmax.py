from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import GPU, check_op, use_place
from nonet.nn import functional as F


def reference(x: np.ndarray, dim: int) -> np.ndarray:
    e = np.exp(x - x.max(axis=dim, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=dim, keepdims=True)


def log_reference(x: np.ndarray, dim: int) -> np.ndarray:
    if x.size == 0:
        return x.copy()
    m = x - x.max(axis=dim, keepdims=True, initial=-np.inf)
    return m - np.log(np.exp(m).sum(axis=dim, keepdims=True))


SHAPES = [
    ((3, 5), 1),
    ((3, 5), 0),
    ((2, 3, 4), 1),
    ((1, 1), -1),
    ((2, 0), 1),
    ((0, 3), 1),
    ((), 0),
    ((2, 67), -1),
]


@pytest.mark.parametrize(("shape", "dim"), SHAPES)
@pytest.mark.parametrize("op", [nonet.softmax, nonet.log_softmax])
def test_softmax(op, shape, dim):
    x = np.random.default_rng(0).standard_normal(shape)
    ref = reference if op is nonet.softmax else log_reference
    wrapped = ref if shape else (lambda x, dim: ref(x.reshape(1), 0).reshape(()))
    check_op(op, wrapped, [x], attrs={"dim": dim}, rtol=2e-6, atol=2e-6, dtypes=("float32", "bfloat16"))


@pytest.mark.parametrize("n", [1, 7, 8, 9, 31, 1000, 32769])
def test_large_rows(n):
    x = np.random.default_rng(n).standard_normal((3, n)) * 10
    check_op(nonet.softmax, reference, [x], attrs={"dim": 1}, rtol=1e-5, atol=1e-7, grad=False)
    check_op(nonet.log_softmax, log_reference, [x], attrs={"dim": 1}, rtol=2e-6, atol=2e-6, grad=False)


def test_extreme_values():
    x = np.array(
        [[1e30, 0, -1e30], [-np.inf, 0, 1], [np.nan, 0, 1], [np.inf, 0, 1], [-np.inf] * 3, [88, 89, 90]]
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        check_op(nonet.softmax, reference, [x], attrs={"dim": 1}, grad=False)
        check_op(nonet.log_softmax, log_reference, [x], attrs={"dim": 1}, grad=False)


@pytest.mark.parametrize(
    ("shape", "dim"),
    [
        *(((300, n), 1) for n in (2, 3, 8, 33, 128, 200)),
        *(((3, n), 1) for n in (512, 700, 1024, 1500, 3000, 4096, 8000, 20_000, 40_001)),
        ((64, 9000), 1),
        *(((2, n, 5), 1) for n in (2, 70, 300)),
        ((2, 21, 132), 1),
        ((700, 64), 0),
        ((9001, 3), 0),
    ],
)
def test_every_way_on_a_device(shape, dim):
    with use_place(GPU) as device:
        rng = np.random.default_rng(1)
        x = rng.standard_normal(shape) * 10
        g = rng.standard_normal(shape)
        for op in (nonet.softmax, nonet.log_softmax):
            for dtype in ("float32", "bfloat16"):
                results = []
                for place in ("cpu", device):
                    t = nonet.tensor(x, dtype=dtype, device=place, requires_grad=True)
                    y = op(t, dim)
                    y.backward(nonet.tensor(g, dtype=dtype, device=place))
                    results.append([v.cpu().to("float32").numpy() for v in (y.detach(), t.grad)])
                error = 1e-5 if dtype == "float32" else 2.0**-7
                for got, want in zip(results[1], results[0], strict=True):
                    np.testing.assert_allclose(got, want, rtol=error, atol=error * np.abs(want).max())


@pytest.mark.parametrize(("shape", "dim"), [((2, 20_000), 1), ((40, 3), 0), ((3000, 3), 0), ((5, 300), 1)])
def test_extreme_values_on_a_device(shape, dim):
    with use_place(GPU) as device:
        for value in (np.nan, np.inf, -np.inf, 3e38):
            x = np.zeros(shape, np.float32)
            np.moveaxis(x, dim, 1)[1, 17] = value
            np.moveaxis(x, dim, 1)[0, :] = -np.inf
            with np.errstate(invalid="ignore", divide="ignore"):
                for op, ref in ((nonet.softmax, reference), (nonet.log_softmax, log_reference)):
                    got = op(nonet.tensor(x, device=device), dim).cpu()
                    np.testing.assert_allclose(got, ref(x.astype(np.float64), dim), rtol=1e-5)


def test_bad_input():
    with pytest.raises(TypeError, match="softmax: input must be float32 or bfloat16, got int64"):
        nonet.softmax(np.arange(3), 0)
    with pytest.raises(IndexError, match=r"softmax: axis must be in \[-2, 1\], got 2"):
        nonet.softmax(np.zeros((2, 2)), 2)


def test_dtype():
    x = nonet.tensor([[1.0, 2.0]], dtype="bfloat16", requires_grad=True)
    for f in (F.softmax, F.log_softmax, F.softmin):
        y = f(x, dim=1, dtype="float32")
        assert y.dtype == "float32"
        np.testing.assert_array_equal(y.numpy(), f(np.float32([[1, 2]]), 1).numpy())
        y[0, 0].backward()
        assert x.grad.dtype == "bfloat16"
    assert F.softmax([0, 0], dtype="float32").tolist() == [0.5, 0.5]
