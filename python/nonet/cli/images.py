"""From images in a set's own units to what a model takes; the same steps in training, evaluation and prediction."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nonet import data
from nonet.cli.errors import UsageError
from nonet.cli.presets import IMAGE_SETS, Preset
from nonet.io import FileError


@dataclass(frozen=True)
class ImageInput:
    """How images [N, 1, height, width] with values 0 to `maximum` become a model's input.

    They are enlarged to resize x resize (None: as they are), then `(x - mean) / std`, then flattened to rows if
    `flatten`. Written into checkpoints as the metadata "input" and "normalization".
    """

    height: int
    width: int
    maximum: float
    resize: int | None
    flatten: bool
    mean: float
    std: float

    def enlarge(self, images: np.ndarray) -> np.ndarray:
        return images if self.resize is None else data.upsample(images, self.resize)

    def finish(self, images: np.ndarray) -> np.ndarray:
        """float32 input from enlarged images."""
        out = data.normalize(images, self.mean, self.std)
        return out.reshape(len(out), -1) if self.flatten else out

    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        height, width = (self.height, self.width) if self.resize is None else (self.resize, self.resize)
        return (height * width,) if self.flatten else (1, height, width)

    def metadata(self) -> dict[str, str]:
        fields = asdict(self)
        normalization = {name: fields.pop(name) for name in ("mean", "std")}
        return {"input": json.dumps(fields), "normalization": json.dumps(normalization)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: Any) -> ImageInput:
        """FileError that names the checkpoint `path` if the metadata does not describe images."""
        try:
            return cls(**json.loads(metadata["input"]), **json.loads(metadata["normalization"]))
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(
                f"{path}: expected a checkpoint of an image classifier, found other metadata"
            ) from error


def image_input(preset: Preset, train: data.ArrayDataset, maximum: float) -> ImageInput:
    """The input of `preset` for images like those of `train`, the part whose mean and deviation normalise."""
    height, width = train.inputs.shape[2:]
    if preset.resize is not None and max(height, width) > preset.resize:
        raise data.DataError(
            f"{preset.name}: expected images of at most {preset.resize} x {preset.resize}, found {height} x {width}"
        )
    resize = None if (height, width) == (preset.resize, preset.resize) else preset.resize
    enlarged = train.inputs if resize is None else data.upsample(train.inputs, resize)
    mean, std = data.mean_std(enlarged)
    return ImageInput(height, width, maximum, resize, preset.flatten, float(mean), float(std))


def loader(
    part: data.ArrayDataset,
    image: ImageInput,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    shift: int = 0,
) -> data.DataLoader:
    """Batches (input, labels) of `part`; with `shift` every image moves by up to so many pixels."""
    move = data.random_shift(shift) if shift else None

    def transform(rng: np.random.Generator, images: np.ndarray, labels: np.ndarray) -> data.Batch:
        if move is not None:
            images, labels = move(rng, images, labels)
        return image.finish(images), labels

    enlarged = data.ArrayDataset(image.enlarge(part.inputs), part.targets)
    return data.DataLoader(enlarged, batch_size, shuffle=shuffle, seed=seed, transform=transform)


def set_name(name: str | None, directory: str | None, preset: Preset, default: str) -> str:
    """Which data set --data and --data-dir select. UsageError if they do not go together."""
    chosen = name or (preset.files if directory is not None else default)
    if chosen not in preset.sets:
        raise UsageError(f"--data must be one of {', '.join(preset.sets)} for {preset.name}, got {chosen!r}")
    if chosen == preset.files and directory is None:
        raise UsageError(
            f"--data {chosen} needs --data-dir, a folder with {data.IDX_FILES} "
            "(idx format, as MNIST is distributed)"
        )
    if chosen != preset.files and directory is not None:
        raise UsageError(f"--data {chosen} comes with nonet and takes no --data-dir, got {directory}")
    return chosen


def load_set(name: str, directory: str | None) -> data.Splits:
    """The data set; errors of its files name the option."""
    try:
        return data.load(name, directory)
    except data.DataError as error:
        if directory is None:
            raise
        raise data.DataError(f"--data-dir: {error}") from error


def maximum_of(name: str) -> float:
    return float(IMAGE_SETS[name][2])


def fingerprint(part: data.ArrayDataset) -> str:
    """CRC-32 of inputs and targets: whether a resumed run sees the data it began with."""
    crc = 0
    for array in (part.inputs, part.targets):
        crc = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"
