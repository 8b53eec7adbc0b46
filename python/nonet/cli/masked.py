"""Words that were hidden, from both sides: `bert-mlm`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, io, models
from nonet.cli.images import fingerprint
from nonet.cli.presets import SequencePreset
from nonet.cli.sequences import metadata_field
from nonet.cli.tasks import Job, Options
from nonet.cli.text import load
from nonet.data import WordVocab
from nonet.nn import Module
from nonet.tensor import as_tensor, no_grad
from nonet.train import Nats, Trainer
from nonet.train.log import to_json

_BATCH = 64
_WORDS = 8000  # so that a model can be described without its data
_SHARE = 0.15
EXTRA = ("<mask>",)  # tokens behind those of WordVocab
MASK = 4
FIRST = 5  # code of a word


def tokens(line: str) -> list[str]:
    return data.words(line.lower())


def sequences(text: str, vocab: WordVocab, block: int) -> np.ndarray:
    """[N, at most block] of codes: whole lines, with an end behind each, as many as fit behind a begin."""
    rows: list[list[int]] = [[vocab.begin]]
    for line in text.split("\n"):
        codes = vocab.encode(tokens(line))[: block - 2].tolist()
        if not codes:
            continue
        if len(rows[-1]) + len(codes) + 1 > block:
            rows.append([vocab.begin])
        rows[-1] += [*codes, vocab.end]
    (ids,) = data.pad_batch([(np.array(row, np.int64),) for row in rows])
    return ids


def hide(rng: np.random.Generator, ids: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(ids with 15 % of the words hidden, what they were, -100 elsewhere): 80 % of them as <mask>, 10 % as another
    word, 10 % as they are (Devlin et al. 2019)."""
    chosen = (ids >= FIRST) & (rng.random(ids.shape) < _SHARE)
    how = rng.random(ids.shape)
    out = np.where(chosen & (how < 0.8), MASK, ids)
    others = rng.integers(FIRST, max(size, FIRST + 1), ids.shape)
    out = np.where(chosen & (how >= 0.8) & (how < 0.9), others, out)
    return out, np.where(chosen, ids, -100)


def _batch(shown: np.ndarray, wanted: np.ndarray) -> data.Batch:
    """(ids, which count, types, places of hidden words, what they were): inputs of the model, and targets.

    Where no word is hidden, one that is shown is asked for.
    """
    places = np.flatnonzero(wanted != -100)
    if not len(places):
        places = np.flatnonzero(shown >= FIRST)[:1]
        wanted = np.where(shown >= FIRST, shown, wanted)
    return shown, shown != 0, np.zeros_like(shown), places, wanted.reshape(-1)[places]


def _loader(shown: np.ndarray, wanted: np.ndarray) -> data.DataLoader:
    return data.DataLoader((shown, wanted), _BATCH, transform=lambda rng, *fields: _batch(*fields))


def _hidden(ids: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The same words every time, to measure by. DataError if there are none."""
    shown, wanted = hide(np.random.default_rng(0), ids, size)
    if (wanted == -100).all():
        raise data.DataError(f"expected a longer text, found {len(ids)} sequences without a hidden word")
    return shown, wanted


def prepare(preset: SequencePreset, options: Options, directory: str | None) -> Job:
    corpus = load(options.data, directory)
    lines = [tokens(line) for line in corpus.train.split("\n")]
    vocab = WordVocab.from_texts(lines, preset.least[options.data], extra=EXTRA)
    block, size = preset.block[options.data], len(vocab)
    train, validation, test = (
        sequences(part, vocab, block) for part in (corpus.train, corpus.validation, corpus.test)
    )
    nonet.manual_seed(options.seed)
    model: Any = models.build(
        preset.architecture,
        vocabulary=size,
        positions=block,
        types=1,
        head="mlm",
        **preset.arguments[options.data],
    )

    def hidden(rng: np.random.Generator, ids: np.ndarray) -> data.Batch:
        return _batch(*hide(rng, ids, size))

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        return measure(trainer.model, train, test, size, trainer.engine.context)

    return Job(
        model.to(device=options.device),
        model.loss,
        data.DataLoader(train, options.batch_size, shuffle=True, seed=options.seed, transform=hidden),
        _loader(*_hidden(validation, size)),
        [Nats(preset.metric)],
        fingerprint(train),
        {"words": json.dumps(vocab.tokens[4:], ensure_ascii=False)},
        conclude,
        f"hidden words of the last {len(corpus.test)} characters of {options.data}",
        inputs=4,
    )


def measure(
    model: Any, train: np.ndarray, test: np.ndarray, size: int, context: Any = nonet.no_grad
) -> dict[str, Any]:
    """Nats per hidden word of the test part; the floor says how often words are there in the training part."""
    shown, wanted = _hidden(test, size)
    nats = Nats()
    device = next(model.parameters()).device
    model.eval()
    with no_grad(), context():
        for *inputs, targets in _loader(shown, wanted):
            logits = model(*(as_tensor(field, device=device) for field in inputs))
            nats.update(np.asarray(logits.float().cpu()), targets)
    value = nats.value()
    return {"value": value, "loss": value, "floor": unigram(train, wanted[wanted != -100], size)}


def unigram(train: np.ndarray, wanted: np.ndarray, size: int) -> float:
    """Nats per word by how often words are there in the training part, each once more."""
    counts = np.bincount(train.reshape(-1), minlength=size).astype(np.float64)
    counts[:FIRST] = 0
    counts[FIRST:] += 1
    return float(-np.log(counts[wanted] / counts.sum()).mean())


def vocab_of(metadata: dict[str, str], path: str) -> WordVocab:
    words = metadata_field(metadata, "words", path)
    try:
        vocab = WordVocab([*WordVocab.special, *words])
    except (TypeError, ValueError) as error:
        raise io.FileError(f"{path}: expected a checkpoint of a BERT, found other metadata") from error
    if vocab.tokens[4:FIRST] != EXTRA:
        raise io.FileError(f"{path}: expected a checkpoint of a BERT, found no code for hidden words")
    return vocab


def evaluate(
    args: argparse.Namespace, preset: SequencePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    vocab = vocab_of(metadata, args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    corpus = load(name, args.data_dir)
    train, test = (
        sequences(part, vocab, model.arguments["positions"]) for part in (corpus.train, corpus.test)
    )
    return {**measure(model, train, test, len(vocab)), "samples": len(test)}


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """The likeliest words in the places of every <mask> of a line."""
    lines = [(name, line) for name in args.files for line in data.read_lines(name)]
    vocab = vocab_of(metadata, args.checkpoint)
    model: Any = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    for name, line in lines:
        codes = [vocab.begin]
        for i, piece in enumerate(line.split(EXTRA[0])):
            codes += ([MASK] if i else []) + vocab.encode(tokens(piece)).tolist()
        codes = [*codes, vocab.end][: model.arguments["positions"]]
        with no_grad():
            logits = np.asarray(model(as_tensor(np.array([codes]), device=args.device or "cpu")).cpu())[0]
        logits[:, :FIRST] = -np.inf
        best = [
            vocab.tokens[int(np.argmax(row))] for row, code in zip(logits, codes, strict=True) if code == MASK
        ]
        print(to_json({"file": name, "line": line, "words": best}) if args.json else " ".join(best))


def describe(preset: SequencePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    block = preset.block[name]
    arguments = {"vocabulary": _WORDS, "positions": block, "types": 1, **preset.arguments[name]}
    return models.build(preset.architecture, **arguments), (block,)


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    vocab_of(metadata, path)
    return (vars(models.load_model(path))["arguments"]["positions"],)
