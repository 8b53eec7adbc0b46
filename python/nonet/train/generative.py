"""How good made samples are: likelihood under a Parzen window, a two-sample test, classes that are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import nonet
from nonet.tensor import no_grad

__all__ = [
    "class_shares",
    "gaussian_samples",
    "nearest_neighbour_accuracy",
    "nearest_neighbour_class",
    "parzen_log_likelihood",
    "parzen_sigma",
    "pca_errors",
    "squared_distances",
]

_ROWS = 500  # of a block of distances


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 [N, M]: squared distances between rows of a [N, D] and b [M, D]; products in float32."""
    x, y = (np.ascontiguousarray(rows, np.float32).reshape(len(rows), -1) for rows in (a, b))
    lengths = [np.einsum("ij,ij->i", rows, rows, dtype=np.float64) for rows in (x, y)]
    with no_grad():
        products = np.asarray(nonet.matmul(nonet.as_tensor(x), nonet.as_tensor(y).t()), np.float64)
    return np.maximum(lengths[0][:, None] + lengths[1] - 2 * products, 0)


def parzen_log_likelihood(
    samples: np.ndarray, points: np.ndarray, sigma: float | Sequence[float]
) -> np.ndarray:
    """ln p of each point under a normal distribution of this sigma around every sample: float64 [N], or [S, N] for S
    sigmas. samples [M, ...], points [N, ...].

    Breuleux, Bengio, Vincent, "Quickly generating representative samples from an RBM-derived process", 2011; as used
    by Goodfellow et al., 2014. It favours blurred samples, and its variance is high (Theis, van den Oord, Bethge, "A
    note on the evaluation of generative models", 2016).
    """
    sigmas = np.atleast_1d(np.asarray(sigma, np.float64))
    dimensions = int(np.prod(points.shape[1:]))
    out = np.empty((len(sigmas), len(points)))
    for start in range(0, len(points), _ROWS):
        distances = squared_distances(points[start : start + _ROWS], samples)
        nearest = distances.min(axis=1, keepdims=True)
        for i, s in enumerate(sigmas):
            sums = np.log(np.exp((nearest - distances) / (2 * s * s)).mean(axis=1))
            out[i, start : start + _ROWS] = sums - nearest[:, 0] / (2 * s * s)
    out -= dimensions * np.log(sigmas * np.sqrt(2 * np.pi))[:, None]
    return out[0] if np.ndim(sigma) == 0 else out


def parzen_sigma(samples: np.ndarray, validation: np.ndarray, count: int = 15) -> float:
    """The best of `count` sigmas between 0.05 and 1, by the likelihood of validation points."""
    sigmas = np.geomspace(0.05, 1.0, count)
    return float(sigmas[np.argmax(parzen_log_likelihood(samples, validation, sigmas.tolist()).mean(axis=1))])


def nearest_neighbour_accuracy(made: np.ndarray, real: np.ndarray) -> float:
    """How well the nearest other point tells made samples [N, ...] from as many real ones [N, ...]: the accuracy of
    leaving one out. 0.5 for samples of the same distribution, 1 for others, below 0.5 for memorised ones.

    Lopez-Paz, Oquab, "Revisiting classifier two-sample tests", ICLR 2017; Xu et al., 2018. ValueError unless as many.
    """
    if len(made) != len(real):
        raise ValueError(
            f"nearest_neighbour_accuracy: expected as many real samples as made ones, got {len(real)} and {len(made)}"
        )
    both = np.concatenate([rows.reshape(len(rows), -1) for rows in (made, real)])
    is_real = np.arange(len(both)) >= len(made)
    right = 0
    for start in range(0, len(both), _ROWS):
        distances = squared_distances(both[start : start + _ROWS], both)
        here = np.arange(len(distances))
        distances[here, start + here] = np.inf
        right += int((is_real[distances.argmin(axis=1)] == is_real[start + here]).sum())
    return right / len(both)


def nearest_neighbour_class(points: np.ndarray, known: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The label of the nearest of the `known` samples [M, ...] for each point [N, ...]."""
    parts = [
        labels[squared_distances(points[i : i + _ROWS], known).argmin(axis=1)]
        for i in range(0, len(points), _ROWS)
    ]
    return np.concatenate(parts)


def class_shares(labels: np.ndarray, classes: int) -> list[float]:
    """The share of every class among labels [N]."""
    return (np.bincount(labels, minlength=classes) / len(labels)).tolist()


def gaussian_samples(train: np.ndarray, count: int, components: int = 64, seed: int = 0) -> np.ndarray:
    """Samples [count, ...] of a normal distribution with the mean and the largest principal components of `train`
    [N, ...], clipped to [0, 1]: what a generator has to beat."""
    rows = train.reshape(len(train), -1).astype(np.float64)
    mean = rows.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(rows - mean, rowvar=False))
    components = min(components, rows.shape[1])
    scale = np.sqrt(np.maximum(values[-components:], 0))
    codes = np.random.default_rng(seed).standard_normal((count, components)) * scale
    made: Any = (mean + codes @ vectors[:, -components:].T).clip(0, 1)
    return made.reshape(count, *train.shape[1:]).astype(np.float32)


def pca_errors(train: np.ndarray, test: np.ndarray, components: int) -> np.ndarray:
    """Mean squared error [N] of each test sample behind the largest principal components of `train`."""
    rows, others = (part.reshape(len(part), -1).astype(np.float64) for part in (train, test))
    mean = rows.mean(axis=0)
    centred = rows - mean
    if len(rows) < rows.shape[1]:
        _, _, right = np.linalg.svd(centred, full_matrices=False)
        basis = right[:components]
    else:
        basis = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :components].T
    away = others - mean
    rest = away - (away @ basis.T) @ basis
    return np.square(rest).mean(axis=1)
