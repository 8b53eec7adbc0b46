"""Models of polyphonic music: `rnn-music`, `gru-music`, `lstm-music`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, io, models
from nonet.cli.errors import UsageError
from nonet.cli.images import fingerprint, option_named
from nonet.cli.presets import SequencePreset
from nonet.cli.sequences import numbered, refuse
from nonet.cli.tasks import Job, Options
from nonet.nn import Module, functional
from nonet.tensor import Tensor, as_tensor, no_grad
from nonet.train import Trainer
from nonet.train.log import to_json

_BATCH = 16
_AHEAD = 16  # frames ahead of a part of a piece
_FRAMES_PER_SECOND = 2  # of both sets: a quaver at 60 crotchets a minute


def prepare(preset: SequencePreset, options: Options, directory: str | None) -> Job:
    music = _load(options.data, directory)
    nonet.manual_seed(options.seed)
    model = models.build(preset.architecture, keys=data.KEYS, **preset.arguments[options.data])
    test = _loader(music.test, _BATCH)

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        return measure(trainer.model, test, music.train, trainer.engine.context)

    return Job(
        model.to(device=options.device),
        frame_loss,
        _loader(music.train, options.batch_size, options.seed, preset.block[options.data]),
        _loader(music.validation, _BATCH),
        [],
        fingerprint(*music.train),
        {},
        conclude,
        f"{sum(map(len, music.test))} test frames of {options.data}",
        inputs=2,
    )


def _load(name: str, directory: str | None) -> data.Music:
    assert directory is not None  # these are files; see set_name
    with option_named(directory):
        return data.load_music(name, directory)


def _loader(pieces: Any, batch_size: int, seed: int = 0, block: int | None = None) -> data.BucketLoader:
    """Batches (rolls, lengths, rolls, counts): for the model, and for the loss, where `counts` [B, T] is 1 for frames
    that count.

    With `block` pieces are cut into so many frames each, which makes more and cheaper steps of an epoch, and shuffled;
    the frames ahead of a part come along to give the network a state, and do not count.
    """
    rows = []
    for piece in pieces:
        for start in range(0, len(piece), block or len(piece)):
            part = piece[max(0, start - _AHEAD) : start + (block or len(piece))]
            counts = np.ones(len(part), np.float32)
            counts[: min(start, _AHEAD)] = 0
            rows.append((part, len(part), part, counts))
    lengths = [row[1] for row in rows]
    return data.BucketLoader(rows, lengths, batch_size, block is not None, seed=seed, pool=4)


def frame_loss(logits: Tensor, rolls: Tensor, counts: Tensor) -> Tensor:
    """Nats per frame: the sum over its keys, and the mean over the frames that count."""
    share = counts.reshape(*counts.shape, 1) / counts.sum()
    return functional.binary_cross_entropy_with_logits(logits, rolls, share, reduction="sum")


def measure(model: Module, loader: Any, train: Any, context: Any = nonet.no_grad) -> dict[str, Any]:
    """Nats per frame over all frames of all pieces; the floor takes each key's share in the training part."""
    share = np.concatenate(train).mean(axis=0, dtype=np.float64).clip(1e-6, 1 - 1e-6)
    nats = frames = floor = 0.0
    model.eval()
    with no_grad(), context():
        device = next(model.parameters()).device
        for rolls, lengths, _, counts in loader:
            x = as_tensor(rolls, device=device)
            loss = frame_loss(model(x, lengths), x, as_tensor(counts, device=device))
            count = float(counts.sum())
            nats += loss.item() * count
            frames += count
            keys = rolls[counts > 0]
            floor -= float((keys * np.log(share) + (1 - keys) * np.log(1 - share)).sum())
    return {"value": nats / frames, "loss": nats / frames, "floor": floor / frames}


def evaluate(
    args: argparse.Namespace, preset: SequencePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    music = _load(name, args.data_dir)
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    return {**measure(model, _loader(music.test, _BATCH), music.train), "samples": len(music.test)}


def describe(preset: SequencePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    return models.build(preset.architecture, keys=data.KEYS, **preset.arguments[name]), (64, data.KEYS)


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    return 64, data.KEYS


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    raise UsageError("a model of music predicts no files; `nonet generate` lets it play")


def generate(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """A piece as a MIDI file --out, of --length frames; or the keys of each frame on stdout."""
    refuse(args, "models of music", "top_k", "top_p", "repetition_penalty", "beam", "prompt", "input")
    model: Any = models.load_model(args.checkpoint)
    length = 64 if args.length is None else args.length
    temperature = 1.0 if args.temperature is None else args.temperature
    if temperature <= 0:
        raise UsageError(f"--temperature must be above 0 for models of music, got {temperature}")
    for index in range(args.count):
        roll = model.generate(length, temperature=temperature, seed=args.seed + index)
        # Key 0 is the lowest of a piano, MIDI's note 21.
        notes = [[int(key) + 21 for key in np.flatnonzero(frame)] for frame in roll]
        path = None
        if args.out is not None:
            path = numbered(args.out, index, args.count)
            io.write_midi(path, [set(frame) for frame in notes], _FRAMES_PER_SECOND)
        if args.json:
            print(to_json({"notes": notes, "out": path and str(path)}))
        elif path is not None:
            print(f"{path}: {length} frames")
        else:
            print("\n".join(" ".join(map(str, frame)) or "-" for frame in notes))
