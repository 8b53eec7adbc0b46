"""Images with values in [0, 1], for models that make images: loading, files, pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nonet import data, io
from nonet.cli.classify import holdout, read_images
from nonet.cli.images import ImageInput, fingerprint, load_set, maximum_of, option_named
from nonet.cli.presets import PicturePreset
from nonet.cli.tasks import Options

PICTURE = "picture.png"


@dataclass(frozen=True)
class PixelInput:
    """How images [N, C, h, w] of 0 to `maximum` become a model's samples [N, channels, height, width] in [0, 1]:
    scaled to its size, then divided. Written into checkpoints as the metadata "pixels"."""

    channels: int
    height: int
    width: int
    maximum: float

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width

    def finish(self, images: np.ndarray) -> np.ndarray:
        """float32 samples from images in a set's own units."""
        size = (self.height, self.width)
        if images.shape[2:] != size:
            images = data.resize(images, size)
        return np.ascontiguousarray(images, np.float32) / np.float32(self.maximum)

    def metadata(self) -> dict[str, str]:
        return {"pixels": json.dumps(asdict(self))}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: Any) -> PixelInput:
        """FileError that names the checkpoint `path` if the metadata does not describe samples."""
        try:
            return cls(**json.loads(metadata["pixels"]))
        except (KeyError, TypeError, ValueError) as error:
            raise io.FileError(
                f"{path}: expected a checkpoint of a model of images, found other metadata"
            ) from error


@dataclass(frozen=True)
class Pictures:
    """A set as samples in [0, 1] with labels, its parts, and how files become such samples."""

    input: PixelInput
    classes: tuple[str, ...]
    train: data.ArrayDataset
    validation: data.ArrayDataset
    test: data.ArrayDataset
    fingerprint: str


def load_splits(preset: PicturePreset, name: str, directory: str | None) -> data.Splits:
    """The set; errors of its files name the option."""
    with option_named(directory):
        if name == "faces":
            assert directory is not None
            return data.load_faces(directory)
        return load_set(name, directory, largest=preset.largest)


def load_pictures(preset: PicturePreset, options: Options, directory: str | None) -> Pictures:
    splits = load_splits(preset, options.data, directory)
    known = pixel_input(preset, options.data, splits.train.inputs.shape[1:])
    train, test = (data.ArrayDataset(known.finish(p.inputs), p.targets) for p in (splits.train, splits.test))
    rest, validation = holdout(train, preset.validation, options)
    print_of = fingerprint(splits.train.inputs, splits.train.targets)
    return Pictures(known, splits.classes, rest, validation, test, print_of)


def pixel_input(preset: PicturePreset, name: str, shape: tuple[int, ...]) -> PixelInput:
    """For images [C, h, w] of the set `name`."""
    size = preset.resize.get(name)
    height, width = size if size is not None else shape[1:]
    return PixelInput(shape[0], height, width, maximum_of(name))


def test_part(preset: PicturePreset, metadata: Mapping[str, str], name: str, args: Any) -> data.ArrayDataset:
    """The test part of a set as the samples of the checkpoint args.checkpoint."""
    known = PixelInput.from_metadata(metadata, args.checkpoint)
    part = load_splits(preset, name, args.data_dir).test
    images = known.finish(part.inputs)
    if images.shape[1:] != known.shape:
        raise data.DataError(
            f"{name}: expected images with {known.channels} channels, found {images.shape[1]}"
        )
    return data.ArrayDataset(images, part.targets)


def files_as_samples(paths: Any, known: PixelInput, invert: bool = False) -> list[np.ndarray]:
    """The images of each file as samples. Errors as of `read_images`; image files of other sizes are scaled."""
    out = []
    for path in paths:
        expected = ImageInput(
            known.height, known.width, known.maximum, None, False, 0.0, 1.0, colour=known.channels == 3
        )
        images = _scaled(Path(path), known)
        if images is None:
            images = read_images(Path(path), expected)
        if images.shape[1] != known.channels:
            images = images.mean(axis=1, keepdims=True) if known.channels == 1 else images.repeat(3, axis=1)
        samples = known.finish(images)
        out.append(1 - samples if invert else samples)
    return out


def _scaled(path: Path, known: PixelInput) -> np.ndarray | None:
    """An image file, whatever its size; None for arrays."""
    try:
        with open(path, "rb") as file:
            head = file.read(6)
    except OSError:
        return None
    if head == b"\x93NUMPY" or head[:2] in (b"\0\0", b"\x1f\x8b"):
        return None
    return io.read_image(path)[None] * np.float32(known.maximum)


def generate_path(args: Any) -> Path:
    """Where a picture goes: --out, or the run's folder."""
    return Path(args.out) if args.out is not None else Path(args.checkpoint).parent / "generated.png"


def labels_of(args: Any, classes: int, names: list[str], count: int) -> np.ndarray | None:
    """Labels [count] of samples: the class that --prompt names, or all in turn; None for a model without classes."""
    from nonet.cli.errors import UsageError

    if args.prompt is None:
        return np.arange(count) % classes if classes else None
    if not classes:
        raise UsageError("--prompt names a class, and this model has none")
    if args.prompt not in names:
        raise UsageError(f"--prompt must be one of {', '.join(names)}, got {args.prompt!r}")
    return np.full(count, names.index(args.prompt))
