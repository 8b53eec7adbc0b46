"""Matrix products and the linear layer in float64, with the bound that float32 results must keep."""

from __future__ import annotations

import math

import numpy as np

EPS = float(np.finfo(np.float32).eps)


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.matmul(a, b)


def activation(z: np.ndarray, name: str | None) -> np.ndarray:
    if name == "relu":
        return np.maximum(z, 0)
    if name == "tanh":
        return np.tanh(z)
    if name == "sigmoid":
        return 1 / (1 + np.exp(-z))
    if name == "gelu":
        return z * 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(z / math.sqrt(2)))
    if name == "gelu_tanh":
        return z * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    return z


def linear(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, act: str | None = None) -> np.ndarray:
    z = x @ w.T
    return activation(z if b is None else z + b, act)


def bilinear(x1: np.ndarray, x2: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    y = np.einsum("...i,oij,...j->...o", x1, w, x2)
    return y if b is None else y + b


def bound(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """c eps |A||B|: rounding errors of a sum of k terms add up like a random walk, hence sqrt(k)."""
    k = a.shape[-1]
    return EPS * (math.sqrt(k) + 4) * (np.abs(a) @ np.abs(b))
