"""A LeNet-5, trained in the run, that tells which classes made images are of."""

from __future__ import annotations

from typing import Any

import numpy as np

import nonet
from nonet import data, models
from nonet.nn import functional
from nonet.optim import AdamW
from nonet.tensor import as_tensor, no_grad

_SIDE = 28
_BATCH = 256


def grey_28(images: np.ndarray) -> np.ndarray:
    """Images [N, C, H, W] as LeNet-5 takes them: [N, 1, 28, 28]."""
    grey = images.mean(axis=1, keepdims=True) if images.shape[1] == 3 else images
    if grey.shape[2:] != (_SIDE, _SIDE):
        grey = data.resize(grey, (_SIDE, _SIDE))
    return np.ascontiguousarray(grey, np.float32)


def train_judge(images: np.ndarray, labels: np.ndarray, classes: int, epochs: int, seed: int = 0) -> Any:
    """A LeNet-5 of images [N, C, H, W] with values in [0, 1]; the rate falls to 0 over the run."""
    state = nonet.get_rng_state()
    nonet.manual_seed(seed)
    model = models.LeNet5(classes)
    optimizer = AdamW(model.parameters(), lr=3e-3)
    loader = data.DataLoader((grey_28(images), labels), 64, shuffle=True, seed=seed)
    total, step = epochs * len(loader), 0
    for _ in range(epochs):
        for inputs, targets in loader:
            optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / total)
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            step += 1
    nonet.set_rng_state(state)
    return model.eval()


def judged(model: Any, images: np.ndarray) -> np.ndarray:
    """The class [N] of each image [N, C, H, W]."""
    grey = grey_28(images)
    with no_grad():
        parts = [
            np.asarray(model(as_tensor(grey[i : i + _BATCH]))).argmax(axis=1)
            for i in range(0, len(grey), _BATCH)
        ]
    return np.concatenate(parts)
