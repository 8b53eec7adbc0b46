"""Random tensors from a counter-based generator: the same seed gives the same numbers on every machine and device and
for every number of threads, normals to a few ulps (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nonet import _core
from nonet._core import Array, Generator
from nonet.tensor import DTypeLike, Tensor, TensorLike, as_tensor

__all__ = [
    "bernoulli",
    "default_generator",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "normal",
    "normal_",
    "permutation",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "set_rng_state",
    "uniform",
    "uniform_",
]

# What every draw without a generator of its own comes from.
default_generator = Generator(0)


def manual_seed(seed: int) -> Generator:
    """Restarts the default generator and returns it. seed: any integer, taken modulo 2^64."""
    default_generator.set(int(seed) % 2**64, 0)
    return default_generator


def initial_seed() -> int:
    """The seed the default generator was last started from."""
    return int(default_generator.state.numpy()[0]) % 2**64


def get_rng_state() -> np.ndarray:
    """The default generator's state: int64 [2] = seed, offset."""
    return default_generator.state.numpy().copy()


def set_rng_state(state: Any) -> None:
    """Restores what get_rng_state returned. Errors: ValueError for another shape."""
    values = np.asarray(state)
    if values.shape != (2,) or values.dtype.kind not in "iu":
        raise ValueError(f"set_rng_state: state must be int64 [2], got {values.dtype} {list(values.shape)}")
    default_generator.set(int(values[0]) % 2**64, int(values[1]) % 2**64)


def uniform(
    *size: Any,
    low: float = 0.0,
    high: float = 1.0,
    generator: Generator | None = None,
    dtype: DTypeLike = "float32",
    device: str | None = None,
) -> Tensor:
    """Uniform in [low, high), of the given size. Errors: ValueError unless low <= high."""
    out = Array(_size(size), dtype, device or "cpu")
    _core.uniform_into(out, generator or default_generator, low, high)
    return Tensor(out)


def normal(
    mean: float = 0.0,
    std: float = 1.0,
    size: Sequence[int] = (),
    *,
    generator: Generator | None = None,
    dtype: DTypeLike = "float32",
    device: str | None = None,
) -> Tensor:
    """Normal with this mean and standard deviation, of the given size. Errors: ValueError for std < 0."""
    out = Array(tuple(size), dtype, device or "cpu")
    _core.normal_into(out, generator or default_generator, mean, std)
    return Tensor(out)


def uniform_(input: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Overwrites a leaf with numbers uniform in [a, b) and returns it."""
    input._check_writable("uniform_")
    _core.uniform_into(input.array, generator or default_generator, a, b)
    return input


def normal_(input: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Overwrites a leaf with normal numbers and returns it."""
    input._check_writable("normal_")
    _core.normal_into(input.array, generator or default_generator, mean, std)
    return input


def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform in [0, 1). size: ints or one tuple."""
    out = Array(_size(size), dtype or "float32", device or "cpu")
    _core.uniform_into(out, generator or default_generator, 0.0, 1.0)
    return Tensor(out, requires_grad)


def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal. size: ints or one tuple."""
    out = Array(_size(size), dtype or "float32", device or "cpu")
    _core.normal_into(out, generator or default_generator, 0.0, 1.0)
    return Tensor(out, requires_grad)


def rand_like(
    input: TensorLike,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform in [0, 1), of the input's shape, and by default of its dtype and device."""
    x = as_tensor(input)
    return rand(x.shape, dtype=dtype or x.dtype, device=device or x.device, requires_grad=requires_grad)


def randn_like(
    input: TensorLike,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal, of the input's shape, and by default of its dtype and device."""
    x = as_tensor(input)
    return randn(x.shape, dtype=dtype or x.dtype, device=device or x.device, requires_grad=requires_grad)


def randint(
    low: int,
    high: int | Sequence[int] | None = None,
    size: Sequence[int] | None = None,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike = "int64",
    device: str | None = None,
) -> Tensor:
    """Integers in [low, high): randint(low, high, size) or randint(high, size).

    Errors: ValueError unless low < high.
    """
    if size is None and not isinstance(high, int):
        low, high, size = 0, low, high
    if size is None or not isinstance(high, int):
        raise TypeError("randint: expected randint(low, high, size) or randint(high, size)")
    out = Array(tuple(size), "int64", device or "cpu")
    _core.integers_into(out, generator or default_generator, low, high)
    return Tensor(out.to(dtype))


def randperm(
    n: int, *, generator: Generator | None = None, dtype: DTypeLike = "int64", device: str | None = None
) -> Tensor:
    """The integers 0 … n-1 in random order."""
    out = Array((n,), "int64", device or "cpu")
    _core.permutation_into(out, generator or default_generator)
    return Tensor(out.to(dtype))


def permutation(n: int, generator: Generator | None = None) -> Tensor:
    """The integers 0 … n-1 in random order (randperm under NumPy's name)."""
    return randperm(n, generator=generator)


def bernoulli(input: TensorLike, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability each element of the input states, else 0; same shape and dtype.

    Errors: TypeError for integers, ValueError for a probability outside [0, 1].
    """
    return Tensor(_core.bernoulli(as_tensor(input).array, generator or default_generator))


def _size(size: tuple[Any, ...]) -> tuple[int, ...]:
    """What zeros(2, 3) and zeros((2, 3)) mean alike."""
    if len(size) == 1 and not hasattr(size[0], "__index__"):
        return tuple(size[0])
    return size
