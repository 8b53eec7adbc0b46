"""`nonet generate CHECKPOINT`."""

from __future__ import annotations

import argparse
import os
from typing import Any

from nonet import io
from nonet.cli import pretrained
from nonet.cli.device import check_device
from nonet.cli.errors import OK, UsageError
from nonet.cli.evaluate import preset_of
from nonet.cli.tasks import task_named


def run(args: argparse.Namespace) -> int:
    check_device(args.device)
    if os.path.isdir(args.checkpoint):
        pretrained.generate(args)
        return OK
    metadata = io.load_metadata(args.checkpoint)
    preset = preset_of(metadata, args.checkpoint)
    task: Any = task_named(preset.task)
    if not hasattr(task, "generate"):
        raise UsageError(
            f"{args.checkpoint}: a model of {preset.name} makes nothing of its own; try `nonet predict`"
        )
    task.generate(args, metadata)
    return OK
