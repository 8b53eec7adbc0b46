"""Boxes of detectors under torchvision.ops' names: overlap, losses, non-maximum suppression.

A box is (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2; float32 or bfloat16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.join import stack, unbind
from nonet.ops.reduce import mean
from nonet.ops.reduce import sum as total
from nonet.ops.unary import clamp
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, as_tensors, record

__all__ = [
    "batched_nms",
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "distance_box_iou",
    "distance_box_iou_loss",
    "generalized_box_iou",
    "generalized_box_iou_loss",
    "nms",
]

_IOU, _GENERALIZED, _DISTANCE = range(3)  # the order of Overlap in csrc/ops/boxes/boxes.h


def box_area(boxes: TensorLike) -> Tensor:
    """boxes: [..., 4] -> [...]. Errors: ValueError for the shape."""
    x1, y1, x2, y2 = _corners(boxes, "box_area")
    return (x2 - x1) * (y2 - y1)


def box_convert(boxes: TensorLike, in_fmt: str, out_fmt: str) -> Tensor:
    """boxes: [..., 4] in another notation: xyxy (corners), xywh (corner and size), cxcywh (center and size).

    Errors: ValueError for the shape or another format.
    """
    for fmt in (in_fmt, out_fmt):
        if fmt not in ("xyxy", "xywh", "cxcywh"):
            raise ValueError(f"box_convert: formats are xyxy, xywh and cxcywh, got {fmt!r}")
    a, b, c, d = _corners(boxes, "box_convert")
    if in_fmt == out_fmt:
        return as_tensor(boxes)
    if in_fmt == "xywh":
        a, b, c, d = a, b, a + c, b + d
    elif in_fmt == "cxcywh":
        a, b, c, d = a - 0.5 * c, b - 0.5 * d, a + 0.5 * c, b + 0.5 * d
    if out_fmt == "xywh":
        a, b, c, d = a, b, c - a, d - b
    elif out_fmt == "cxcywh":
        a, b, c, d = 0.5 * (a + c), 0.5 * (b + d), c - a, d - b
    return stack([a, b, c, d], -1)


def clip_boxes_to_image(boxes: TensorLike, size: Sequence[int]) -> Tensor:
    """boxes: [..., 4] cut off at the edges of an image of size (height, width)."""
    height, width = size
    x1, y1, x2, y2 = _corners(boxes, "clip_boxes_to_image")
    return stack([clamp(x1, 0, width), clamp(y1, 0, height), clamp(x2, 0, width), clamp(y2, 0, height)], -1)


def _corners(boxes: TensorLike, op: str) -> Sequence[Tensor]:
    x = as_tensor(boxes)
    if x.ndim == 0 or x.shape[-1] != 4:
        raise ValueError(f"{op}: boxes must have shape [..., 4], got {list(x.shape)}")
    return unbind(x, -1)


# ------------------------------------------------------------------------------------------------ overlap


def box_iou(boxes1: TensorLike, boxes2: TensorLike) -> Tensor:
    """boxes1: [N, 4], boxes2: [M, 4] -> [N, M], the area of each intersection over that of the union.

    Errors: ValueError for shapes, TypeError unless both are of one floating dtype.
    """
    return _matrix(boxes1, boxes2, _IOU, 0.0)


def generalized_box_iou(boxes1: TensorLike, boxes2: TensorLike) -> Tensor:
    """box_iou less the share of the smallest box around both that neither covers; as box_iou.

    Rezatofighi et al., "Generalized Intersection over Union", 2019.
    """
    return _matrix(boxes1, boxes2, _GENERALIZED, 0.0)


def distance_box_iou(boxes1: TensorLike, boxes2: TensorLike, eps: float = 1e-7) -> Tensor:
    """box_iou less the squared distance of the centers over the squared diagonal around both; as box_iou.

    Zheng et al., "Distance-IoU Loss", 2020. eps is added to that diagonal and to the union.
    """
    return _matrix(boxes1, boxes2, _DISTANCE, eps)


def _matrix(boxes1: TensorLike, boxes2: TensorLike, kind: int, eps: float) -> Tensor:
    a, b = as_tensors(boxes1, boxes2)
    y = _core.box_overlap_matrix(a.array, b.array, kind, eps)
    return record(y, (a, b), _matrix_rule, (a.array, b.array, kind, eps))


def _matrix_rule(saved: Any, dy: Array, needs: list[Need]) -> Any:
    a, b, kind, eps = saved
    return _core.box_overlap_matrix_backward(
        dy, a, b, kind, eps, needs[0] is not False, needs[1] is not False
    )


def generalized_box_iou_loss(
    boxes1: TensorLike, boxes2: TensorLike, reduction: str = "none", eps: float = 1e-7
) -> Tensor:
    """1 - the generalized overlap of pairs: boxes1, boxes2 [..., 4] -> [...], or their mean or sum.

    Rezatofighi et al., 2019. Errors: ValueError for shapes or another reduction than none, mean and sum, TypeError
    unless both are of one floating dtype.
    """
    return _loss(boxes1, boxes2, _GENERALIZED, reduction, eps, "generalized_box_iou_loss")


def distance_box_iou_loss(
    boxes1: TensorLike, boxes2: TensorLike, reduction: str = "none", eps: float = 1e-7
) -> Tensor:
    """1 - the overlap of pairs that counts the distance of their centers; as generalized_box_iou_loss.

    Zheng et al., "Distance-IoU Loss", 2020.
    """
    return _loss(boxes1, boxes2, _DISTANCE, reduction, eps, "distance_box_iou_loss")


def _loss(boxes1: TensorLike, boxes2: TensorLike, kind: int, reduction: str, eps: float, op: str) -> Tensor:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{op}: reduction must be none, mean or sum, got {reduction!r}")
    a, b = as_tensors(boxes1, boxes2)
    y = _core.box_overlap(a.array, b.array, kind, eps)
    loss = 1.0 - record(y, (a, b), _pairs_rule, (a.array, b.array, kind, eps))
    if reduction == "none":
        return loss
    # No boxes, no loss: a batch without objects must not turn into NaN.
    return mean(loss) if reduction == "mean" and loss.numel() > 0 else total(loss)


def _pairs_rule(saved: Any, dy: Array, needs: list[Need]) -> Any:
    a, b, kind, eps = saved
    return _core.box_overlap_backward(dy, a, b, kind, eps, needs[0] is not False, needs[1] is not False)


# ------------------------------------------------------------------------------------------------ suppression


def nms(boxes: TensorLike, scores: TensorLike, iou_threshold: float) -> Tensor:
    """boxes: [N, 4], scores: [N] -> int64 [K]: the boxes that no better one overlaps, by falling score.

    A box is dropped if its intersection over union with a better one that was kept exceeds iou_threshold; of equal
    scores the first counts as better. Errors: ValueError for shapes, TypeError for dtypes.
    """
    b, s = as_tensors(boxes, scores)
    return Tensor(_core.nms(b.array, s.array, None, iou_threshold))


def batched_nms(boxes: TensorLike, scores: TensorLike, idxs: TensorLike, iou_threshold: float) -> Tensor:
    """As nms, but only boxes of the same class drop each other. idxs: the class of every box, int64 [N]."""
    b, s, classes = as_tensors(boxes, scores, idxs)
    return Tensor(_core.nms(b.array, s.array, classes.array.to("int64"), iou_threshold))
