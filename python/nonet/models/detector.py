"""A small anchor-free detector: a heat map of objects' centres, and a box at every place of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nonet
from nonet import nn
from nonet.models.resnet import BasicBlock
from nonet.nn import functional
from nonet.ops.boxes import batched_nms, generalized_box_iou_loss
from nonet.tensor import Tensor, TensorLike, as_tensor

STRIDE = 4  # pixels of the image per cell of the output, on each axis
_STEP = 32  # what sides of images are multiples of
_SPREAD = 0.54  # share of a box that its spot on the heat map covers, at six deviations
_LOG_REACH = (-3.0, 5.0)  # of the distances to a box's sides, in cells
_WEIGHT_OF_BOXES = 5.0  # in the loss, beside the heat map's


class Detector(nn.Module):
    """Detector: images [N, in_channels, H, W], H and W multiples of 32, to [N, classes + 4, H/4, W/4].

    Channel c < classes of a cell is the logit that the middle of an object of class c lies there; the last four are the
    logarithms of the distances from the cell's middle to the left, top, right and bottom side of its box, in cells.
    Boxes are read from it by `decode_boxes`; it learns by `detection_loss` from what `encode_boxes` makes of true ones.

    A stem and four residual stages, with `width` channels at stride 4 and twice as many each time (He et al., 2016);
    the stages are added up from the smallest to the largest (Lin et al., "Feature pyramid networks", 2017); two heads.
    Parameters `stem`, `stages.N`, `lateral.N`, `smooth.N`, `heat`, `box`. ValueError for arguments below 1.

    Zhou, Wang, Krähenbühl, "Objects as points", 2019 (heat map and its loss); Liu et al., "Training-time-friendly
    network for real-time object detection", AAAI 2020 (spots as wide as the box, and boxes learned all over a spot).
    Deviations: distances are exponentials; every box weighs the same, not the logarithm of its area; overlaps of boxes
    that are left are suppressed.
    """

    def __init__(self, in_channels: int = 3, classes: int = 1, width: int = 32) -> None:
        self.arguments: dict[str, Any] = {
            "in_channels": int(in_channels),
            "classes": int(classes),
            "width": int(width),
        }
        for name, value in self.arguments.items():
            if value < 1:
                raise ValueError(f"Detector: {name} must be at least 1, got {value}")
        first = max(width // 2, 1)
        sizes = [width * 2**stage for stage in range(4)]
        neck = 2 * width
        self.stem = _convolution(in_channels, first, 3, stride=2)
        self.stages = nn.ModuleList(
            _stage(before, after) for before, after in zip([first, *sizes[:-1]], sizes, strict=True)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(size, neck, 1) for size in sizes)
        self.smooth = nn.ModuleList(_convolution(neck, neck, 3) for _ in sizes[:-1])
        self.rise = nn.Upsample(scale_factor=2, mode="nearest")
        self.heat = nn.Sequential(_convolution(neck, neck, 3), nn.Conv2d(neck, classes, 1))
        self.box = nn.Sequential(_convolution(neck, neck, 3), nn.Conv2d(neck, 4, 1))
        # At first nearly nothing is an object (Lin et al., "Focal loss", 2017), and boxes are a few cells wide.
        heat_bias: Any = self.heat[1].bias
        box_bias: Any = self.box[1].bias
        nn.init.constant_(heat_bias, -math.log(99))
        nn.init.constant_(box_bias, 0.5)

    def forward(self, x: TensorLike) -> Tensor:
        images = as_tensor(x)
        if images.ndim != 4 or images.shape[2] % _STEP or images.shape[3] % _STEP:
            raise ValueError(
                f"input must have shape [N, C, H, W] with H and W multiples of {_STEP}, got {list(images.shape)}"
            )
        out = self.stem(images)
        levels = []
        for stage in self.stages:
            out = stage(out)
            levels.append(out)
        out = self.lateral[3](levels[3])
        for level in (2, 1, 0):
            out = self.smooth[level](self.rise(out) + self.lateral[level](levels[level]))
        return nonet.cat([self.heat(out), self.box(out)], dim=1)


def _convolution(before: int, after: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


def _stage(before: int, after: int) -> BasicBlock:
    shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=2, bias=False), nn.BatchNorm2d(after))
    return BasicBlock(before, after, 2, shortcut)


# ------------------------------------------------------------------------------------------------ learning
def encode_boxes(
    boxes: NDArray[Any], classes: int, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """What a `Detector` is to put out for `boxes` [N, M, 5] in images of `size` (H, W), h = H/4, w = W/4.

    boxes: left, top, right, bottom in pixels and a class; rows with a class below 0 hold none. Returns

    heat    [N, classes, h, w]: 1 in the cell of a box's middle, around it a Gaussian as wide as the box
    reach   [N, 4, h, w]: distances from the cell's middle to the sides of the box it lies in, in cells
    weight  [N, h, w]: the Gaussian, of sum 1 for each box, where the cell lies in it, or in the smaller of several

    ValueError for a class beyond `classes`.
    """
    n, (height, width) = len(boxes), (size[0] // STRIDE, size[1] // STRIDE)
    if boxes.size and boxes[..., 4].max() >= classes:
        raise ValueError(f"encode_boxes: classes must be below {classes}, got {boxes[..., 4].max():g}")
    heat = np.zeros((n, classes, height, width), np.float32)
    reach = np.ones((n, 4, height, width), np.float32)
    weight = np.zeros((n, height, width), np.float32)
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    for i, rows in enumerate(boxes):
        rows = rows[rows[:, 4] >= 0]
        areas = (rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1])
        for left, top, right, bottom, label in rows[np.argsort(-areas, kind="stable")]:
            left, top, right, bottom = (v / STRIDE for v in (left, top, right, bottom))
            row = min(int((top + bottom) / 2), height - 1)
            column = min(int((left + right) / 2), width - 1)
            deviation = [max(_SPREAD * side / 6, 1e-3) for side in (bottom - top, right - left)]
            spot = np.exp(
                -0.5 * (((y - row - 0.5) / deviation[0]) ** 2 + ((x - column - 0.5) / deviation[1]) ** 2)
            )
            heat[i, int(label)] = np.maximum(heat[i, int(label)], spot)
            distances = np.stack(np.broadcast_arrays(x - left, y - top, right - x, bottom - y))
            inside = (spot > 0.01) & (distances.min(axis=0) > 0)
            inside[row, column] = True
            reach[i][:, inside] = np.maximum(distances[:, inside], 0.05)
            weight[i][inside] = spot[inside] / spot[inside].sum()
    return heat, reach, weight


def detection_loss(output: Tensor, heat: TensorLike, reach: TensorLike, weight: TensorLike) -> Tensor:
    """Loss [] of a `Detector`'s output for what `encode_boxes` returns, per box.

    Heat map, t the target and p = sigmoid(logit): -Σ (1 - p)^2 log p where t = 1, else -Σ (1 - t)^4 p^2 log(1 - p)
    (Law, Deng, "CornerNet", 2018). Boxes: 5 times Σ weight (1 - GIoU) (Rezatofighi et al., 2019).
    """
    output = output.to("float32")  # what autocast stored as bfloat16 too: losses are float32
    target = as_tensor(heat, device=output.device)
    classes = target.shape[1]
    logits = output[:, :classes]
    p = functional.sigmoid(logits)
    middle = (target == 1).to("float32")
    count = middle.sum().clamp(min=1)
    hit = (1 - p).square() * functional.logsigmoid(logits) * middle
    miss = (1 - target).square().square() * p.square() * functional.logsigmoid(-logits) * (1 - middle)
    spots = -(hit + miss).sum()
    boxes = _around(output[:, classes:].clamp(*_LOG_REACH).exp())
    wanted = _around(as_tensor(reach, device=output.device))
    lost = generalized_box_iou_loss(boxes, wanted) * as_tensor(weight, device=output.device)
    return (spots + _WEIGHT_OF_BOXES * lost.sum()) / count


def _around(reach: Tensor) -> Tensor:
    """Corners [N, h, w, 4] of boxes around the origin, from the distances [N, 4, h, w] to their sides."""
    return reach.permute(0, 2, 3, 1) * as_tensor(np.array([-1, -1, 1, 1], np.float32), device=reach.device)


# ------------------------------------------------------------------------------------------------ reading
def decode_boxes(
    output: NDArray[Any], most: int = 100, least: float = 0.05, overlap: float = 0.5
) -> list[NDArray[np.float32]]:
    """Boxes in a `Detector`'s output [N, classes + 4, h, w]: per image [M, 6], best first.

    Columns are left, top, right, bottom (in pixels, cut at the image's edges), class and score. A box is read where the
    score is the largest of its class among its 8 neighbours and at least `least`, at most `most` of them; of two boxes
    of a class whose IoU is above `overlap` the better one is kept.
    """
    values = np.asarray(output, np.float32)
    _, channels, height, width = values.shape
    classes = channels - 4
    score = 1 / (1 + np.exp(-np.clip(values[:, :classes], -60, 60)))
    framed = np.pad(score, ((0, 0), (0, 0), (1, 1), (1, 1)))
    around = np.max(
        [framed[..., dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)], axis=0
    )
    score = np.where((score == around) & (score >= least), score, 0)
    found = []
    for scores, raw in zip(score, values[:, classes:], strict=True):
        flat = scores.reshape(-1)
        order = np.argsort(-flat, kind="stable")[:most]
        order = order[flat[order] > 0]
        label, row, column = np.unravel_index(order, scores.shape)
        reach = np.exp(np.clip(raw[:, row, column], *_LOG_REACH))
        x, y = column + 0.5, row + 0.5
        boxes = np.stack([x - reach[0], y - reach[1], x + reach[2], y + reach[3]], axis=1) * STRIDE
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, width * STRIDE)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, height * STRIDE)
        rows = np.concatenate([boxes, label[:, None], flat[order][:, None]], axis=1).astype(np.float32)
        found.append(rows[np.asarray(batched_nms(rows[:, :4], rows[:, 5], label, overlap))])
    return found
