"""`nonet train PRESET`."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nonet
from nonet import io
from nonet.cli.device import check_device
from nonet.cli.errors import INTERRUPTED, OK, UsageError
from nonet.cli.presets import PRESETS, Preset
from nonet.cli.tasks import Job, Options, set_name, start_from, task_named
from nonet.optim.lr_scheduler import LambdaLR
from nonet.plot.results import curves
from nonet.train import NonFiniteError, RunFolder, Trainer
from nonet.train.log import JsonLog, to_json


def run(args: argparse.Namespace) -> int:
    preset = PRESETS[args.preset]
    _check_machine(args)
    out = Path("runs") / preset.name if args.out is None else Path(args.out)
    saved = _saved(out) if args.resume else {}
    directory = args.data_dir
    if directory is None and (args.data is None or args.data in preset.files):
        directory = saved.get("data_dir")
    options = _options(args, preset, directory, saved.get("options"))
    check_device(options.device)
    job = task_named(preset.task).prepare(preset, options, directory)
    if saved and saved["data_crc32"] != job.fingerprint:
        raise UsageError(
            f"--resume: the training data (CRC-32 {job.fingerprint}) are not those of the run in {out}"
        )
    if options.init is not None and not saved:
        start_from(job.model, options.init)
    private = {"data_crc32": job.fingerprint, "data_dir": directory and os.path.abspath(directory)}
    trainer = _trainer(args, preset, options, job, out, private)
    try:
        result = trainer.fit()
    except NonFiniteError as error:
        error.args = (f"{error}; {out / 'last.safetensors'} holds the last good state",)
        raise
    if result.interrupted:
        print(
            f"nonet train: stopped after step {result.steps}; {out} holds all of it, "
            "the same command with --resume continues",
            file=sys.stderr,
        )
        return INTERRUPTED
    _conclude(args, preset, options, job, trainer, result, out)
    return OK


def _trainer(
    args: argparse.Namespace,
    preset: Preset,
    options: Options,
    job: Job,
    out: Path,
    private: dict[str, Any],
) -> Trainer:
    moved = [list(job.model.parameters())] if job.players is None else job.players
    optimizers = [
        nonet.optim.AdamW(own, lr=options.lr, betas=preset.betas, weight_decay=preset.weight_decay)
        for own in moved
    ]
    lengths = [options.steps, options.epochs and options.epochs * len(job.train)]
    total = min(length for length in lengths if length is not None)

    def share(step: int) -> float:
        return 1.0 if preset.constant else warmup_cosine(step, total, preset.warmup)

    schedules = [LambdaLR(optimizer, share) for optimizer in optimizers]
    single = job.players is None
    folder = RunFolder(out, args.resume)
    if folder.moved is not None:
        print(f"nonet train: what was in {out} is now in {folder.moved}", file=sys.stderr)
    return Trainer(
        job.model,
        job.loss,
        optimizers[0] if single else optimizers,
        job.train,
        validation=job.validation,
        metrics=job.metrics,
        epochs=options.epochs,
        steps=options.steps,
        scheduler=schedules[0] if single else schedules,
        schedule="step",
        inputs=job.inputs,
        clip_norm=preset.clip_norm,
        weight_noise=preset.weight_noise.get(options.data, 0.0),
        averaging=preset.averaging.get(options.data, 0.0),
        keep=preset.keep,
        context=lambda: numerics(options),
        after_update=job.after_update,
        out=folder,
        checkpoint_every=args.checkpoint_every,
        metadata={
            "preset": preset.name,
            "data": options.data,
            "nonet": nonet.__version__,
            **job.metadata,
        },
        run_metadata={"run": json.dumps({"options": asdict(options), **private})},
        tensorboard=args.tensorboard,
    )


def _conclude(
    args: argparse.Namespace,
    preset: Preset,
    options: Options,
    job: Job,
    trainer: Trainer,
    result: Any,
    out: Path,
) -> None:
    """The test metric of the saved parameters, into the log and onto stdout."""
    measured = job.conclude(trainer, out)
    last = result.history[-1]
    validation = last.get(f"validation_{preset.metric}", last.get("validation_loss"))
    if preset.keep == "best" and result.best is not None:
        validation = result.best
    if validation is None:
        validation = measured.get("validation")
    checkpoint = out / "model.safetensors"
    record = {
        "preset": preset.name,
        "data": options.data,
        "metric": preset.metric,
        **measured,
        "validation": validation,
        "epochs": result.epochs,
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "samples_per_second": round(result.samples_per_second, 1),
        "params": sum(p.numel() for p in trainer.model.parameters()),
        "batch_size": options.batch_size,
        "lr": options.lr,
        "seed": options.seed,
        "threads": nonet.num_threads(),
        "checkpoint": str(checkpoint),
    }
    log = JsonLog(out / "log.jsonl", trainer.position.log_bytes)
    log.write({"event": "result", **record})
    log.close()
    _draw_curves(out)
    if args.json:
        print(to_json(record))
        return
    floor = f" (floor {record['floor']:.4f})" if "floor" in record else ""
    held = f", {validation:.4f} on the validation part" if validation is not None else ""
    print(
        f"{preset.metric} {record['value']:.4f}{floor} on the {job.tested}{held}, "
        f"after {result.epochs} epochs in {result.seconds:.1f} s"
    )
    if "picture" in record:
        print(f"a picture of it is {record['picture']}")
    print(f"saved in {checkpoint}")


def _draw_curves(out: Path) -> None:
    """The run's losses as a picture beside its log, if matplotlib is there."""
    with contextlib.suppress(io.MissingExtraError):
        curves(out / "curves.png", out / "log.jsonl")


