"""CTC in NumPy float64: the loss over all paths by its recursion, the gradient, and all paths one by one."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np


def _log_sum(values: np.ndarray) -> np.ndarray:
    return np.logaddexp.reduce(values) if len(values) else np.float64(-np.inf)


def _states(labels: np.ndarray, blank: int) -> np.ndarray:
    out = np.full(2 * len(labels) + 1, blank)
    out[1::2] = labels
    return out


def _before(states: np.ndarray, s: int, blank: int) -> list[int]:
    """The states from which a path may come to state s."""
    out = [s] + ([s - 1] if s > 0 else [])
    return out + ([s - 2] if s > 1 and states[s] != blank and states[s] != states[s - 2] else [])


def _one(y: np.ndarray, labels: np.ndarray, blank: int) -> tuple[np.float64, np.ndarray]:
    """Loss, and what is spent in each class at each step, of [T, C]."""
    steps, states = len(y), _states(labels, blank)
    count = len(states)
    spent = np.zeros(y.shape)
    if steps == 0:
        return np.float64(0 if len(labels) == 0 else np.inf), spent
    alpha, beta = np.full((steps, count), -np.inf), np.full((steps, count), -np.inf)
    alpha[0, :2] = y[0, states[:2]]
    for t in range(1, steps):
        for s in range(count):
            alpha[t, s] = y[t, states[s]] + _log_sum(alpha[t - 1, _before(states, s, blank)])
    beta[-1, -2:] = 0
    for t in range(steps - 2, -1, -1):
        for s in range(count):
            for b in _before(states, s, blank):
                beta[t, b] = np.logaddexp(beta[t, b], beta[t + 1, s] + y[t + 1, states[s]])
    total = _log_sum(alpha[-1, -2:])
    for s in range(count):
        spent[:, states[s]] += np.exp(alpha[:, s] + beta[:, s] - total)
    return -total, spent


def ctc_loss(x, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    return _ctc(x, targets, input_lengths, target_lengths, blank, reduction, zero_infinity)[0]


def gradient(dy, x, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """Of x as a log-softmax: exp(x) - what is spent."""
    return (_ctc(x, targets, input_lengths, target_lengths, blank, reduction, zero_infinity, dy)[1],)


def _ctc(x, targets, input_lengths, target_lengths, blank, reduction, zero_infinity, dy=1.0):
    batched = x.ndim == 3
    y = x if batched else x[:, None]
    n = y.shape[1]
    steps, counts = np.reshape(input_lengths, n), np.reshape(target_lengths, n)
    starts = np.concatenate([[0], np.cumsum(counts)])
    losses, dx = np.zeros(n), np.zeros(y.shape)
    with np.errstate(invalid="ignore"):
        for i in range(n):
            row = targets[i] if batched and targets.ndim == 2 else targets[starts[i] :]
            losses[i], spent = _one(y[: steps[i], i], row[: counts[i]], blank)
            dx[: steps[i], i] = np.exp(y[: steps[i], i]) - spent
            if np.isinf(losses[i]):
                dx[: steps[i], i] = np.nan
                if zero_infinity:
                    losses[i] = dx[:, i] = 0
    divisor = np.maximum(counts, 1) * n if reduction == "mean" else np.ones(n)
    with np.errstate(invalid="ignore"):
        out = losses if reduction == "none" else np.asarray((losses / divisor).sum())
        dx *= (np.reshape(dy, -1) / divisor)[:, None]
    return (out if batched or reduction != "none" else out[0]), dx.reshape(x.shape)


def best_labels(y: np.ndarray, blank: int = 0) -> list[tuple[list[int], float]]:
    """All results of [T, C] with the logarithms of their probabilities, best first, from all paths one by one."""
    found = defaultdict(float)
    for path in itertools.product(range(y.shape[1]), repeat=len(y)):
        labels = tuple(c for c, _ in itertools.groupby(path) if c != blank)
        found[labels] += np.exp(sum(y[t, c] for t, c in enumerate(path)))
    return sorted(((list(k), float(np.log(p))) for k, p in found.items()), key=lambda kp: -kp[1])
