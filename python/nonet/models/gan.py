"""Generative adversarial networks: fully connected, convolutional (DCGAN), with or without classes."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nonet import nn
from nonet._core import Generator
from nonet.models.adversarial import discriminator_loss, generator_loss
from nonet.nn import init
from nonet.nn.utils import move_average_
from nonet.nn.utils.parametrizations import spectral_norm
from nonet.ops.index import one_hot
from nonet.ops.join import cat
from nonet.ops.random import randint, randn
from nonet.ops.shape import reshape
from nonet.ops.unary import tanh
from nonet.tensor import Buffer, Tensor, TensorLike, as_tensor, no_grad

__all__ = ["DCGAN", "GAN", "Adversarial"]

_BATCH = 256


class Adversarial(nn.Module):
    """What GANs of samples of one `shape`, pixels in [0, 1], share: `generator` and `discriminator`.

    forward(z) makes samples [N, *shape] of codes z [N, latent]; with `classes`, of codes and labels [N]. The two losses
    are for a Trainer with two optimizers: `losses()`.

    averaging: `average` is a copy of the generator whose parameters follow the generator's: `averaging` of the old
    value and the rest of the new one at each call of `follow`; in evaluation mode it makes the samples. 0: without.
    (Yazici et al., "The unusual effectiveness of averaging in GAN training", ICLR 2019.)
    """

    generator: nn.Module
    discriminator: nn.Module
    average: nn.Module | None = None

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        classes: int,
        kind: str,
        smoothing: float,
        averaging: float,
    ) -> None:
        self.shape = tuple(int(size) for size in shape)
        if not self.shape or min(self.shape) < 1 or latent < 1 or classes < 0:
            raise ValueError(
                f"{type(self).__name__}: expected a shape and latent of at least 1 and classes >= 0, "
                f"got {list(shape)}, {latent} and {classes}"
            )
        if not 0 <= averaging < 1:
            raise ValueError(f"{type(self).__name__}: averaging must be in [0, 1), got {averaging}")
        self.latent, self.classes, self.kind, self.smoothing = latent, classes, kind, float(smoothing)
        self.averaging = float(averaging)

    def forward(self, z: TensorLike, labels: TensorLike | None = None) -> Tensor:
        z = as_tensor(z)
        hot = self._one_hot(labels, len(z))
        making = self.generator if self.training or self.average is None else self.average
        out = making(z if hot is None else cat([z, hot], 1))
        return reshape(out, (-1, *self.shape))

    def judge(self, x: TensorLike, labels: TensorLike | None = None) -> Tensor:
        """The discriminator's logits [N] for samples [N, *shape]: above 0 for real ones."""
        raise TypeError(f"{type(self).__name__} defines no judge()")

    def _one_hot(self, labels: TensorLike | None, count: int) -> Tensor | None:
        if (labels is None) != (self.classes == 0):
            raise ValueError(
                "labels must be given" if labels is None else "a model without classes takes no labels"
            )
        if labels is None:
            return None
        given = as_tensor(labels)
        if given.shape != (count,):
            raise ValueError(f"labels must have shape [{count}], got {list(given.shape)}")
        return one_hot(given.to("int64"), self.classes).float()

    # ---- training
    def _start_average(self) -> None:
        """Behind the generator's making: the copy, whose parameters are buffers and want no gradient."""
        if self.averaging:
            self.average = copy.deepcopy(self.generator)
            for module in self.average.modules():
                for name, value in list(vars(module).items()):
                    if isinstance(value, nn.Parameter):
                        vars(module)[name] = Buffer(value.detach())

    def follow(self) -> None:
        """Moves the average towards the generator; to be called after every update."""
        if self.average is None:
            return
        move_average_(self.average.state_dict(), self.generator.state_dict(), self.averaging)

    def losses(self) -> tuple[Any, Any]:
        """(of the discriminator, of the generator): functions of this model, real samples, and labels if there are
        classes; codes and the labels of made samples come from the default generator."""
        return _discriminate, _generate

    def drawn(self, count: int, device: str) -> tuple[Tensor, ...]:
        """Codes [count, latent], and labels [count] if there are classes."""
        z = randn(count, self.latent, device=device)
        return (z, randint(0, self.classes, (count,), device=device)) if self.classes else (z,)

    def sample(self, count: int, labels: TensorLike | None = None, seed: int | None = None) -> np.ndarray:
        """`count` new samples [count, *shape]."""
        device = next(self.parameters()).device
        generator = None if seed is None else Generator(seed)
        return self.made(randn(count, self.latent, generator=generator, device=device), labels)

    def made(self, z: TensorLike, labels: TensorLike | None = None) -> np.ndarray:
        """Samples [N, *shape] of codes [N, latent], in evaluation mode and without a tape."""
        device = next(self.parameters()).device
        codes = as_tensor(z, device=device)
        known = () if labels is None else (as_tensor(labels, device=device),)
        before = self.training
        self.eval()
        try:
            with no_grad():
                parts = [
                    np.asarray(self(*(t[i : i + _BATCH] for t in (codes, *known))).float().cpu())
                    for i in range(0, len(codes), _BATCH)
                ]
        finally:
            self.train(before)
        return np.concatenate(parts)

    def interpolated(
        self, count: int, steps: int = 8, labels: TensorLike | None = None, seed: int = 0
    ) -> np.ndarray:
        """[count, steps, *shape]: between pairs of codes, on the arc between them (which keeps their length)."""
        device = next(self.parameters()).device
        ends = np.asarray(randn(2, count, self.latent, generator=Generator(seed), device=device).cpu())
        a, b = ends[:, :, None].astype(np.float64)
        lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        angle = np.arccos(np.clip((a * b).sum(-1) / lengths, -1, 1))[..., None]
        share = np.linspace(0, 1, steps)[None, :, None]
        codes = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
        hot = None if labels is None else np.repeat(np.asarray(labels), steps)
        flat = codes.reshape(-1, self.latent).astype(np.float32)
        return self.made(flat, hot).reshape(count, steps, *self.shape)


