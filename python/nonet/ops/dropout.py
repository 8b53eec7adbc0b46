"""Dropout (Srivastava et al. 2014), of elements or channels, and alpha dropout (Klambauer et al. 2017).

The mask is not kept: the gradient rule draws it again from the generator's seed and offset.
"""

from __future__ import annotations

import math
from typing import Any

from nonet import _core
from nonet._core import Array, Generator
from nonet.ops.random import default_generator
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record

__all__ = [
    "alpha_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
]

# The value SELU tends to for large negative inputs, -scale * alpha (Klambauer et al. 2017).
_saturation = -1.7580993408473766


def dropout(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Every element 0 with probability p, else divided by 1 - p; the input itself outside training.

    inplace is accepted for compatibility and changes nothing. Errors: ValueError for p outside [0, 1], TypeError for
    integers.
    """
    x = as_tensor(input)
    _check(p)
    if not training or p == 0.0:
        return x
    return _plain(x, p, x.array.numel, generator)


def dropout1d(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Whole channels of [N, C, L] or [C, L]. Errors: ValueError for another rank or p, TypeError for integers."""
    return _channels(as_tensor(input), p, training, generator, "dropout1d", (2, 3), "[N, C, L] or [C, L]")


def dropout2d(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Whole channels of [N, C, H, W] or [N, C, L]. Errors: ValueError for another rank or p, TypeError for integers."""
    return _channels(
        as_tensor(input), p, training, generator, "dropout2d", (4, 3), "[N, C, H, W] or [N, C, L]"
    )


def dropout3d(
    input: TensorLike,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Whole channels of [N, C, D, H, W] or [C, D, H, W].

    Errors: ValueError for another rank or p, TypeError for integers.
    """
    return _channels(
        as_tensor(input), p, training, generator, "dropout3d", (4, 5), "[N, C, D, H, W] or [C, D, H, W]"
    )


def alpha_dropout(
    input: TensorLike,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Elements set to SELU's negative limit with probability p, then rescaled so that mean 0 and variance 1 persist.

    Errors: ValueError for p outside [0, 1], TypeError for integers.
    """
    x = as_tensor(input)
    _check(p)
    if not training or p == 0.0:
        return x
    return _alpha(x, p, x.array.numel, generator)


def feature_alpha_dropout(
    input: TensorLike,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """alpha_dropout of whole channels of [N, C, *].

    Errors: ValueError for a rank below 2 or p, TypeError for integers.
    """
    x = as_tensor(input)
    _check(p)
    if x.ndim < 2:
        raise ValueError(f"feature_alpha_dropout: input must have shape [N, C, *], got {list(x.shape)}")
    if not training or p == 0.0:
        return x
    return _alpha(x, p, x.shape[0] * x.shape[1], generator)


def _check(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout: p must be in [0, 1], got {p}")


def _channels(
    x: Tensor,
    p: float,
    training: bool,
    generator: Generator | None,
    op: str,
    ranks: tuple[int, int],
    letters: str,
) -> Tensor:
    _check(p)
    if x.ndim not in ranks:
        raise ValueError(f"{op}: input must have shape {letters}, got {list(x.shape)}")
    if not training or p == 0.0:
        return x
    batched = op == "dropout2d" or x.ndim == max(ranks)
    return _plain(x, p, math.prod(x.shape[: 2 if batched else 1]), generator)


def _plain(x: Tensor, p: float, units: int, generator: Generator | None) -> Tensor:
    return _apply(x, p, 0.0 if p == 1.0 else 1.0 / (1.0 - p), 0.0, 0.0, units, generator)


def _alpha(x: Tensor, p: float, units: int, generator: Generator | None) -> Tensor:
    if p == 1.0:
        return _apply(x, p, 0.0, 0.0, 0.0, units, generator)
    a = 1.0 / math.sqrt((1.0 - p) * (1.0 + p * _saturation**2))
    b = -a * p * _saturation
    return _apply(x, p, a, b, a * _saturation + b, units, generator)


def _apply(
    x: Tensor, p: float, a: float, b: float, c: float, units: int, generator: Generator | None
) -> Tensor:
    if x.array.numel == 0:
        units = 0
    y, seed, offset = _core.dropout_forward(x.array, generator or default_generator, p, a, b, c, units)
    return record(y, (x,), _dropout_rule, (seed, offset, p, a, units, y.format == "nhwc"))


def _dropout_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.dropout_backward(dy, *saved),)
