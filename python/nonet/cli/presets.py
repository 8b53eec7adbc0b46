"""Presets: what `nonet train NAME` trains, on which data, with which numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Height and width of the images, number of classes and largest value of a pixel, so that a model can be described
# without its data. Sets of files may have other sizes; what is loaded decides.
IMAGE_SETS: dict[str, tuple[tuple[int, int], int, int]] = {
    "digits": ((8, 8), 10, 16),
    "mnist": ((28, 28), 10, 255),
    "folder": ((32, 32), 10, 255),
}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What every preset has.

    task               what kind of data, model and metric it is about: a name in `nonet.cli.tasks`
    sets               data sets, the default first; `files` are those that need some, and that --data-dir alone selects
    epochs, batch_size by data set
    lr, weight_decay   of AdamW; the rate rises over the first `warmup` share of the steps and falls on a cosine
    clip_norm          limit of the gradients' norm
    validation         share of the training part that is cut off for validation
    """

    name: str
    task: str
    sets: tuple[str, ...]
    files: tuple[str, ...]
    epochs: Mapping[str, int]
    batch_size: Mapping[str, int]
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip_norm: float | None = None
    validation: float = 0.1
    metric: str


@dataclass(frozen=True, kw_only=True)
class Classifier(Preset):
    """An image classifier.

    architecture   its name for `nonet.models.build`, `arguments` beside those that the data decide
    colour         the model takes three channels; grey images are repeated
    resize         images are enlarged to this height and width, by data set; flatten: and made one row per image
    shift, flip    images move by up to so many pixels, are mirrored with this probability, by data set
    largest        a folder's images are made this high and wide if they differ in size or are larger
    """

    task: str = "classify"
    metric: str = "accuracy"
    architecture: str
    sets: tuple[str, ...] = ("digits", "mnist")
    files: tuple[str, ...] = ("mnist",)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    colour: bool = False
    resize: Mapping[str, int] = field(default_factory=dict)
    flatten: bool = False
    shift: Mapping[str, int] = field(default_factory=dict)
    flip: Mapping[str, float] = field(default_factory=dict)
    largest: int = 64

    def model_arguments(self, size: tuple[int, int], classes: int) -> dict[str, Any]:
        """Constructor arguments for images of this size (before resizing)."""
        if self.architecture == "MLP":
            pixels = size[0] * size[1]
            return {
                "sizes": [pixels, *self.arguments["hidden"], classes],
                "dropout": self.arguments["dropout"],
            }
        name = "classes" if self.architecture == "LeNet5" else "num_classes"
        return {name: classes, **self.arguments}


@dataclass(frozen=True, kw_only=True)
class ScenePreset(Preset):
    """A model that finds things in scenes (see `nonet.data.Scenes`).

    architecture   its name for `nonet.models.build`, `arguments` beside those that the data decide
    canvas         height and width of the model's input, by data set; `stored`: of the scenes in memory, from which
                   training cuts windows of sides times `zoom`, stretched by up to `stretch`
    flip           probability that a scene is mirrored, by data set
    colours        by how much brightness, contrast and saturation vary
    """

    sets: tuple[str, ...] = ("shapes", "pennfudan")
    files: tuple[str, ...] = ("pennfudan",)
    architecture: str
    arguments: Mapping[str, Mapping[str, Any]]
    canvas: Mapping[str, int]
    stored: Mapping[str, int]
    zoom: Mapping[str, tuple[float, float]]
    stretch: float = 1.15
    flip: Mapping[str, float] = field(default_factory=dict)
    colours: float = 0.4


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Classifier(
            name="ann",
            architecture="MLP",
            epochs={"digits": 60, "mnist": 20},
            batch_size={"digits": 128, "mnist": 128},
            arguments={"hidden": (512, 512), "dropout": 0.2},
            flatten=True,
        ),
        Classifier(
            name="lenet5",
            architecture="LeNet5",
            epochs={"digits": 60, "mnist": 20},
            batch_size={"digits": 64, "mnist": 64},
            resize={"digits": 28, "mnist": 28},
            shift={"digits": 3, "mnist": 2},
            lr=3e-3,
        ),
        Classifier(
            name="resnet18",
            architecture="resnet18",
            arguments={"cifar_stem": True},
            sets=("digits", "mnist", "folder"),
            files=("mnist", "folder"),
            epochs={"digits": 10, "mnist": 3, "folder": 5},
            batch_size={"digits": 64, "mnist": 128, "folder": 128},
            colour=True,
            resize={"digits": 16},
            shift={"digits": 2, "mnist": 2, "folder": 4},
            flip={"folder": 0.5},
            lr=2e-3,
            weight_decay=0.05,
            warmup=0.2,
        ),
        ScenePreset(
            name="segment",
            task="segment",
            metric="mean_iou",
            architecture="UNet",
            arguments={"shapes": {"width": 8, "depth": 3}, "pennfudan": {"width": 16, "depth": 5}},
            epochs={"shapes": 5, "pennfudan": 150},
            batch_size={"shapes": 16, "pennfudan": 6},
            canvas={"shapes": 64, "pennfudan": 192},
            stored={"shapes": 64, "pennfudan": 320},
            zoom={"shapes": (0.8, 1.25), "pennfudan": (0.45, 1.1)},
            flip={"pennfudan": 0.5},
            lr=2e-3,
        ),
        ScenePreset(
            name="detect",
            task="detect",
            metric="ap50",
            architecture="Detector",
            arguments={"shapes": {"width": 16}, "pennfudan": {"width": 32}},
            epochs={"shapes": 20, "pennfudan": 250},
            batch_size={"shapes": 16, "pennfudan": 6},
            canvas={"shapes": 64, "pennfudan": 192},
            stored={"shapes": 64, "pennfudan": 320},
            zoom={"shapes": (0.8, 1.25), "pennfudan": (0.45, 1.2)},
            flip={"pennfudan": 0.5},
            lr=2e-3,
            clip_norm=10.0,
        ),
    )
}
