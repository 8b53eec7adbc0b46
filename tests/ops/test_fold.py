from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, check_op, each_isa, use_isa, use_threads
from nonet import nn
from nonet.nn import functional as F
from reference import fold as reference

rng = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


# N, C, size, kernel, dilation, padding, stride
CASES = [
    (2, 3, (6, 7), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 1, (5, 40), (2, 3), (1, 2), (0, 3), (1, 1)),
    (2, 2, (7, 9), (3, 2), (2, 3), (2, 1), (2, 3)),
    (1, 4, (4, 4), (4, 4), (1, 1), (0, 0), (4, 4)),
    (3, 1, (1, 1), (1, 1), (1, 1), (2, 0), (1, 1)),
    (1, 2, (3, 3), (1, 1), (1, 1), (0, 0), (2, 2)),
    (0, 2, (3, 3), (2, 2), (1, 1), (0, 0), (1, 1)),
    (2, 0, (3, 3), (2, 2), (1, 1), (0, 0), (1, 1)),
]


@pytest.mark.parametrize("case", CASES)
def test_unfold(case):
    n, c, size, *options = case
    x = random(n, c, *size)
    dtypes = ("float32", "bfloat16")
    check_op(
        lambda x: F.unfold(x, *options),
        lambda x: reference.unfold(x, *options),
        [x],
        rtol=0,
        atol=0,
        grad_rtol=0,
        grad_atol=16 * EPS,
        reference_gradient=lambda dy, x: (reference.fold(dy, size, *options),),
        dtypes=dtypes,
    )
    if n:
        check_op(
            lambda x: F.unfold(x, *options),
            lambda x: reference.unfold(x[None], *options)[0],
            [x[0]],
            rtol=0,
            atol=0,
            grad=False,
        )


@pytest.mark.parametrize("case", CASES)
def test_fold(case):
    n, c, size, *options = case
    y = random(*reference.unfold(np.zeros((n, c, *size)), *options).shape)
    check_op(
        lambda y: F.fold(y, size, *options),
        lambda y: reference.fold(y, size, *options),
        [y],
        rtol=0,
        atol=16 * EPS,  # a sum of up to 9 numbers
        grad_rtol=0,
        grad_atol=0,
        reference_gradient=lambda dx, y: (reference.unfold(dx, *options),),
        dtypes=("float32", "bfloat16"),
    )
    if n:
        x = F.fold(y[0], size, *options)
        np.testing.assert_array_equal(x.numpy(), F.fold(y, size, *options).numpy()[0])


@each_isa
def test_same_bytes_for_any_number_of_threads(isa):
    a = random(3, 40, 33, 35)
    with use_isa(isa):
        results = set()
        for threads in (1, 2, 3):
            with use_threads(threads):
                x = nonet.tensor(a, requires_grad=True)
                y = F.unfold(x, 3, padding=1)
                y.backward(y.detach())
                results.add((y.numpy().tobytes(), x.grad.numpy().tobytes()))
    assert len(results) == 1


def test_channels_last_images_are_read():
    a = random(2, 5, 6, 7)
    x = nonet.Tensor(nonet.tensor(a).array.to_format("nhwc"))
    np.testing.assert_array_equal(F.unfold(x, 3).numpy(), F.unfold(a, 3).numpy())


def test_layers():
    x = random(2, 3, 6, 6)
    layer = nn.Unfold(3, padding=1, stride=2)
    assert repr(layer) == "Unfold(kernel_size=3, dilation=1, padding=1, stride=2)"
    back = nn.Fold((6, 6), 3, padding=1, stride=2)
    assert repr(back) == "Fold(output_size=(6, 6), kernel_size=3, dilation=1, padding=1, stride=2)"
    counts = back(layer(np.ones((1, 1, 6, 6), np.float32))).numpy()
    np.testing.assert_allclose(back(layer(x)).numpy(), x * counts, rtol=4 * EPS)


BAD = [
    (
        lambda: F.unfold(np.zeros((3, 4)), 2),
        r"unfold: input must have shape \[N, C, H, W\] or \[C, H, W\], got \[3, 4\]",
    ),
    (
        lambda: F.unfold(np.zeros((1, 3, 4)), 5),
        r"the kernel must not be larger than the padded image, got kernel_size",
    ),
    (lambda: F.unfold(np.zeros((1, 3, 4)), 0), r"unfold: kernel_size must be positive, got \[0, 0\]"),
    (lambda: F.unfold(np.zeros((1, 3, 4)), 2, stride=0), r"stride must be positive, got \[0, 0\]"),
    (lambda: F.unfold(np.zeros((1, 3, 4)), 2, dilation=0), r"dilation must be positive, got \[0, 0\]"),
    (lambda: F.unfold(np.zeros((1, 3, 4)), 2, padding=-1), r"padding must not be negative, got \[-1, -1\]"),
    (
        lambda: F.fold(np.zeros(3), 2, 2),
        r"fold: input must have shape \[N, C kh kw, L\] or \[C kh kw, L\], got \[3\]",
    ),
    (lambda: F.fold(np.zeros((5, 4)), 3, 2), r"input must have a multiple of kh kw = 4 rows, got \[5, 4\]"),
    (lambda: F.fold(np.zeros((4, 5)), 3, 2), r"input must have 4 columns for this output_size"),
    (lambda: F.fold(np.zeros((4, 5)), 0, 2), r"output_size must be positive, got \[0, 0\]"),
    (
        lambda: F.fold(np.zeros((4, 5)), (1, 2, 3), 2),
        r"output_size must be an int or 2 ints, got \(1, 2, 3\)",
    ),
]


@pytest.mark.parametrize(("call", "text"), BAD)
def test_bad_input(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_bad_dtype():
    with pytest.raises(TypeError, match="unfold: input must be float32 or bfloat16, got int64"):
        F.unfold(np.zeros((1, 4, 4), np.int64), 2)
