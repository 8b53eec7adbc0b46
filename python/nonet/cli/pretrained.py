"""BERT, GPT-2 and T5 of Hugging Face: folders, and the checkpoints that `nonet convert` makes of them."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nonet import data, io, models
from nonet.cli.classify import classes_of
from nonet.cli.errors import UsageError
from nonet.cli.sequences import prompts_of, refuse, sampling_of, write_answers, write_texts
from nonet.nn import functional
from nonet.tensor import as_tensor, no_grad
from nonet.train.log import to_json

_LENGTH = 200  # tokens
_SHOWN = 512  # tokens that a T5 is described with
_MASK = "[MASK]"


def metadata_of(folder: str) -> dict[str, str]:
    """A folder's tokenizer, and the names of its classes. FileError for its config.json."""
    path = Path(folder) / "tokenizer.json"
    labels = models.read_config(folder).get("id2label") or {}
    metadata = {"tokenizer": path.read_text(encoding="utf-8")} if path.is_file() else {}
    if labels:
        metadata["classes"] = json.dumps([labels[key] for key in sorted(labels, key=int)], ensure_ascii=False)
    return metadata


def _tokenizer_of(metadata: dict[str, str], path: str) -> data.Tokenizer:
    if "tokenizer" not in metadata:
        raise io.FileError(f"{path}: expected a tokenizer (in a folder tokenizer.json), found none")
    return data.Tokenizer.from_json(metadata["tokenizer"])


def _model_of(path: str, device: str | None) -> Any:
    model = models.from_pretrained(path) if os.path.isdir(path) else models.load_model(path)
    return model.to(device=device or "cpu")


def generate(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """GPT-2: --length tokens behind every prompt, or up to the end of the text; T5: its answer to every prompt."""
    model = _model_of(args.checkpoint, args.device)
    if not isinstance(model, (models.GPT, models.T5)):
        raise io.FileError(f"{args.checkpoint}: expected a GPT-2 or T5, found a {type(model).__name__}")
    tokenizer = _tokenizer_of(metadata, args.checkpoint)
    if isinstance(model, models.T5):
        _answer(args, model, tokenizer)
    else:
        _continue(args, model, tokenizer)


def _continue(args: argparse.Namespace, model: models.GPT, tokenizer: data.Tokenizer) -> None:
    refuse(args, "language models", "beam")
    end = tokenizer.token("<|endoftext|>")
    how, length = sampling_of(args), args.length or _LENGTH

    def drawn(start: np.ndarray, seed: int) -> Iterator[int]:
        for (token,) in model.stream(start[None], length, how, seed, end):
            if token == end:
                return
            yield int(token)

    write_texts(args, tokenizer.encode, drawn, tokenizer.decode)


def _answer(args: argparse.Namespace, model: models.T5, tokenizer: data.Tokenizer) -> None:
    prompts = prompts_of(args, None)
    sampled = any(
        getattr(args, name) is not None for name in ("temperature", "top_k", "top_p", "repetition_penalty")
    )
    if sampled:
        refuse(args, "answers that are drawn", "beam")
    how = sampling_of(args, 0.0) if sampled else None
    end, answers = model.arguments["end"], []
    for prompt in prompts:
        ids = as_tensor(tokenizer.encode(prompt)[None], device=args.device or "cpu")
        (found,) = model.generate(ids, args.length or _LENGTH, args.beam or 1, sampling=how, seed=args.seed)
        ends = np.flatnonzero(found == end)
        answers.append(tokenizer.decode(found[: int(ends[0])] if len(ends) else found))
    write_answers(args, prompts, answers, "text")


def predict(args: argparse.Namespace, metadata: dict[str, str]) -> None:
    """BERT, for every line: the likeliest tokens in the places of [MASK], its class, or the tokens' classes."""
    lines = [(name, line) for name in args.files for line in data.read_lines(name)]
    model = _model_of(args.checkpoint, args.device)
    head = model.arguments["head"] if isinstance(model, models.BERT) else None
    if head is None:
        raise UsageError(
            f"{args.checkpoint}: expected a BERT that fills gaps or classifies, found another model"
        )
    tokenizer = _tokenizer_of(metadata, args.checkpoint)
    mask = tokenizer.token(_MASK)
    names = [] if head == "mlm" else classes_of(metadata, args.checkpoint)
    for name, line in lines:
        codes = tokenizer.encode(line)[: model.arguments["positions"]]
        with no_grad():
            ids = as_tensor(codes[None], device=args.device or "cpu")
            logits = np.asarray(model(ids).float().cpu())[0]
        record: dict[str, Any] = {"file": name, "line": line}
        if head == "mlm":
            record["tokens"] = [tokenizer.decode([row.argmax()]) for row in logits[codes == mask]]
        elif head == "classify":
            shares = np.asarray(functional.softmax(as_tensor(logits), dim=0))
            record |= {"class": names[int(shares.argmax())], "probability": float(shares.max())}
        else:
            record["tokens"] = [tokenizer.inner.id_to_token(int(code)) for code in codes]
            record["classes"] = [names[int(row.argmax())] for row in logits]
        print(to_json(record) if args.json else _said(record))


def _said(record: dict[str, Any]) -> str:
    if "class" in record:
        return f"{record['class']} {record['probability']:.4f} {record['line']}"
    if "classes" in record:
        return " ".join(f"{t}/{c}" for t, c in zip(record["tokens"], record["classes"], strict=True))
    return " ".join(record["tokens"])


def input_shape(metadata: dict[str, str], path: str) -> tuple[int, ...]:
    arguments = vars(models.load_model(path))["arguments"]
    return (arguments.get("positions", _SHOWN),)
