"""The ten reference workloads, written once over a library that has torch's names: `lib` is nonet or torch.

Shapes, batch sizes, losses and optimizers are fixed: figures of different versions and machines are of the same thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["WORKLOADS", "Workload", "cross_entropy", "images"]

VOCABULARY = 65


@dataclass(frozen=True)
class Workload:
    """A model, its batch, and how it is trained.

    build(lib) makes the model. sample(rng, size) draws inputs and targets of `size` samples. loss(lib, model, x, y) is
    what a step minimises with Adam at `lr`. An adversarial workload's model has `generator` and `discriminator`
    instead of a forward pass, and a step trains both. A model's `noise(like)` draws normal numbers, if it wants any.
    certain: losses that hardly depend on rounding. Adam turns a gradient whose sign only rounding decides into a whole
    step, so that in deep networks only the very first is.
    """

    name: str
    build: Callable[[Any], Any]
    sample: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
    loss: Callable[[Any, Any, Any, Any], Any]
    batch: int
    lr: float = 1e-3
    adversarial: bool = False
    certain: int = 2


# ------------------------------------------------------------------------------------------------ models


def _layers(lib: Any, *layers: Any) -> Any:
    return lib.nn.Sequential(*layers)


def mlp(lib: Any) -> Any:
    nn = lib.nn
    return _layers(lib, nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))


def lenet5(lib: Any) -> Any:
    nn = lib.nn
    return _layers(
        lib,
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def resnet18(lib: Any) -> Any:
    """The CIFAR variant: a 3x3 stem, no pooling before the first block."""
    nn, F = lib.nn, lib.nn.functional

    def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> Any:
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.norm1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
            self.conv2, self.norm2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
            same = stride == 1 and inputs == outputs
            self.skip = (
                nn.Identity()
                if same
                else _layers(lib, conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
            )

        def forward(self, x: Any) -> Any:
            y = F.relu(self.norm1(self.conv1(x)))
            return F.relu(self.norm2(self.conv2(y)) + self.skip(x))

    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    widths += [(128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
    return _layers(
        lib,
        *(conv(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU()),
        *(Block(*width) for width in widths),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)),
    )


def characters(kind: str) -> Callable[[Any], Any]:
    """A character model around nn.RNN, nn.LSTM or nn.GRU."""

    def build(lib: Any) -> Any:
        nn = lib.nn

        class Characters(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embedding = nn.Embedding(VOCABULARY, 256)
                self.recurrent = getattr(nn, kind)(256, 256, batch_first=True)
                self.output = nn.Linear(256, VOCABULARY)

            def forward(self, x: Any) -> Any:
                return self.output(self.recurrent(self.embedding(x))[0])

        return Characters()

    return build


def autoencoder(lib: Any) -> Any:
    nn = lib.nn
    return _layers(
        lib,
        *(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU()),
        *(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 784), nn.Sigmoid()),
    )


def vae(lib: Any) -> Any:
    nn, F = lib.nn, lib.nn.functional

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.mean, self.log_variance = (
                nn.Linear(784, 400),
                nn.Linear(400, 20),
                nn.Linear(400, 20),
            )
            self.decoder, self.output = nn.Linear(20, 400), nn.Linear(400, 784)
            self.noise = lib.randn_like

        def forward(self, x: Any) -> tuple[Any, Any, Any]:
            h = F.relu(self.encoder(x))
            mean, log_variance = self.mean(h), self.log_variance(h)
            z = mean + self.noise(mean) * lib.exp(0.5 * log_variance)
            return self.output(F.relu(self.decoder(z))), mean, log_variance

    return VAE()


def gan(lib: Any) -> Any:
    """DCGAN at 32x32; the latent vector has 64 numbers."""
    nn = lib.nn

    def up(inputs: int, outputs: int, stride: int, padding: int) -> tuple[Any, ...]:
        convolution = nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False)
        return convolution, nn.BatchNorm2d(outputs), nn.ReLU()

    def down(inputs: int, outputs: int) -> tuple[Any, ...]:
        convolution = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)
        return convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)

    class Gan(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator = _layers(
                lib,
                *(*up(64, 128, 1, 0), *up(128, 64, 2, 1), *up(64, 32, 2, 1)),
                *(nn.ConvTranspose2d(32, 1, 4, 2, 1, bias=False), nn.Tanh()),
            )
            self.discriminator = _layers(
                lib,
                *(nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2), *down(32, 64), *down(64, 128)),
                *(nn.Conv2d(128, 1, 4, 1, 0), nn.Flatten()),
            )
            self.noise = lib.randn_like

        def forward(self, z: Any) -> Any:
            return self.generator(z)

    return Gan()


def gpt(lib: Any) -> Any:
    nn, F = lib.nn, lib.nn.functional
    width, heads, depth, length = 384, 6, 6, 256

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            batch, steps, _ = x.shape
            qkv = self.qkv(self.norm1(x)).reshape(batch, steps, 3, heads, width // heads)
            q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.projection(y.transpose(1, 2).reshape(batch, steps, width))
            return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(length, width)
            self.blocks = _layers(lib, *(Block() for _ in range(depth)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)

        def forward(self, x: Any) -> Any:
            h = self.tokens(x) + self.positions(lib.arange(x.shape[1]))
            return self.head(self.norm(self.blocks(h)))

    return GPT()


# ------------------------------------------------------------------------------------------------ losses, batches


def cross_entropy(lib: Any, model: Any, x: Any, y: Any) -> Any:
    out = model(x)
    return lib.nn.functional.cross_entropy(out.reshape(-1, out.shape[-1]), y.reshape(-1))


def _squared_error(lib: Any, model: Any, x: Any, y: Any) -> Any:
    return lib.nn.functional.mse_loss(model(x), y)


def _elbo(lib: Any, model: Any, x: Any, y: Any) -> Any:
    logits, mean, log_variance = model(x)
    binary = lib.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum")
    divergence = -0.5 * lib.sum(1 + log_variance - mean * mean - lib.exp(log_variance))
    return (binary + divergence) / x.shape[0]


def _binary(lib: Any, model: Any, x: Any, y: Any) -> Any:
    """The discriminator's judgement of images x, y: 1 for real, 0 for made."""
    return lib.nn.functional.binary_cross_entropy_with_logits(model.discriminator(x), y)


