"""What a preset is about: for each task a module of functions, which is imported when it is needed."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from nonet import data, io, models
from nonet.cli.errors import UsageError
from nonet.cli.presets import PRESETS, Preset
from nonet.nn import Module, Parameter
from nonet.tensor import Tensor
from nonet.train import Metric, Trainer

_TASKS = ("classify", "segment", "detect", "music", "series", "text", "speech", "transcribe", "translate")
_TASKS += ("masked", "sentences", "reconstruct", "anomaly", "variational", "adversarial", "translate_images")
_TASKS += ("pretrained",)
_MODULES = {name: f"nonet.cli.{name}" for name in _TASKS}


@dataclass(frozen=True)
class Options:
    """What decides the numbers of a run; kept in its checkpoint, and compared on --resume."""

    preset: str
    data: str
    epochs: int | None
    steps: int | None
    batch_size: int
    lr: float
    seed: int
    precision: str
    autocast: str | None
    device: str
    init: str | None = None


@dataclass(frozen=True)
class Job:
    """What a task prepares for a training.

    fingerprint   of the training data: whether a resumed run sees those it began with
    metadata      of the checkpoints: what `evaluate` and `predict` need to know
    conclude      called with the trainer, which holds the parameters to report, and the run's folder: results on the
                  test part, with at least "value" and "loss"; may write files into the folder
    tested        what "value" was measured on, in words
    """

    model: Module
    loss: Callable[..., Tensor] | Sequence[Callable[..., Tensor]]
    train: Any
    validation: Any
    metrics: Sequence[Metric]
    fingerprint: str
    metadata: Mapping[str, str]
    conclude: Callable[[Trainer, Path], dict[str, Any]]
    tested: str
    players: Sequence[Sequence[Parameter]] | None = None
    after_update: Callable[[Any], None] | None = None
    inputs: int = 1  # fields of a batch that go to the model; the others go to the loss and the metrics


class Task(Protocol):
    """The functions of a task's module."""

    def prepare(self, preset: Any, options: Options, directory: str | None) -> Job:
        """Data, model, loss and metrics. DataError; nothing has been written yet."""
        ...

    def evaluate(
        self, args: argparse.Namespace, preset: Any, metadata: dict[str, str], name: str
    ) -> dict[str, Any]:
        """Results of a checkpoint on the test part of the set `name`: "value", "loss", "samples" and others."""
        ...

    def predict(self, args: argparse.Namespace, metadata: dict[str, str]) -> None:
        """Prints what the model of a checkpoint sees in files."""
        ...

    def describe(self, preset: Any, name: str) -> tuple[Module, tuple[int, ...]]:
        """A new model of `preset` for the set `name`, and the shape of one input."""
        ...

    # A task whose models make something of their own has another one:
    # def generate(self, args: argparse.Namespace, metadata: dict[str, str]) -> None
    #     Prints, or writes to args.out, what the model of args.checkpoint makes. Of the options it reads those that
    #     it has a meaning for; the others are None.

    def input_shape(self, metadata: dict[str, str], path: str) -> tuple[int, ...]:
        """The shape of one input of the model of a checkpoint. FileError if it is not of this task."""
        ...


def task_named(name: str) -> Task:
    return cast(Task, importlib.import_module(_MODULES[name]))


def task_of(path: str) -> tuple[Any, dict[str, str]]:
    """The task of a checkpoint, and its metadata. FileError for damaged files.

    Converted checkpoints have no preset: they are networks on images or on tokens; folders are Hugging Face's.
    """
    if os.path.isdir(path):
        folders: Any = task_named("pretrained")
        return folders, folders.metadata_of(path)
    metadata = io.load_metadata(path)
    preset = PRESETS.get(metadata.get("preset", ""))
    if preset is not None:
        return task_named(preset.task), metadata
    on_tokens = {kind.__name__ for kind in models.PRETRAINED.values()}
    return task_named("pretrained" if metadata.get("architecture") in on_tokens else "classify"), metadata


def start_from(model: Module, path: str) -> None:
    """Gives the model those parameters of a checkpoint that have its own names and shapes; FileError if none do."""
    own, there = model.state_dict(), models.load_model(path).state_dict()
    shared = [name for name, value in own.items() if name in there and there[name].shape == value.shape]
    if not shared:
        raise io.FileError(f"{path}: expected parameters of {type(model).__name__}, found none that fit")
    for name in shared:
        own[name].copy_(there[name].to(own[name].device))


def set_name(name: str | None, directory: str | None, preset: Preset, default: str) -> str:
    """Which data set --data and --data-dir select. UsageError if they do not go together."""
    chosen = name or (_of_folder(directory, preset) if directory is not None else default)
    if chosen not in preset.sets:
        raise UsageError(f"--data must be one of {', '.join(preset.sets)} for {preset.name}, got {chosen!r}")
    if chosen in preset.files and directory is None:
        kind = " (idx format, as MNIST is distributed)" if chosen == "mnist" else ""
        raise UsageError(f"--data {chosen} needs --data-dir, a folder with {data.FILES[chosen]}{kind}")
    if chosen not in preset.files and directory is not None:
        raise UsageError(f"--data {chosen} comes with nonet and takes no --data-dir, got {directory}")
    return chosen


def _of_folder(directory: str, preset: Preset) -> str:
    """The set that a folder holds: its one kind of files, or what its contents look like."""
    looks = {"folder": "train", "tsv": "*.tsv", "lines": "train.t*"}
    for name in preset.files[1:]:
        if name in looks and any(Path(directory).glob(looks[name])):
            return name
    return preset.files[0]
