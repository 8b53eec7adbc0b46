"""What `segment` and `detect` share: scenes on the model's canvas, in training, evaluation and prediction."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nonet import data, io, models
from nonet.cli.classify import holdout
from nonet.cli.images import fingerprint, option_named
from nonet.cli.presets import ScenePreset
from nonet.cli.tasks import Options
from nonet.nn import Module
from nonet.tensor import Tensor, as_tensor, no_grad

BATCH = 16  # scenes that are looked at together, outside training
SHOWN = 6  # scenes in a picture of results
PICTURE = "picture.png"
_PIXELS = 220  # of the longer side of a scene in a picture


@dataclass(frozen=True)
class SceneInput:
    """How a picture [3, H, W] of values 0 to 255 becomes a model's input.

    The whole picture is scaled into the middle of a square canvas, then `(x - mean) / std` for each channel. Written
    into checkpoints as the metadata "input" and "normalization".
    """

    canvas: int
    mean: list[float]
    std: list[float]

    def finish(self, images: np.ndarray) -> np.ndarray:
        """float32 input from images [N, 3, canvas, canvas]."""
        mean, std = (np.reshape(value, (-1, 1, 1)) for value in (self.mean, self.std))
        return data.normalize(images, mean, std)

    def window(self, size: tuple[int, int]) -> np.ndarray:
        """The window of a picture of this size that the canvas shows."""
        return data.fitted(size, (self.canvas, self.canvas))

    def back(self, output: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Maps [C, canvas, canvas] over the canvas as [C, H, W] over the picture of this size."""
        top, left, height, width = self.window(size)
        scale = (self.canvas / height, self.canvas / width)
        return data.cut(
            output, (-top * scale[0], -left * scale[1], size[0] * scale[0], size[1] * scale[1]), size
        )

    def back_boxes(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Boxes [M, 4 or more] on the canvas as boxes in the picture of this size."""
        top, left, height, width = self.window(size)
        out = boxes.copy()
        for low, side, start, limit in ((0, width, left, size[1]), (1, height, top, size[0])):
            out[:, [low, low + 2]] = out[:, [low, low + 2]] * (side / self.canvas) + start
            out[:, [low, low + 2]] = out[:, [low, low + 2]].clip(0, limit)
        return out

    def metadata(self) -> dict[str, str]:
        return {
            "input": json.dumps({"canvas": self.canvas}),
            "normalization": json.dumps({"mean": self.mean, "std": self.std}),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: Any) -> SceneInput:
        """FileError that names the checkpoint `path` if the metadata does not describe scenes."""
        try:
            return cls(**json.loads(metadata["input"]), **json.loads(metadata["normalization"]))
        except (KeyError, TypeError, ValueError) as error:
            raise io.FileError(
                f"{path}: expected a checkpoint of a model for scenes, found other metadata"
            ) from error


@dataclass(frozen=True)
class Parts:
    """A loaded set: all its scenes, and training and validation part as arrays (images, masks, boxes)."""

    scenes: data.Scenes
    train: tuple[np.ndarray, np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray, np.ndarray]
    input: SceneInput
    fingerprint: str


def load(name: str, directory: str | None) -> data.Scenes:
    """The set; errors of its files name the option."""
    with option_named(directory):
        return data.load_scenes(name, directory)


def load_parts(preset: ScenePreset, options: Options, directory: str | None) -> Parts:
    scenes = load(options.data, directory)
    count = len(scenes.train)
    numbers = data.ArrayDataset(np.arange(count), np.zeros((count, 1)))
    train, validation = (
        [scenes.train[i] for i in part.inputs] for part in holdout(numbers, preset.validation, options)
    )
    stored, canvas = (sizes[options.data] for sizes in (preset.stored, preset.canvas))
    arrays = data.scene_arrays(train, (stored, stored))
    held_out = data.scene_arrays(validation, (canvas, canvas))
    mean, std = data.mean_std(arrays[0], (0, 2, 3))
    image = SceneInput(canvas, mean.reshape(-1).tolist(), std.reshape(-1).tolist())
    return Parts(scenes, arrays, held_out, image, fingerprint(*arrays, *held_out))


def augmentation(
    preset: ScenePreset, name: str, masks: tuple[int, ...] = (), boxes: tuple[int, ...] = ()
) -> Callable[..., data.Batch]:
    """The random windows, flips and colours of a preset; `masks` and `boxes` are numbers of fields that follow."""
    canvas = (preset.canvas[name], preset.canvas[name])
    return data.compose(
        data.random_window(canvas, preset.zoom[name], preset.stretch, masks=masks, boxes=boxes),
        data.random_flip(preset.flip.get(name, 0.0), masks=masks, boxes=boxes),
        data.random_colors(preset.colours),
    )


def each_output(
    model: Module,
    scenes: Sequence[data.Scene],
    image: SceneInput,
    loss: Callable[[Tensor, np.ndarray, np.ndarray], Tensor],
    losses: list[float],
    context: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
) -> Iterator[tuple[data.Scene, np.ndarray]]:
    """Every scene with the model's output for it. `loss(output, masks, boxes)` of each goes into `losses`."""
    device = next(iter(model.parameters())).device
    model.eval()
    with no_grad():
        for start in range(0, len(scenes), BATCH):
            some = scenes[start : start + BATCH]
            images, masks, boxes = data.scene_arrays(some, (image.canvas, image.canvas))
            with context():
                output = model(as_tensor(image.finish(images), device=device))
                losses += [loss(output, masks, boxes).item()] * len(some)
            yield from zip(some, np.asarray(output.cpu(), np.float32), strict=True)


def picked(scenes: Sequence[data.Scene]) -> list[data.Scene]:
    """Some scenes for a picture, from all over the set."""
    step = max(1, len(scenes) // SHOWN)
    return list(scenes[::step][:SHOWN])


def picture_scale(size: tuple[int, int]) -> float:
    """By what a scene is scaled in a picture; small ones by whole numbers."""
    scale = _PIXELS / max(size)
    return float(int(scale)) if scale >= 2 else scale


def read_picture(name: str) -> np.ndarray:
    """The image in a file as uint8 [3, H, W]. FileError as by `io.read_image`."""
    pixels = np.rint(io.read_image(name) * 255).astype(np.uint8)
    return np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels


def outputs_of_files(
    checkpoint: str, image: SceneInput, pictures: Sequence[np.ndarray], device: str | None
) -> Iterator[np.ndarray]:
    """The model's output [C, h, w] for each picture."""
    model = models.load_model(checkpoint).to(device=device or "cpu")
    canvas = (image.canvas, image.canvas)
    with no_grad():
        for pixels in pictures:
            size = (pixels.shape[1], pixels.shape[2])
            shown = np.rint(data.cut(pixels, image.window(size), canvas)).clip(0, 255)
            output = model(as_tensor(image.finish(shown[None]), device=device))
            yield np.asarray(output.cpu(), np.float32)[0]


def output_paths(folder: str | None, names: Sequence[str], ending: str) -> list[Path | None]:
    """Where results for these files go: `folder`/NAME`ending`, numbered if names are equal; None without a folder."""
    if folder is None:
        return [None] * len(names)
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths: list[Path | None] = []
    for name in names:
        path, number = Path(folder) / (Path(name).stem + ending), 1
        while path in paths:
            path, number = Path(folder) / f"{Path(name).stem}.{number}{ending}", number + 1
        paths.append(path)
    return paths


# ---- parts of both tasks as `nonet.cli.tasks` has them
def describe(preset: ScenePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    canvas = preset.canvas[name]
    return models.build(preset.architecture, **preset.arguments[name]), (3, canvas, canvas)


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    canvas = SceneInput.from_metadata(metadata, path).canvas
    return (3, canvas, canvas)
