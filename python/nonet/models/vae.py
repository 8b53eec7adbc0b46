"""Variational autoencoders: dense, convolutional, with or without classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nonet import nn
from nonet.models.ann import MLP
from nonet.models.autoencoder import conv_tree, conv_trunk
from nonet.nn import functional
from nonet.ops.index import one_hot
from nonet.ops.join import cat, chunk
from nonet.ops.random import randn
from nonet.ops.shape import expand, reshape
from nonet.ops.unary import clamp, exp, sigmoid
from nonet.tensor import Tensor, TensorLike, as_tensor, no_grad

__all__ = ["VAE", "ConvVAE", "ResidualVAE", "kl_divergence", "vae_loss"]

_BATCH = 256


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) [N] over the codes [N, codes]: ½ Σ (mean² + variance - 1 - ln variance)."""
    return 0.5 * (mean * mean + exp(log_variance) - 1 - log_variance).sum(1)


def vae_loss(output: tuple[Tensor, ...], target: TensorLike, beta: float = 1.0) -> Tensor:
    """Negative evidence lower bound per sample, a tensor []: -ln p(pixels) + beta · KL, in nats.

    output: (logits [N, ...], mean [N, codes], log_variance [N, codes]) of a VAE, whose -ln p is the binary
    cross-entropy; or (means [N, ...] of the pixels, mean, log_variance, log_sigma [1]) of a `ResidualVAE`, whose pixels
    are normal. target: pixels in [0, 1], which need not be binary. beta other than 1: Higgins et al., "β-VAE", ICLR
    2017.
    """
    made, mean, log_variance, *spread = (part.float() for part in output)
    pixels = as_tensor(target, device=made.device)
    if spread:
        cost = _normal_cost(made, pixels, spread[0]).sum()
    else:
        cost = functional.binary_cross_entropy_with_logits(made, pixels, reduction="sum")
    return (cost + beta * kl_divergence(mean, log_variance).sum()) / float(len(made))


