"""Initialisations under torch.nn.init's names. All overwrite the tensor they are given and return it.

Weights have shape [out, in, *kernel]; fan_in is in x kernel size, fan_out is out x kernel size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nonet._core import Generator
from nonet.ops import random
from nonet.tensor import Tensor

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a nonlinearity's weights must grow to keep the variance (param: leaky_relu's slope).

    Errors: ValueError for an unknown name.
    """
    if nonlinearity == "leaky_relu":
        if param is not None and (isinstance(param, bool) or not isinstance(param, (int, float))):
            raise ValueError(f"calculate_gain: negative_slope must be a number, got {param!r}")
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    gains = {
        "sigmoid": 1.0,
        "tanh": 5.0 / 3,
        "relu": math.sqrt(2.0),
        "selu": 0.75,
        "linear": 1.0,
        "identity": 1.0,
    }
    for dims in ("1d", "2d", "3d"):
        gains[f"conv{dims}"] = gains[f"conv_transpose{dims}"] = 1.0
    if nonlinearity not in gains:
        raise ValueError(
            f"calculate_gain: nonlinearity must be leaky_relu or one of {sorted(gains)}, got {nonlinearity!r}"
        )
    return gains[nonlinearity]


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform in [a, b)."""
    return random.uniform_(tensor, a, b, generator)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Normal with this mean and standard deviation."""
    return random.normal_(tensor, mean, std, generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Normal with this mean and standard deviation, cut to [a, b] (by inverting the distribution function)."""
    low, high = (math.erf((edge - mean) / std / math.sqrt(2)) for edge in (a, b))
    u = random.uniform(*tensor.shape, generator=generator).numpy().astype(np.float64)
    values = mean + std * math.sqrt(2) * _inverse_erf(low + (u + 2.0**-25) * (high - low))
    return tensor.copy_(np.clip(values, a, b).astype(np.float32))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """One number throughout."""
    return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return tensor.fill_(1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return tensor.fill_(0.0)


def eye_(tensor: Tensor) -> Tensor:
    """The identity, as far as it fits into [n, m]. Errors: ValueError for another rank."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: tensor must have shape [n, m], got {list(tensor.shape)}")
    return tensor.copy_(np.eye(*tensor.shape, dtype=np.float32))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution weight [out, in/groups, *kernel] that hands as many channels through as it can.

    Errors: ValueError for a rank outside 3 … 5 or an `out` that groups does not divide.
    """
    shape = tensor.shape
    if len(shape) not in (3, 4, 5):
        raise ValueError(
            f"dirac_: tensor must have shape [out, in/groups, *kernel] of rank 3 to 5, got {list(shape)}"
        )
    if shape[0] % groups != 0:
        raise ValueError(f"dirac_: out channels must be divisible by groups = {groups}, got {shape[0]}")
    values = np.zeros(shape, np.float32)
    per_group = shape[0] // groups
    middle = tuple(k // 2 for k in shape[2:])
    for group in range(groups):
        for i in range(min(per_group, shape[1])):
            values[(group * per_group + i, i, *middle)] = 1.0
    return tensor.copy_(values)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform with variance gain^2 · 2 / (fan_in + fan_out) (Glorot & Bengio 2010)."""
    fan_in, fan_out = _fans(tensor)
    bound = gain * math.sqrt(6.0 / max(fan_in + fan_out, 1))
    return random.uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with variance gain^2 · 2 / (fan_in + fan_out) (Glorot & Bengio 2010)."""
    fan_in, fan_out = _fans(tensor)
    return random.normal_(tensor, 0.0, gain * math.sqrt(2.0 / max(fan_in + fan_out, 1)), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Uniform with variance gain^2 / fan (He et al. 2015); a: leaky_relu's slope."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return random.uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal with variance gain^2 / fan (He et al. 2015); a: leaky_relu's slope."""
    return random.normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """gain times a (semi-)orthogonal matrix [rows, rest], uniform over all such (Saxe et al. 2013).

    Errors: ValueError for fewer than two axes.
    """
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: tensor must have two or more axes, got shape {list(tensor.shape)}")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    flat = random.randn(rows, tensor.numel() // rows, generator=generator).numpy().astype(np.float64)
    wide = flat.shape[0] < flat.shape[1]
    q, r = np.linalg.qr(flat.T if wide else flat)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # makes the distribution uniform
    return tensor.copy_((gain * (q.T if wide else q)).reshape(tensor.shape).astype(np.float32))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Normal with this standard deviation, and zero in that share of every column (Martens 2010).

    Errors: ValueError unless the tensor has shape [n, m].
    """
    if tensor.ndim != 2:
        raise ValueError(f"sparse_: tensor must have shape [n, m], got {list(tensor.shape)}")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    values = random.randn(rows, columns, generator=generator).numpy() * np.float32(std)
    for column in range(columns):
        values[random.randperm(rows, generator=generator).numpy()[:zeros], column] = 0
    return tensor.copy_(values)


def _fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight [out, in, *kernel]. Errors: ValueError for fewer than two axes."""
    if tensor.ndim < 2:
        raise ValueError(
            f"fan in and fan out: tensor must have two or more axes, got shape {list(tensor.shape)}"
        )
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode must be fan_in or fan_out, got {mode!r}")
    fan = _fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


# Coefficients of Giles, "Approximating the erfinv function" (2010), single precision: highest power first.
_near = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087)
_near += (-0.00125372503, -0.00417768164, 0.246640727, 1.50140941)
_far = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773)
_far += (-0.0076224613, 0.00943887047, 1.00167406, 2.83297682)


def _inverse_erf(y: np.ndarray) -> Any:
    """The number whose error function is y, to a relative error of 4e-7."""
    w = -np.log((1 - y) * (1 + y))
    far = np.polyval(_far, np.sqrt(np.maximum(w, 0)) - 3)
    return y * np.where(w < 5, np.polyval(_near, w - 2.5), far)
