"""Activations in plain NumPy float64, from their definitions."""

from __future__ import annotations

import math

import numpy as np

_erf = np.vectorize(math.erf, otypes=[float])


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1 + e)


def log1p_exp(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def relu(x):
    return np.where(x < 0, 0.0, x)


def relu6(x):
    return np.clip(x, 0, 6)


def leaky_relu(x, negative_slope=0.01):
    return np.where(x > 0, x, negative_slope * x)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def selu(x):
    return 1.0507009873554804934 * elu(x, 1.6732632423543772848)


def celu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x / alpha, 0) if alpha > 0 else x / alpha))


def gelu(x, approximate="none"):
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def silu(x):
    return x * sigmoid(x)


def mish(x):
    return x * np.tanh(log1p_exp(x))


def softplus(x, beta=1.0, threshold=20.0):
    return np.where(beta * x > threshold, x, log1p_exp(beta * x) / beta)


def softsign(x):
    return x / (1 + np.abs(x))


def tanhshrink(x):
    return x - np.tanh(x)


def logsigmoid(x):
    return -log1p_exp(-x)


def hardtanh(x, min_val=-1.0, max_val=1.0):
    return np.clip(x, min_val, max_val)


def hardsigmoid(x):
    return np.clip(x / 6 + 0.5, 0, 1)


def hardswish(x):
    return x * hardsigmoid(x)


def hardshrink(x, lambd=0.5):
    return np.where(np.abs(x) <= lambd, 0.0, x)


def softshrink(x, lambd=0.5):
    return np.where(np.isnan(x), x, np.sign(x) * np.maximum(np.abs(x) - lambd, 0))


def threshold(x, threshold, value):
    return np.where(x <= threshold, value, x)


def prelu(x, weight):
    slope = weight.reshape(()) if weight.size == 1 else weight
    if weight.size > 1 and weight.shape != x.shape:
        slope = weight.reshape((-1,) + (1,) * (x.ndim - 2))
    return np.where(x > 0, x, slope * x)


def glu(x, dim=-1):
    a, b = np.split(x, 2, axis=dim)
    return a * sigmoid(b)
