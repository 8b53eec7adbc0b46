"""Tensors from nothing: constants and ranges."""

from __future__ import annotations

from typing import Any

import numpy as np

from nonet import _core
from nonet._core import Array
from nonet.ops.random import _size
from nonet.tensor import DTypeLike, Tensor, TensorLike, as_tensor

__all__ = [
    "arange",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "zeros",
    "zeros_like",
]


def empty(
    *size: Any, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Uninitialised memory. size: ints or one tuple."""
    return Tensor(Array(_size(size), dtype or "float32", device or "cpu"), requires_grad)


def zeros(
    *size: Any, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Zeros. size: ints or one tuple."""
    return Tensor(_core.zeros(_size(size), dtype or "float32", device or "cpu"), requires_grad)


def ones(
    *size: Any, dtype: DTypeLike | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Ones. size: ints or one tuple."""
    return Tensor(_core.full(_size(size), 1.0, dtype or "float32", device or "cpu"), requires_grad)


def full(
    size: Any,
    fill_value: float,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """One number throughout; by default of the number's own dtype (float32, int64 or bool)."""
    array = _filled(_size((size,)), fill_value, dtype or _dtype_of(fill_value), device or "cpu")
    return Tensor(array, requires_grad)


def empty_like(
    input: TensorLike,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uninitialised memory of the input's shape, and by default of its dtype and device."""
    x = as_tensor(input)
    return Tensor(Array(x.shape, dtype or x.dtype, device or x.device), requires_grad)


def zeros_like(
    input: TensorLike,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros of the input's shape, and by default of its dtype and device."""
    x = as_tensor(input)
    return Tensor(_core.zeros(x.shape, dtype or x.dtype, device or x.device), requires_grad)


def ones_like(
    input: TensorLike,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones of the input's shape, and by default of its dtype and device."""
    return full_like(input, 1.0, dtype=dtype, device=device, requires_grad=requires_grad)


def full_like(
    input: TensorLike,
    fill_value: float,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """One number throughout, of the input's shape, and by default of its dtype and device."""
    x = as_tensor(input)
    return Tensor(_filled(x.shape, fill_value, dtype or x.dtype, device or x.device), requires_grad)


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, … below end: arange(end) or arange(start, end, step). int64 if all of them are integers.

    Errors: ValueError for step 0 or of the wrong sign.
    """
    if end is None:
        start, end = 0, start
    if step == 0 or (end - start) * step < 0:
        raise ValueError(f"arange: step must be non-zero and lead from {start} to {end}, got {step}")
    values = np.arange(start, end, step)
    return _from_values(
        values, dtype or ("float32" if values.dtype.kind == "f" else "int64"), device, requires_grad
    )


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` numbers at equal distances, both ends included."""
    return _from_values(np.linspace(start, end, steps), dtype or "float32", device, requires_grad)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """[n, m or n] with ones on the diagonal."""
    return _from_values(np.eye(n, m, dtype=np.float32), dtype or "float32", device, requires_grad)


def _dtype_of(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "bool"
    return "int64" if isinstance(value, (int, np.integer)) else "float32"


def _filled(shape: tuple[int, ...], value: float, dtype: DTypeLike, device: str) -> Array:
    if abs(value) > 2**53 and _core.dtype_name(dtype) == "int64":  # a double would round it
        return _core.from_numpy(np.full(shape, value, np.int64), "int64", False, device)
    return _core.full(shape, value, dtype, device)


def _from_values(values: np.ndarray, dtype: DTypeLike, device: str | None, requires_grad: bool) -> Tensor:
    return Tensor(as_tensor(values, dtype).array.to_device(device or "cpu"), requires_grad)