def _normal_cost(means: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    """-ln p [N] of x [N, ...] under normal distributions with these means and one standard deviation."""
    away = reshape((x - means) * exp(-log_sigma), (len(x), -1))
    each = log_sigma + 0.5 * math.log(2 * math.pi)
    return 0.5 * (away * away).sum(1) + float(away.shape[1]) * each


class Variational(nn.Module):
    """What VAEs of samples of one `shape` share. `trunk` makes features, `head` mean and log variance of them, and
    `decoder` logits of codes; with `classes`, labels go to both halves as one-hot rows."""

    trunk: nn.Module
    head: nn.Linear
    decoder: nn.Module

    def __init__(self, shape: Sequence[int], codes: int, classes: int) -> None:
        self.shape = tuple(int(size) for size in shape)
        if not self.shape or min(self.shape) < 1 or codes < 1 or classes < 0:
            raise ValueError(
                f"{type(self).__name__}: expected a shape and codes of at least 1 and classes >= 0, "
                f"got {list(shape)}, {codes} and {classes}"
            )
        self.codes, self.classes = codes, classes

    def forward(self, x: TensorLike, labels: TensorLike | None = None) -> tuple[Tensor, ...]:
        """(logits [N, *shape], mean, log_variance [N, codes]) of samples [N, *shape] and one draw of their codes."""
        mean, log_variance = self.encode(x, labels)
        noise = randn(*mean.shape, device=mean.device)
        return self.decode(mean + exp(0.5 * log_variance) * noise, labels), mean, log_variance

    def encode(self, x: TensorLike, labels: TensorLike | None = None) -> tuple[Tensor, Tensor]:
        """(mean, log_variance) [N, codes]. ValueError for shapes, and for labels where there are no classes."""
        x = as_tensor(x, device=self.head.weight.device)
        if x.shape[1:] != self.shape:
            wanted = ", ".join(map(str, self.shape))
            raise ValueError(f"input must have shape [N, {wanted}], got {list(x.shape)}")
        mean, log_variance = chunk(self.head(self._features(x, self._one_hot(labels, len(x)))), 2, 1)
        return mean, log_variance

    def _features(self, x: Tensor, classes: Tensor | None) -> Tensor:
        rows = reshape(x, (len(x), -1))
        return self.trunk(rows if classes is None else cat([rows, classes], 1))

    def decode(self, codes: TensorLike, labels: TensorLike | None = None) -> Tensor:
        """Logits [N, *shape] of codes [N, codes]."""
        z = as_tensor(codes, device=self.head.weight.device)
        classes = self._one_hot(labels, len(z))
        return reshape(self.decoder(z if classes is None else cat([z, classes], 1)), (-1, *self.shape))

    def _one_hot(self, labels: TensorLike | None, count: int) -> Tensor | None:
        if (labels is None) != (self.classes == 0):
            raise ValueError(
                "labels must be given" if labels is None else "a model without classes takes no labels"
            )
        if labels is None:
            return None
        given = as_tensor(labels, device=self.head.weight.device)
        if given.shape != (count,):
            raise ValueError(f"labels must have shape [{count}], got {list(given.shape)}")
        return one_hot(given.to("int64"), self.classes).float()

    # ---- without a tape
    def sample(self, count: int, labels: TensorLike | None = None, seed: int | None = None) -> np.ndarray:
        """`count` new samples [count, *shape]: the pixels' means, of codes drawn from N(0, 1)."""
        return self.decoded(self._draw(count, seed), labels)

    def decoded(self, codes: TensorLike, labels: TensorLike | None = None) -> np.ndarray:
        """The pixels' means [N, *shape] for codes [N, codes]."""
        device = self.head.weight.device
        z = as_tensor(codes, device=device)
        before = self.training
        self.eval()
        try:
            with no_grad():
                parts = [
                    np.asarray(
                        self._shown(self.decode(z[i : i + _BATCH], _part(labels, i, device)).float()).cpu()
                    )
                    for i in range(0, len(z), _BATCH)
                ]
        finally:
            self.train(before)
        return np.concatenate(parts)

    def features(self, x: TensorLike, labels: TensorLike | None = None) -> np.ndarray:
        """The means [N, codes] of the codes of samples [N, *shape]."""
        device = self.head.weight.device
        rows = as_tensor(x, device=device)
        before = self.training
        self.eval()
        try:
            with no_grad():
                parts = [
                    np.asarray(self.encode(rows[i : i + _BATCH], _part(labels, i, device))[0].float().cpu())
                    for i in range(0, len(rows), _BATCH)
                ]
        finally:
            self.train(before)
        return np.concatenate(parts)

    def reconstructed(self, x: TensorLike, labels: TensorLike | None = None) -> np.ndarray:
        """The pixels' means [N, *shape] for the means of the codes of samples [N, *shape]."""
        return self.decoded(self.features(x, labels), labels)

    def interpolated(self, first: TensorLike, second: TensorLike, steps: int = 8) -> np.ndarray:
        """[N, steps, *shape]: from each of the samples `first` [N, *shape] to that of `second`, evenly in the codes."""
        a, b = self.features(first), self.features(second)
        share = np.linspace(0, 1, steps, dtype=np.float32)[None, :, None]
        codes = a[:, None] * (1 - share) + b[:, None] * share
        return self.decoded(codes.reshape(-1, self.codes)).reshape(len(a), steps, *self.shape)

    def log_likelihood(self, x: TensorLike, labels: TensorLike | None = None, draws: int = 100) -> np.ndarray:
        """An estimate of ln p(x) [N] in nats, from below: ln of the mean of p(x, z) / q(z | x) over `draws` codes.

        Burda, Grosse, Salakhutdinov, "Importance weighted autoencoders", ICLR 2016. Draws come from the default
        generator.
        """
        device = self.head.weight.device
        rows = as_tensor(x, device=device)
        before = self.training
        self.eval()
        weights = np.empty((draws, len(rows)))
        try:
            with no_grad():
                for i in range(0, len(rows), _BATCH):
                    part, known = rows[i : i + _BATCH], _part(labels, i, device)
                    mean, log_variance = self.encode(part, known)
                    for k in range(draws):
                        weights[k, i : i + _BATCH] = self._weight(part, known, mean, log_variance)
        finally:
            self.train(before)
        top = weights.max(axis=0)
        return top + np.log(np.exp(weights - top).mean(axis=0))

    def _weight(self, x: Tensor, labels: TensorLike | None, mean: Tensor, log_variance: Tensor) -> np.ndarray:
        """ln p(x | z) + ln p(z) - ln q(z | x) [N] for one draw of codes."""
        noise = randn(*mean.shape, device=mean.device)
        z = mean + exp(0.5 * log_variance) * noise
        prior = 0.5 * (noise * noise + log_variance - z * z).sum(1)  # the two constants are equal
        cost = self._cost(self.decode(z, labels).float(), x)
        return np.asarray((prior - cost).cpu()).astype(np.float64)

    def _shown(self, made: Tensor) -> Tensor:
        """The means of the pixels that `decode` made, in [0, 1]."""
        return sigmoid(made)

    def _cost(self, made: Tensor, x: Tensor) -> Tensor:
        """-ln p(x | z) [N] of what `decode` made of z."""
        entropy = functional.binary_cross_entropy_with_logits(made, x, reduction="none")
        return reshape(entropy, (len(x), -1)).sum(1)

    def _draw(self, count: int, seed: int | None) -> Tensor:
        from nonet import Generator

        generator = None if seed is None else Generator(seed)
        return randn(count, self.codes, generator=generator, device=self.head.weight.device)


def _part(labels: TensorLike | None, start: int, device: str) -> Tensor | None:
    return None if labels is None else as_tensor(labels, device=device)[start : start + _BATCH]


class VAE(Variational):
    """A VAE of fully connected layers of the sizes `hidden`: samples [N, *shape], pixels in [0, 1], and back.

    classes: of a conditional one, 0 for none. Kingma, Welling, "Auto-encoding variational Bayes", ICLR 2014 (there with
    tanh units); conditional: Sohn, Lee, Yan, "Learning structured output representation using deep conditional
    generative models", NIPS 2015. ValueError for arguments.
    """

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        hidden: Sequence[int] = (400,),
        codes: int = 20,
        classes: int = 0,
    ) -> None:
        super().__init__(shape, codes, classes)
        self.arguments: dict[str, Any] = {
            "shape": list(self.shape),
            "hidden": list(hidden),
            "codes": codes,
            "classes": classes,
        }
        pixels = math.prod(self.shape)
        sizes = [pixels + classes, *hidden]
        if not hidden:
            raise ValueError("VAE: hidden must hold a size, got none")
        self.trunk = nn.Sequential(MLP(sizes), nn.ReLU())
        self.head = nn.Linear(sizes[-1], 2 * codes)
        self.decoder = MLP([codes + classes, *sizes[:0:-1], pixels])


