"""Losses of two networks that play against each other."""

from __future__ import annotations

from nonet.nn import functional
from nonet.ops.activation import relu, softplus
from nonet.ops.creation import full_like
from nonet.tensor import Tensor

__all__ = ["ADVERSARIAL", "discriminator_loss", "generator_loss"]

ADVERSARIAL = ("non-saturating", "least-squares", "hinge", "wasserstein")


def _check(op: str, kind: str) -> None:
    if kind not in ADVERSARIAL:
        raise ValueError(f"{op}: kind must be one of {', '.join(ADVERSARIAL)}, got {kind!r}")


def discriminator_loss(
    real: Tensor, fake: Tensor, kind: str = "non-saturating", smoothing: float = 0.0
) -> Tensor:
    """What the discriminator minimises, a tensor [], from its logits of real and of made samples, of any shape.

    non-saturating   -ln σ(real) - ln(1 - σ(fake)), means; Goodfellow et al., "Generative adversarial nets", NIPS 2014
    least-squares    ½ (real - 1)² + ½ fake²; Mao et al., "Least squares generative adversarial networks", ICCV 2017
    hinge            max(0, 1 - real) + max(0, 1 + fake); Lim, Ye, "Geometric GAN", 2017; Miyato et al., ICLR 2018
    wasserstein      fake - real; Arjovsky, Chintala, Bottou, ICML 2017: the weights have to be clipped
                     (`nn.utils.clip_weights_`), as the penalty of gradients needs second-order gradients, which are
                     not there

    smoothing: the target of real samples is 1 - smoothing, in the first two (Salimans et al., "Improved techniques for
    training GANs", NIPS 2016). ValueError for an unknown kind or smoothing outside [0, 1).
    """
    _check("discriminator_loss", kind)
    if not 0 <= smoothing < 1:
        raise ValueError(f"discriminator_loss: smoothing must be in [0, 1), got {smoothing}")
    real, fake = real.float(), fake.float()
    if kind == "hinge":
        return relu(1 - real).mean() + relu(1 + fake).mean()
    if kind == "wasserstein":
        return fake.mean() - real.mean()
    if kind == "least-squares":
        distance = real - (1 - smoothing)
        return 0.5 * (distance * distance).mean() + 0.5 * (fake * fake).mean()
    target = full_like(real, 1 - smoothing)
    return functional.binary_cross_entropy_with_logits(real, target) + softplus(fake).mean()


def generator_loss(fake: Tensor, kind: str = "non-saturating") -> Tensor:
    """What the generator minimises, a tensor [], from the discriminator's logits of made samples.

    -ln σ(fake), ½ (fake - 1)², or -fake for hinge and Wasserstein, means. ValueError for an unknown kind.
    """
    _check("generator_loss", kind)
    fake = fake.float()
    if kind == "non-saturating":
        return softplus(-fake).mean()
    if kind == "least-squares":
        distance = fake - 1
        return 0.5 * (distance * distance).mean()
    return -fake.mean()
