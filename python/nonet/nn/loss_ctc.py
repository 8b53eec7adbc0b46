"""The loss of connectionist temporal classification, as a layer."""

from __future__ import annotations

from nonet.nn.loss import Loss
from nonet.ops import ctc
from nonet.tensor import Tensor, TensorLike

__all__ = ["CTCLoss"]


class CTCLoss(Loss):
    """-log of the probability that a sequence of classes, without repetitions and blanks, is the target.

    Mean divides each loss by its number of labels and then by the batch size.
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False):
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self,
        log_probs: TensorLike,
        targets: TensorLike,
        input_lengths: ctc.Lengths,
        target_lengths: ctc.Lengths,
    ) -> Tensor:
        return ctc.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
        )
