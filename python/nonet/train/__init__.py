"""Training: the loop, metrics, and the folder of a run."""

from __future__ import annotations

from nonet.train.bleu import corpus_bleu, tokenize_13a
from nonet.train.diagnose import NonFiniteError
from nonet.train.generative import nearest_neighbour_accuracy, parzen_log_likelihood, parzen_sigma
from nonet.train.metrics import Accuracy, AveragePrecision, MeanIoU, Metric, Nats, box_iou, edit_distance
from nonet.train.position import Result
from nonet.train.run import RunFolder, RunFolderError, load_state, save_state
from nonet.train.trainer import Trainer

__all__ = [
    "Accuracy",
    "AveragePrecision",
    "MeanIoU",
    "Metric",
    "Nats",
    "NonFiniteError",
    "Result",
    "RunFolder",
    "RunFolderError",
    "Trainer",
    "box_iou",
    "corpus_bleu",
    "edit_distance",
    "load_state",
    "nearest_neighbour_accuracy",
    "parzen_log_likelihood",
    "parzen_sigma",
    "save_state",
    "tokenize_13a",
]
