"""Unpaired style transfer: CycleGAN."""

from __future__ import annotations

from typing import Any

import numpy as np

from nonet import nn
from nonet.models.adversarial import discriminator_loss, generator_loss
from nonet.nn import functional, init
from nonet.ops.unary import clamp, tanh
from nonet.tensor import Buffer, Tensor, TensorLike, as_tensor, no_grad

__all__ = ["CycleGAN"]

_BATCH = 64


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _translator(channels: int, width: int, blocks: int, kernel: int, down: int) -> nn.Sequential:
    edge = kernel // 2
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, kernel, padding=edge, padding_mode="reflect"),
        nn.InstanceNorm2d(width),
        nn.ReLU(),
    ]
    sizes = [width * 2**level for level in range(down)]
    for size in sizes:
        layers += [nn.Conv2d(size, 2 * size, 3, stride=2, padding=1), nn.InstanceNorm2d(2 * size), nn.ReLU()]
    layers += [_Residual(width * 2**down) for _ in range(blocks)]
    for size in (2 * size for size in reversed(sizes)):
        layers += [
            nn.ConvTranspose2d(size, size // 2, 3, stride=2, padding=1, output_padding=1),
            nn.InstanceNorm2d(size // 2),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(width, channels, kernel, padding=edge, padding_mode="reflect"))


def _patches(channels: int, width: int, down: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    for size in (width * 2**level for level in range(down - 1)):
        layers += [
            nn.Conv2d(size, 2 * size, 4, stride=2, padding=1),
            nn.InstanceNorm2d(2 * size),
            nn.LeakyReLU(0.2),
        ]
    return nn.Sequential(*layers, nn.Conv2d(width * 2 ** (down - 1), 1, 3, padding=1))


class CycleGAN(nn.Module):
    """Two translators of images [N, channels, H, W], pixels in [0, 1], sides that 4 divides: `a_to_b` and `b_to_a`.

    A translator halves the sides `down` times, has `blocks` residual blocks and doubles them again, with instance
    normalisation; `judge_a` and `judge_b` tell real from translated patches, behind as many halvings, at least one.
    What a translator of small images sees at once decides whether it keeps their contents: one that sees the whole
    image may turn every digit into another one, and back. The losses are least squares against the judges, plus `cycle`
    times the mean absolute error of going there and back, plus `identity` times that of translating what is already
    there. The first `delay` updates (calls of `follow`, one for each player) are without the cycle, whose weight rises
    from 0 over as many: which of two opposite looks the translators begin with is a matter of chance, and the way from
    one to the other leads over images that have lost their contents, which the cycle forbids. forward(x) translates A
    to B.

    Zhu, Park, Isola, Efros, "Unpaired image-to-image translation using cycle-consistent adversarial networks", ICCV
    2017. Deviations: the judges see no older translations; `delay`. ValueError for arguments.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 16,
        blocks: int = 2,
        kernel: int = 7,
        down: int = 2,
        cycle: float = 10.0,
        identity: float = 0.5,
        delay: int = 0,
    ) -> None:
        if min(channels, width, kernel) < 1 or min(blocks, down, delay) < 0:
            raise ValueError(
                "CycleGAN: channels, width and kernel must be at least 1, blocks, down and delay at least 0, "
                f"got {channels}, {width}, {kernel}, {blocks}, {down} and {delay}"
            )
        self.arguments: dict[str, Any] = {
            "channels": channels,
            "width": width,
            "blocks": blocks,
            "kernel": kernel,
            "down": down,
            "cycle": float(cycle),
            "identity": float(identity),
            "delay": delay,
        }
        self.channels, self.cycle, self.identity = channels, float(cycle), float(identity)
        # How many updates are left: checkpoints hold it, and a GPU's loop reads no number back.
        self.delay = float(delay)
        self.waiting = Buffer(as_tensor(np.array([2 * delay], np.float32))) if delay else None
        self.a_to_b = _translator(channels, width, blocks, kernel, down)
        self.b_to_a = _translator(channels, width, blocks, kernel, down)
        self.judge_a = _patches(channels, width, max(down, 1))
        self.judge_b = _patches(channels, width, max(down, 1))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                init.normal_(module.weight, 0.0, 0.02)

    def forward(self, x: TensorLike) -> Tensor:
        return self.to_b(x)

    def to_b(self, a: TensorLike) -> Tensor:
        """Images of A as images of B."""
        return _translate(self.a_to_b, a)

    def to_a(self, b: TensorLike) -> Tensor:
        """Images of B as images of A."""
        return _translate(self.b_to_a, b)

    def translated(self, x: TensorLike, back: bool = False) -> np.ndarray:
        """Images of A as B, or with `back` of B as A, as an array, in evaluation mode and without a tape."""
        rows = as_tensor(x, device=next(self.parameters()).device)
        before = self.training
        self.eval()
        try:
            with no_grad():
                parts = [
                    np.asarray((self.to_a if back else self.to_b)(rows[i : i + _BATCH]).float().cpu())
                    for i in range(0, len(rows), _BATCH)
                ]
        finally:
            self.train(before)
        return np.concatenate(parts)

    # ---- training
    def follow(self) -> None:
        """Counts an update; to be called after every one."""
        if self.waiting is not None:
            with no_grad():
                self.waiting.copy_(clamp(self.waiting - 1, 0.0, None))

    def discriminating(self) -> list[nn.Parameter]:
        """The parameters of the judges."""
        return [*self.judge_a.parameters(), *self.judge_b.parameters()]

    def translating(self) -> list[nn.Parameter]:
        """The parameters of the translators."""
        return [*self.a_to_b.parameters(), *self.b_to_a.parameters()]

    def losses(self) -> tuple[Any, Any]:
        """(of the judges, of the translators): functions of this model and unpaired images of A and B."""
        return _judge_loss, _translator_loss


def _translate(network: nn.Module, x: TensorLike) -> Tensor:
    given = as_tensor(x)
    if given.ndim != 4 or given.shape[2] % 4 or given.shape[3] % 4:
        raise ValueError(
            f"input must have shape [N, C, H, W] with sides that 4 divides, got {list(given.shape)}"
        )
    return 0.5 * tanh(network(given * 2 - 1)) + 0.5


def _judge_loss(model: CycleGAN, a: Tensor, b: Tensor) -> Tensor:
    fake_a, fake_b = model.to_a(b).detach(), model.to_b(a).detach()
    return discriminator_loss(
        model.judge_a(a * 2 - 1), model.judge_a(fake_a * 2 - 1), "least-squares"
    ) + discriminator_loss(model.judge_b(b * 2 - 1), model.judge_b(fake_b * 2 - 1), "least-squares")


def _translator_loss(model: CycleGAN, a: Tensor, b: Tensor) -> Tensor:
    fake_a, fake_b = model.to_a(b), model.to_b(a)
    loss = generator_loss(model.judge_a(fake_a * 2 - 1), "least-squares")
    loss = loss + generator_loss(model.judge_b(fake_b * 2 - 1), "least-squares")
    # Of values in [-1, 1], as in the paper: twice that of pixels.
    around = functional.l1_loss(model.to_a(fake_b), a) + functional.l1_loss(model.to_b(fake_a), b)
    if model.waiting is not None:
        around = around * clamp(1 - model.waiting / model.delay, 0.0, 1.0).sum()
    loss = loss + 2 * model.cycle * around
    if model.identity:
        same = functional.l1_loss(model.to_a(a), a) + functional.l1_loss(model.to_b(b), b)
        loss = loss + 2 * model.identity * same
    return loss
