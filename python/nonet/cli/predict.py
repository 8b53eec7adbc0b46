"""`nonet predict CHECKPOINT FILE…`."""

from __future__ import annotations

import argparse

from nonet import io
from nonet.cli.device import check_device
from nonet.cli.errors import OK
from nonet.cli.presets import PRESETS
from nonet.cli.tasks import task_named


def run(args: argparse.Namespace) -> int:
    check_device(args.device)
    metadata = io.load_metadata(args.checkpoint)
    preset = PRESETS.get(metadata.get("preset", ""))
    # Converted checkpoints have no preset, but classify.
    task_named(preset.task if preset is not None else "classify").predict(args, metadata)
    return OK
