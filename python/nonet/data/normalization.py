"""Mean and standard deviation of a training part, and their use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 20  # elements converted to float64 at once


def mean_std(
    inputs: NDArray[Any], axis: int | tuple[int, ...] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population standard deviation of `inputs` [N, ...] over `axis`, in float64, in two passes.

    Give it the training part only. `axis` (counted from 0) must contain 0; None means all axes and returns
    shape []. Otherwise axis 0 is dropped and the other axes in `axis` become 1, so that the results broadcast
    against a sample and against a batch: axis (0, 2, 3) of [N, C, H, W] gives [C, 1, 1]. Where the deviation
    is 0 (a constant feature) it is returned as 1. ValueError for empty or non-finite `inputs`.
    """
    axes = _axes(inputs.ndim, axis)
    count = math.prod(inputs.shape[a] for a in axes)
    if inputs.size == 0:
        raise ValueError(f"mean_std: inputs must not be empty, got shape {list(inputs.shape)}")
    rows = max(1, _CHUNK * len(inputs) // inputs.size)
    chunks = [inputs[start : start + rows] for start in range(0, len(inputs), rows)]
    shape = () if axis is None else [1 if a in axes else inputs.shape[a] for a in range(1, inputs.ndim)]
    mean = np.zeros(shape)
    for chunk in chunks:
        mean += chunk.sum(axis=axes, dtype=np.float64, keepdims=True).reshape(shape)
    mean /= count
    if not np.isfinite(mean).all():
        raise ValueError("mean_std: inputs must be finite, got NaN or infinity")
    variance = np.zeros(shape)
    for chunk in chunks:
        centred = np.subtract(chunk, mean, dtype=np.float64)
        variance += np.square(centred).sum(axis=axes, keepdims=True).reshape(shape)
    std = np.sqrt(variance / count)
    return mean, np.where(std == 0, 1.0, std)


def normalize(
    inputs: NDArray[Any], mean: NDArray[Any] | float, std: NDArray[Any] | float
) -> NDArray[np.float32]:
    """`(inputs - mean) / std` as float32, in the shape of `inputs`, which `mean` and `std` broadcast to."""
    work = inputs.astype(np.result_type(inputs.dtype, np.float32))
    work -= np.asarray(mean, work.dtype)
    work /= np.asarray(std, work.dtype)
    return work.astype(np.float32, copy=False)


def _axes(ndim: int, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    axes = (axis,) if isinstance(axis, int) else axis
    if 0 not in axes or len(set(axes)) != len(axes) or not all(0 <= a < ndim for a in axes):
        raise ValueError(f"mean_std: axis must be 0 and distinct others below {ndim}, got {axis!r}")
    return axes
