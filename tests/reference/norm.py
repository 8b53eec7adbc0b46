"""Layer normalisation by its definition."""

from __future__ import annotations

import numpy as np


def layer_norm(x, shape, weight=None, bias=None, eps=1e-5, centred=True):
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    if centred:
        x = x - x.mean(axis=axes, keepdims=True)
    y = x / np.sqrt((x**2).mean(axis=axes, keepdims=True) + eps)
    if weight is not None:
        y = y * weight
    return y if bias is None else y + bias


def layer_norm_gradient(dy, x, shape, weight=None, bias=None, eps=1e-5, centred=True):
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    rows = tuple(range(x.ndim - len(shape)))
    h = layer_norm(x, shape, eps=eps, centred=centred)
    d = x - x.mean(axis=axes, keepdims=True) if centred else x
    r = 1 / np.sqrt((d**2).mean(axis=axes, keepdims=True) + eps)
    g = dy if weight is None else dy * weight
    dx = g - h * (g * h).mean(axis=axes, keepdims=True)
    if centred:
        dx = dx - g.mean(axis=axes, keepdims=True)
    return r * dx, (dy * h).sum(axis=rows), dy.sum(axis=rows)
