"""The command `nonet`. Each subcommand's file is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import nonet
from nonet.cli.errors import FAILED, OK, exit_code, sentence
from nonet.cli.presets import PRESETS


class _Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code: 0 ok, 1 failed, 2 usage or data, 3 NaN, 130 Ctrl-C.

    An error is one sentence on stderr; the environment variable NONET_TRACEBACK=1 shows where it came from.
    """
    if not sys.stderr:  # closed by whoever started us; print would take stdout instead
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  as long as the process
    code = _run(argv)
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails once more as it ends
        if not isinstance(error, BrokenPipeError):  # a broken pipe: whoever read our output has gone
            print(f"nonet: cannot write to stdout: {error.strerror}", file=sys.stderr)
        return FAILED
    return code


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = _parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        return importlib.import_module(args.module).run(args)
    except BrokenPipeError:
        return FAILED
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("NONET_TRACEBACK", "0") not in ("", "0"):
            traceback.print_exc()
        print(f"nonet {args.command}: {sentence(error)}", file=sys.stderr)
        return exit_code(error)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="nonet", description="Neural networks on their own kernels.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"nonet {nonet.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    tour = _add(commands, "tour", "train all nine model types for seconds each, and write a page about them")
    tour.add_argument("--out", metavar="DIR", help="folder of the page and its pictures, default runs/tour")
    tour.add_argument("--seed", type=_seed, metavar="S", default=0, help="default 0")
    tour.add_argument("--only", metavar="LIST", help="some of the models, such as ann,gan")
    _add_train(_add(commands, "train", "train a preset"))
    evaluate = _add(commands, "eval", "the test metric of a checkpoint")
    evaluate.add_argument("checkpoint", metavar="CHECKPOINT")
    _add_data(evaluate, "the one trained on")
    _add_device(evaluate)
    predict = _add(
        commands,
        "predict",
        "what a model sees in files: classes, masks, boxes, forecasts, transcripts, translations",
    )
    predict.add_argument("checkpoint", metavar="CHECKPOINT")
    predict.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="images (.npy, idx, PGM, PPM; others with pillow), .csv, .txt, .wav",
    )
    _add_device(predict)
    predict.add_argument("--invert", action="store_true", help="the images are dark on a light ground")
    predict.add_argument("--out", metavar="DIR", help="write masks and pictures with boxes there")
    _add_generate(
        _add(
            commands,
            "generate",
            "what a model makes: text, music, a forecast with a plot, a translation, a grid of images",
        )
    )
    summary = _add(commands, "summary", "layers, shapes, parameters and multiply-accumulates")
    summary.add_argument("what", metavar="PRESET|CHECKPOINT", help=f"{', '.join(PRESETS)}, or a file")
    summary.add_argument("--data", metavar="NAME", help="the set that a preset is built for")
    convert = _add(
        commands, "convert", "a model of torchvision (a file) or Hugging Face (a folder) as a checkpoint"
    )
    convert.add_argument(
        "src", metavar="SRC", help=".pth, .safetensors, or the folder of a BERT, GPT-2 or T5"
    )
    convert.add_argument("dst", metavar="DST", help="a .safetensors file")
    convert.add_argument(
        "--arch", metavar="NAME", help="the architecture; default: told from names and shapes"
    )
    _add_bench(_add(commands, "bench", "measure this machine, nonet on it, and others beside it"))
    _add(commands, "info", "versions, instruction set, threads, CUDA")
    _add(commands, "doctor", "a self-test of every kernel family on this machine")
    return parser


