"""Overlap of boxes by its definition, one pair at a time, and the suppression of those that overlap a better one."""

from __future__ import annotations

import numpy as np


def overlap(a: np.ndarray, b: np.ndarray, kind: str, eps: float = 0) -> np.ndarray:
    """a, b [..., 4], broadcast."""
    a, b = np.broadcast_arrays(a, b)
    corner, other = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    both = np.maximum(other - corner, 0).prod(-1)
    area = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    with np.errstate(invalid="ignore"):
        iou = both / (area - both + eps)
    outer = np.maximum(a[..., 2:], b[..., 2:]) - np.minimum(a[..., :2], b[..., :2])
    if kind == "generalized":
        c = outer.prod(-1)
        return iou - (c - (area - both)) / (c + eps)
    if kind == "distance":
        way = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
        return iou - (way**2).sum(-1) / ((outer**2).sum(-1) + eps)
    return iou


def nms(
    boxes: np.ndarray, scores: np.ndarray, threshold: float, classes: np.ndarray | None = None
) -> np.ndarray:
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        rivals = [k for k in kept if classes is None or classes[k] == classes[i]]
        if not any(overlap(boxes[i], boxes[k], "iou") > threshold for k in rivals):
            kept.append(int(i))
    return np.array(kept, np.int64)
