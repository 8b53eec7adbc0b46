"""Batch, instance and group normalisation, and local response normalisation, by their definitions."""

from __future__ import annotations

import numpy as np


def average(a, groups):
    """The mean over the slice of each element: its channel in all samples (groups 0), or its group in its own."""
    n, c = a.shape[:2]
    if groups == 0:
        m = a.reshape(n, c, -1).mean((0, 2), keepdims=True)
    else:
        m = np.repeat(a.reshape(n, groups, -1).mean(2), c // groups, axis=1)[:, :, None]
    return np.broadcast_to(m, (n, c, a[0, 0].size)).reshape(a.shape)


def per_channel(v, x):
    return np.reshape(v, (1, -1) + (1,) * (x.ndim - 2))


def channel_norm(x, weight=None, bias=None, residual=None, *, groups=0, eps=1e-5, given=None, relu=False):
    """given: (mean, variance) per channel, or None for those of x."""
    m, v = statistics(x, groups, given)
    y = (x - m) / np.sqrt(v + eps)
    if weight is not None:
        y = y * per_channel(weight, x)
    if bias is not None:
        y = y + per_channel(bias, x)
    if residual is not None:
        y = y + residual
    return np.maximum(y, 0) if relu else y


def statistics(x, groups, given=None):
    if given is not None:
        return tuple(per_channel(s, x) for s in given)
    m = average(x, groups)
    return m, average((x - m) ** 2, groups)


def channel_norm_gradient(
    dy, x, weight=None, bias=None, residual=None, *, groups=0, eps=1e-5, given=None, relu=False
):
    """Gradients of x, weight, bias, residual."""
    y = channel_norm(x, weight, bias, residual, groups=groups, eps=eps, given=given)
    dz = np.where(y > 0, dy, 0) if relu else dy
    m, v = statistics(x, groups, given)
    r = 1 / np.sqrt(v + eps)
    h = (x - m) * r
    g = dz if weight is None else dz * per_channel(weight, x)
    dx = r * (g if given is not None else g - average(g, groups) - h * average(g * h, groups))
    axes = (0, *range(2, x.ndim))
    return dx, (dz * h).sum(axes), dz.sum(axes), dz


def _windows(squares, size):
    """Per channel the sum over its window."""
    c = squares.shape[1]
    out = np.zeros_like(squares)
    for i in range(c):
        out[:, i] = squares[:, max(0, i - size // 2) : i + (size - 1) // 2 + 1].sum(1)
    return out


def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    return x * (k + alpha / size * _windows(x**2, size)) ** -beta


def local_response_norm_gradient(dy, x, size, alpha=1e-4, beta=0.75, k=1.0):
    d = k + alpha / size * _windows(x**2, size)
    t = dy * x * d ** (-beta - 1)
    total = np.zeros_like(x)
    for j in range(x.shape[1]):
        total[:, max(0, j - size // 2) : j + (size - 1) // 2 + 1] += t[:, j : j + 1]
    return (dy * d**-beta - 2 * alpha * beta / size * x * total,)
