"""The detector: what it is to put out, its loss beside NumPy, and boxes read from its output."""

from __future__ import annotations

import numpy as np
import pytest

import nonet
from nonet import models
from nonet.models import Detector, decode_boxes, detection_loss, encode_boxes

BOXES = np.array(
    [
        [[8, 12, 40, 44, 1], [30, 30, 38, 62, 0], [0, 0, 0, 0, -1]],
        [[0, 0, 64, 64, 2], [20, 20, 30, 30, 2], [41, 7, 45, 11, 0]],
    ],
    np.float32,
)


def test_shapes_and_names():
    model = Detector(in_channels=1, classes=5, width=8).eval()
    assert model(np.zeros((2, 1, 64, 32), np.float32)).shape == (2, 9, 16, 8)
    shapes = {name: value.shape for name, value in model.state_dict().items() if name.endswith("weight")}
    assert shapes["stem.0.weight"] == (4, 1, 3, 3) and shapes["stages.3.conv1.weight"] == (64, 32, 3, 3)
    assert shapes["lateral.0.weight"] == (16, 8, 1, 1) and shapes["heat.1.weight"] == (5, 16, 1, 1)
    assert type(models.build("Detector", **model.arguments)) is Detector


def test_faults():
    for name in ("in_channels", "classes", "width"):
        with pytest.raises(ValueError, match=f"Detector: {name} must be at least 1, got 0"):
            Detector(**{name: 0})
    with pytest.raises(ValueError, match=r"H and W multiples of 32, got \[1, 3, 64, 48\]"):
        Detector(width=2)(np.zeros((1, 3, 64, 48), np.float32))
    with pytest.raises(ValueError, match="encode_boxes: classes must be below 2, got 2"):
        encode_boxes(BOXES, 2, (64, 64))


def test_encode():
    heat, reach, weight = encode_boxes(BOXES, 3, (64, 64))
    assert heat.shape == (2, 3, 16, 16) and reach.shape == (2, 4, 16, 16) and weight.shape == (2, 16, 16)
    peaks = {tuple(int(i) for i in place) for place in np.argwhere(heat == 1)}
    assert peaks == {(0, 1, 7, 6), (0, 0, 11, 8), (1, 2, 8, 8), (1, 2, 6, 6), (1, 0, 2, 10)}
    assert (heat >= 0).all() and (heat <= 1).all() and (weight >= 0).all()
    # Distances from the middle of a cell, and weights of each box that sum up to one.
    np.testing.assert_allclose(reach[0, :, 7, 6], [4.5, 4.5, 3.5, 3.5])
    np.testing.assert_allclose(reach[1, :, 6, 6], [1.5, 1.5, 1, 1])  # the smaller box has the cell
    np.testing.assert_allclose(weight[0].sum(), 2, rtol=1e-5)
    assert weight[1].sum() < 3
    inside = weight[0] > 0
    assert (reach[0][:, inside] > 0).all()
    none = encode_boxes(np.full((1, 2, 5), -1, np.float32), 3, (32, 32))
    assert not none[0].any() and not none[2].any()


def test_what_is_encoded_is_decoded():
    rng = np.random.default_rng(0)
    boxes = []
    for left, top in ((4, 6), (60, 10), (20, 70), (80, 80)):
        width, height = rng.uniform(10, 40, 2)
        boxes.append([left, top, left + width, top + height, rng.integers(0, 3)])
    table = np.array([boxes], np.float32)
    heat, reach, _ = encode_boxes(table, 3, (128, 128))
    output = np.concatenate([np.where(heat == 1, 4.0, -9.0), np.log(reach)], axis=1).astype(np.float32)
    (found,) = decode_boxes(output)
    assert found.shape == (4, 6) and found.dtype == np.float32
    np.testing.assert_allclose(found[:, 5], 1 / (1 + np.exp(-4)), rtol=1e-5)
    order = np.lexsort((found[:, 0], found[:, 1]))
    want = table[0][np.lexsort((table[0][:, 0], table[0][:, 1]))]
    np.testing.assert_allclose(found[order][:, :5], want, atol=1e-3)


def output_of(*peaks, classes=2, size=8):
    """An output with a score and distances of one cell at (class, row, column, logit, left, top, right, bottom)."""
    output = np.full((1, classes + 4, size, size), -20, np.float32)
    for label, row, column, logit, *reach in peaks:
        output[0, label, row, column] = logit
        output[0, classes:, row, column] = np.log(reach)
    return output


