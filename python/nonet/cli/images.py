"""From images in a set's own units to what a model takes; the same steps in training, evaluation and prediction."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nonet import data
from nonet.cli.presets import IMAGE_SETS, Classifier
from nonet.io import FileError


@dataclass(frozen=True)
class ImageInput:
    """How images [N, C, height, width] with values 0 to `maximum` become a model's input.

    They are enlarged to resize x resize (None: as they are), then `(x - mean) / std` (numbers, or one for each of three
    channels), then flattened to rows if `flatten`. colour: the model takes three channels, grey images are repeated.
    shorter: image files of other sizes are scaled until their shorter side has so many pixels, and cut to the middle
    height x width. Written into checkpoints as the metadata "input" and "normalization".
    """

    height: int
    width: int
    maximum: float
    resize: int | None
    flatten: bool
    mean: float | list[float]
    std: float | list[float]
    colour: bool = False
    shorter: int | None = None

    def enlarge(self, images: np.ndarray) -> np.ndarray:
        return images if self.resize is None else data.upsample(images, self.resize)

    def finish(self, images: np.ndarray) -> np.ndarray:
        """float32 input from enlarged images."""
        if self.colour and images.shape[1] == 1:
            images = np.repeat(images, 3, axis=1)
        mean, std = (
            np.reshape(value, (-1, 1, 1)) if isinstance(value, list) else value
            for value in (self.mean, self.std)
        )
        out = data.normalize(images, mean, std)
        return out.reshape(len(out), -1) if self.flatten else out

    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        height, width = (self.height, self.width) if self.resize is None else (self.resize, self.resize)
        return (height * width,) if self.flatten else (3 if self.colour else 1, height, width)

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


def image_input(preset: Classifier, name: str, train: data.ArrayDataset, maximum: float) -> ImageInput:
    """The input of `preset` for images like those of `train`, the part whose mean and deviation normalise."""
    channels, height, width = train.inputs.shape[1:]
    resize = preset.resize.get(name)
    if resize is not None and max(height, width) > resize:
        raise data.DataError(
            f"{preset.name}: expected images of at most {resize} x {resize}, found {height} x {width}"
        )
    if (height, width) == (resize, resize):
        resize = None
    enlarged = train.inputs if resize is None else data.upsample(train.inputs, resize)
    mean, std = data.mean_std(enlarged, None if channels == 1 else (0, 2, 3))
    shorter = height if name == "folder" and height == width else None
    return ImageInput(
        height,
        width,
        maximum,
        resize,
        preset.flatten,
        mean.reshape(-1).tolist() if channels > 1 else float(mean),
        std.reshape(-1).tolist() if channels > 1 else float(std),
        preset.colour,
        shorter,
    )


def loader(
    part: data.ArrayDataset,
    image: ImageInput,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    shift: int = 0,
    flip: float = 0.0,
) -> data.DataLoader:
    """Batches (input, labels) of `part`.

    With `shift` every image moves by up to so many pixels, with `flip` it is mirrored with this probability.
    """
    moves = [data.random_shift(shift)] if shift else []
    moves += [data.random_flip(flip)] if flip else []
    move = data.compose(*moves)

    def transform(rng: np.random.Generator, images: np.ndarray, labels: np.ndarray) -> data.Batch:
        images, labels = move(rng, images, labels)
        return image.finish(images), labels

    enlarged = data.ArrayDataset(image.enlarge(part.inputs), part.targets)
    return data.DataLoader(enlarged, batch_size, shuffle=shuffle, seed=seed, transform=transform)


def load_set(
    name: str, directory: str | None, *, size: int | None = None, largest: int | None = None
) -> data.Splits:
    """The data set; errors of its files name the option. size, largest: see `data.load_folder`."""
    with option_named(directory):
        return data.load(name, directory, size, largest)


@contextlib.contextmanager
def option_named(directory: str | None) -> Iterator[None]:
    """Puts --data-dir in front of an error of its files."""
    try:
        yield
    except data.DataError as error:
        if directory is None:
            raise
        raise data.DataError(f"--data-dir: {error}") from error


def maximum_of(name: str) -> float:
    return float(IMAGE_SETS[name][2])


def fingerprint(*arrays: np.ndarray) -> str:
    """CRC-32 of the arrays: whether a resumed run sees the data it began with."""
    crc = 0
    for array in arrays:
        crc = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"
