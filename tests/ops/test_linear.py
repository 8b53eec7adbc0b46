from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import check_op, each_isa, each_place, use_isa, use_place, use_threads
from nonet import _core
from nonet.nn import functional as F
from nonet.ops.matmul import linear_act
from reference import matmul as reference

rng = np.random.default_rng(1)


def random(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 3), (2, 1, 2), (0,), (70,)])
@pytest.mark.parametrize("bias", [False, True])
def test_linear(lead, bias):
    inputs = [random(*lead, 7), random(5, 7)] + ([random(5)] if bias else [])
    check_op(F.linear, reference.linear, inputs, grad_rtol=2e-4, dtypes=("float32", "bfloat16"), atol=2e-6)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_vector_weight(lead):
    check_op(F.linear, np.matmul, [random(*lead, 7), random(7)])
    check_op(F.linear, lambda x, w, b: x @ w + b, [random(3, 7), random(7), random(1)])


@pytest.mark.parametrize("sizes", [(3, 0, 2), (3, 2, 0), (0, 0, 0)])
def test_empty(sizes):
    rows, n_in, n_out = sizes
    check_op(F.linear, reference.linear, [random(rows, n_in), random(n_out, n_in), random(n_out)])


@pytest.mark.parametrize("act", [None, "relu", "tanh", "sigmoid", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("rows", [1, 40])
def test_activation(act, rows):
    def op(x, w, b):
        return linear_act(x, w, b, act)

    def ref(x, w, b):
        return reference.linear(x, w, b, act)

    x, w, b = random(rows, 6) + 0.01, random(9, 6), random(9)
    check_op(op, ref, [x, w, b], rtol=4e-6, atol=4e-6, grad_rtol=2e-4, grad_atol=1e-4)


@pytest.mark.parametrize("act", [None, "relu", "gelu"])
@pytest.mark.parametrize("lead", [(), (2, 3), (40,)])
def test_residual(act, lead):
    def ref(x, w, b, r):
        return reference.activation(reference.linear(x, w, b) + r, act)

    inputs = [random(*lead, 6) + 0.01, random(9, 6), random(9), random(*lead, 9)]
    check_op(
        lambda x, w, b, r: linear_act(x, w, b, act, residual=r),
        ref,
        inputs,
        rtol=4e-6,
        atol=4e-6,
        grad_rtol=2e-4,
        grad_atol=1e-4,
    )
    x, w, _, r = inputs
    vector = nonet.tensor(r[..., 0], requires_grad=True)
    y = linear_act(x, w[0], None, act, residual=vector)
    assert y.shape == lead
    y.backward(np.ones(lead, np.float32))
    assert vector.grad is not None and vector.grad.shape == lead
    with pytest.raises(ValueError, match=r"linear: residual must have shape \[..., out\]"):
        linear_act(x, w, None, act, residual=random(*lead, 8))


@each_isa
def test_gradients_do_not_depend_on_threads(isa):
    x, w, b, dy = random(1000, 150), random(90, 150), random(90), random(1000, 90)
    results = []
    with use_isa(isa):
        for threads in (1, 2, 3):
            with use_threads(threads):
                t = [nonet.tensor(v, requires_grad=True) for v in (x, w, b)]
                linear_act(*t, "relu").backward(dy)
                results.append([v.grad.numpy().tobytes() for v in t])
    assert results[0] == results[1] == results[2]
    dz = np.where(x @ w.T + b > 0, dy, 0).astype(np.float64)
    got = np.frombuffer(results[0][2], np.float32)
    assert (np.abs(got - dz.sum(0)) <= 20 * reference.EPS * np.abs(dz).sum(0)).all()


@each_place
@pytest.mark.parametrize("rows", [4, 1500])
def test_gradients_go_into_the_given_memory(place, rows):
    with use_place(place) as device:
        values = random(rows, 3), random(2, 3), random(rows, 2)
        x, w, dy = (nonet.tensor(v, device=device).array for v in values)
        dw, db = nonet.zeros(2, 3, device=device).array, nonet.zeros(2, device=device).array
        dx, got_w, got_b = _core.linear_backward(dy, x, w, None, 0, 1, [False, dw, db])
        assert dx is None and got_w is dw and got_b is db
        want_w, want_b = values[2].T @ values[0], values[2].sum(0)
        np.testing.assert_allclose(dw.to_device("cpu").numpy(), want_w, rtol=1e-5, atol=1e-6 * rows)
        np.testing.assert_allclose(db.to_device("cpu").numpy(), want_b, rtol=1e-5, atol=1e-6 * rows)


@pytest.mark.parametrize("shape", [(1, 1), (700, 3), (300, 70), (130, 256), (4, 1032)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bias_gradient(shape, dtype):
    check_op(
        F.linear,
        lambda x, w, b: x @ w.T + b,
        [random(shape[0], 2), random(shape[1], 2), random(shape[1])],
        reference_gradient=lambda d, x, w, b: (d @ w, d.T @ x, d.sum(0)),
        rtol=1e-5,
        atol=1e-5,
        grad_rtol=1e-5,
        grad_atol=1e-4,
        dtypes=(dtype,),
    )


@pytest.mark.parametrize("lead", [(), (4,), (2, 3), (0,)])
@pytest.mark.parametrize("bias", [False, True])
def test_bilinear(lead, bias):
    inputs = [random(*lead, 3), random(*lead, 4), random(5, 3, 4)] + ([random(5)] if bias else [])
    check_op(F.bilinear, reference.bilinear, inputs, atol=4e-6)


@each_place
def test_relu_keeps_nan(place):
    with use_place(place) as device:
        x, w = nonet.tensor([[np.nan]], device=device), nonet.ones(1, 1, device=device)
        assert np.isnan(linear_act(x, w, None, "relu").cpu().numpy()).all()


def test_bad_input():
    w = np.zeros((10, 64), np.float32)
    with pytest.raises(
        ValueError, match=r"linear: input must have shape \[\.\.\., in\] = \[\.\.\., 64\], got \[32, 63\]"
    ):
        F.linear(np.zeros((32, 63), np.float32), w)
    with pytest.raises(ValueError, match=r"linear: bias must have shape \[out\] = \[10\], got \[9\]"):
        F.linear(np.zeros((32, 64), np.float32), w, np.zeros(9, np.float32))
    with pytest.raises(ValueError, match=r"weight must have shape \[out, in\] or \[in\], got \[10, 64, 1\]"):
        F.linear(np.zeros((32, 64), np.float32), w.reshape(10, 64, 1))
    with pytest.raises(TypeError, match="linear: input must be float32 or bfloat16, got int64"):
        F.linear(np.zeros((32, 64), np.int64), w)
    with pytest.raises(TypeError, match="linear: weight must be float32 like input, got bfloat16"):
        F.linear(np.zeros((32, 64), np.float32), nonet.zeros(10, 64, dtype="bfloat16"))
    with pytest.raises(
        ValueError, match=r"bilinear: input2 must have shape \[\.\.\., in\] = \[2, 4\], got \[3, 4\]"
    ):
        F.bilinear(
            np.zeros((2, 3), np.float32), np.zeros((3, 4), np.float32), np.zeros((5, 3, 4), np.float32)
        )
    with pytest.raises(ValueError, match="linear_act: activation must be one of"):
        linear_act(np.zeros((32, 64), np.float32), w, None, "swish")
