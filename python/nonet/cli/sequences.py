"""What the tasks of sequences share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from nonet import data, io, models
from nonet.cli.errors import UsageError
from nonet.train.log import to_json


def metadata_field(metadata: Mapping[str, str], name: str, path: Any) -> Any:
    """What a checkpoint's metadata say under `name`. FileError that names the checkpoint `path` if nothing."""
    try:
        return json.loads(metadata[name])
    except (KeyError, ValueError) as error:
        raise io.FileError(
            f"{path}: expected a checkpoint with {name} in its metadata, found none"
        ) from error


def write_out(text: str, path: str | None) -> None:
    """Prints `text`, or writes it to a file."""
    if path is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        return
    io.write_text(Path(path), text)
    print(f"written to {path}", file=sys.stderr)


def refuse(args: Any, preset: str, *names: str) -> None:
    """UsageError if one of these options of `generate` is given."""
    for name in names:
        if getattr(args, name, None) is not None:
            raise UsageError(f"--{name.replace('_', '-')} has no meaning for {preset}")


# ---- generate
def prompts_of(args: Any, default: str | None = "\n") -> list[str]:
    """--prompt, or the lines of the file --input, or the default. UsageError for both, or without a default neither."""
    given = (args.prompt is not None) + (args.input is not None)
    if given == 2 or (given == 0 and default is None):
        raise UsageError("expected --prompt TEXT or --input FILE, a text per line")
    if args.input is not None:
        return data.read_lines(args.input)
    return [args.prompt if args.prompt is not None else cast(str, default)]


def sampling_of(args: Any, temperature: float = 1.0) -> models.Sampling:
    """How tokens are drawn by the options; temperature: if none is given."""
    return models.Sampling(
        temperature=temperature if args.temperature is None else args.temperature,
        top_k=args.top_k or 0,
        top_p=1.0 if args.top_p is None else args.top_p,
        repetition_penalty=1.0 if args.repetition_penalty is None else args.repetition_penalty,
    )


def write_texts(
    args: Any,
    encode: Callable[[str], np.ndarray],
    drawn: Callable[[np.ndarray, int], Iterator[int]],
    decode: Callable[[list[int]], str],
) -> None:
    """What follows every prompt, --count times, as it comes: decode(drawn(encode(prompt), seed))."""
    live = args.out is None and not args.json
    option = "--prompt" if args.input is None else "--input"
    begins: list[tuple[str, np.ndarray]] = []
    for prompt in prompts_of(args):
        try:
            begins.append((prompt, encode(prompt)))
        except data.DataError as error:
            raise UsageError(f"{option}: {error}") from error
        if len(begins[-1][1]) == 0:
            raise UsageError(f"{option}: expected a text, found an empty one")
    places = [(*begin, index) for begin in begins for index in range(args.count)]
    for number, (prompt, start, index) in enumerate(places):
        if live:
            sys.stdout.write(prompt)
        codes: list[int] = []
        text = shown = ""
        for code in drawn(start, args.seed + index):
            codes.append(code)
            text = decode(codes)
            # A character may take several codes.
            if live and text.startswith(shown) and not text.endswith("\ufffd"):
                sys.stdout.write(text[len(shown) :])
                sys.stdout.flush()
                shown = text
        if live:
            sys.stdout.write(text[len(shown) :] + "\n")
        path = None if args.out is None else numbered(args.out, number, len(places))
        if path is not None:
            io.write_text(path, prompt + text)
        if args.json:
            print(to_json({"prompt": prompt, "text": text, "out": path and str(path)}))
        elif path is not None:
            print(path)


def write_answers(args: Any, lines: Sequence[str], answers: Sequence[str], name: str) -> None:
    """An answer per line, on stdout or in the file --out; `name` is theirs in JSON."""
    whole = "\n".join(answers) + "\n"
    if not args.json:
        write_out(whole, args.out)
        return
    if args.out is not None:
        io.write_text(Path(args.out), whole)
    for line, answer in zip(lines, answers, strict=True):
        print(to_json({"source": line, name: answer, "out": args.out}))


def numbered(out: str, index: int, count: int) -> Path:
    """`out`, or with a number behind its name if there are several."""
    path = Path(out)
    return path if count == 1 else path.with_name(f"{path.stem}-{index + 1}{path.suffix}")
