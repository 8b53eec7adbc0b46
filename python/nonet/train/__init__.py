"""Training: the loop, metrics, and the folder of a run."""

from __future__ import annotations

from nonet.train.diagnose import NonFiniteError
from nonet.train.metrics import Accuracy, AveragePrecision, MeanIoU, Metric, box_iou
from nonet.train.position import Result
from nonet.train.run import RunFolder, RunFolderError, load_state, save_state
from nonet.train.trainer import Trainer

__all__ = [
    "Accuracy",
    "AveragePrecision",
    "MeanIoU",
    "Metric",
    "NonFiniteError",
    "Result",
    "RunFolder",
    "RunFolderError",
    "Trainer",
    "box_iou",
    "load_state",
    "save_state",
]
