"""Kernels that measure the machine: what they compute is right, so that no compiler has left any of it out."""

from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import available_isas, use_isa, use_threads
from nonet import _core

LANES = {"scalar": 4, "avx2": 8, "avx512": 16, "avx512_bf16": 16, "amx": 16}


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("threads", [1, 3])
def test_fma_counts_its_operations(isa, threads):
    with use_isa(isa), use_threads(3):
        for iterations in (1, 2, 1001):  # the registers are checked inside
            assert _core.peak_fma(iterations, threads) == 2 * 2 * 12 * LANES[isa] * iterations * threads


# The function, what it needs, from which instruction set on, and the operations of an iteration.
PRODUCTS = [
    ("peak_amx", "AMX tiles", "amx", 2 * 5 * 2 * 16 * 16 * 32),
    ("peak_dot", "AVX512_BF16", "avx512_bf16", 2 * 12 * 4 * 16),
]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("name", "needs", "isa", "flops"), PRODUCTS)
def test_products_count_their_operations(threads, name, needs, isa, flops):
    peak = getattr(_core, name)
    if isa not in available_isas():
        with pytest.raises(
            RuntimeError, match=f"{name}: needs {needs}, this machine has {available_isas()[-1]}"
        ):
            peak(1, 1)
        return
    with use_threads(3):
        for iterations in (1, 2, 11):  # the registers are checked inside
            assert peak(iterations, threads) == flops * iterations * threads
        with pytest.raises(ValueError, match=f"{name}: threads must be from 1 to 3, got 4"):
            peak(1, 4)
        with pytest.raises(ValueError, match=f"{name}: iterations must be at least 1, got 0"):
            peak(0, 1)


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize(("units", "threads"), [(1, 1), (6, 1), (6, 3), (512, 2)])
def test_read_and_copy(isa, units, threads):
    values = np.random.default_rng(0).integers(-99, 99, 128 * units).astype(np.float32)
    x, y = nonet.tensor(values), nonet.zeros(128 * units)
    with use_isa(isa), use_threads(3):
        assert _core.peak_read(x.array, 2, threads) == 2 * values.sum()
        _core.peak_copy(x.array, y.array, 3, threads)
    np.testing.assert_array_equal(y.numpy(), values)


def test_errors():
    x, y = nonet.zeros(256).array, nonet.zeros(256).array
    with use_threads(2):
        for call in (
            lambda n: _core.peak_fma(1, n),
            lambda n: _core.peak_read(x, 1, n),
            lambda n: _core.peak_copy(x, y, 1, n),
        ):
            for threads in (0, 3):
                with pytest.raises(ValueError, match=f"threads must be from 1 to 2, got {threads}"):
                    call(threads)
        with pytest.raises(ValueError, match="peak_fma: iterations must be at least 1, got 0"):
            _core.peak_fma(0, 1)
        with pytest.raises(ValueError, match="peak_read: repeats must be at least 1, got 0"):
            _core.peak_read(x, 0, 1)
        odd = nonet.zeros(129).array
        with pytest.raises(ValueError, match=r"multiple of 256 \(128 per thread\), got 129"):
            _core.peak_read(odd, 1, 2)
        with pytest.raises(ValueError, match="got 0"):
            _core.peak_read(nonet.zeros(0).array, 1, 1)
        with pytest.raises(TypeError, match="peak_read: arrays must be float32, got int64"):
            _core.peak_read(nonet.zeros(128, dtype="int64").array, 1, 1)
        with pytest.raises(TypeError, match="peak_copy: arrays must be float32, got bfloat16"):
            _core.peak_copy(x, nonet.zeros(256, dtype="bfloat16").array, 1, 1)
        with pytest.raises(ValueError, match="one size, got 256 and 128"):
            _core.peak_copy(x, nonet.zeros(128).array, 1, 1)
        with pytest.raises(ValueError, match="must not share memory"):
            _core.peak_copy(x, x, 1, 1)
