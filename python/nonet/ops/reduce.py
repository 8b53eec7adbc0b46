"""Reductions over axes: sums, products, extremes, moments, norms, running sums.

`dim` is an axis, a tuple of axes, or None for all; a reduced axis is dropped, or kept with size 1 by `keepdim`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from nonet import _core
from nonet._core import Array
from nonet.tensor import DTypeLike, Need, Tensor, TensorLike, as_tensor, record

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "cumprod",
    "cumsum",
    "logsumexp",
    "max",
    "mean",
    "min",
    "norm",
    "prod",
    "std",
    "std_mean",
    "sum",
    "var",
    "var_mean",
    "vector_norm",
]

Axes = int | Sequence[int] | None


class Extreme(NamedTuple):
    """What max(x, dim) and min(x, dim) return."""

    values: Tensor
    indices: Tensor


def _axes(dim: Axes) -> Any:
    return dim if dim is None or isinstance(dim, (tuple, list)) else (dim,)


def _gradient(dx: Array, dtype: str) -> tuple[Array]:
    return (dx if dx.dtype == dtype else dx.to(dtype),)


# ------------------------------------------------------------------------------------------------ sums and products


def sum(
    input: TensorLike, dim: Axes = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
) -> Tensor:
    """Sum; of integers and bool int64. dtype: converted to before summing. Errors: IndexError for an axis."""
    x = as_tensor(input)
    a = x.array if dtype is None else x.array.to(dtype)
    axes = _axes(dim)
    y = _core.reduce_sum(a, axes, keepdim)
    return record(y, (x,), _sum_rule, (x.shape, axes, 1.0, x.dtype))


def mean(
    input: TensorLike, dim: Axes = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
) -> Tensor:
    """Mean; NaN for an empty slice. Errors: TypeError for integers without a floating dtype, IndexError for an axis."""
    x = as_tensor(input)
    a = x.array if dtype is None else x.array.to(dtype)
    axes = _axes(dim)
    y = _core.reduce_mean(a, axes, keepdim)
    scale = y.numel / a.numel if a.numel else 0.0
    return record(y, (x,), _sum_rule, (x.shape, axes, scale, x.dtype))


def _sum_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    shape, axes, scale, dtype = saved
    return _gradient(_core.sum_backward(dy, shape, axes, scale), dtype)


def prod(
    input: TensorLike, dim: Axes = None, keepdim: bool = False, *, dtype: DTypeLike | None = None
) -> Tensor:
    """Product; of integers and bool int64. dtype: converted to before multiplying. Errors: IndexError for an axis."""
    x = as_tensor(input)
    a = x.array if dtype is None else x.array.to(dtype)
    axes = _axes(dim)
    return record(_core.reduce_prod(a, axes, keepdim), (x,), _prod_rule, (a, axes, x.dtype))


def _prod_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    x, axes, dtype = saved
    return _gradient(_core.prod_backward(dy, x, axes), dtype)


def cumsum(input: TensorLike, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """Running sum along an axis; of integers and bool int64. Errors: IndexError for the axis."""
    x = as_tensor(input)
    a = x.array if dtype is None else x.array.to(dtype)
    return record(_core.cumsum(a, dim, False), (x,), _cumsum_rule, (dim, x.dtype))


def _cumsum_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    dim, dtype = saved
    return _gradient(_core.cumsum(dy, dim, True), dtype)


def cumprod(input: TensorLike, dim: int) -> Tensor:
    """Running product along an axis. Errors: TypeError for integers, IndexError for the axis."""
    x = as_tensor(input)
    return record(_core.cumprod(x.array, dim), (x,), _cumprod_rule, (x.array, dim))


def _cumprod_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    x, dim = saved
    return (_core.cumprod_backward(dy, x, dim),)


# ------------------------------------------------------------------------------------------------ extremes


def amax(input: TensorLike, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """Largest element, NaN if there is one; ties share the gradient. Errors: ValueError for an empty slice."""
    return _extreme(as_tensor(input), dim, keepdim, True)


def amin(input: TensorLike, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """Smallest element, NaN if there is one; ties share the gradient. Errors: ValueError for an empty slice."""
    return _extreme(as_tensor(input), dim, keepdim, False)


def _extreme(x: Tensor, dim: Axes, keepdim: bool, largest: bool) -> Tensor:
    axes = _axes(dim)
    y = _core.reduce_extreme(x.array, axes, keepdim, largest)
    return record(y, (x,), _extreme_rule, (x.array, y, axes))


def _extreme_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    x, y, axes = saved
    return (_core.extreme_backward(dy, x, y, axes),)


def max(input: TensorLike, dim: Any = None, keepdim: bool = False) -> Any:
    """max(x): the largest element. max(x, dim): (values, indices) along one axis, the first of equals, whose position
    gets the gradient. max(x, other): `maximum`. NaN counts as largest. Errors: ValueError for an empty slice."""
    return _extreme_of(input, dim, keepdim, True)


def min(input: TensorLike, dim: Any = None, keepdim: bool = False) -> Any:
    """min(x): the smallest element. min(x, dim): (values, indices) along one axis, the first of equals, whose position
    gets the gradient. min(x, other): `minimum`. NaN counts as smallest. Errors: ValueError for an empty slice."""
    return _extreme_of(input, dim, keepdim, False)


def _extreme_of(input: TensorLike, dim: Any, keepdim: bool, largest: bool) -> Any:
    x = as_tensor(input)
    if dim is None:
        return _extreme(x, None, keepdim, largest)
    if not isinstance(dim, int):
        from nonet.ops import elementwise

        return elementwise.maximum(x, dim) if largest else elementwise.minimum(x, dim)
    values, positions = _core.extreme_along(x.array, dim, keepdim, largest)
    return Extreme(record(values, (x,), _place_rule, (positions, x.shape, dim)), Tensor(positions))


def _place_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    positions, shape, dim = saved
    return (_core.place_along(dy, positions, shape, dim),)


def argmax(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position (int64) of the largest element, the first of equals; without dim in the flattened input."""
    return _position(as_tensor(input), dim, keepdim, True)


