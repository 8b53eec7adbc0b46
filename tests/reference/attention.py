"""Attention by its definition, with the matrix of all pairs."""

from __future__ import annotations

import numpy as np


def probabilities(q, k, bias=None, seen=None, scale=None, shift=None):
    """softmax(scale q k^T + bias) over seen keys; q: [B, H, L, E], k: [B, Hkv, S, E] -> [B, H, L, S]."""
    k = np.repeat(k, q.shape[1] // k.shape[1], axis=1)
    s = q @ np.swapaxes(k, -1, -2) * (1 / np.sqrt(q.shape[-1]) if scale is None else scale)
    if bias is not None:
        s = s + bias
    if seen is not None:
        s = np.where(seen, s, -np.inf)
    if shift is not None:
        n, m = s.shape[-2:]
        s = np.where(np.arange(m)[None] <= np.arange(n)[:, None] + shift, s, -np.inf)
    most = s.max(axis=-1, keepdims=True, initial=-np.inf)
    e = np.exp(s - np.where(np.isneginf(most), 0, most))
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def attention(q, k, v, bias=None, seen=None, scale=None, shift=None, kept=None):
    """kept: factors of the probabilities (dropout)."""
    p = probabilities(q, k, bias, seen, scale, shift)
    if kept is not None:
        p = p * kept
    return p @ np.repeat(v, q.shape[1] // v.shape[1], axis=1)


def attention_gradient(dy, q, k, v, bias=None, seen=None, scale=None, shift=None, kept=None):
    """(dq, dk, dv, dbias [B, H, L, S])"""
    group = q.shape[1] // k.shape[1]
    scale = 1 / np.sqrt(q.shape[-1]) if scale is None else scale
    p = probabilities(q, k, bias, seen, scale, shift)
    k, v = (np.repeat(x, group, axis=1) for x in (k, v))
    kept = np.ones_like(p) if kept is None else kept
    dp = dy @ np.swapaxes(v, -1, -2) * kept
    ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True))

    def fold(x):
        return x.reshape(x.shape[0], x.shape[1] // group, group, *x.shape[2:]).sum(axis=2)

    dk = fold(np.swapaxes(ds, -1, -2) @ q * scale)
    dv = fold(np.swapaxes(p * kept, -1, -2) @ dy)
    return ds @ k * scale, dk, dv, ds
