"""`nonet predict CHECKPOINT FILE…`."""

from __future__ import annotations

import argparse

from nonet.cli.device import check_device
from nonet.cli.errors import OK
from nonet.cli.tasks import task_of


def run(args: argparse.Namespace) -> int:
    check_device(args.device)
    task, metadata = task_of(args.checkpoint)
    task.predict(args, metadata)
    return OK
