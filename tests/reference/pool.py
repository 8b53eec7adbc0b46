"""Pooling by its definition: one window at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Window = tuple[list[int], int]  # positions inside the input, count


def regular(
    n: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool, include: bool
) -> list[Window]:
    span = n + 2 * padding - dilation * (kernel - 1) - 1
    outputs = (math.ceil(span / stride) if ceil else span // stride) + 1
    if ceil and (outputs - 1) * stride >= n + padding:
        outputs -= 1
    out = []
    for o in range(outputs):
        taps = [o * stride - padding + k * dilation for k in range(kernel)]
        inside = [i for i in taps if 0 <= i < n]
        out.append((inside, sum(i < n + padding for i in taps) if include else len(inside)))
    return out


def adaptive(n: int, outputs: int) -> list[Window]:
    spans = [range(o * n // outputs, -(-(o + 1) * n // outputs)) for o in range(outputs)]
    return [(list(span), len(span)) for span in spans]


def pool2d(x: np.ndarray, rows: Sequence[Window], columns: Sequence[Window], reduce) -> np.ndarray:
    """reduce(values [..., positions], count of the window)."""
    out = np.zeros((*x.shape[:-2], len(rows), len(columns)), x.dtype)
    for i, (hs, row_count) in enumerate(rows):
        for j, (ws, column_count) in enumerate(columns):
            part = x[..., hs, :][..., ws].reshape(*x.shape[:-2], len(hs) * len(ws))
            out[..., i, j] = reduce(part, row_count * column_count)
    return out


def maximum(values: np.ndarray, count: int) -> np.ndarray:
    return values.max(-1)


def mean(values: np.ndarray, count: int) -> np.ndarray:
    return values.sum(-1) / count


def positions(x: np.ndarray, rows: Sequence[Window], columns: Sequence[Window]) -> np.ndarray:
    """The flat index of the first maximum of each window; of several NaN the last."""
    out = np.zeros((*x.shape[:-2], len(rows), len(columns)), np.int64)
    for i, (hs, _) in enumerate(rows):
        for j, (ws, _) in enumerate(columns):
            flat = np.array([h * x.shape[-1] + w for h in hs for w in ws])
            part = x[..., hs, :][..., ws].reshape(*x.shape[:-2], len(flat))
            last_nan = part.shape[-1] - 1 - np.isnan(part)[..., ::-1].argmax(-1)
            best = np.where(np.isnan(part).any(-1), last_nan, part.argmax(-1))
            out[..., i, j] = flat[best]
    return out
