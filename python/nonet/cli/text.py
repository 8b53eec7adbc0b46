"""Language models of characters: `rnn-text`, `gru-text`, `lstm-text`, `gpt`.

Any model will do that maps codes [B, T] to logits [B, T, V] and has a method `stream`. One with an attribute `carried`
(see `models.LanguageModel`) reads the text in blocks that follow each other, and takes along what it remembers; others
(see `models.GPT`) are trained on blocks from anywhere, and measured on blocks that do not overlap.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, models
from nonet.cli.images import fingerprint, option_named
from nonet.cli.presets import SequencePreset
from nonet.cli.sequences import metadata_field, refuse, sampling_of, write_texts
from nonet.cli.tasks import Job, Options
from nonet.nn import Module, functional
from nonet.tensor import Tensor, as_tensor, no_grad
from nonet.train import Trainer
from nonet.train.log import to_json

_STREAMS = 32  # side by side, where a text is measured
_LENGTH = 500  # characters that are written
_VOCABULARY = 65  # so that a model can be described without its data


def prepare(preset: SequencePreset, options: Options, directory: str | None) -> Job:
    corpus = load(options.data, directory)
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
                _everywhere(train, block, options),
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


def load(name: str, directory: str | None) -> data.Corpus:
    with option_named(directory):
        return data.load_corpus(name, directory)


def _everywhere(codes: np.ndarray, block: int, options: Options) -> data.DataLoader:
    """Blocks, and the codes that follow theirs. An epoch has about as many as the text; where they begin is random."""
    places = np.arange(0, len(codes) - 2 * block, block)
    if len(places) == 0:
        raise ValueError(f"{len(codes)} codes are too few for a block of {block}")

    def cut(rng: np.random.Generator, places: np.ndarray) -> data.Batch:
        at = (places + rng.integers(0, block, len(places)))[:, None] + np.arange(block)
        return codes[at], codes[at + 1]

    return data.DataLoader(places, options.batch_size, True, seed=options.seed, transform=cut)


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
    corpus = load(name, args.data_dir)
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
    """--length characters behind every prompt, as they come; --count times."""
    refuse(args, "language models", "beam")
    vocab = vocabulary(metadata, args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    how, length = sampling_of(args), args.length or _LENGTH

    def drawn(start: np.ndarray, seed: int) -> Iterator[int]:
        if hasattr(model, "carried"):
            return islice(model.stream(start.tolist(), how, seed), length)
        return (int(token) for (token,) in model.stream(start[None], length, how, seed))

    if args.prompt is None and args.input is None and "\n" not in vocab.characters:
        args.prompt = vocab.characters[0]
    write_texts(args, vocab.encode, drawn, vocab.decode)
