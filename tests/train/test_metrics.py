"""Metrics beside plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nonet.train import Accuracy, AveragePrecision, MeanIoU, Nats, box_iou


def test_mean_iou():
    rng = np.random.default_rng(0)
    metric = MeanIoU(3)
    outputs = rng.standard_normal((5, 3, 4, 6))
    masks = rng.integers(0, 3, (5, 4, 6)).astype(np.uint8)
    masks[0, 0] = 255
    for i in range(0, 5, 2):
        metric.update(outputs[i : i + 2], masks[i : i + 2])
    predicted = outputs.argmax(axis=1)
    seen = masks != 255
    want = [
        ((predicted == c) & (masks == c) & seen).sum() / (((predicted == c) | (masks == c)) & seen).sum()
        for c in range(3)
    ]
    assert metric.per_class() == pytest.approx(want)
    assert metric.value() == pytest.approx(np.mean(want))
    metric.reset()
    assert math.isnan(metric.value())


def test_mean_iou_leaves_out_classes_that_are_nowhere():
    metric = MeanIoU(3)
    metric.update_classes(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 0, 1]]))
    assert metric.per_class()[:2] == [2 / 3, 1 / 2] and math.isnan(metric.per_class()[2])
    assert metric.value() == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (MeanIoU.name, MeanIoU.higher_is_better) == ("mean_iou", True)


def test_box_iou():
    a = np.array([[0, 0, 4, 4], [2, 2, 2, 2]], np.float32)
    b = np.array([[2, 0, 6, 4], [0, 0, 4, 4], [9, 9, 10, 10], [2, 2, 2, 2]], np.float32)
    np.testing.assert_allclose(box_iou(a, b), [[1 / 3, 1, 0, 0], [0, 0, 0, 0]])
    assert box_iou(a[:0], b).shape == (0, 4) and box_iou(a, b[:0]).shape == (2, 0)


def detections(*rows):
    return np.array(rows, np.float32).reshape(-1, 6)


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 5)


def test_average_precision_by_hand():
    """Right, wrong, right, wrong, right of four boxes: precision 1, 1/2, 2/3, 1/2, 3/5, and its hull 1, 2/3, 3/5."""
    metric = AveragePrecision(lambda output: output)
    there = [[10 * i, 0, 10 * i + 8, 8, 0] for i in range(4)]
    found = []
    for score, place in ((0.9, 0), (0.8, 50), (0.7, 1), (0.6, 60), (0.5, 2)):
        found.append([10 * place, 0, 10 * place + 8, 8, 0, score])
    metric.update([detections(*found)], np.array([there], np.float32))
    assert metric.name == "ap50"
    assert metric.value() == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)


def test_average_precision_counts_a_box_once():
    metric = AveragePrecision(lambda output: output)
    metric.update_boxes(
        detections([0, 0, 8, 8, 0, 0.5], [0, 0, 8, 9, 0, 0.9], [0, 1, 8, 8, 0, 0.7]), boxes([0, 0, 8, 8, 0])
    )
    assert metric.value() == 1.0  # the first of them is right, what follows adds nothing
    metric.update_boxes(detections(), boxes([0, 0, 8, 8, 0]))
    assert metric.value() == 0.5


def test_average_precision_over_classes_and_images():
    metric = AveragePrecision(lambda output: output)
    true = np.array([[[0, 0, 8, 8, 0], [0, 0, 0, 0, -1]], [[0, 0, 8, 8, 1], [20, 0, 28, 8, 0]]], np.float32)
    found = [
        detections([0, 0, 8, 8, 1, 0.9]),  # of another class: a false one of class 1
        detections([0, 0, 8, 8, 1, 0.8], [20, 0, 28, 8, 0, 0.3], [0, 0, 8, 8, 7, 0.9]),
    ]
    metric.update(found, true)
    assert metric.value() == pytest.approx((1 / 2 + 1 / 2) / 2)
    metric.reset()
    assert math.isnan(metric.value())
    metric.update_boxes(detections([0, 0, 8, 8, 0, 0.5]), boxes())
    assert math.isnan(metric.value())


def test_average_precision_at_the_limit_of_the_overlap():
    metric = AveragePrecision(lambda output: output, iou=0.75)
    assert metric.name == "ap75"
    metric.update_boxes(detections([0, 0, 3, 4, 0, 1]), boxes([0, 0, 4, 4, 0]))
    assert metric.value() == 1.0
    metric.update_boxes(detections([0, 0, 2.9, 4, 0, 1]), boxes([0, 0, 4, 4, 0]))
    assert metric.value() == 0.5


def test_average_precision_beside_a_loop():
    rng = np.random.default_rng(0)
    metric = AveragePrecision(lambda output: output)
    rows, count = [], 0
    for _ in range(20):
        corners = rng.uniform(0, 60, (4, 2))
        true = np.concatenate([corners, corners + 20, np.zeros((4, 1))], axis=1).astype(np.float32)
        moved = true[:3, :4] + rng.normal(0, 4, (3, 4))
        found = np.concatenate([moved, np.zeros((3, 1)), rng.random((3, 1))], axis=1).astype(np.float32)
        metric.update_boxes(found, true)
        taken = set()
        for row in found[np.argsort(-found[:, 5])]:
            overlaps = box_iou(row[None, :4], true[:, :4])[0]
            best = int(overlaps.argmax())
            right = overlaps[best] >= 0.5 and best not in taken
            taken |= {best} if right else set()
            rows.append((row[5], right))
        count += 4
    rows.sort(key=lambda row: -row[0])
    right = np.array([r for _, r in rows])
    precision = [right[: i + 1].mean() for i in range(len(right))]
    want = sum(max(precision[i:]) for i in range(len(right)) if right[i]) / count
    assert 0.1 < want < 0.9 and metric.value() == pytest.approx(want)


def test_accuracy():
    metric = Accuracy()
    metric.update(np.array([[1, 2], [3, 3], [2, 1]]), np.array([1, 0, 1]))
    assert metric.value() == pytest.approx(2 / 3)


def test_edit_distance():
    from nonet.train import edit_distance

    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == edit_distance("abc", "") == 3
    assert edit_distance([1, 2, 3], [1, 2, 3]) == 0 and edit_distance([1, 2, 3], [3, 1, 2]) == 2


def test_nats():
    nats = Nats()
    nats.update(np.log(np.array([[[0.25, 0.75], [0.5, 0.5]]])) + 3, np.array([[1, -100]]))
    nats.update(np.log(np.array([[[0.5, 0.5], [0.1, 0.9]]])), np.array([[0, -100]]))
    assert nats.value() == pytest.approx(-(np.log(0.75) + np.log(0.5)) / 2)
    assert np.isnan(Nats().value())
