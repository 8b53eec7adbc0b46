"""Residual networks with 18 to 152 layers, under torchvision's names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nonet import nn
from nonet.io.atomic import PathLike
from nonet.models.weights import load_weights
from nonet.nn import module as module_file
from nonet.nn.fusion import fused_steps
from nonet.tensor import Tensor, TensorLike, as_tensor

Norm = Callable[[int], nn.Module]


def _through(x: Tensor, *modules: nn.Module) -> Tensor:
    """The modules one after the other, neighbours in one pass where that is possible, as in `Sequential`."""
    steps = modules if module_file.observer is not None else fused_steps(modules)
    for step in steps:
        x = step(x)
    return x


def _joined(x: Tensor, shortcut: Tensor, norm: nn.Module, relu: nn.Module) -> Tensor:
    """relu(norm(x) + shortcut), in one pass if it is nonet's own normalisation."""
    own = type(norm) is nn.BatchNorm2d and "forward" not in vars(norm)
    if own and module_file.observer is None:
        return norm(x, "relu", shortcut)
    return relu(norm(x) + shortcut)


class BasicBlock(nn.Module):
    """relu(F(x) + shortcut(x)), F two 3x3 convolutions with normalisation: [N, inplanes, H, W] to [N, planes, H', W'].

    The first convolution has the stride; `downsample` is the shortcut where the shape changes. Figure 5, left, of the
    paper. ValueError for groups, a base_width other than 64, or a dilation.
    """

    expansion = 1
    fold_pairs = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Norm | None = None,
    ) -> None:
        if groups != 1 or base_width != 64 or dilation != 1:
            raise ValueError(
                "BasicBlock: groups, base_width and dilation must be 1, 64 and 1, "
                f"got {groups}, {base_width} and {dilation}"
            )
        norm = norm_layer or nn.BatchNorm2d
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = norm(planes)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = norm(planes)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(_through(x, self.conv1, self.bn1, self.relu))
        return _joined(out, x if self.downsample is None else self.downsample(x), self.bn2, self.relu)


class Bottleneck(nn.Module):
    """relu(F(x) + shortcut(x)), F 1x1, 3x3 and 1x1 convolutions: [N, inplanes, H, W] to [N, 4 planes, H', W'].

    Figure 5, right, of the paper. Deviation, torchvision's: the stride is in the 3x3 convolution, not in the first.
    """

    expansion = 4
    fold_pairs = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Norm | None = None,
    ) -> None:
        norm = norm_layer or nn.BatchNorm2d
        width = int(planes * (base_width / 64.0)) * groups
        self.conv1 = nn.Conv2d(inplanes, width, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(
            width, width, 3, stride=stride, padding=dilation, dilation=dilation, groups=groups, bias=False
        )
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, planes * self.expansion, 1, bias=False)
        self.bn3 = norm(planes * self.expansion)
        self.relu = nn.ReLU()
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out = _through(x, self.conv1, self.bn1, self.relu, self.conv2, self.bn2, self.relu)
        out = self.conv3(out)
        return _joined(out, x if self.downsample is None else self.downsample(x), self.bn3, self.relu)


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}


