"""Texts from Hugging Face folders of GPT-2 and T5, by the tokenizer.json in them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from nonet import data, io, models
from nonet.cli.sequences import prompts_of, refuse, sampling_of, write_answers, write_texts
from nonet.tensor import as_tensor

_LENGTH = 200  # tokens


def generate(args: argparse.Namespace) -> None:
    """GPT-2: --length tokens behind every prompt, or up to the end of the text; T5: its answer to every prompt."""
    model = models.from_pretrained(args.checkpoint)
    if not isinstance(model, (models.GPT, models.T5)):
        raise io.FileError(f"{args.checkpoint}: expected a GPT-2 or T5, found a {type(model).__name__}")
    tokenizer = data.Tokenizer.from_file(args.checkpoint)
    model.to(device=args.device or "cpu")
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
