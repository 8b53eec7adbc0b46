"""`nonet eval CHECKPOINT`."""

from __future__ import annotations

import argparse
from typing import Any

from nonet import io
from nonet.cli.device import check_device
from nonet.cli.errors import OK
from nonet.cli.presets import PRESETS, Preset
from nonet.cli.tasks import set_name, task_named
from nonet.train.log import to_json


def run(args: argparse.Namespace) -> int:
    check_device(args.device)
    metadata = io.load_metadata(args.checkpoint)
    preset = preset_of(metadata, args.checkpoint)
    name = set_name(args.data, args.data_dir, preset, metadata.get("data", preset.sets[0]))
    measured = task_named(preset.task).evaluate(args, preset, metadata, name)
    record: dict[str, Any] = {
        "checkpoint": args.checkpoint,
        "preset": preset.name,
        "data": name,
        "metric": preset.metric,
        **measured,
    }
    if args.json:
        print(to_json(record))
    else:
        print(
            f"{preset.metric} {record['value']:.4f}, loss {record['loss']:.4f} on {record['samples']} samples of {name}"
        )
    return OK


def preset_of(metadata: dict[str, str], path: str) -> Preset:
    name = metadata.get("preset")
    if name not in PRESETS:
        raise io.FileError(f"{path}: expected a checkpoint of `nonet train`, found preset {name or 'none'}")
    return PRESETS[name]
