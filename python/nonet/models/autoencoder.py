"""Autoencoders, dense and convolutional; what they find strange."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nonet import nn
from nonet.models.ann import MLP
from nonet.ops.creation import full
from nonet.ops.elementwise import masked_fill
from nonet.ops.random import rand, randn
from nonet.ops.shape import reshape
from nonet.tensor import Buffer, Tensor, TensorLike, as_tensor, no_grad

__all__ = ["Autoencoder", "ConvAutoencoder", "corrupt"]

_BATCH = 256
_NEVER = float(np.finfo(np.float32).max)  # an error that no sample has, and finite, as all of a checkpoint is


def corrupt(x: TensorLike, noise: float = 0.0, mask: float = 0.0) -> Tensor:
    """x + noise · normal numbers, then elements set to 0 with probability `mask`; of the default generator.

    Vincent, Larochelle, Bengio, Manzagol, "Extracting and composing robust features with denoising autoencoders", ICML
    2008. Errors: ValueError for noise < 0 or mask outside [0, 1].
    """
    if noise < 0 or not 0 <= mask <= 1:
        raise ValueError(f"corrupt: expected noise >= 0 and mask in [0, 1], got {noise} and {mask}")
    out = as_tensor(x)
    if noise:
        out = out + noise * randn(*out.shape, device=out.device)
    if mask:
        out = masked_fill(out, rand(*out.shape, device=out.device) < mask, 0.0)
    return out


class Reconstructing(nn.Module):
    """What autoencoders of samples of one `shape` share: `encoder` and `decoder`, and the error as a score.

    In training the input is corrupted by `noise` and `mask` (see `corrupt`). The buffer `threshold` [] is the error
    above which a sample is an anomaly: no sample is until `calibrate` sets it.
    """

    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, shape: Sequence[int], noise: float, mask: float) -> None:
        self.shape = tuple(int(size) for size in shape)
        if not self.shape or min(self.shape) < 1:
            raise ValueError(
                f"{type(self).__name__}: shape must hold numbers of at least 1, got {list(shape)}"
            )
        self.noise, self.mask = float(noise), float(mask)
        self.threshold = Buffer(full((), _NEVER))

    def forward(self, x: TensorLike) -> Tensor:
        x = as_tensor(x)
        if self.training and (self.noise or self.mask):
            x = corrupt(x, self.noise, self.mask)
        return self.decode(self.encode(x))

    def encode(self, x: TensorLike) -> Tensor:
        """Codes [N, codes] of samples [N, *shape]. ValueError for another shape."""
        x = as_tensor(x)
        if x.shape[1:] != self.shape:
            wanted = ", ".join(map(str, self.shape))
            raise ValueError(f"input must have shape [N, {wanted}], got {list(x.shape)}")
        return self.encoder(x)

    def decode(self, codes: TensorLike) -> Tensor:
        """Samples [N, *shape] of codes [N, codes]."""
        return reshape(self.decoder(codes), (-1, *self.shape))

    def _batches(self, x: TensorLike) -> list[Tensor]:
        rows = as_tensor(x, device=next(self.parameters()).device)
        return [rows[i : i + _BATCH] for i in range(0, len(rows), _BATCH)]

    def features(self, x: TensorLike) -> np.ndarray:
        """Codes of samples [N, *shape] as an array, in evaluation mode and without a tape."""
        return self._quietly(lambda part: self.encode(part), x)

    def reconstructed(self, x: TensorLike) -> np.ndarray:
        """What the model makes of samples [N, *shape], as an array."""
        return self._quietly(self.forward, x)

    def errors(self, x: TensorLike) -> np.ndarray:
        """Mean squared error [N] of the reconstruction of each of the samples [N, *shape]."""

        def error(part: Tensor) -> Tensor:
            difference = reshape(self.forward(part) - part, (len(part), -1))
            return (difference * difference).mean(1)

        return self._quietly(error, x)

    def _quietly(self, compute: Any, x: TensorLike) -> np.ndarray:
        before = self.training
        self.eval()
        try:
            with no_grad():
                parts = [np.asarray(compute(part).float().cpu()) for part in self._batches(x)]
        finally:
            self.train(before)
        return np.concatenate(parts)

    def calibrate(self, x: TensorLike, quantile: float = 0.99) -> float:
        """Sets the threshold to this quantile of the errors of normal samples, and returns it.

        Errors: ValueError unless 0 < quantile <= 1.
        """
        if not 0 < quantile <= 1:
            raise ValueError(f"calibrate: quantile must be in (0, 1], got {quantile}")
        value = float(np.quantile(self.errors(x).astype(np.float64), quantile))
        self.threshold.fill_(value)
        return value

    def anomalous(self, x: TensorLike) -> np.ndarray:
        """bool [N]: whether the error of a sample is above the threshold."""
        return self.errors(x) > float(self.threshold.item())


class Autoencoder(Reconstructing):
    """Samples [N, *shape] through fully connected layers of the sizes `hidden` to codes [N, codes], and back.

    activation: behind every layer but the codes and the output (see `MLP`); without `hidden` both halves are linear,
    and what is learned is PCA's subspace. noise, mask: of a denoising autoencoder.

    Hinton, Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 313, 2006 (there trained
    layer by layer, with sigmoid units). ValueError for arguments.
    """

    def __init__(
        self,
        shape: Sequence[int] = (784,),
        hidden: Sequence[int] = (512, 256),
        codes: int = 30,
        activation: str = "relu",
        noise: float = 0.0,
        mask: float = 0.0,
    ) -> None:
        super().__init__(shape, noise, mask)
        self.codes = codes
        self.arguments: dict[str, Any] = {
            "shape": list(self.shape),
            "hidden": list(hidden),
            "codes": codes,
            "activation": activation,
            "noise": self.noise,
            "mask": self.mask,
        }
        sizes = [math.prod(self.shape), *hidden, codes]
        self.encoder = nn.Sequential(nn.Flatten(), MLP(sizes, activation))
        self.decoder = MLP(sizes[::-1], activation)


class ConvAutoencoder(Reconstructing):
    """Images [N, C, H, W] through `depth` convolutions, each of which halves the sides, to codes [N, codes], and back.

    The convolutions have width, 2 width, 4 width … channels and batch normalisation. noise, mask: of a denoising
    autoencoder. ValueError for arguments.

    Masci, Meier, Ciresan, Schmidhuber, "Stacked convolutional auto-encoders", ICANN 2011 (there with max-pooling).
    """

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        codes: int = 32,
        width: int = 16,
        depth: int = 2,
        noise: float = 0.0,
        mask: float = 0.0,
    ) -> None:
        super().__init__(shape, noise, mask)
        self.codes = codes
        self.arguments: dict[str, Any] = {
            "shape": list(self.shape),
            "codes": codes,
            "width": width,
            "depth": depth,
            "noise": self.noise,
            "mask": self.mask,
        }
        trunk, features = conv_trunk("ConvAutoencoder", self.shape, width, depth)
        self.encoder = nn.Sequential(trunk, nn.Linear(features, codes))
        self.decoder = conv_tree("ConvAutoencoder", self.shape, codes, width, depth)


def halvings(name: str, shape: Sequence[int], depth: int) -> list[tuple[int, int]]:
    """Sides of an image [C, H, W] before and after each of `depth` halvings. ValueError if it has no three axes."""
    if len(shape) != 3 or depth < 1:
        raise ValueError(f"{name}: expected a shape [C, H, W] and depth >= 1, got {list(shape)} and {depth}")
    sides = [(shape[1], shape[2])]
    for _ in range(depth):
        sides.append(((sides[-1][0] + 1) // 2, (sides[-1][1] + 1) // 2))
    return sides


def conv_trunk(
    name: str, shape: Sequence[int], width: int, depth: int, extra: int = 0
) -> tuple[nn.Sequential, int]:
    """Images [N, C + extra, H, W] to features [N, F] through `depth` convolutions; and F."""
    sides = halvings(name, shape, depth)
    layers: list[nn.Module] = []
    channels = [shape[0] + extra, *(width * 2**level for level in range(depth))]
    for before, after in itertools.pairwise(channels):
        layers += [
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Flatten()), channels[-1] * math.prod(sides[-1])


def conv_tree(name: str, shape: Sequence[int], codes: int, width: int, depth: int) -> nn.Sequential:
    """Codes [N, codes] to images [N, C, H, W] through a linear layer and `depth` transposed convolutions."""
    sides = halvings(name, shape, depth)[::-1]
    channels = [*(width * 2**level for level in range(depth - 1, -1, -1)), shape[0]]
    layers: list[nn.Module] = [
        nn.Linear(codes, channels[0] * math.prod(sides[0])),
        nn.ReLU(),
        nn.Unflatten(1, (channels[0], *sides[0])),
    ]
    for i, (small, large) in enumerate(itertools.pairwise(sides)):
        last = i == depth - 1
        more = (large[0] - 2 * small[0] + 2, large[1] - 2 * small[1] + 2)  # of the output: 1 or 2 of 4
        layers.append(
            nn.ConvTranspose2d(
                channels[i],
                channels[i + 1],
                (3, 3),
                stride=2,
                padding=1,
                output_padding=(more[0] - 1, more[1] - 1),
                bias=last,
            )
        )
        if not last:
            layers += [nn.BatchNorm2d(channels[i + 1]), nn.ReLU()]
    return nn.Sequential(*layers)
