"""Resampling by its definition: one dense matrix per axis, rows of weights that sum to 1."""

from __future__ import annotations

import math

import numpy as np


def _keys(x: float, a: float) -> float:
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def matrix(
    n: int, m: int, mode: str, align: bool = False, scale: float = 0, antialias: bool = False
) -> np.ndarray:
    """[m, n]."""
    out = np.zeros((m, n))
    step = (n - 1) / max(m - 1, 1) if align else (1 / scale if scale else n / m)
    for o in range(m):
        if mode in ("nearest", "nearest-exact"):
            half = 0.5 if mode == "nearest-exact" else 0.0
            out[o, min(int(np.floor(np.float32(o + half) * np.float32(step))), n - 1)] = 1
            continue
        u = o * step if align else (o + 0.5) * step - 0.5
        a = -0.5 if antialias else -0.75
        stretch = max(step, 1.0) if antialias else 1.0
        reach = (1 if mode == "linear" else 2) * stretch
        taps = range(math.floor(u - reach), math.ceil(u + reach) + 1)
        for i in taps:
            x = (i - u) / stretch
            w = max(1 - abs(x), 0) if mode == "linear" else _keys(x, a)
            if antialias and not 0 <= i < n:
                continue  # left out, not repeated
            out[o, min(max(i, 0), n - 1)] += w
        out[o] /= out[o].sum()
    return out


def resize(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.einsum("pi,qj,ncij->ncpq", rows, columns, x)
