"""Patches by their definition: one kernel position at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Pair = tuple[int, int]


def _positions(
    size: Pair, kernel: Pair, dilation: Pair, padding: Pair, stride: Pair
) -> Iterator[tuple[int, tuple[slice, slice], Pair]]:
    counts = [(size[a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)]
    for number, (i, j) in enumerate(np.ndindex(*kernel)):
        first = (i * dilation[0], j * dilation[1])
        rows, columns = (
            slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(first, counts, stride, strict=True)
        )
        yield number, (rows, columns), (counts[0], counts[1])


def unfold(x: np.ndarray, kernel: Pair, dilation: Pair, padding: Pair, stride: Pair) -> np.ndarray:
    n, c, h, w = x.shape
    wide = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    parts = [
        wide[:, :, at[0], at[1]].reshape(n, c, 1, counts[0] * counts[1])
        for _, at, counts in _positions((h, w), kernel, dilation, padding, stride)
    ]
    patches = np.concatenate(parts, 2)
    return patches.reshape(n, c * kernel[0] * kernel[1], patches.shape[3])


def fold(y: np.ndarray, size: Pair, kernel: Pair, dilation: Pair, padding: Pair, stride: Pair) -> np.ndarray:
    n, c = y.shape[0], y.shape[1] // (kernel[0] * kernel[1])
    wide = np.zeros((n, c, size[0] + 2 * padding[0], size[1] + 2 * padding[1]))
    parts = y.reshape(n, c, kernel[0] * kernel[1], y.shape[2])
    for number, at, counts in _positions(size, kernel, dilation, padding, stride):
        wide[:, :, at[0], at[1]] += parts[:, :, number].reshape(n, c, *counts)
    return wide[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]
