"""Style transfer without pairs: `cyclegan`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, io, models
from nonet.cli.errors import UsageError
from nonet.cli.images import fingerprint, option_named
from nonet.cli.pixels import PICTURE, PixelInput, files_as_samples, generate_path
from nonet.cli.presets import PicturePreset
from nonet.cli.scenes import output_paths
from nonet.cli.sequences import refuse
from nonet.cli.tasks import Job, Options
from nonet.nn import Module
from nonet.plot import grid
from nonet.train import Trainer
from nonet.train.judge import judged, train_judge
from nonet.train.log import to_json

_SHOWN = 10


class _Unpaired:
    """Samples (a, b): every image of A with one of B, whose order is another in every run."""

    def __init__(self, a: np.ndarray, b: np.ndarray, seed: int) -> None:
        self.a, self.b = a, b
        self.order = np.random.default_rng(seed).permutation(len(b))

    def __len__(self) -> int:
        return max(len(self.a), len(self.b))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.a[index % len(self.a)], self.b[self.order[index % len(self.b)]]


def load(preset: PicturePreset, name: str, directory: str | None) -> data.Styles:
    with option_named(directory):
        return data.load_styles(name, directory, preset.resize[name][0])


def prepare(preset: PicturePreset, options: Options, directory: str | None) -> Job:
    styles = load(preset, options.data, directory)
    a, b = (_unit(part.inputs) for part in styles.train)
    known = PixelInput(*a.shape[1:], maximum=255.0)
    nonet.manual_seed(options.seed)
    model: Any = models.build(preset.architecture, channels=known.channels, **preset.arguments[options.data])

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        model: Any = trainer.model
        test_a, test_b = (_unit(part.inputs) for part in styles.test)
        found = measure(model, test_a, test_b)
        if styles.classes:
            # A classifier of B, trained on other images than those that are translated.
            labels = styles.train[1].targets
            judge = train_judge(b, labels, len(styles.classes), preset.judged[options.data], options.seed)
            for key, images, truth in (
                ("judged", model.translated(test_a), styles.test[0].targets),
                ("judged_untranslated", test_a, styles.test[0].targets),
                ("judged_b", test_b, styles.test[1].targets),
            ):
                found[key] = float((judged(judge, images) == truth).mean())
        io.write_png(out / PICTURE, picture(model, test_a[:_SHOWN], test_b[-_SHOWN:]))
        return {**found, "picture": str(out / PICTURE)}

    model = model.to(device=options.device)
    return Job(
        model,
        model.losses(),
        data.DataLoader(
            _Unpaired(a, b, options.seed), options.batch_size, shuffle=True, drop_last=True, seed=options.seed
        ),
        None,
        [],
        fingerprint(*(part.inputs for part in styles.train)),
        {**known.metadata(), "classes": json.dumps(styles.classes)},
        conclude,
        f"{len(styles.test[0])} test images of A and {len(styles.test[1])} of B",
        after_update=lambda gan: gan.follow(),
        players=(model.discriminating(), model.translating()),
    )


def _unit(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / np.float32(255)


def measure(model: Any, a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Mean absolute error of pixels there and back, over both directions; the floor is the mean image."""
    errors = [
        np.abs(model.translated(model.translated(x, back), not back) - x).mean(dtype=np.float64)
        for x, back in ((a, False), (b, True))
    ]
    floor = [np.abs(x - x.mean(axis=0)).mean(dtype=np.float64) for x in (a, b)]
    value = float(np.mean(errors))
    return {"value": value, "loss": value, "floor": float(np.mean(floor))}


def picture(model: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rows: A, A as B, and back; B, B as A, and back."""
    rows = []
    for images, back in ((a, False), (b, True)):
        there = model.translated(images, back)
        rows += [list(images), list(there), list(model.translated(there, not back))]
    return grid.grid(rows)


def evaluate(
    args: argparse.Namespace, preset: PicturePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    styles = load(preset, name, args.data_dir)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    a, b = (_unit(part.inputs) for part in styles.test)
    return {**measure(model, a, b), "samples": len(a) + len(b)}


def describe(preset: PicturePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    channels = 1 if name == "digits" else 3
    return models.build(preset.architecture, channels=channels, **preset.arguments[name]), (
        channels,
        *preset.resize[name],
    )


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    return PixelInput.from_metadata(metadata, path).shape


def _translated(
    args: argparse.Namespace, metadata: dict[str, str], files: list[str]
) -> tuple[Any, list[Any]]:
    known = PixelInput.from_metadata(metadata, args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    return model, files_as_samples(files, known)


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """Each image of style A as one of style B, written to --out."""
    if args.out is None:
        raise UsageError("--out must name a folder for the translated images")
    model, samples = _translated(args, metadata, args.files)
    for name, images, path in zip(
        args.files, samples, output_paths(args.out, args.files, ".b.png"), strict=True
    ):
        assert path is not None
        io.write_png(path, grid.grid([list(model.translated(images))]))
        print(to_json({"file": name, "picture": str(path)}) if args.json else f"{name} {path}")


def generate(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """A PNG grid: the images of style A in the file --input (default: test digits), as style B, and back."""
    refuse(
        args,
        "models of images",
        "prompt",
        "length",
        "temperature",
        "top_k",
        "top_p",
        "repetition_penalty",
        "beam",
    )
    if args.input is not None:
        model, (images,) = _translated(args, metadata, [args.input])
    elif metadata.get("data") == "digits":
        model, _ = _translated(args, metadata, [])
        images = _unit(data.load_styles("digits", None, 16).test[0].inputs[: max(args.count, _SHOWN)])
    else:
        raise UsageError("--input must name a file of images of style A")
    path = generate_path(args)
    there = model.translated(images)
    io.write_png(path, grid.grid([list(images), list(there), list(model.translated(there, True))]))
    print(to_json({"out": str(path)}) if args.json else path)
