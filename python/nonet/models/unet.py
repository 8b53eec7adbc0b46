"""U-Net: a class for every pixel."""

from __future__ import annotations

from typing import Any

import nonet
from nonet import nn
from nonet.nn import functional
from nonet.tensor import Tensor, TensorLike, as_tensor


class UNet(nn.Module):
    """U-Net: images [N, in_channels, H, W] of any size to logits [N, classes, H, W].

    `depth` times, two 3x3 convolutions and 2x2 max-pooling, with `width` channels at first and twice as many each time;
    two convolutions at the bottom; then back up, by transposed 2x2 convolutions, each level beside the one it came down
    from; 1x1 convolutions to the logits. Parameters `down.N`, `bottom`, `up.N`, `join.N`, `head`. ValueError for
    arguments below 1.

    Ronneberger, Fischer, Brox, "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015.
    Deviations: batch normalisation behind every convolution (Ioffe, Szegedy 2015); margins, so that sizes stay; images
    whose sides 2^depth does not divide are extended by copies of their edges, and the logits cut again.
    """

    def __init__(self, in_channels: int = 3, classes: int = 2, width: int = 16, depth: int = 4) -> None:
        self.arguments: dict[str, Any] = {
            "in_channels": int(in_channels),
            "classes": int(classes),
            "width": int(width),
            "depth": int(depth),
        }
        for name, value in self.arguments.items():
            if value < 1:
                raise ValueError(f"UNet: {name} must be at least 1, got {value}")
        sizes = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            _double(before, after) for before, after in zip([in_channels, *sizes], sizes[:-1], strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.bottom = _double(sizes[-2], sizes[-1])
        rising = sizes[-2::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * size, size, 2, stride=2) for size in rising)
        self.join = nn.ModuleList(_double(2 * size, size) for size in rising)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: TensorLike) -> Tensor:
        images = as_tensor(x)
        if images.ndim != 4:
            raise ValueError(f"input must have shape [N, C, H, W], got {list(images.shape)}")
        height, width = images.shape[2:]
        step = 2 ** len(self.down)
        bottom, right = -height % step, -width % step
        out = functional.pad(images, (0, right, 0, bottom), "replicate") if bottom or right else images
        levels = []
        for block in self.down:
            levels.append(block(out))
            out = self.pool(levels[-1])
        out = self.bottom(out)
        for rise, block in zip(self.up, self.join, strict=True):
            out = block(nonet.cat([levels.pop(), rise(out)], dim=1))
        out = self.head(out)
        return out[:, :, :height, :width] if bottom or right else out


def _double(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


def segmentation_loss(logits: Tensor, masks: TensorLike, ignored: int = 255) -> Tensor:
    """Cross-entropy plus Dice loss of logits [N, C, H, W] and classes [N, H, W]: a tensor [].

    Dice of a class c, over all pixels i of the batch: (2 Σ p_ic t_ic + 1) / (Σ p_ic + Σ t_ic + 1), p softmax, t_ic = 1
    where i has class c; its loss is 1 minus the mean over the classes. Pixels of class `ignored` count for nothing in
    both. (Milletari, Navab, Ahmadi, "V-Net", 2016, with sums in place of sums of squares; the 1 is Laplace's, for
    classes that are not there.) Errors: those of `cross_entropy`.
    """
    logits = logits.to("float32")  # what autocast stored as bfloat16 too: losses are float32
    target = as_tensor(masks, device=logits.device).to("int64")
    entropy = functional.cross_entropy(logits, target, ignore_index=ignored)
    share = functional.softmax(logits, dim=1)
    seen = target != ignored
    terms = []
    for label in range(logits.shape[1]):
        here = (target == label).to("float32")
        part = share.select(1, label)
        both = (part * here).sum()
        either = (part * seen.to("float32")).sum() + here.sum()
        terms.append((2 * both + 1) / (either + 1))
    return entropy + 1 - nonet.stack(terms).mean()