class ResNet(nn.Module):
    """Residual network: images [N, 3, H, W], usually 224 x 224, to logits [N, num_classes].

    block, layers                   BasicBlock or Bottleneck (or its name), and how many in each of the four stages
    zero_init_residual              the last normalisation of every block begins at 0: the block as the identity
    groups, width_per_group         of the 3x3 convolutions of bottlenecks (ResNeXt, wide networks)
    replace_stride_with_dilation    for each of the last three stages, dilation in place of its stride
    norm_layer                      makes a normalisation for so many channels; default BatchNorm2d
    cifar_stem                      for small images: the first convolution is 3x3 with stride 1, and no pooling follows

    Parameters `conv1`, `bn1`, `layer1` to `layer4` (numbered blocks) and `fc`: torchvision's, with either stem.
    ValueError for fewer than one class, other than four stages, an unknown block, and errors of the blocks.

    He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016; section 4.2 has the small stem.
    """

    fold_pairs = (("conv1", "bn1"),)

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck] | str,
        layers: Sequence[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        replace_stride_with_dilation: Sequence[bool] | None = None,
        norm_layer: Norm | None = None,
        *,
        cifar_stem: bool = False,
    ) -> None:
        if isinstance(block, str):
            if block not in BLOCKS:
                raise ValueError(f"ResNet: block must be one of {', '.join(BLOCKS)}, got {block!r}")
            block = BLOCKS[block]
        layers = [int(count) for count in layers]
        dilate = [False] * 3 if replace_stride_with_dilation is None else list(replace_stride_with_dilation)
        if num_classes < 1:
            raise ValueError(f"ResNet: num_classes must be at least 1, got {num_classes}")
        if len(layers) != 4 or min(layers) < 1:
            raise ValueError(f"ResNet: layers must be four numbers of at least 1, got {layers}")
        if len(dilate) != 3:
            raise ValueError(
                f"ResNet: replace_stride_with_dilation must be None or three flags, got {replace_stride_with_dilation}"
            )
        self.arguments: dict[str, Any] | None = None  # JSON has no word for a norm_layer or for other blocks
        if norm_layer is None and BLOCKS.get(block.__name__) is block:
            self.arguments = {
                "block": block.__name__,
                "layers": layers,
                "num_classes": int(num_classes),
                "zero_init_residual": bool(zero_init_residual),
                "groups": int(groups),
                "width_per_group": int(width_per_group),
                "replace_stride_with_dilation": [bool(flag) for flag in dilate],
                "cifar_stem": bool(cifar_stem),
            }
        self._norm: Norm = norm_layer or nn.BatchNorm2d
        self._inplanes, self._dilation, self._groups, self._width = 64, 1, groups, width_per_group
        if cifar_stem:
            self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = self._norm(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if cifar_stem else nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._stage(block, 64, layers[0], 1, False)
        self.layer2 = self._stage(block, 128, layers[1], 2, dilate[0])
        self.layer3 = self._stage(block, 256, layers[2], 2, dilate[1])
        self.layer4 = self._stage(block, 512, layers[3], 2, dilate[2])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, (BasicBlock, Bottleneck)):
                last: Any = module.bn2 if isinstance(module, BasicBlock) else module.bn3
                nn.init.zeros_(last.weight)

    def _stage(
        self, block: type[BasicBlock] | type[Bottleneck], planes: int, count: int, stride: int, dilate: bool
    ) -> nn.Sequential:
        """`count` blocks; the first has the stride, or else the stage before's dilation and the rest this one's."""
        before = self._dilation
        if dilate:
            self._dilation *= stride
            stride = 1
        out = planes * block.expansion
        shortcut = None
        if stride != 1 or self._inplanes != out:
            shortcut = nn.Sequential(
                nn.Conv2d(self._inplanes, out, 1, stride=stride, bias=False), self._norm(out)
            )
        shared = {"groups": self._groups, "base_width": self._width, "norm_layer": self._norm}
        blocks = [block(self._inplanes, planes, stride, shortcut, dilation=before, **shared)]
        self._inplanes = out
        blocks += [block(out, planes, dilation=self._dilation, **shared) for _ in range(1, count)]
        return nn.Sequential(*blocks)

    def forward(self, x: TensorLike) -> Tensor:
        out = self.maxpool(_through(as_tensor(x), self.conv1, self.bn1, self.relu))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return self.fc(self.avgpool(out).flatten(1))


# Arguments of all of them: those of `ResNet` behind block and layers; weights: a file for `load_weights`.
def resnet18(*, weights: PathLike | None = None, **arguments: Any) -> ResNet:
    return load_weights(ResNet(BasicBlock, [2, 2, 2, 2], **arguments), weights)


def resnet34(*, weights: PathLike | None = None, **arguments: Any) -> ResNet:
    return load_weights(ResNet(BasicBlock, [3, 4, 6, 3], **arguments), weights)


def resnet50(*, weights: PathLike | None = None, **arguments: Any) -> ResNet:
    return load_weights(ResNet(Bottleneck, [3, 4, 6, 3], **arguments), weights)


def resnet101(*, weights: PathLike | None = None, **arguments: Any) -> ResNet:
    return load_weights(ResNet(Bottleneck, [3, 4, 23, 3], **arguments), weights)


def resnet152(*, weights: PathLike | None = None, **arguments: Any) -> ResNet:
    return load_weights(ResNet(Bottleneck, [3, 8, 36, 3], **arguments), weights)
