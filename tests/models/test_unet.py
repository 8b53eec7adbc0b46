"""U-Net: shapes for any image, its loss beside NumPy, a gradient for every parameter."""

from __future__ import annotations

import numpy as np
import pytest

import nonet
from nonet import models
from nonet.models import UNet, segmentation_loss


@pytest.mark.parametrize("size", [(16, 16), (13, 21), (1, 1), (8, 30)])
def test_logits_have_the_size_of_the_image(size):
    model = UNet(in_channels=1, classes=3, width=4, depth=3).eval()
    x = np.random.default_rng(0).standard_normal((2, 1, *size)).astype(np.float32)
    assert model(x).shape == (2, 3, *size)


def test_small_images_are_extended_by_their_edges():
    model = UNet(width=4, depth=2).eval()
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 7)).astype(np.float32)
    whole = model(np.pad(x, ((0, 0), (0, 0), (0, 2), (0, 1)), mode="edge")).numpy()
    np.testing.assert_array_equal(model(x).numpy(), whole[:, :, :6, :7])


def test_names():
    model = UNet(classes=5, width=8, depth=2)
    shapes = {name: value.shape for name, value in model.state_dict().items() if name.endswith("weight")}
    assert shapes["down.0.0.weight"] == (8, 3, 3, 3) and shapes["down.1.3.weight"] == (16, 16, 3, 3)
    assert shapes["bottom.0.weight"] == (32, 16, 3, 3) and shapes["up.0.weight"] == (32, 16, 2, 2)
    assert shapes["join.1.0.weight"] == (8, 16, 3, 3) and shapes["head.weight"] == (5, 8, 1, 1)
    assert model.arguments == {"in_channels": 3, "classes": 5, "width": 8, "depth": 2}
    assert type(models.build("UNet", **model.arguments)) is UNet


def test_faults():
    for name in ("in_channels", "classes", "width", "depth"):
        with pytest.raises(ValueError, match=f"UNet: {name} must be at least 1, got 0"):
            UNet(**{name: 0})
    with pytest.raises(ValueError, match=r"UNet: input must have shape \[N, C, H, W\], got \[3, 8, 8\]"):
        UNet(width=2)(np.zeros((3, 8, 8), np.float32))


def reference_loss(logits: np.ndarray, masks: np.ndarray) -> float:
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    seen = masks != 255
    picked = np.take_along_axis(p, np.where(seen, masks, 0)[:, None], axis=1)[:, 0]
    dice = [
        (2 * p[:, c][masks == c].sum() + 1) / (p[:, c][seen].sum() + (masks == c).sum() + 1)
        for c in range(p.shape[1])
    ]
    return float(-np.log(picked[seen]).mean() + 1 - np.mean(dice))


def test_loss_and_its_gradient():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    masks = rng.integers(0, 2, (2, 4, 5)).astype(np.uint8)  # class 2 is nowhere
    masks[0, 1] = 255
    x = nonet.tensor(logits, requires_grad=True)
    loss = segmentation_loss(x, masks)
    assert loss.shape == () and loss.item() == pytest.approx(reference_loss(logits, masks), rel=1e-5)
    loss.backward()
    gradient = np.asarray(x.grad)
    assert not gradient[0, :, 1].any()
    for index in ((0, 0, 0, 0), (1, 2, 3, 4), (1, 1, 2, 2)):
        values = []
        for step in (1e-4, -1e-4):
            moved = logits.astype(np.float64)
            moved[index] += step
            values.append(reference_loss(moved, masks))
        assert gradient[index] == pytest.approx((values[0] - values[1]) / 2e-4, abs=1e-5)


def test_loss_of_a_perfect_answer_is_small():
    masks = np.random.default_rng(0).integers(0, 2, (2, 8, 8))
    logits = np.where(np.arange(2)[:, None, None] == masks[:, None], 20, -20).astype(np.float32)
    assert segmentation_loss(nonet.tensor(logits), masks).item() < 1e-3


def test_a_training_step_reaches_every_parameter():
    model = UNet(width=4, depth=2)
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    segmentation_loss(model(x), np.ones((2, 8, 8), np.uint8)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and np.isfinite(parameter.grad.numpy()).all(), name
