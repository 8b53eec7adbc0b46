"""VGG networks with 11 to 19 layers, under torchvision's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from nonet import nn
from nonet.io.atomic import PathLike
from nonet.models.weights import load_weights
from nonet.tensor import Tensor, TensorLike

Layers: TypeAlias = "Sequence[int | str]"

# Channels of 3x3 convolutions, and "M" for 2x2 max-pooling: columns A, B, D and E of the paper's table 1.
CONFIGURATIONS: dict[str, list[int | str]] = {
    "vgg11": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "vgg13": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "vgg16": [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"],
    "vgg19": [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"],
}


class VGG(nn.Module):
    """VGG: images [N, 3, H, W] of at least 32 x 32, usually 224 x 224, to logits [N, num_classes].

    features       the convolutional part, which puts out 512 channels, or its layers as in `CONFIGURATIONS`
    init_weights   He's normal initialisation of the convolutions, a normal one of deviation 0.01 of the linear layers
    batch_norm     normalisation behind every convolution, when `features` are layers

    Behind `features` an average over 7 x 7 fields, and three linear layers with dropout between them. Parameters
    `features.N` and `classifier.0`, `.3`, `.6`: torchvision's. ValueError for fewer than one class or unknown layers.

    Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015. Deviation:
    with other image sizes than 224 the fields are averaged, not the logits of many windows.
    """

    def __init__(
        self,
        features: nn.Module | Layers,
        num_classes: int = 1000,
        init_weights: bool = True,
        dropout: float = 0.5,
        batch_norm: bool = False,
    ) -> None:
        if num_classes < 1:
            raise ValueError(f"VGG: num_classes must be at least 1, got {num_classes}")
        self.arguments: dict[str, Any] | None = None  # unknown with features from outside
        if not isinstance(features, nn.Module):
            self.arguments = {
                "features": list(features),
                "num_classes": int(num_classes),
                "init_weights": bool(init_weights),
                "dropout": float(dropout),
                "batch_norm": bool(batch_norm),
            }
            features = make_layers(features, batch_norm)
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        if init_weights:
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                elif isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, 0, 0.01)
                if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: TensorLike) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def make_layers(cfg: Layers, batch_norm: bool = False) -> nn.Sequential:
    """3x3 convolutions with so many channels, each with ReLU and, before it, normalisation; "M": 2x2 max-pooling."""
    layers: list[nn.Module] = []
    channels = 3
    for entry in cfg:
        if entry == "M":
            layers.append(nn.MaxPool2d(2))
            continue
        if not isinstance(entry, int) or isinstance(entry, bool) or entry < 1:
            raise ValueError(f"VGG: layers must be numbers of channels or 'M', got {entry!r}")
        layers.append(nn.Conv2d(channels, entry, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(entry))
        layers.append(nn.ReLU())
        channels = entry
    return nn.Sequential(*layers)


def _vgg(name: str, batch_norm: bool, weights: PathLike | None, arguments: dict[str, Any]) -> VGG:
    model = VGG(CONFIGURATIONS[name], **{"init_weights": weights is None, **arguments}, batch_norm=batch_norm)
    return load_weights(model, weights)


# Arguments of all of them: num_classes, init_weights and dropout of `VGG`; weights: a file for `load_weights`.
def vgg11(*, weights: PathLike | None = None, **arguments: Any) -> VGG:
    return _vgg("vgg11", False, weights, arguments)


def vgg11_bn(*, weights: PathLike | None = None, **arguments: Any) -> VGG:
    return _vgg("vgg11", True, weights, arguments)


def vgg13(*, weights: PathLike | None = None, **arguments: Any) -> VGG:
    return _vgg("vgg13", False, weights, arguments)


def vgg13_bn(*, weights: PathLike | None = None, **arguments: Any) -> VGG:
    return _vgg("vgg13", True, weights, arguments)


def vgg16(*, weights: PathLike | None = None, **arguments: Any) -> VGG:
    return _vgg("vgg16", False, weights, arguments)


def vgg16_bn(*, weights: PathLike | None = None, **arguments: Any) -> VGG:
    return _vgg("vgg16", True, weights, arguments)


def vgg19(*, weights: PathLike | None = None, **arguments: Any) -> VGG:
    return _vgg("vgg19", False, weights, arguments)


def vgg19_bn(*, weights: PathLike | None = None, **arguments: Any) -> VGG:
    return _vgg("vgg19", True, weights, arguments)
