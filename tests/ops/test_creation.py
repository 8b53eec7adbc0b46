from __future__ import annotations

import numpy as np
import pytest

import nonet


@pytest.mark.parametrize("dtype", ["float32", "int64", "int32", "uint8", "bool"])
def test_constants(dtype):
    for made, want in ((nonet.zeros, np.zeros), (nonet.ones, np.ones)):
        for size in ((), (0, 3), (2, 3)):
            got = made(*size, dtype=dtype)
            assert got.dtype == dtype
            np.testing.assert_array_equal(got.numpy(), want(size, dtype))
            np.testing.assert_array_equal(made(size, dtype=dtype).numpy(), want(size, dtype))
    x = nonet.ones(2, 3, dtype=dtype)
    assert nonet.zeros_like(x).dtype == nonet.ones_like(x).dtype == nonet.full_like(x, 1).dtype == dtype
    assert nonet.empty_like(x).shape == nonet.empty(2, 3).shape == (2, 3)
    assert nonet.zeros_like(x, dtype="bfloat16", requires_grad=True).requires_grad


def test_full():
    assert nonet.full((2,), 3).dtype == "int64"
    assert nonet.full((2,), 3.0).dtype == "float32"
    assert nonet.full((2,), True).dtype == "bool"
    assert nonet.full((), 2**62 + 1).item() == 2**62 + 1
    assert nonet.full((2, 2), 0.5, dtype="bfloat16").tolist() == [[0.5, 0.5]] * 2


def test_ranges():
    assert nonet.arange(4).tolist() == [0, 1, 2, 3] and nonet.arange(4).dtype == "int64"
    assert nonet.arange(1, 2, 0.25).tolist() == [1, 1.25, 1.5, 1.75]
    assert nonet.arange(3, 0, -1).tolist() == [3, 2, 1]
    assert nonet.arange(3, dtype="float32").dtype == "float32"
    assert nonet.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    np.testing.assert_array_equal(nonet.eye(2, 3).numpy(), np.eye(2, 3))
    with pytest.raises(ValueError, match="arange: step"):
        nonet.arange(0, 3, -1)


def test_device():
    with pytest.raises(ValueError, match="device: expected cpu or cuda, got nowhere"):
        nonet.zeros(2, device="nowhere")
