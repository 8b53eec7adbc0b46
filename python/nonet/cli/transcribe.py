"""What is said in a sound: `ctc-speech`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, models
from nonet.cli.classify import classes_of
from nonet.cli.images import fingerprint
from nonet.cli.presets import SequencePreset
from nonet.cli.speech import BANDS, SoundInput, held_out, load_recordings, masked
from nonet.cli.tasks import Job, Options
from nonet.nn import Module
from nonet.tensor import as_tensor, no_grad
from nonet.train import Trainer, edit_distance
from nonet.train.log import to_json

_BATCH = 50
_TRAIN, _HELD = 3000, 300  # strings to train on, and for validation and test each
_VALIDATION_SEED, _TEST_SEED = 2**32, 2**32 + 1  # of strings that every run is measured on


class Strings:
    """Digit strings as samples (features, frames, labels, their number); label 0 is the blank."""

    def __init__(self, strings: data.DigitStrings, sound: SoundInput) -> None:
        self.strings, self.sound = strings, sound

    def __len__(self) -> int:
        return len(self.strings)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int, np.ndarray, int]:
        signal, digits = self.strings[index]
        features = self.sound.features(signal)
        return features, len(features), digits + 1, len(digits)


class DigitErrorRate:
    """Digits that are wrong, missing or too many, over those that are there."""

    name = "digit_error_rate"
    higher_is_better = False

    def __init__(self, model: Any, beam: int) -> None:
        self.model, self.beam = model, beam
        self.reset()

    def reset(self) -> None:
        self.wrong = self.there = 0

    def update(self, output: np.ndarray, *targets: np.ndarray) -> None:
        lengths, labels, counts = targets
        for found, row, count in zip(
            self.model.decode(output, lengths, self.beam), labels, counts, strict=True
        ):
            self.wrong += edit_distance(found, row[:count].tolist())
            self.there += int(count)

    def value(self) -> float:
        return self.wrong / self.there if self.there else float("nan")


def prepare(preset: SequencePreset, options: Options, directory: str | None) -> Job:
    recordings = load_recordings(directory)
    train, validation = held_out(recordings.train, preset.validation)
    sound = SoundInput.of(train, recordings.rate)
    nonet.manual_seed(options.seed)
    model: Any = models.build(
        preset.architecture, inputs=sound.bands, classes=11, **preset.arguments[options.data]
    )
    test = _loader(data.DigitStrings(recordings.test, _HELD, _TEST_SEED), sound, _BATCH)

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        measured = trainer.evaluate(test)
        return {"value": measured[preset.metric], "loss": measured["loss"]}

    return Job(
        model.to(device=options.device),
        model.loss,
        _loader(
            data.DigitStrings(train, _TRAIN, options.seed), sound, options.batch_size, options.seed, True
        ),
        _loader(data.DigitStrings(validation, _HELD, _VALIDATION_SEED), sound, _BATCH),
        [DigitErrorRate(model, preset.beam)],
        fingerprint(*(r.signal for r in train)),
        {"classes": json.dumps([str(digit) for digit in range(10)]), **sound.metadata()},
        conclude,
        f"{_HELD} strings of test recordings of {options.data}",
        inputs=2,
    )


def _loader(
    strings: data.DigitStrings, sound: SoundInput, batch_size: int, seed: int = 0, shuffle: bool = False
) -> data.BucketLoader:
    """Batches (features, lengths, lengths, labels, their numbers)."""

    def fields(
        rng: np.random.Generator, frames: np.ndarray, lengths: np.ndarray, *rest: np.ndarray
    ) -> data.Batch:
        return masked(rng, frames, lengths) if shuffle else frames, lengths, lengths, *rest

    return data.BucketLoader(
        Strings(strings, sound), strings.sizes, batch_size, shuffle, seed=seed, transform=fields, pool=8
    )


def evaluate(
    args: argparse.Namespace, preset: SequencePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    recordings = load_recordings(args.data_dir)
    sound = SoundInput.from_metadata(metadata, args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    rate, loss, count = DigitErrorRate(model, preset.beam), 0.0, 0
    with no_grad():
        for frames, lengths, *targets in _loader(
            data.DigitStrings(recordings.test, _HELD, _TEST_SEED), sound, _BATCH
        ):
            output = model(as_tensor(frames, device=args.device), lengths)
            loss += model.loss(output, *targets).item() * len(frames)
            rate.update(np.asarray(output.cpu()), *targets)
            count += len(frames)
    return {"value": rate.value(), "loss": loss / count, "samples": count}


def describe(preset: SequencePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    return models.build(preset.architecture, inputs=BANDS, classes=11, **preset.arguments[name]), (300, BANDS)


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    return 300, SoundInput.from_metadata(metadata, path).bands


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """The transcript of each file."""
    sound = SoundInput.from_metadata(metadata, args.checkpoint)
    classes = classes_of(metadata, args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    for name, features in [(name, sound.read(name)) for name in args.files]:
        lengths = np.array([len(features)])
        with no_grad():
            output = model(as_tensor(features[None], device=args.device), lengths)
        text = " ".join(classes[label - 1] for label in model.decode(output, lengths)[0])
        print(to_json({"file": name, "transcript": text}) if args.json else f"{name} {text}")
