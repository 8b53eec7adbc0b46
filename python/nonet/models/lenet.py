"""LeNet-5."""

from __future__ import annotations

from typing import Any

from nonet import nn


class LeNet5(nn.Sequential):
    """LeNet-5: grey images [N, 1, 28, 28] to logits [N, classes]; 61,706 parameters with 10 classes.

    Two 5x5 convolutions with 6 and 16 channels, each followed by ReLU and 2x2 max-pooling, then fully connected layers
    400-120-84-classes. The first convolution pads by 2, which is the paper's 32x32 input. Parameters: `conv1`, `conv2`,
    `fc1`, `fc2`, `fc3`, each with `weight` and `bias`.

    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86, 1998.
    Deviations, all usual today: ReLU for tanh, max-pooling for trained averages, full connections between the channels
    of the two convolutions, a linear layer for the RBF outputs. ValueError for fewer than one class.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        if classes < 1:
            raise ValueError(f"LeNet5: classes must be at least 1, got {classes}")
        self.arguments: dict[str, Any] = {"classes": int(classes)}
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, classes)
