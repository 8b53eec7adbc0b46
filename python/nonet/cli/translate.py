"""Translation: `lstm-translate`, `transformer-translate`, `t5`.

Any model will do that is made of `source_vocabulary` and `target_vocabulary`, maps (source [B, S], target [B, T]) to
logits [B, T, target_vocabulary] and has a method `generate` (see `models.Translator`); one with a method `translate`
(see `models.Seq2Seq`) is given the sources' lengths too. `models.T5` has one vocabulary for both languages.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import data, io, models
from nonet.cli.images import fingerprint, option_named
from nonet.cli.presets import SequencePreset
from nonet.cli.sequences import metadata_field, prompts_of, refuse, write_answers
from nonet.cli.tasks import Job, Options
from nonet.nn import Module, functional
from nonet.tensor import Tensor, as_tensor, no_grad
from nonet.train import Trainer, corpus_bleu
from nonet.train.log import to_json

_BATCH = 50
_LONGEST = 60  # words of a translation
_WORDS = 8000  # so that a model can be described without its data


class Words:
    """Texts to codes and back. Written into checkpoints as the metadata "words"."""

    def __init__(self, characters: bool, source: data.WordVocab, target: data.WordVocab) -> None:
        self.characters, self.source, self.target = characters, source, target

    @classmethod
    def of(cls, pairs: data.Pairs, least: int, shared: bool = False) -> Words:
        """shared: one vocabulary for both languages."""

        def tokens(side: int) -> list[list[str]]:
            return [_tokens(row[side], pairs.characters and side == 0) for row in pairs.train]

        if shared:
            both = data.WordVocab.from_texts([*tokens(0), *tokens(1)], least)
            return cls(pairs.characters, both, both)
        return cls(pairs.characters, *(data.WordVocab.from_texts(tokens(side), least) for side in (0, 1)))

    def encode(self, text: str) -> np.ndarray:
        """The codes of a source, with those for begin and end."""
        return self.source.encode(_tokens(text, self.characters), ends=True)

    def encode_target(self, text: str) -> np.ndarray:
        return self.target.encode(_tokens(text, False), ends=True)

    def decode(self, codes: Sequence[int]) -> str:
        return data.sentence(self.target.decode(codes))

    def metadata(self) -> dict[str, str]:
        fields = {
            "characters": self.characters,
            "source": self.source.tokens[4:],
            "target": self.target.tokens[4:],
        }
        return {"words": json.dumps(fields, ensure_ascii=False)}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], path: Any) -> Words:
        fields = metadata_field(metadata, "words", path)
        special = data.WordVocab.special
        try:
            sides = [data.WordVocab([*special, *fields[side]]) for side in ("source", "target")]
            return cls(fields["characters"], *sides)
        except (KeyError, TypeError, ValueError) as error:
            raise io.FileError(
                f"{path}: expected a checkpoint of a translator, found other metadata"
            ) from error


def _tokens(text: str, characters: bool) -> list[str]:
    return list(text.strip()) if characters else data.words(text.lower())


def _model(preset: SequencePreset, name: str, source: int, target: int) -> Module:
    """A new one, for vocabularies of these sizes."""
    if preset.architecture == "T5":
        vocab = data.WordVocab
        codes = {"padding": vocab.pad, "start": vocab.begin, "end": vocab.end}
        return models.build("T5", vocabulary=source, **codes, **preset.arguments[name])
    sizes = {"source_vocabulary": source, "target_vocabulary": target}
    return models.build(preset.architecture, **sizes, **preset.arguments[name])


def _told_lengths(model: Any) -> bool:
    return hasattr(model, "translate")


def _most(model: Any) -> int | None:
    """Words of a sentence, with begin and end, that a model can read."""
    return model.arguments.get("positions")


def prepare(preset: SequencePreset, options: Options, directory: str | None) -> Job:
    pairs = _load(options.data, directory)
    words = Words.of(pairs, preset.least[options.data], preset.architecture == "T5")
    nonet.manual_seed(options.seed)
    model = _model(preset, options.data, len(words.source), len(words.target))

    def conclude(trainer: Trainer, out: Path) -> dict[str, Any]:
        found = measure(trainer.model, pairs, words, preset.beam, trainer.engine.context)
        lines = [f"{s}\t{t}\t{h}" for (s, t), h in zip(pairs.test, found.pop("texts"), strict=True)]
        io.write_text(out / "translations.tsv", "\n".join(lines) + "\n")
        return {**found, "translations": str(out / "translations.tsv")}

    return Job(
        model.to(device=options.device),
        lambda logits, target: word_loss(logits, target, preset.smoothing),
        _loader(model, pairs.train, words, options.batch_size, options.seed, True),
        _loader(model, pairs.validation, words, _BATCH),
        [],
        fingerprint(*(np.frombuffer(f"{s}\t{t}".encode(), np.uint8) for s, t in pairs.train)),
        words.metadata(),
        conclude,
        f"{len(pairs.test)} test sentences of {options.data}",
        inputs=3 if _told_lengths(model) else 2,
    )


def _load(name: str, directory: str | None) -> data.Pairs:
    with option_named(directory):
        return data.load_pairs(name, directory)


def _loader(
    model: Module,
    rows: Sequence[tuple[str, str]],
    words: Words,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = False,
) -> data.BucketLoader:
    """Batches (source, lengths for some models, target up to its last word, target from its first word on)."""
    told, most = _told_lengths(model), _most(model)
    samples = []
    for source, target in rows:
        codes, written = words.encode(source)[:most], words.encode_target(target)[:most]
        samples.append((codes, *([len(codes)] if told else []), written[:-1], written[1:]))
    lengths = [1000 * len(sample[-1]) + len(sample[0]) for sample in samples]
    return data.BucketLoader(samples, lengths, batch_size, shuffle, seed=seed)


def word_loss(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Nats per word, padding not counted."""
    flat = logits.reshape(-1, logits.shape[2])
    pad = data.WordVocab.pad
    return functional.cross_entropy(flat, target.reshape(-1), ignore_index=pad, label_smoothing=smoothing)


