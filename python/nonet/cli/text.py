"""Language models of characters: `rnn-text`, `gru-text`, `lstm-text`.

Any model will do that maps codes [B, T] to logits [B, T, V] and has a method `stream` (see `models.LanguageModel`). One
with an attribute `carried` reads the text in blocks that follow each other, and takes along what it remembers; others
are trained on blocks from anywhere, and measured on blocks that do not overlap.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import nonet
from nonet import data, io, models
from nonet.cli.errors import UsageError
from nonet.cli.images import fingerprint, option_named
from nonet.cli.music import numbered
from nonet.cli.presets import SequencePreset
from nonet.cli.sequences import metadata_field, refuse
from nonet.cli.tasks import Job, Options
from nonet.nn import Module, functional
from nonet.tensor import Tensor, as_tensor, no_grad
from nonet.train import Trainer
from nonet.train.log import to_json

_STREAMS = 32  # side by side, where a text is measured
_VOCABULARY = 65  # so that a model can be described without its data


def prepare(preset: SequencePreset, options: Options, directory: str | None) -> Job:
    corpus = _load(options.data, directory)
    vocab = corpus.vocab()
    train, validation = vocab.encode(corpus.train), vocab.encode(corpus.validation)
    block = preset.block[options.data]
    nonet.manual_seed(options.seed)
    model = models.build(preset.architecture, vocabulary=len(vocab), **preset.arguments[options.data])
    carries = hasattr(model, "carried")
    metadata = {"vocabulary": json.dumps(vocab.characters), "block": str(block)}

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        return measure(trainer.model, corpus, vocab, block, trainer.engine.context)

    try:
        if carries:
            loaders = (
                data.StreamLoader(train, options.batch_size, block, shuffle=True, seed=options.seed),
                data.StreamLoader(validation, max(1, min(_STREAMS, len(validation) // (4 * block))), block),
            )
        else:
            loaders = (
                data.DataLoader(_everywhere(train, block), options.batch_size, True, seed=options.seed),
                data.DataLoader(_side_by_side(validation, block), options.batch_size),
            )
    except ValueError as error:
        raise data.DataError(f"{options.data}: expected a longer text: {error}") from error
    return Job(
        model.to(device=options.device),
        code_loss,
        *loaders,
        [],
        fingerprint(train),
        metadata,
        conclude,
        f"last {len(corpus.test)} characters of {options.data}",
        inputs=2 if carries else 1,
    )


def _load(name: str, directory: str | None) -> data.Corpus:
    with option_named(directory):
        return data.load_corpus(name, directory)


def _everywhere(codes: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks from every place, and the codes that follow theirs; views."""
    return sliding_window_view(codes[:-1], block), sliding_window_view(codes[1:], block)


def _side_by_side(codes: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks that do not overlap, without a rest at the end."""
    count = (len(codes) - 1) // block
    if count < 1:
        raise ValueError(f"{len(codes)} codes are too few for a block of {block}")
    return codes[: count * block].reshape(count, block), codes[1 : count * block + 1].reshape(count, block)


def code_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Nats per code."""
    return functional.cross_entropy(logits.reshape(-1, logits.shape[2]), targets.reshape(-1))


def measure(
    model: Module, corpus: data.Corpus, vocab: data.CharVocab, block: int, context: Any = nonet.no_grad
) -> dict[str, Any]:
    """Nats per character of the test part; the floor is that of pairs of neighbours in what is before it."""
    known = vocab.encode(corpus.train + corpus.validation)
    test = vocab.encode(corpus.test)
    value = nats(model, np.concatenate([known[-1:], test]), block, context)
    return {"value": value, "loss": value, "floor": data.bigram_nats(known, test, len(vocab))}


def nats(model: Module, codes: np.ndarray, block: int, context: Any = nonet.no_grad) -> float:
    """Mean of -log p over all codes but the first, in blocks that do not overlap, each code read once.

    The codes are cut into as many streams as are read side by side. A model that carries a state reads a stream from
    its begin to its end; for others every block is a begin.
    """
    count = len(codes) - 1
    streams = min(_STREAMS, max(1, count // block))
    length = -(-count // streams)
    at = np.arange(streams)[:, None] * length + np.arange(length)
    counts = at < count
    at = np.minimum(at, count - 1)
    total, carries = 0.0, hasattr(model, "carried")
    model.eval()
    device = next(model.parameters()).device
    with no_grad(), context():
        for start in range(0, length, block):
            part = slice(start, start + block)
            inputs = as_tensor(codes[at[:, part]], device=device)
            new = np.full(streams, start == 0, np.float32)
            logits = model(inputs, as_tensor(new, device=device)) if carries else model(inputs)
            targets = as_tensor(codes[at[:, part] + 1].reshape(-1), device=device)
            losses = functional.cross_entropy(logits.reshape(-1, logits.shape[2]), targets, reduction="none")
            total += float(np.asarray(losses.cpu(), np.float64)[counts[:, part].reshape(-1)].sum())
    return total / count


def vocabulary(metadata: dict[str, str], path: str) -> data.CharVocab:
    return data.CharVocab(metadata_field(metadata, "vocabulary", path))


def evaluate(
    args: argparse.Namespace, preset: SequencePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    corpus = _load(name, args.data_dir)
    vocab = vocabulary(metadata, args.checkpoint)
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    block = int(metadata_field(metadata, "block", args.checkpoint))
    return {**measure(model, corpus, vocab, block), "samples": len(corpus.test)}


def describe(preset: SequencePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    model = models.build(preset.architecture, vocabulary=_VOCABULARY, **preset.arguments[name])
    return model, (preset.block[name],)


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    return (int(metadata_field(metadata, "block", path)),)


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """Nats per character of each file."""
    vocab = vocabulary(metadata, args.checkpoint)
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    block = int(metadata_field(metadata, "block", args.checkpoint))
    texts = [(name, data.read_text(name)) for name in args.files]
    for name, text in texts:
        codes = vocab.encode(text)
        if len(codes) < 2:
            raise data.DataError(f"{name}: expected at least 2 characters, found {len(codes)}")
        value = nats(model, codes, block)
        if args.json:
            print(to_json({"file": name, "nats_per_character": value, "characters": len(codes)}))
        else:
            print(name, f"{value:.4f} nats per character")


def generate(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """--length characters behind --prompt, as they come; --count times."""
    refuse(args, "language models", "beam", "input")
    vocab = vocabulary(metadata, args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    begin = "\n" if "\n" in vocab.characters else vocab.characters[0]
    prompt = begin if args.prompt is None else args.prompt
    try:
        codes = vocab.encode(prompt)
    except data.DataError as error:
        raise UsageError(f"--prompt: {error}") from error
    length = 500 if args.length is None else args.length
    live = args.out is None and not args.json
    for index in range(args.count):
        drawn = model.stream(
            codes.tolist(),
            models.Sampling(
                temperature=1.0 if args.temperature is None else args.temperature,
                top_k=args.top_k or 0,
                top_p=1.0 if args.top_p is None else args.top_p,
            ),
            seed=args.seed + index,
        )
        written = []
        if live:
            sys.stdout.write(prompt)
        for code in islice(drawn, length):
            written.append(vocab.characters[code])
            if live:
                sys.stdout.write(written[-1])
                sys.stdout.flush()
        if live:
            sys.stdout.write("\n")
        text = "".join(written)
        path = None if args.out is None else numbered(args.out, index, args.count)
        if path is not None:
            io.write_text(path, prompt + text)
        if args.json:
            print(to_json({"prompt": prompt, "text": text, "out": path and str(path)}))
        elif path is not None:
            print(path)
