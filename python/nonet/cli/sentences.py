"""Classes of sentences: `bert-classify`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

import nonet
from nonet import data, io, models
from nonet.cli.classify import classes_of
from nonet.cli.images import fingerprint, option_named
from nonet.cli.masked import EXTRA, FIRST, tokens, vocab_of
from nonet.cli.presets import SequencePreset
from nonet.cli.sequences import metadata_field
from nonet.cli.tasks import Job, Options
from nonet.data import WordVocab
from nonet.nn import Module, functional
from nonet.tensor import as_tensor, no_grad
from nonet.train import Accuracy
from nonet.train.log import to_json

_BATCH = 100
_WORDS = 4000  # so that a model can be described without its data
_CLASSES = 6
# What is a checkpoint's that training begins with. Layers are not: the lowest of them will do for few sentences.
_SIZES = ("width", "heads", "inner", "activation", "eps", "window")


def prepare(preset: SequencePreset, options: Options, directory: str | None) -> Job:
    sets = _load(options.data, directory)
    block = positions = preset.block[options.data]
    sizes = dict(preset.arguments[options.data])
    if options.init is None:
        lines = [tokens(line) for line in sets.train[0]]
        vocab = WordVocab.from_texts(lines, preset.least[options.data], extra=EXTRA)
    else:  # the words that the checkpoint's model knows
        vocab = vocab_of(io.load_metadata(options.init), options.init)
        given = vars(models.load_model(options.init)).get("arguments", {})
        positions = given.get("positions", positions)
        block = min(block, positions)
        sizes |= {name: given[name] for name in _SIZES if name in given}
    nonet.manual_seed(options.seed)
    model: Any = models.build(
        preset.architecture,
        vocabulary=len(vocab),
        positions=positions,
        types=1,
        head="classify",
        classes=len(sets.classes),
        **sizes,
    )
    rows, labels = _encoded(sets.train[0], vocab, block), sets.train[1]
    numbers = data.ArrayDataset(np.arange(len(rows)), labels)
    try:
        train, validation = data.holdout(numbers, preset.validation, options.seed)
    except ValueError as error:
        raise data.DataError(
            f"{options.data}: expected more sentences, found {len(rows)}: {error}"
        ) from error

    def forgetful(rng: np.random.Generator, codes: np.ndarray, *rest: np.ndarray) -> data.Batch:
        lost = (codes >= FIRST) & (rng.random(codes.shape) < preset.unknown)
        return (np.where(lost, vocab.unknown, codes), *rest)

    def loader(part: data.ArrayDataset, batch_size: int, training: bool = False) -> data.BucketLoader:
        samples = [(rows[i], labels[i]) for i in part.inputs]
        lengths = [len(row) for row, _ in samples]
        transform = forgetful if training and preset.unknown else None
        return data.BucketLoader(
            samples, lengths, batch_size, training, seed=options.seed, transform=transform
        )

    def conclude(trainer: Any, out: Any) -> dict[str, Any]:
        return measure(trainer.model, vocab, sets.test, block, trainer.engine.context)

    return Job(
        model.to(device=options.device),
        functional.cross_entropy,
        loader(train, options.batch_size, True),
        loader(validation, _BATCH),
        [Accuracy()],
        fingerprint(*rows, labels),
        {
            "words": json.dumps(vocab.tokens[4:], ensure_ascii=False),
            "classes": json.dumps(sets.classes, ensure_ascii=False),
            "block": str(block),
        },
        conclude,
        f"{len(sets.test[0])} test sentences of {options.data}",
    )


def _load(name: str, directory: str | None) -> data.LabelledText:
    with option_named(directory):
        if directory is None:
            raise data.DataError(f"{name}: expected a directory with {data.LABELLED_FILES[name]}, got none")
        return data.load_labelled(name, directory)


def _encoded(lines: Sequence[str], vocab: WordVocab, block: int) -> list[np.ndarray]:
    return [vocab.encode(tokens(line)[: block - 2], ends=True) for line in lines]


def logits(model: Any, rows: Sequence[np.ndarray], classes: int, context: Any = nonet.no_grad) -> np.ndarray:
    """[N, classes]"""
    out = np.zeros((len(rows), classes), np.float32)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    device = next(model.parameters()).device
    model.eval()
    with no_grad(), context():
        for start in range(0, len(order), _BATCH):
            part = order[start : start + _BATCH]
            (ids,) = data.pad_batch([(rows[i],) for i in part])
            out[part] = np.asarray(model(as_tensor(ids, device=device)).float().cpu())
    return out


def measure(
    model: Any, vocab: WordVocab, test: Any, block: int, context: Any = nonet.no_grad
) -> dict[str, Any]:
    lines, labels = test
    found = logits(model, _encoded(lines, vocab, block), model.arguments["classes"], context)
    loss = functional.cross_entropy(as_tensor(found), as_tensor(labels)).item()
    return {"value": float((found.argmax(axis=1) == labels).mean()), "loss": loss}


def evaluate(
    args: argparse.Namespace, preset: SequencePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    sets = _load(name, args.data_dir)
    classes = classes_of(metadata, args.checkpoint)
    if list(sets.classes) != classes:
        raise data.DataError(
            f"{name}: expected the classes {', '.join(classes)}, found {', '.join(sets.classes)}"
        )
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    measured = measure(
        model,
        vocab_of(metadata, args.checkpoint),
        sets.test,
        int(metadata_field(metadata, "block", args.checkpoint)),
    )
    return {**measured, "samples": len(sets.test[0])}


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """The class of every line."""
    lines = [(name, line) for name in args.files for line in data.read_lines(name)]
    vocab, classes = vocab_of(metadata, args.checkpoint), classes_of(metadata, args.checkpoint)
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    rows = _encoded(
        [line for _, line in lines], vocab, int(metadata_field(metadata, "block", args.checkpoint))
    )
    shares = np.asarray(functional.softmax(as_tensor(logits(model, rows, len(classes))), dim=1))
    for (name, line), row in zip(lines, shares, strict=True):
        best = int(np.argmax(row))
        if args.json:
            record = {"file": name, "line": line, "class": classes[best], "probability": float(row[best])}
            print(to_json(record))
        else:
            print(classes[best], f"{row[best]:.4f}", line)


def describe(preset: SequencePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    block = preset.block[name]
    sizes = {"vocabulary": _WORDS, "positions": block, "types": 1, "head": "classify", "classes": _CLASSES}
    return models.build(preset.architecture, **sizes, **preset.arguments[name]), (block,)


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    vocab_of(metadata, path)
    return (int(metadata_field(metadata, "block", path)),)