def _discriminate(model: Adversarial, x: Tensor, *labels: Tensor) -> Tensor:
    drawn = model.drawn(len(x), x.device)
    fake = model(*drawn).detach()
    return discriminator_loss(
        model.judge(x, *labels), model.judge(fake, *drawn[1:]), model.kind, model.smoothing
    )


def _generate(model: Adversarial, x: Tensor, *labels: Tensor) -> Tensor:
    drawn = model.drawn(len(x), x.device)
    return generator_loss(model.judge(model(*drawn), *drawn[1:]), model.kind)


class GAN(Adversarial):
    """Fully connected: codes [N, latent] to samples [N, *shape] through layers of the sizes `hidden` with batch
    normalisation; the discriminator goes the other way, with leaky units and dropout. Labels are one-hot rows beside
    codes and pixels. kind, smoothing: see `discriminator_loss`.

    Goodfellow et al., "Generative adversarial nets", NIPS 2014 (there with maxout); conditional: Mirza, Osindero,
    "Conditional generative adversarial nets", 2014. ValueError for arguments.
    """

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        latent: int = 64,
        hidden: Sequence[int] = (256, 512),
        classes: int = 0,
        dropout: float = 0.3,
        kind: str = "non-saturating",
        smoothing: float = 0.1,
        averaging: float = 0.0,
    ) -> None:
        super().__init__(shape, latent, classes, kind, smoothing, averaging)
        self.arguments: dict[str, Any] = {
            "shape": list(self.shape),
            "latent": latent,
            "hidden": list(hidden),
            "classes": classes,
            "dropout": float(dropout),
            "kind": kind,
            "smoothing": self.smoothing,
            "averaging": self.averaging,
        }
        pixels = math.prod(self.shape)
        making: list[nn.Module] = []
        before = latent + classes
        for size in hidden:
            making += [nn.Linear(before, size, bias=False), nn.BatchNorm1d(size), nn.ReLU()]
            before = size
        self.generator = nn.Sequential(*making, nn.Linear(before, pixels), nn.Sigmoid())
        self._start_average()
        judging: list[nn.Module] = []
        before = pixels + classes
        for size in reversed(hidden):
            judging += [nn.Linear(before, size), nn.LeakyReLU(0.2), nn.Dropout(dropout)]
            before = size
        self.discriminator = nn.Sequential(*judging, nn.Linear(before, 1))

    def judge(self, x: TensorLike, labels: TensorLike | None = None) -> Tensor:
        x = as_tensor(x)
        rows = reshape(x, (len(x), -1)) * 2 - 1
        hot = self._one_hot(labels, len(x))
        return reshape(self.discriminator(rows if hot is None else cat([rows, hot], 1)), -1)


