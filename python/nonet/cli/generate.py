"""`nonet generate CHECKPOINT`."""

from __future__ import annotations

import argparse

from nonet.cli.device import check_device
from nonet.cli.errors import OK, UsageError
from nonet.cli.evaluate import preset_of
from nonet.cli.tasks import task_of


def run(args: argparse.Namespace) -> int:
    check_device(args.device)
    task, metadata = task_of(args.checkpoint)
    if not hasattr(task, "generate"):
        preset = preset_of(metadata, args.checkpoint)
        raise UsageError(
            f"{args.checkpoint}: a model of {preset.name} makes nothing of its own; try `nonet predict`"
        )
    task.generate(args, metadata)
    return OK
