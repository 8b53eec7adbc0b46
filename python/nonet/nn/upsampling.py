"""Resampling layers: see nonet.ops.resize."""

from __future__ import annotations

from collections.abc import Sequence

from nonet.nn.module import Module
from nonet.ops.resize import interpolate
from nonet.tensor import Tensor, TensorLike

__all__ = ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]


class Upsample(Module):
    """[N, C, L] or [N, C, H, W] at another size, given or scale_factor times as large.

    mode: nearest, nearest-exact, linear (L), bilinear or bicubic (H, W).
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ):
        self.size = size
        if scale_factor is None or isinstance(scale_factor, (int, float)):
            self.scale_factor = None if scale_factor is None else float(scale_factor)
        else:
            self.scale_factor = tuple([float(f) for f in scale_factor])
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: TensorLike) -> Tensor:
        return interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        what = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{what}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """[N, C, H, W] at another size by the nearest pixel."""

    def __init__(
        self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
    ):
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """[N, C, H, W] at another size by linear interpolation with aligned corners."""

    def __init__(
        self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
    ):
        super().__init__(size, scale_factor, "bilinear", True)