class ConvVAE(Variational):
    """A VAE of `depth` convolutions with width, 2 width … channels: images [N, C, H, W], pixels in [0, 1], and back.

    classes: of a conditional one, 0 for none; the encoder sees them as planes of ones. ValueError for arguments.
    """

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        codes: int = 20,
        width: int = 16,
        depth: int = 2,
        classes: int = 0,
    ) -> None:
        super().__init__(shape, codes, classes)
        self.arguments: dict[str, Any] = {
            "shape": list(self.shape),
            "codes": codes,
            "width": width,
            "depth": depth,
            "classes": classes,
        }
        self.trunk, features = conv_trunk("ConvVAE", self.shape, width, depth, classes)
        self.head = nn.Linear(features, 2 * codes)
        self.decoder = conv_tree("ConvVAE", self.shape, codes + classes, width, depth)

    def _features(self, x: Tensor, classes: Tensor | None) -> Tensor:
        if classes is not None:
            planes = expand(reshape(classes, (*classes.shape, 1, 1)), (*classes.shape, *x.shape[2:]))
            x = cat([x, planes], 1)
        return self.trunk(x)


class ResidualVAE(ConvVAE):
    """A VAE whose encoder and decoder are a linear layer plus what convolutions add, for few images of [C, H, W].

    Pixels are normal, with means that `decode` returns and one learned standard deviation exp(`log_sigma`): with the
    linear layers alone it is probabilistic PCA, at which `start_at` begins (a network of random weights hardly comes
    to the error of PCA on samples that it has not seen, if it sees a few hundred). The convolutions add nothing then.
    depth convolutions with width, 2 width … channels. ValueError for arguments.

    Tipping, Bishop, "Probabilistic principal component analysis", 1999; a linear VAE has its optimum there: Lucas,
    Tucker, Grosse, Norouzi, "Don't blame the ELBO!", NeurIPS 2019.
    """

    def __init__(
        self, shape: Sequence[int] = (1, 28, 28), codes: int = 20, width: int = 16, depth: int = 2
    ) -> None:
        super().__init__(shape, codes, width, depth)
        del self.arguments["classes"]
        pixels = math.prod(self.shape)
        self.to_codes = nn.Linear(pixels, 2 * codes)
        self.to_pixels = nn.Linear(codes, pixels)
        self.log_sigma = nn.Parameter(np.array([-2.0], np.float32))

    def forward(self, x: TensorLike, labels: TensorLike | None = None) -> tuple[Tensor, ...]:
        """(means [N, *shape] of the pixels, mean, log_variance [N, codes], log_sigma [1]); as `VAE` otherwise."""
        return (*super().forward(x, labels), self.log_sigma)

    def encode(self, x: TensorLike, labels: TensorLike | None = None) -> tuple[Tensor, Tensor]:
        x = as_tensor(x, device=self.head.weight.device)
        added = super().encode(x, labels)
        mean, log_variance = chunk(self.to_codes(reshape(x, (len(x), -1))), 2, 1)
        return mean + added[0], log_variance + added[1]

    def decode(self, codes: TensorLike, labels: TensorLike | None = None) -> Tensor:
        """The means [N, *shape] of the pixels for codes [N, codes]; those of unlikely codes may leave [0, 1]."""
        z = as_tensor(codes, device=self.head.weight.device)
        return super().decode(z, labels) + reshape(self.to_pixels(z), (-1, *self.shape))

    def start_at(self, samples: np.ndarray) -> None:
        """Become probabilistic PCA of samples [N, *shape], more than there are codes: the codes of a sample are its
        projection. The layers' weights are set; ValueError for other shapes or too few samples."""
        if samples.shape[1:] != self.shape or len(samples) <= self.codes + 1:
            raise ValueError(
                f"start_at: expected more than {self.codes + 1} samples of {list(self.shape)}, "
                f"got {list(samples.shape)}"
            )
        rows = samples.reshape(len(samples), -1).astype(np.float64)
        mean = rows.mean(axis=0)
        _, values, right = np.linalg.svd(rows - mean, full_matrices=False)
        variances, basis = values**2 / len(rows), right[: self.codes]
        rest = max(variances[self.codes :].sum() / max(1, rows.shape[1] - self.codes), 1e-8)
        kept = np.maximum(variances[: self.codes], 1.001 * rest)
        scale = np.sqrt(kept - rest)[:, None]
        weight = np.zeros((2 * self.codes, rows.shape[1]))
        weight[: self.codes] = basis / scale
        bias = np.concatenate([-weight[: self.codes] @ mean, np.log(rest / kept)])
        last = list(self.decoder.modules())[-1]
        settings: list[tuple[Any, np.ndarray]] = [
            (self.to_codes.weight, weight),
            (self.to_codes.bias, bias),
            (self.to_pixels.weight, (basis * scale).T),
            (self.to_pixels.bias, mean),
            (self.log_sigma, np.array([0.5 * np.log(rest)])),
            *((p, np.zeros(p.shape)) for layer in (self.head, last) for p in layer.parameters()),
        ]
        with no_grad():
            for parameter, value in settings:
                parameter.copy_(as_tensor(np.ascontiguousarray(value, np.float32), device=parameter.device))

    def _shown(self, made: Tensor) -> Tensor:
        return clamp(made, 0.0, 1.0)

    def _cost(self, made: Tensor, x: Tensor) -> Tensor:
        return _normal_cost(made, x, self.log_sigma)
