"""Spoken words by their sound: `gru-speech`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, io, models
from nonet.cli.classify import classes_of
from nonet.cli.images import fingerprint, option_named
from nonet.cli.presets import SequencePreset
from nonet.cli.sequences import metadata_field
from nonet.cli.tasks import Job, Options
from nonet.nn import Module, functional
from nonet.tensor import Tensor, as_tensor, no_grad
from nonet.train import Accuracy, Trainer
from nonet.train.log import to_json

_BATCH = 50
BANDS = 40


@dataclass(frozen=True)
class SoundInput:
    """How a sound becomes a model's input: `bands` of its log-mel spectrogram at `rate` samples per second, less `mean`
    and over `std` of each. Written into checkpoints as the metadata "sound"."""

    rate: int
    bands: int
    mean: list[float]
    std: list[float]

    def features(self, signal: np.ndarray) -> np.ndarray:
        """float32 [T, bands]."""
        mel = data.log_mel(signal, self.rate, self.bands)
        return (mel - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)

    def read(self, path: str) -> np.ndarray:
        """The features of a file. FileError for another rate."""
        signal, rate = io.read_audio(path)
        if rate != self.rate:
            raise io.FileError(f"{path}: expected {self.rate} samples per second, found {rate}")
        return self.features(signal)

    @classmethod
    def of(cls, recordings: Sequence[data.Recording], rate: int) -> SoundInput:
        frames = np.concatenate([data.log_mel(r.signal, rate, BANDS) for r in recordings])
        return cls(rate, BANDS, frames.mean(axis=0).tolist(), frames.std(axis=0).tolist())

    def metadata(self) -> dict[str, str]:
        return {"sound": json.dumps(asdict(self))}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], path: Any) -> SoundInput:
        try:
            return cls(**metadata_field(metadata, "sound", path))
        except TypeError as error:
            raise io.FileError(
                f"{path}: expected a checkpoint of a model of sounds, found other metadata"
            ) from error


def held_out(
    recordings: Sequence[data.Recording], share: float
) -> tuple[list[data.Recording], list[data.Recording]]:
    """Training and validation part: of each speaker and digit, `share` of the recordings for validation."""
    train: list[data.Recording] = []
    validation: list[data.Recording] = []
    seen: dict[tuple[str, int], int] = {}
    for recording in recordings:
        key = recording.speaker, recording.digit
        seen[key] = seen.get(key, 0) + 1
        whole = int(seen[key] * share) > int((seen[key] - 1) * share)
        (validation if whole else train).append(recording)
    if not train or not validation:
        raise data.DataError(
            f"expected more recordings per speaker and digit, found {len(recordings)} in all"
        )
    return train, validation


def masked(rng: np.random.Generator, frames: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Features of which some bands and some frames in a row are 0 (Park et al., "SpecAugment", 2019)."""
    frames = frames.copy()
    for row, length in zip(frames, lengths, strict=True):
        for size, extent, axis in ((8, frames.shape[2], 1), (max(1, int(length) // 8), int(length), 0)):
            width = int(rng.integers(0, min(size, extent) + 1))
            start = int(rng.integers(0, extent - width + 1))
            if axis:
                row[:, start : start + width] = 0
            else:
                row[start : start + width] = 0
    return frames


def load_recordings(directory: str | None) -> data.Recordings:
    assert directory is not None  # these are files; see set_name
    with option_named(directory):
        return data.load_fsdd(directory)


def prepare(preset: SequencePreset, options: Options, directory: str | None) -> Job:
    recordings = load_recordings(directory)
    train, validation = held_out(recordings.train, preset.validation)
    sound = SoundInput.of(train, recordings.rate)
    nonet.manual_seed(options.seed)
    model = models.build(
        preset.architecture, inputs=sound.bands, classes=10, **preset.arguments[options.data]
    )
    test = _loader(recordings.test, sound, _BATCH)

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        measured = trainer.evaluate(test)
        return {"value": measured[preset.metric], "loss": measured["loss"]}

    return Job(
        model.to(device=options.device),
        functional.cross_entropy,
        _loader(train, sound, options.batch_size, options.seed, True),
        _loader(validation, sound, _BATCH),
        [Accuracy()],
        fingerprint(*(r.signal for r in train)),
        {"classes": json.dumps([str(digit) for digit in range(10)]), **sound.metadata()},
        conclude,
        f"{len(recordings.test)} test recordings of {options.data}",
        inputs=2,
    )


def _loader(
    recordings: Sequence[data.Recording],
    sound: SoundInput,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = False,
) -> data.BucketLoader:
    """Batches (features, lengths, digits)."""

    def augmented(
        rng: np.random.Generator, frames: np.ndarray, lengths: np.ndarray, *rest: np.ndarray
    ) -> data.Batch:
        return masked(rng, frames, lengths), lengths, *rest

    rows = [
        (features, len(features), r.digit) for r in recordings for features in (sound.features(r.signal),)
    ]
    lengths = [row[1] for row in rows]
    return data.BucketLoader(
        rows, lengths, batch_size, shuffle, seed=seed, transform=augmented if shuffle else None, pool=8
    )


def evaluate(
    args: argparse.Namespace, preset: SequencePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    recordings = load_recordings(args.data_dir)
    sound = SoundInput.from_metadata(metadata, args.checkpoint)
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    accuracy, loss = Accuracy(), 0.0
    with no_grad():
        for frames, lengths, digits in _loader(recordings.test, sound, _BATCH):
            logits: Tensor = model(as_tensor(frames, device=args.device), lengths)
            loss += functional.cross_entropy(logits, as_tensor(digits, device=args.device)).item() * len(
                digits
            )
            accuracy.update(np.asarray(logits.cpu()), digits)
    count = len(recordings.test)
    return {"value": accuracy.value(), "loss": loss / count, "samples": count}


def describe(preset: SequencePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    return models.build(preset.architecture, inputs=BANDS, classes=10, **preset.arguments[name]), (
        100,
        BANDS,
    )


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    return 100, SoundInput.from_metadata(metadata, path).bands


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    sound = SoundInput.from_metadata(metadata, args.checkpoint)
    classes = classes_of(metadata, args.checkpoint)
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    for name, features in [(name, sound.read(name)) for name in args.files]:
        with no_grad():
            logits = model(as_tensor(features[None], device=args.device), np.array([len(features)]))
            row = np.asarray(functional.softmax(logits, dim=1).cpu())[0]
        best = int(np.argmax(row))
        label, probability = classes[best], float(row[best])
        if args.json:
            print(to_json({"file": name, "class": label, "probability": probability}))
        else:
            print(name, label, f"{probability:.4f}")