class DCGAN(Adversarial):
    """Convolutional: images [N, C, H, W] with sides that 4 divides.

    The generator's linear layer makes maps of a quarter of the sides (an eighth from 32 pixels on, if 8 divides them),
    and transposed convolutions double them, with batch normalisation and ReLU; the discriminator halves them with
    leaky units, batch normalisation or, with `spectral`, spectral normalisation. With classes the discriminator adds
    the product of its features and a vector per class. kind, smoothing: see `discriminator_loss`.

    Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional GANs", ICLR 2016; Miyato
    et al., "Spectral normalization for GANs", ICLR 2018; Miyato, Koyama, "cGANs with projection discriminator", ICLR
    2018. ValueError for arguments.
    """

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        latent: int = 64,
        width: int = 32,
        classes: int = 0,
        spectral: bool = False,
        kind: str = "non-saturating",
        smoothing: float = 0.0,
        averaging: float = 0.0,
    ) -> None:
        super().__init__(shape, latent, classes, kind, smoothing, averaging)
        self.arguments: dict[str, Any] = {
            "shape": list(self.shape),
            "latent": latent,
            "width": width,
            "classes": classes,
            "spectral": bool(spectral),
            "kind": kind,
            "smoothing": self.smoothing,
            "averaging": self.averaging,
        }
        if len(self.shape) != 3 or self.shape[1] % 4 or self.shape[2] % 4:
            raise ValueError(
                f"DCGAN: expected a shape [C, H, W] with sides that 4 divides, got {list(shape)}"
            )
        channels, height, width_ = self.shape
        eighth = min(height, width_) >= 32 and height % 8 == 0 and width_ % 8 == 0
        levels = [width * 2**level for level in range(3 if eighth else 2)]
        small = (height >> len(levels), width_ >> len(levels))
        making: list[nn.Module] = [
            nn.Linear(latent + classes, levels[-1] * math.prod(small), bias=False),
            nn.Unflatten(1, (levels[-1], *small)),
            nn.BatchNorm2d(levels[-1]),
            nn.ReLU(),
        ]
        for before, after in zip(levels[:0:-1], levels[-2::-1], strict=True):
            making += [
                nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.generator = nn.Sequential(*making, nn.ConvTranspose2d(levels[0], channels, 4, 2, 1))
        judging: list[nn.Module] = []
        for i, (before, after) in enumerate(zip([channels, *levels], levels, strict=False)):
            judging.append(nn.Conv2d(before, after, 4, 2, 1, bias=spectral or i == 0))
            if i and not spectral:
                judging.append(nn.BatchNorm2d(after))
            judging.append(nn.LeakyReLU(0.2))
        self.discriminator = nn.Sequential(*judging, nn.Flatten())
        self.head = nn.Linear(levels[-1] * math.prod(small), 1)
        self.projection = nn.Embedding(classes, levels[-1] * math.prod(small)) if classes else None
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                init.normal_(module.weight, 0.0, 0.02)
        if self.projection is not None:
            init.normal_(self.projection.weight, 0.0, 0.02)
        if spectral:
            for module in [*self.discriminator.modules(), self.head]:
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    spectral_norm(module)
        self._start_average()

    def forward(self, z: TensorLike, labels: TensorLike | None = None) -> Tensor:
        return 0.5 * tanh(super().forward(z, labels)) + 0.5

    def judge(self, x: TensorLike, labels: TensorLike | None = None) -> Tensor:
        x = as_tensor(x)
        features = self.discriminator(x * 2 - 1)
        logits = reshape(self.head(features), -1)
        self._one_hot(labels, len(x))  # checks
        if self.projection is not None:
            logits = logits + (features * self.projection(labels)).sum(1)
        return logits
