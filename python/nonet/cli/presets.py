"""Presets: what `nonet train NAME` trains, on which data, with which numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Height and width of the images, number of classes and largest value of a pixel, so that a model can be described
# without its data. A folder of other idx files may have other sizes; what is loaded decides.
IMAGE_SETS: dict[str, tuple[tuple[int, int], int, int]] = {
    "digits": ((8, 8), 10, 16),
    "mnist": ((28, 28), 10, 255),
}


@dataclass(frozen=True)
class Preset:
    """An image classifier and how it is trained.

    sets               data sets, the default first; `files` is the one that --data-dir alone selects
    architecture       its name for `nonet.models.build`, `arguments` beside those that the data decide
    resize             images are enlarged to this height and width; flatten: and made one row per image
    epochs             by data set
    lr, weight_decay   of AdamW; the rate rises over the first `warmup` share of the steps and falls on a cosine
    shift              images move by up to so many pixels, by data set
    validation         share of the training part that is cut off for validation
    """

    name: str
    architecture: str
    epochs: Mapping[str, int]
    sets: tuple[str, ...] = ("digits", "mnist")
    files: str = "mnist"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    resize: int | None = None
    flatten: bool = False
    shift: Mapping[str, int] = field(default_factory=dict)
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    validation: float = 0.1
    metric: str = "accuracy"

    def model_arguments(self, size: tuple[int, int], classes: int) -> dict[str, Any]:
        """Constructor arguments for images of this size (before resizing)."""
        if self.architecture == "MLP":
            pixels = size[0] * size[1]
            return {
                "sizes": [pixels, *self.arguments["hidden"], classes],
                "dropout": self.arguments["dropout"],
            }
        return {"classes": classes}


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "ann",
            "MLP",
            epochs={"digits": 60, "mnist": 20},
            arguments={"hidden": (512, 512), "dropout": 0.2},
            flatten=True,
            batch_size=128,
        ),
        Preset(
            "lenet5",
            "LeNet5",
            epochs={"digits": 60, "mnist": 20},
            resize=28,
            shift={"digits": 3, "mnist": 2},
            batch_size=64,
            lr=3e-3,
        ),
    )
}
