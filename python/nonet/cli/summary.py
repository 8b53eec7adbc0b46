"""`nonet summary PRESET|CHECKPOINT`."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from nonet import models
from nonet.cli.errors import OK, UsageError
from nonet.cli.presets import PRESETS
from nonet.cli.tasks import task_named, task_of
from nonet.nn import Module
from nonet.train.log import to_json


def run(args: argparse.Namespace) -> int:
    model, shape = _model_of(args.what, args.data)
    layers = models.summary(model, (1, *shape))
    # Not the sum over the layers: parameters may belong to a module that has children.
    parameters = sum(p.numel() for p in model.parameters())
    macs = sum(layer.macs for layer in layers)
    if args.json:
        print(
            to_json(
                {
                    "name": args.what,
                    "architecture": type(model).__name__,
                    "input": [1, *shape],
                    "layers": [asdict(layer) for layer in layers],
                    "parameters": parameters,
                    "macs": macs,
                }
            )
        )
        return OK
    rows = [("layer", "kind", "output", "parameters", "MACs")]
    rows += [(r.path, r.kind, str(list(r.output)), f"{r.parameters:,}", f"{r.macs:,}") for r in layers]
    rows.append(("total", type(model).__name__, "", f"{parameters:,}", f"{macs:,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    print(f"input {[1, *shape]}")
    for row in rows:
        left = "  ".join(text.ljust(width) for text, width in zip(row[:3], widths[:3], strict=True))
        right = "  ".join(text.rjust(width) for text, width in zip(row[3:], widths[3:], strict=True))
        print(f"{left}  {right}")
    return OK


def _model_of(what: str, name: str | None) -> tuple[Module, tuple[int, ...]]:
    """The model and the shape of one input."""
    if what not in PRESETS:
        if not what.endswith(".safetensors"):
            raise UsageError(f"expected a preset ({', '.join(PRESETS)}) or a .safetensors file, got {what!r}")
        if name is not None:
            raise UsageError(f"--data is for presets; {what} holds the set that it was trained on")
        task, metadata = task_of(what)
        shape = task.input_shape(metadata, what)
        return models.load_model(what), shape
    preset = PRESETS[what]
    name = name or preset.sets[0]
    if name not in preset.sets:
        raise UsageError(f"--data must be one of {', '.join(preset.sets)} for {preset.name}, got {name!r}")
    return task_named(preset.task).describe(preset, name)