def translations(
    model: Any,
    words: Words,
    texts: Sequence[str],
    beam: int,
    longest: int = _LONGEST,
    context: Any = nonet.no_grad,
) -> list[str]:
    """The translation of each text, about equally long ones together."""
    codes = [words.encode(text)[: _most(model)] for text in texts]
    order = sorted(range(len(codes)), key=lambda i: len(codes[i]))
    out = [""] * len(codes)
    device = next(model.parameters()).device
    model.eval()
    with no_grad(), context():
        for start in range(0, len(order), _BATCH):
            part = order[start : start + _BATCH]
            source, lengths = data.pad_batch([(codes[i], len(codes[i])) for i in part])
            given = as_tensor(source, device=device)
            if _told_lengths(model):
                found = model.translate(given, lengths, beam=beam, longest=longest)
            else:
                found = model.generate(given, longest, beam)
            for i, written in zip(part, found, strict=True):
                out[i] = words.decode(written)
    return out


def measure(
    model: Any, pairs: data.Pairs, words: Words, beam: int, context: Any = nonet.no_grad
) -> dict[str, Any]:
    """BLEU of the test part, in the lower case that the models write, and the loss per word."""
    model.eval()
    total = count = 0.0
    device = next(model.parameters()).device
    with no_grad(), context():
        for *inputs, target in _loader(model, pairs.test, words, _BATCH):
            logits = model(*(as_tensor(x, device=device) for x in inputs))
            real = np.count_nonzero(target)
            total += word_loss(logits, as_tensor(target, device=device)).item() * real
            count += real
    texts = translations(model, words, [source for source, _ in pairs.test], beam, context=context)
    bleu = corpus_bleu(texts, [target for _, target in pairs.test])
    return {"value": bleu, "loss": total / count, "texts": texts}


def evaluate(
    args: argparse.Namespace, preset: SequencePreset, metadata: dict[str, str], name: str
) -> dict[str, Any]:
    pairs = _load(name, args.data_dir)
    words = Words.from_metadata(metadata, args.checkpoint)
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    found = measure(model, pairs, words, preset.beam)
    found.pop("texts")
    return {**found, "samples": len(pairs.test)}


def describe(preset: SequencePreset, name: str) -> tuple[Module, tuple[int, ...]]:
    return _model(preset, name, _WORDS, _WORDS), (20,)


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    Words.from_metadata(metadata, path)
    return (20,)


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """The translation of every line of the files."""
    lines = [(name, line) for name in args.files for line in data.read_lines(name)]
    words = Words.from_metadata(metadata, args.checkpoint)
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    found = translations(model, words, [line for _, line in lines], 5)
    for (name, line), text in zip(lines, found, strict=True):
        if args.json:
            print(to_json({"file": name, "source": line, "translation": text}))
        else:
            print(text)


def generate(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """The translation of --prompt, or of every line of the file --input."""
    refuse(args, "translators", "temperature", "top_k", "top_p", "repetition_penalty")
    lines = prompts_of(args, None)
    words = Words.from_metadata(metadata, args.checkpoint)
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    found = translations(model, words, lines, args.beam or 5, args.length or _LONGEST)
    write_answers(args, lines, found, "translation")