def images(*shape: int, classes: int = 10) -> Callable[[np.random.Generator, int], Any]:
    """A workload's `sample`: pictures of a shape and their classes."""
    return lambda rng, size: (
        rng.random((size, *shape), dtype=np.float32),
        rng.integers(0, classes, size),
    )


def _same(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    x = rng.random((size, 784), dtype=np.float32)
    return x, x


def _text(length: int) -> Callable[[np.random.Generator, int], Any]:
    return lambda rng, size: (
        rng.integers(0, VOCABULARY, (size, length)),
        rng.integers(0, VOCABULARY, (size, length)),
    )


def _latent_and_real(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    return (
        rng.standard_normal((size, 64, 1, 1), dtype=np.float32),
        rng.random((size, 1, 32, 32), dtype=np.float32),
    )


WORKLOADS = (
    Workload("ann", mlp, images(784), cross_entropy, 128),
    Workload("cnn-lenet5", lenet5, images(1, 28, 28), cross_entropy, 128),
    Workload("cnn-resnet18", resnet18, images(3, 32, 32), cross_entropy, 32, certain=1),
    Workload("rnn", characters("RNN"), _text(100), cross_entropy, 32),
    Workload("lstm", characters("LSTM"), _text(100), cross_entropy, 32),
    Workload("gru", characters("GRU"), _text(100), cross_entropy, 32),
    Workload("autoencoder", autoencoder, _same, _squared_error, 128),
    Workload("vae", vae, _same, _elbo, 128),
    Workload("gan", gan, _latent_and_real, _binary, 64, lr=2e-4, adversarial=True),
    Workload("transformer-gpt", gpt, _text(256), cross_entropy, 8),
)
