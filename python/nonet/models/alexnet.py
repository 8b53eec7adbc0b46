"""AlexNet, under torchvision's names."""

from __future__ import annotations

from typing import Any

from nonet import nn
from nonet.io.atomic import PathLike
from nonet.models.weights import load_weights
from nonet.tensor import Tensor, TensorLike


class AlexNet(nn.Module):
    """AlexNet: images [N, 3, H, W] of at least 63 x 63, usually 224 x 224, to logits [N, num_classes].

    Five convolutions with ReLU, three of them with max-pooling, an average over 6 x 6 fields, and three linear layers
    with dropout before the first two. Parameters `features.0`, `.3`, `.6`, `.8`, `.10` and `classifier.1`, `.4`, `.6`,
    each with `weight` and `bias`: torchvision's. ValueError for fewer than one class.

    Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, arXiv:1404.5997 (64, 192, 384,
    256 and 256 channels; the network of 2012 had two towers and local response normalisation).
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        if num_classes < 1:
            raise ValueError(f"AlexNet: num_classes must be at least 1, got {num_classes}")
        self.arguments: dict[str, Any] = {"num_classes": int(num_classes), "dropout": float(dropout)}
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: TensorLike) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def alexnet(*, weights: PathLike | None = None, num_classes: int = 1000, dropout: float = 0.5) -> AlexNet:
    """A new `AlexNet`, with the parameters of a file (see `load_weights`) if `weights` names one."""
    return load_weights(AlexNet(num_classes, dropout), weights)