def _add(commands: argparse._SubParsersAction[_Parser], name: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true", help="JSON on stdout, everything else on stderr")
    parser.set_defaults(module=f"nonet.cli.{_MODULES.get(name, name)}")
    return parser


_MODULES = {"eval": "evaluate"}


def _add_data(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--data", metavar="NAME", help=f"data set; default {default}")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="folder of the set's files; alone it selects that set"
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", metavar="D", help="cpu (default) or cuda")


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("preset", metavar="PRESET", choices=list(PRESETS), help=", ".join(PRESETS))
    _add_data(parser, "the preset's first, which needs no files where there is such a set")
    parser.add_argument("--epochs", type=_at_least_one, metavar="N")
    parser.add_argument("--steps", type=_at_least_one, metavar="N", help="end after N steps at the latest")
    parser.add_argument("--batch-size", type=_at_least_one, metavar="N")
    parser.add_argument("--lr", type=_positive, metavar="X", help="highest learning rate of the schedule")
    parser.add_argument("--seed", type=_seed, metavar="S", help="default 0")
    parser.add_argument("--precision", metavar="P", help="highest (default), high, medium, ieee")
    parser.add_argument("--autocast", metavar="DTYPE", help="bfloat16")
    _add_device(parser)
    parser.add_argument("--init", metavar="CHECKPOINT", help="begin with its parameters, where they fit")
    parser.add_argument("--out", metavar="DIR", help="folder of the run, default runs/PRESET")
    parser.add_argument("--resume", action="store_true", help="continue the run in the folder")
    parser.add_argument(
        "--checkpoint-every", type=_at_least_one, metavar="N", help="steps between checkpoints"
    )
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard's log too")


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="a .safetensors file, or a Hugging Face folder of a GPT-2 or T5",
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", help="what a text begins with, or what is to be translated"
    )
    parser.add_argument(
        "--input",
        metavar="FILE",
        help="rows to go on from, lines to translate, a prompt per line, or images",
    )
    parser.add_argument(
        "--length",
        type=_at_least_one,
        metavar="N",
        help="characters, words, tokens, frames, steps of a forecast or an interpolation",
    )
    parser.add_argument("--temperature", type=_not_negative, metavar="X", help="default 1; 0: the likeliest")
    parser.add_argument("--top-k", type=_at_least_one, metavar="K", help="draw from the K likeliest")
    parser.add_argument("--top-p", type=_share, metavar="P", help="draw from the likeliest that make up P")
    parser.add_argument(
        "--repetition-penalty", type=_positive, metavar="X", help="above 1: less of what has been written"
    )
    parser.add_argument("--beam", type=_at_least_one, metavar="N", help="width of the search, default 5")
    parser.add_argument("--seed", type=_seed, metavar="S", default=0, help="default 0")
    parser.add_argument("--count", type=_at_least_one, metavar="N", default=1, help="how many, default 1")
    parser.add_argument("--out", metavar="FILE", help="write there and not to stdout")
    _add_device(parser)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "families",
        metavar="FAMILY",
        nargs="*",
        help="matmul, conv, recurrent, attention, models, networks, language, mlp_step (default: all of them)",
    )
    parser.add_argument("--against", metavar="LIST", help="opponents: torch,numpy")
    parser.add_argument("--only", metavar="PATTERNS", help="cases, such as '64x*' or '*/linear/warm'")
    parser.add_argument("--precision", metavar="LIST", help="nonet's precisions, default all that it offers")
    parser.add_argument("--threads", type=_at_least_one, metavar="N", help="of every library")
    parser.add_argument(
        "--quick", action="store_true", help="few, short repetitions: a trial, no measurement"
    )
    parser.add_argument(
        "--patience", type=_at_least_one, metavar="N", help="times a disturbed block is timed, default 4"
    )
    parser.add_argument("--save", metavar="F", help="write the results to F (JSON)")
    parser.add_argument("--load", metavar="F", help="show a saved run instead of measuring")
    parser.add_argument("--markdown", action="store_true", help="tables as Markdown")
    parser.add_argument("--compare", metavar="F", help="ratios to a saved run of the same machine")
    parser.add_argument("--roofline", metavar="F.png", help="draw the roofs and a dot per case")


def _at_least_one(text: str) -> int:
    return _integer(text, 1, 2**63 - 1)


def _seed(text: str) -> int:
    return _integer(text, 0, 2**63 - 1)


def _integer(text: str, low: int, high: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        limit = f"at most {high}" if value > high else f"at least {low}"
        raise argparse.ArgumentTypeError(f"expected an integer of {limit}, got {text!r}")
    return value


def _not_negative(text: str) -> float:
    return 0.0 if text.strip() in ("0", "0.0") else _positive(text)


def _share(text: str) -> float:
    value = _positive(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"expected a number of at most 1, got {text!r}")
    return value


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


__all__ = ["OK", "main"]