def argmin(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position (int64) of the smallest element, the first of equals; without dim in the flattened input."""
    return _position(as_tensor(input), dim, keepdim, False)


def _position(x: Tensor, dim: int | None, keepdim: bool, largest: bool) -> Tensor:
    if dim is not None:
        return Tensor(_core.extreme_along(x.array, dim, keepdim, largest)[1])
    out = _core.extreme_along(x.array.reshape((x.array.numel,)), 0, False, largest)[1]
    return Tensor(out.reshape((1,) * x.ndim) if keepdim else out)


# ------------------------------------------------------------------------------------------------ moments


def var(
    input: TensorLike,
    dim: Axes = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Sum of squared distances from the mean, over n - correction (default 1; unbiased=False: 0)."""
    return _var(as_tensor(input), dim, unbiased, keepdim, correction, False)


def std(
    input: TensorLike,
    dim: Axes = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The root of `var`; its gradient is 0 where it is 0."""
    return _var(as_tensor(input), dim, unbiased, keepdim, correction, True)


def var_mean(
    input: TensorLike,
    dim: Axes = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(var, mean)."""
    x = as_tensor(input)
    return var(x, dim, unbiased, keepdim, correction=correction), mean(x, dim, keepdim)


def std_mean(
    input: TensorLike,
    dim: Axes = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(std, mean)."""
    x = as_tensor(input)
    return std(x, dim, unbiased, keepdim, correction=correction), mean(x, dim, keepdim)


def _var(
    x: Tensor, dim: Any, unbiased: bool | None, keepdim: bool, correction: float | None, root: bool
) -> Tensor:
    if isinstance(dim, bool):  # torch's var(x, unbiased)
        dim, unbiased = None, dim
    if correction is None:
        correction = 0.0 if unbiased is False else 1.0
    elif unbiased is not None:
        raise ValueError("var: give unbiased or correction, not both")
    axes = _axes(dim)
    y, average = _core.reduce_var(x.array, axes, keepdim, correction, root)
    return record(y, (x,), _var_rule, (x.array, y, average, axes, correction, root))


def _var_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.var_backward(dy, *saved),)


# ------------------------------------------------------------------------------------------------ norms, log-sum-exp


def logsumexp(input: TensorLike, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) without overflow; -inf for an empty slice.

    Errors: TypeError for integers, IndexError for an axis.
    """
    x = as_tensor(input)
    axes = _axes(dim)
    y = _core.reduce_logsumexp(x.array, axes, keepdim)
    return record(y, (x,), _logsumexp_rule, (x.array, y, axes))


def _logsumexp_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    x, y, axes = saved
    return (_core.logsumexp_backward(dy, x, y, axes),)


def vector_norm(input: TensorLike, ord: float = 2, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """(sum |x|^ord)^(1/ord); ord = inf, -inf: the largest, smallest |x|; 0: how many are not 0.

    Errors: TypeError for integers, ValueError where an empty slice has no value, IndexError for an axis.
    """
    x = as_tensor(input)
    axes = _axes(dim)
    y = _core.reduce_norm(x.array, axes, keepdim, float(ord))
    return record(y, (x,), _norm_rule, (x.array, y, axes, float(ord)))


def norm(input: TensorLike, p: float | str | None = "fro", dim: Axes = None, keepdim: bool = False) -> Tensor:
    """`vector_norm` under torch.norm's name; "fro" is p = 2."""
    if p is None or p == "fro":
        p = 2.0
    elif isinstance(p, str):
        if p not in ("inf", "-inf"):
            raise ValueError(f"norm: p must be a number or 'fro', got {p!r}")
        p = math.inf if p == "inf" else -math.inf
    return vector_norm(input, p, dim, keepdim)


def _norm_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    x, y, axes, p = saved
    return (_core.norm_backward(dy, x, y, axes, p),)


# ------------------------------------------------------------------------------------------------ truth


def count_nonzero(input: TensorLike, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """How many elements are not 0 (int64)."""
    return Tensor(_core.count_nonzero(as_tensor(input).array, _axes(dim), keepdim))


def any(input: TensorLike, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """Whether an element is not 0 (bool); False for an empty slice."""
    return Tensor(_core.reduce_truth(as_tensor(input).array, _axes(dim), keepdim, False))


def all(input: TensorLike, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """Whether no element is 0 (bool); True for an empty slice."""
    return Tensor(_core.reduce_truth(as_tensor(input).array, _axes(dim), keepdim, True))
