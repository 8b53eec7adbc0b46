"""Losses in NumPy float64, written from their definitions."""

from __future__ import annotations

import numpy as np


def reduced(loss: np.ndarray, reduction: str, divisor: float | None = None) -> np.ndarray:
    if reduction == "none":
        return loss
    total = np.asarray(loss.sum())
    return total if reduction == "sum" else total / (loss.size if divisor is None else divisor)


def times(k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """k v with 0 times anything = 0."""
    with np.errstate(invalid="ignore"):
        return np.where(k == 0, 0.0, k * v)


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    m = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    return m - np.log(np.exp(m).sum(axis=axis, keepdims=True))


def one_hot(t: np.ndarray, classes: int, axis: int) -> np.ndarray:
    return np.moveaxis(t[..., None] == np.arange(classes), -1, axis).astype(float)


def cross_entropy(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> np.ndarray:
    axis = 0 if x.ndim == 1 else 1
    classes = x.shape[axis]
    w = np.ones(classes) if weight is None else weight.astype(np.float32).astype(float)
    along = w.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    minus = -log_softmax(x, axis)
    if target.shape == x.shape:
        q = (1 - label_smoothing) * target + label_smoothing / classes
        loss = times(along * q, minus).sum(axis)
        return reduced(loss, reduction)
    hot = one_hot(target, classes, axis)
    loss = times((1 - label_smoothing) * hot * along + label_smoothing / classes * along, minus).sum(axis)
    counts = target != ignore_index
    loss = np.where(counts, loss, 0.0)
    return reduced(loss, reduction, float(np.where(counts, w[np.where(counts, target, 0)], 0.0).sum()))


def nll_loss(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> np.ndarray:
    axis = 0 if x.ndim == 1 else 1
    classes = x.shape[axis]
    w = np.ones(classes) if weight is None else weight.astype(np.float32).astype(float)
    along = w.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    counts = target != ignore_index
    loss = np.where(counts, times(one_hot(target, classes, axis) * along, -x).sum(axis), 0.0)
    return reduced(loss, reduction, float(np.where(counts, w[np.where(counts, target, 0)], 0.0).sum()))


def multi_margin(
    x: np.ndarray,
    target: np.ndarray,
    p: int = 1,
    margin: float = 1.0,
    weight: np.ndarray | None = None,
    reduction: str = "mean",
) -> np.ndarray:
    rows, t = np.atleast_2d(x), np.atleast_1d(target)
    w = np.ones(rows.shape[1]) if weight is None else weight.astype(np.float32).astype(float)
    own = np.take_along_axis(rows, t[:, None], 1)
    hinge = np.maximum(0.0, margin - own + rows) ** p * (1 - one_hot(t, rows.shape[1], 1))
    return reduced((w[t] * hinge.sum(1) / rows.shape[1]).reshape(target.shape), reduction)


def multilabel_margin(x: np.ndarray, target: np.ndarray, reduction: str = "mean") -> np.ndarray:
    rows, targets = np.atleast_2d(x), np.atleast_2d(target)
    loss = np.zeros(len(rows))
    for r, (row, t) in enumerate(zip(rows, targets, strict=True)):
        inside = list(t[: list(t).index(-1)] if -1 in t else t)
        outside = [c for c in range(len(row)) if c not in inside]
        loss[r] = sum(max(0.0, 1 - row[j] + row[i]) for j in inside for i in outside) / len(row)
    return reduced(loss.reshape(x.shape[:-1]), reduction)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def l1(x, y, weight=None, reduction="mean"):
    loss = np.abs(x - y) if weight is None else weight * np.abs(x - y)
    return reduced(loss, reduction, None if weight is None else float(weight.sum()))


def mse(x, y, weight=None, reduction="mean"):
    loss = (x - y) ** 2 if weight is None else weight * (x - y) ** 2
    return reduced(loss, reduction, None if weight is None else float(weight.sum()))


def smooth_l1(x, y, reduction="mean", beta=1.0):
    e = np.abs(x - y)
    return reduced(np.where(e < beta, e * e / (2 * beta) if beta else e, e - beta / 2), reduction)


def huber(x, y, weight=None, reduction="mean", delta=1.0):
    e = np.abs(x - y)
    loss = np.where(e <= delta, e * e / 2, delta * (e - delta / 2))
    return reduced(loss if weight is None else weight * loss, reduction)


def kl_div(x, y, reduction="mean", log_target=False):
    if log_target:
        loss = times(np.exp(y), y - x)
    else:
        loss = times(y, np.log(y) - x)
    if reduction == "batchmean":
        return np.asarray(loss.sum() / len(x))
    return reduced(loss, reduction)


def bce(x, y, weight=None, reduction="mean"):
    loss = -(y * np.maximum(np.log(x), -100) + (1 - y) * np.maximum(np.log1p(-x), -100))
    return reduced(loss if weight is None else weight * loss, reduction)


def bce_logits(x, y, weight=None, pos_weight=None, reduction="mean"):
    b = 1.0 if pos_weight is None else pos_weight
    loss = times(b * y, softplus(-x)) + times(1 - y, softplus(x))
    return reduced(loss if weight is None else weight * loss, reduction)


def poisson(x, y, log_input=True, full=False, eps=1e-8, reduction="mean"):
    loss = np.exp(x) - y * x if log_input else x - y * np.log(x + eps)
    if full:
        big = np.maximum(y, 1.0)
        loss = loss + np.where(y > 1, big * np.log(big) - big + np.log(2 * np.pi * big) / 2, 0.0)
    return reduced(loss, reduction)


def gaussian(x, y, var, full=False, eps=1e-6, reduction="mean"):
    v = np.maximum(var, eps)
    loss = (np.log(v) + (x - y) ** 2 / v) / 2 + (np.log(2 * np.pi) / 2 if full else 0.0)
    return reduced(loss, reduction)


def soft_margin(x, y, reduction="mean"):
    return reduced(softplus(-y * x), reduction)


def hinge_embedding(x, y, margin=1.0, reduction="mean"):
    return reduced(np.where(y == 1, x, np.where(y == -1, np.maximum(0.0, margin - x), 0.0)), reduction)


def margin_ranking(x, y, target, margin=0.0, reduction="mean"):
    return reduced(np.maximum(0.0, margin - target * (x - y)), reduction)


def multilabel_soft_margin(x, y, weight=None, reduction="mean"):
    return reduced(bce_logits(x, y, weight, reduction="none").mean(-1), reduction)


def cosine_embedding(x, y, target, margin=0.0, reduction="mean"):
    cosine = (x * y).sum(-1) / np.sqrt(((x * x).sum(-1) + 1e-12) * ((y * y).sum(-1) + 1e-12))
    loss = np.where(target == 1, 1 - cosine, np.where(target == -1, np.maximum(0.0, cosine - margin), 0.0))
    return reduced(loss, reduction)


def triplet(a, p, n, margin=1.0, order=2.0, swap=False, reduction="mean"):
    def distance(u, v):
        return (np.abs(u - v + 1e-6) ** order).sum(-1) ** (1 / order)

    far = np.minimum(distance(a, n), distance(p, n)) if swap else distance(a, n)
    return reduced(np.maximum(0.0, margin + distance(a, p) - far), reduction)