def warmup_cosine(step: int, total: int, warmup: float) -> float:
    """Share of the highest learning rate before step `step` (from 0) of `total`.

    It rises linearly over the first `warmup` share of the steps and falls on half a cosine to 0 (Loshchilov, Hutter,
    "SGDR", 2017, eq. 5). A function of the step alone, so that a run may be resumed with another length.
    """
    rise = warmup * total
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / (total - rise))))


@contextlib.contextmanager
def numerics(options: Options) -> Iterator[None]:
    """Around every forward pass: how products are computed, and what activations are stored as."""
    with (
        nonet.set_matmul_precision(options.precision),
        nonet.autocast(options.autocast or "bfloat16", enabled=options.autocast is not None),
    ):
        yield


# ---- options
def _check_machine(args: argparse.Namespace) -> None:
    """Refuses what this version does not have, before anything is touched."""
    known = {
        "precision": ("highest", "high", "medium", "ieee"),
        "autocast": ("bfloat16",),
    }
    for name, names in known.items():
        value = getattr(args, name)
        if value is not None and value not in names:
            raise UsageError(f"--{name} must be one of {', '.join(names)}, got {value!r}")
    check_device(args.device)


def _saved(out: Path) -> dict[str, Any]:
    """What the run in `out` noted about itself; empty if it has no checkpoint yet."""
    path = out / "last.safetensors"
    if not os.path.exists(path):  # unlike Path.exists, never an OSError
        return {}
    try:
        run = json.loads(io.load_metadata(path)["run"])
        return {**run, "options": Options(**run["options"]), "data_crc32": run["data_crc32"]}
    except io.FileError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise io.FileError(f"{path}: expected a checkpoint of `nonet train`, found other metadata") from error


def _options(
    args: argparse.Namespace, preset: Preset, directory: str | None, saved: Options | None
) -> Options:
    """Options given, else those of the run to resume, else the preset's."""
    given = {
        name: getattr(args, name)
        for name in (
            *("epochs", "steps", "batch_size", "lr", "seed"),
            *("precision", "autocast", "device", "init"),
        )
    }
    default = preset.sets[0]
    name = set_name(args.data, directory, preset, saved.data if saved is not None else default)
    if saved is not None:
        _compare({"preset": preset.name, "data": name, **given}, saved)
        kept = {key: value for key, value in given.items() if value is not None}
        return Options(**{**asdict(saved), **kept})
    defaults: dict[str, Any] = {
        "epochs": preset.epochs.get(name),
        "steps": preset.steps.get(name),
        "batch_size": preset.batch_size[name],
        "lr": preset.rates.get(name, preset.lr),
        "seed": 0,
        "precision": "highest",
        "device": "cpu",
    }
    chosen: dict[str, Any] = {
        key: defaults.get(key) if value is None else value for key, value in given.items()
    }
    if given["steps"] is not None and given["epochs"] is None:
        chosen["epochs"] = None  # the steps alone decide
    if given["epochs"] is not None and given["steps"] is None:
        chosen["steps"] = None
    return Options(preset.name, name, **chosen)


def _compare(given: dict[str, Any], saved: Options) -> None:
    """A resumed run keeps its options; only its length may grow."""
    for name, value in given.items():
        old = getattr(saved, name)
        if value is None or value == old:
            continue
        if name in ("epochs", "steps") and old is not None and value > old:
            continue
        option = "PRESET" if name == "preset" else "--" + name.replace("_", "-")
        rule = " (it may grow)" if name in ("epochs", "steps") else ""
        raise UsageError(f"--resume: {option} is {value}, the run began with {old or 'none'}{rule}")
