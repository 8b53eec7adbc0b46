"""AdaptiveLogSoftmaxWithLoss: the last layer of a classifier of very many classes, of which most are rare."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from nonet.nn.container import ModuleList, Sequential
from nonet.nn.linear import Linear
from nonet.nn.module import Module
from nonet.ops.index import index_add, index_select
from nonet.ops.join import cat
from nonet.ops.loss_class import cross_entropy
from nonet.ops.reduce import argmax, mean
from nonet.ops.shape import narrow, reshape, unsqueeze
from nonet.ops.softmax import log_softmax
from nonet.ops.unary import neg
from nonet.tensor import DTypeLike, Tensor, TensorLike, as_tensor, no_grad

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class AdaptiveOutput(NamedTuple):
    """What AdaptiveLogSoftmaxWithLoss returns: log-probabilities of the targets, and the mean of their negatives."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-softmax over classes sorted by falling frequency, in clusters [0, c0), [c0, c1), … (Grave et al., Efficient
    softmax approximation for GPUs, 2017).

    `head` [in_features -> c0 + clusters] scores the frequent classes and each cluster as a whole; `tail`[i] scores the
    classes of cluster i within it, through in_features // div_value^(i + 1) features, and only for rows with a target
    there. log p(class) = log p(cluster) + log p(class | cluster). cutoffs: c0 < c1 < …, n_classes follows by itself.
    input [N, in_features] with class indices [N], or [in_features] with []. Errors: ValueError for cutoffs and shapes,
    TypeError for dtypes, IndexError for a class out of range.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        ends = [*cutoffs, n_classes]
        if len(ends) < 2 or any(int(c) != c for c in ends) or any(a >= b for a, b in pairwise([0, *ends])):
            raise ValueError(
                "AdaptiveLogSoftmaxWithLoss: cutoffs must be integers that rise strictly within "
                f"[1, n_classes - 1] = [1, {n_classes - 1}], got {list(cutoffs)}"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [int(c) for c in ends]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(ends) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, device, dtype)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(pairwise(self.cutoffs)):
            hidden = int(in_features // div_value ** (i + 1))
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, False, device, dtype),
                    Linear(hidden, high - low, False, device, dtype),
                )
            )

    def reset_parameters(self) -> None:
        self.head.reset_parameters()
        for project, score in self.tail:
            project.reset_parameters()
            score.reset_parameters()

    def forward(self, input: TensorLike, target: TensorLike) -> AdaptiveOutput:
        """(output, loss): the log-probability of each target, of the target's shape, and the mean of its negative."""
        x = as_tensor(input, device=self.head.weight.device)
        t = as_tensor(target, device=x.device)
        self._check(x, "adaptive_log_softmax", t.ndim + 1 if t.ndim < 2 else 2)
        if t.shape != x.shape[:-1]:
            raise ValueError(
                f"adaptive_log_softmax: target must have shape {list(x.shape[:-1])}, got {list(t.shape)}"
            )
        if t.dtype not in ("int64", "int32", "uint8"):
            raise TypeError(f"adaptive_log_softmax: target must hold class indices, got {t.dtype}")
        rows, classes = x if x.ndim == 2 else unsqueeze(x, 0), t.cpu().numpy().astype(np.int64).reshape(-1)
        outside = classes[(classes < 0) | (classes >= self.n_classes)]
        if outside.size:
            raise IndexError(
                f"adaptive_log_softmax: target must lie in [0, {self.n_classes}), got {outside[0]}"
            )
        cluster = np.searchsorted(self.cutoffs, classes, side="right") - 1  # -1: the frequent classes
        choice = np.where(cluster < 0, classes, self.shortlist_size + cluster)
        loss = cross_entropy(self.head(rows), choice, reduction="none")
        for i, tail in enumerate(self.tail):
            places = np.flatnonzero(cluster == i)
            if places.size:
                within = classes[places] - self.cutoffs[i]
                scores = tail(index_select(rows, 0, places))
                loss = index_add(loss, 0, places, cross_entropy(scores, within, reduction="none"))
        return AdaptiveOutput(reshape(neg(loss), t.shape), mean(loss))

    def log_prob(self, input: TensorLike) -> Tensor:
        """The log-probabilities of all classes: [N, in_features] -> [N, n_classes]."""
        x = as_tensor(input, device=self.head.weight.device)
        self._check(x, "log_prob", 2)
        return self._all_classes(x, self.head(x))

    def predict(self, input: TensorLike) -> Tensor:
        """The most probable class, argmax of log_prob: [N, in_features] -> int64 [N]."""
        x = as_tensor(input, device=self.head.weight.device)
        self._check(x, "predict", 2)
        with no_grad():
            head = self.head(x)
            best = argmax(head, 1).cpu().numpy().copy()
            # A frequent class that beats the clusters beats all of their classes.
            places = np.flatnonzero(best >= self.shortlist_size)
            if places.size:
                rows, scores = index_select(x, 0, places), index_select(head, 0, places)
                best[places] = argmax(self._all_classes(rows, scores), 1).cpu().numpy()
        return as_tensor(best, device=x.device)

    def _all_classes(self, x: Tensor, head: Tensor) -> Tensor:
        scores = log_softmax(head, 1)
        parts = [narrow(scores, 1, 0, self.shortlist_size)]
        for i, tail in enumerate(self.tail):
            parts.append(log_softmax(tail(x), 1) + narrow(scores, 1, self.shortlist_size + i, 1))
        return cat(parts, 1)

    def _check(self, x: Tensor, op: str, rank: int) -> None:
        if x.ndim != rank or x.shape[-1] != self.in_features:
            rows = "N, " if rank == 2 else ""
            raise ValueError(
                f"{op}: input must have shape [{rows}in_features] = [{rows}{self.in_features}], got {list(x.shape)}"
            )