def test_decode():
    far = (0, 1, 1, 2.0, 1.5, 1.5, 1.5, 1.5)
    (found,) = decode_boxes(output_of(far, (1, 5, 5, 3.0, 1.5, 1.5, 2.5, 9)))
    np.testing.assert_allclose(found[0, :5], [16, 16, 32, 32, 1], atol=1e-4)  # cut at the lower edge
    np.testing.assert_allclose(found[1, :5], [0, 0, 12, 12, 0], atol=1e-4)
    # A neighbour with a smaller score is no peak; an overlapping box of the class goes, of another class it stays.
    (found,) = decode_boxes(output_of(far, (0, 1, 2, 1.9, 9, 9, 9, 9)))
    assert len(found) == 1
    (found,) = decode_boxes(output_of(far, (0, 1, 3, 1.9, 3.5, 1.5, 0.01, 1.5)))
    assert len(found) == 1 and found[0, 5] == pytest.approx(1 / (1 + np.exp(-2)))
    (found,) = decode_boxes(output_of(far, (1, 1, 3, 1.9, 3.5, 1.5, 0.01, 1.5)))
    assert len(found) == 2
    (found,) = decode_boxes(output_of(far, (0, 1, 3, 1.9, 3.5, 1.5, 0.01, 1.5)), overlap=0.99)
    assert len(found) == 2
    assert len(decode_boxes(output_of(far), least=0.9)[0]) == 0
    many = [(0, i, j, 1.0 + 0.1 * i + 0.01 * j, 0.5, 0.5, 0.5, 0.5) for i in (1, 3, 5) for j in (1, 3, 5)]
    (found,) = decode_boxes(output_of(*many), most=4)
    assert len(found) == 4 and (np.diff(found[:, 5]) < 0).all() and found[0, 1] == 20
    extreme = np.full((2, 6, 4, 4), 1e30, np.float32)
    assert all(np.isfinite(rows).all() for rows in decode_boxes(extreme))


def reference_loss(output, heat, reach, weight):
    classes = heat.shape[1]
    p = 1 / (1 + np.exp(-output[:, :classes]))
    spots = np.where(heat == 1, (1 - p) ** 2 * np.log(p), (1 - heat) ** 4 * p**2 * np.log(1 - p))
    own = np.exp(np.clip(output[:, classes:], -3, 5))
    lost = 0.0
    for i, y, x in np.argwhere(weight > 0):
        a, b = own[i, :, y, x], reach[i, :, y, x]
        low, high = np.minimum(a, b), np.maximum(a, b)
        both = (low[0] + low[2]) * (low[1] + low[3])
        either = (a[0] + a[2]) * (a[1] + a[3]) + (b[0] + b[2]) * (b[1] + b[3]) - both
        around = (high[0] + high[2]) * (high[1] + high[3])
        lost += weight[i, y, x] * (1 - both / either + (around - either) / around)
    return (-spots.sum() + 5 * lost) / max(1, (heat == 1).sum())


def test_loss_and_its_gradient():
    rng = np.random.default_rng(0)
    heat, reach, weight = encode_boxes(BOXES, 3, (64, 64))
    output = rng.standard_normal((2, 7, 16, 16)).astype(np.float32)
    x = nonet.tensor(output, requires_grad=True)
    loss = detection_loss(x, heat, reach, weight)
    want = reference_loss(output.astype(np.float64), heat, reach, weight)
    assert loss.shape == () and loss.item() == pytest.approx(want, rel=1e-5)
    loss.backward()
    gradient = np.asarray(x.grad)
    for index in ((0, 1, 7, 6), (0, 0, 3, 3), (0, 4, 7, 6), (1, 6, 6, 6), (1, 3, 8, 8)):
        values = []
        for step in (1e-4, -1e-4):
            moved = output.astype(np.float64)
            moved[index] += step
            values.append(reference_loss(moved, heat, reach, weight))
        assert gradient[index] == pytest.approx((values[0] - values[1]) / 2e-4, rel=1e-3, abs=1e-5)


def test_loss_without_any_box():
    heat, reach, weight = encode_boxes(np.zeros((2, 0, 5), np.float32), 2, (32, 32))
    output = nonet.tensor(np.zeros((2, 6, 8, 8), np.float32), requires_grad=True)
    loss = detection_loss(output, heat, reach, weight)
    assert loss.item() == pytest.approx(2 * 2 * 64 * 0.25 * np.log(2), rel=1e-5)
    loss.backward()


def test_a_training_step_reaches_every_parameter():
    model = Detector(classes=3, width=8)
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    detection_loss(model(x), *encode_boxes(BOXES, 3, (64, 64))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and np.isfinite(parameter.grad.numpy()).all(), name
