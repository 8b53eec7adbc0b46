"""Optimizers and learning-rate schedules under torch.optim's names."""

from __future__ import annotations

from nonet.optim import lr_scheduler
from nonet.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from nonet.optim.optimizer import Optimizer
from nonet.optim.sgd import SGD, Adadelta, Adagrad, RMSprop

__all__ = [
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "SGD",
    "lr_scheduler",
]
