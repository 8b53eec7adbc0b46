"""Whole networks for pictures of 224 x 224: a training step with 8 of them, inference of 1 and of 8, peak memory.

ResNet-50 and VGG-16 with 1000 classes, written once over both libraries (ResNet-18 for small pictures is among the
workloads of `models`). Checks and contestants are those of models.py, with fewer steps: one takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nonet.bench.models import names_of, run_workloads
from nonet.bench.report import Row
from nonet.bench.run import Options
from nonet.bench.workloads import Workload, cross_entropy, images

__all__ = ["WORKLOADS", "names", "run"]

MODES = ("train", "infer-1", "infer-8")
STEPS = 3
CLASSES = 1000


def _resnet50(lib: Any) -> Any:
    nn, F = lib.nn, lib.nn.functional

    def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> Any:
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)

    class Bottleneck(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            outputs = 4 * width
            self.conv1, self.norm1 = conv(inputs, width, 1), nn.BatchNorm2d(width)
            self.conv2, self.norm2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
            self.conv3, self.norm3 = conv(width, outputs, 1), nn.BatchNorm2d(outputs)
            same = stride == 1 and inputs == outputs
            skip = [] if same else [conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)]
            self.skip = nn.Sequential(*skip)

        def forward(self, x: Any) -> Any:
            y = F.relu(self.norm1(self.conv1(x)))
            y = F.relu(self.norm2(self.conv2(y)))
            return F.relu(self.norm3(self.conv3(y)) + self.skip(x))

    blocks = []
    inputs = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(count):
            blocks.append(Bottleneck(inputs, width, stride if i == 0 else 1))
            inputs = 4 * width
    return nn.Sequential(
        *(conv(3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        *blocks,
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, CLASSES)),
    )


def _vgg16(lib: Any) -> Any:
    nn = lib.nn
    layers = []
    inputs = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *layers,
        *(nn.Flatten(), nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()),
        nn.Linear(4096, CLASSES),
    )


_PICTURES = images(3, 224, 224, classes=CLASSES)

WORKLOADS = (
    Workload("resnet50", _resnet50, _PICTURES, cross_entropy, 8, certain=1),
    Workload("vgg16", _vgg16, _PICTURES, cross_entropy, 8, lr=1e-4, certain=1),
)


def names() -> list[str]:
    return names_of(WORKLOADS, MODES)


def run(options: Options) -> Iterator[list[Row]]:
    return run_workloads("networks", WORKLOADS, options, memory=True, modes=MODES, steps=STEPS)
