"""Images and sequences at another size: nearest, linear and cubic resampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.pool import adaptive_avg_pool1d, adaptive_avg_pool2d
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record

__all__ = ["interpolate"]

# Per mode its number in csrc/ops/resize/resize.h and the axes it resamples.
MODES: dict[str, tuple[int, tuple[int, ...]]] = {
    "nearest": (0, (1, 2)),
    "nearest-exact": (1, (1, 2)),
    "linear": (2, (1,)),
    "bilinear": (2, (2,)),
    "bicubic": (3, (2,)),
    "area": (-1, (1, 2)),
}


def interpolate(
    input: TensorLike,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """input: [N, C, L] or [N, C, H, W] -> the same with L, or H and W, of another size.

    size or scale_factor: the new sizes, or floor(size · factor). mode: nearest, nearest-exact, linear (L), bilinear and
    bicubic (H, W), or area (means, as adaptive pooling). align_corners: the first and last positions of both sides
    coincide, else their edges do. recompute_scale_factor: positions follow from the sizes, not from the factor.
    antialias: bilinear and bicubic filters that widen when an image shrinks. A channels-last image stays one.
    Errors: ValueError for shapes and options, TypeError for the dtype.
    """
    x = as_tensor(input)
    axes = x.ndim - 2
    if axes not in (1, 2):
        raise ValueError(f"interpolate: input must have shape [N, C, L] or [N, C, H, W], got {list(x.shape)}")
    number = _mode(mode, axes, align_corners, antialias)
    sizes, scales = _sizes(x.shape[2:], size, scale_factor)
    if recompute_scale_factor:
        if scale_factor is None:
            raise ValueError("interpolate: recompute_scale_factor needs a scale_factor")
        scales = ()
    if number < 0:
        return adaptive_avg_pool1d(x, sizes) if axes == 1 else adaptive_avg_pool2d(x, sizes)
    options = (number, bool(align_corners), antialias, scales, "interpolate")
    y = _core.resize_forward(x.array, sizes, *options)
    return record(y, (x,), _resize_rule, (x.array.shape, options))


def _resize_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    shape, options = saved
    return (_core.resize_backward(dy, shape, *options),)


def _mode(mode: str, axes: int, align_corners: bool | None, antialias: bool) -> int:
    if mode not in MODES:
        raise ValueError(f"interpolate: mode must be one of {', '.join(MODES)}, got {mode!r}")
    number, of = MODES[mode]
    if axes not in of:
        raise ValueError(f"interpolate: mode {mode} resamples {of[0]} axes, input has {axes}")
    if align_corners is not None and number in (-1, 0, 1):
        raise ValueError(
            f"interpolate: align_corners belongs to linear, bilinear and bicubic, got mode {mode}"
        )
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias belongs to bilinear and bicubic, got mode {mode}")
    return number


def _sizes(
    shape: tuple[int, ...], size: int | Sequence[int] | None, factor: float | Sequence[float] | None
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The sizes of the result, and the factors if they were given."""
    axes = len(shape)
    if (size is None) == (factor is None):
        raise ValueError("interpolate: give either size or scale_factor")
    if size is not None:
        sizes = (size,) * axes if isinstance(size, int) else tuple([int(n) for n in size])
        if len(sizes) != axes:
            raise ValueError(f"interpolate: size must be an int or {axes} ints, got {size}")
        return sizes, ()
    assert factor is not None
    factors = (
        (float(factor),) * axes if isinstance(factor, (int, float)) else tuple([float(f) for f in factor])
    )
    if len(factors) != axes:
        raise ValueError(f"interpolate: scale_factor must be a number or {axes} numbers, got {factor}")
    if any(f <= 0 for f in factors):
        raise ValueError(f"interpolate: scale_factor must be positive, got {factor}")
    return tuple([int(n * f) for n, f in zip(shape, factors, strict=True)]), factors
