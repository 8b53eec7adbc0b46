"""Metrics: summed up over the batches of an evaluation, on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np


class Metric(Protocol):
    """What the trainer asks of a metric."""

    name: str
    higher_is_better: bool

    def reset(self) -> None:
        """Forgets all batches."""

    def update(self, output: np.ndarray, *targets: np.ndarray) -> None:
        """Takes in the model's output for one batch and the batch's targets."""

    def value(self) -> float:
        """The metric over all batches since `reset`; NaN without any."""
        ...


class Accuracy:
    """Share of samples whose largest logit [N, classes] is that of their label [N]; of equal ones the first counts."""

    name = "accuracy"
    higher_is_better = True

    def __init__(self) -> None:
        self.right = 0
        self.seen = 0

    def reset(self) -> None:
        self.right = self.seen = 0

    def update(self, output: np.ndarray, *targets: np.ndarray) -> None:
        labels: Any = targets[0]
        self.right += int(np.count_nonzero(np.argmax(output, axis=1) == labels))
        self.seen += len(labels)

    def value(self) -> float:
        return self.right / self.seen if self.seen else float("nan")


class Nats:
    """Mean negative log-probability of targets [...] under logits [..., classes]; those of `ignored` count not."""

    higher_is_better = False

    def __init__(self, name: str = "nats", ignored: int = -100) -> None:
        self.name, self.ignored = name, ignored
        self.reset()

    def reset(self) -> None:
        self.total, self.seen = 0.0, 0

    def update(self, output: np.ndarray, *targets: np.ndarray) -> None:
        wanted = np.asarray(targets[0]).reshape(-1)
        kept = wanted != self.ignored
        logits = np.asarray(output).reshape(len(wanted), -1)[kept].astype(np.float32)
        most = logits.max(axis=1, initial=-np.inf)
        sums = np.exp(logits - most[:, None]).sum(axis=1, dtype=np.float64)
        right = logits[np.arange(len(logits)), wanted[kept]]
        self.total += float((np.log(sums) + most - right).sum(dtype=np.float64))
        self.seen += len(logits)

    def value(self) -> float:
        return self.total / self.seen if self.seen else float("nan")


class MeanIoU:
    """Mean over the classes of intersection over union of predicted and true pixels, over all pixels of all batches.

    Outputs are logits [N, classes, H, W], targets classes [N, H, W], of which `ignored` counts for nothing. A class
    that is neither predicted nor there is left out of the mean.
    """

    name = "mean_iou"
    higher_is_better = True

    def __init__(self, classes: int, ignored: int = 255) -> None:
        self.classes, self.ignored = classes, ignored
        self.reset()

    def reset(self) -> None:
        self.counts = np.zeros((self.classes, self.classes), np.int64)  # [true class, predicted class]

    def update(self, output: np.ndarray, *targets: np.ndarray) -> None:
        self.update_classes(np.argmax(output, axis=1), targets[0])

    def update_classes(self, predicted: np.ndarray, mask: np.ndarray) -> None:
        """Takes in predicted and true classes of the same shape."""
        seen = mask != self.ignored
        pairs = mask[seen].astype(np.int64) * self.classes + predicted[seen]
        self.counts += np.bincount(pairs, minlength=self.classes**2).reshape(self.counts.shape)

    def per_class(self) -> list[float]:
        """Intersection over union of every class; NaN for one that is neither predicted nor there."""
        both = np.diag(self.counts)
        either = self.counts.sum(axis=0) + self.counts.sum(axis=1) - both
        return [float(b / e) if e else float("nan") for b, e in zip(both, either, strict=True)]

    def value(self) -> float:
        known = [iou for iou in self.per_class() if iou == iou]
        return float(np.mean(known)) if known else float("nan")


class AveragePrecision:
    """Average precision of detected boxes at an IoU of at least `iou`, the area under precision over recall at all
    points, averaged over the classes that are there (Everingham et al., "The Pascal visual object classes challenge",
    2010, in its form since that year).

    `decode` makes, of the model's output for a batch, per image boxes [M, 6] (left, top, right, bottom, class, score).
    Targets are boxes [N, M, 5] with a class below 0 where there is none. Detections in the order of their scores take
    the true box of their class that they overlap most, once.
    """

    higher_is_better = True

    def __init__(self, decode: Callable[[np.ndarray], Sequence[np.ndarray]], iou: float = 0.5) -> None:
        self.decode, self.iou = decode, iou
        self.name = f"ap{round(100 * iou)}"
        self.reset()

    def reset(self) -> None:
        self.found: list[tuple[float, int, bool]] = []  # score, class, right
        self.there: dict[int, int] = {}  # boxes of each class

    def update(self, output: np.ndarray, *targets: np.ndarray) -> None:
        for detected, true in zip(self.decode(output), targets[0], strict=True):
            self.update_boxes(detected, true[true[:, 4] >= 0])

    def update_boxes(self, detected: np.ndarray, true: np.ndarray) -> None:
        """Takes in the detections [M, 6] and the boxes [K, 5] of one image."""
        for label in true[:, 4]:
            self.there[int(label)] = self.there.get(int(label), 0) + 1
        overlap = box_iou(detected[:, :4], true[:, :4])
        overlap[detected[:, 4][:, None] != true[:, 4]] = 0
        taken = np.zeros(len(true), bool)
        for i in np.argsort(-detected[:, 5], kind="stable"):
            best = int(np.argmax(overlap[i])) if len(true) else -1
            right = best >= 0 and overlap[i, best] >= self.iou and not taken[best]
            if right:
                taken[best] = True
            self.found.append((float(detected[i, 5]), int(detected[i, 4]), bool(right)))

    def value(self) -> float:
        areas = [self._area(label, count) for label, count in self.there.items()]
        return float(np.mean(areas)) if areas else float("nan")

    def _area(self, label: int, count: int) -> float:
        rows = sorted((row for row in self.found if row[1] == label), key=lambda row: -row[0])
        right = np.cumsum([row[2] for row in rows])
        recall = np.concatenate([[0.0], right / count])
        precision = np.concatenate([right / np.arange(1, len(rows) + 1), [0.0]])
        # The best precision at this recall or any higher one.
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        return float(np.sum(np.diff(recall) * precision[: len(rows)]))


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union [N, M] of boxes [N, 4] and [M, 4] (left, top, right, bottom); 0 where both are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1) for boxes in (a, b)]
    either = areas[0][:, None] + areas[1] - both
    return both / np.where(either > 0, either, 1)


def edit_distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many items must be put in, taken out or replaced to turn `a` into `b` (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (left != right))
    return row[-1]
