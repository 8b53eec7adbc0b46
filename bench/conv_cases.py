"""The convolutions of `nonet bench conv`, the layers around them, and what a sample of their results must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nonet.bench.conv_samples import Geometry, Sample, sample_image, sample_output, sample_weight

__all__ = ["AROUND", "CASES", "Case", "Layer", "Results", "Work"]

# N, C, H, O, kernel, stride, padding
LAYERS = (
    (64, 64, 32, 64, 3, 1, 1),
    (64, 256, 8, 256, 3, 1, 1),
    (4, 256, 56, 256, 3, 1, 1),
    (4, 512, 14, 512, 3, 1, 1),
    (4, 64, 224, 64, 3, 1, 1),
    (8, 64, 56, 64, 3, 1, 1),
    (8, 64, 56, 256, 1, 1, 0),
    (8, 128, 28, 128, 3, 1, 1),
    (8, 128, 28, 256, 3, 2, 1),
    (8, 256, 14, 256, 3, 1, 1),
    (8, 1024, 14, 256, 1, 1, 0),
    (8, 512, 7, 512, 3, 1, 1),
    (1, 256, 14, 256, 3, 1, 1),
    (8, 3, 224, 64, 7, 2, 3),
    (128, 1, 28, 6, 5, 1, 2),
    (128, 6, 14, 16, 5, 1, 0),
    (64, 3, 32, 64, 3, 1, 1),
)
TRANSPOSED = ((64, 64, 1, 128, 4, 1, 0), (64, 128, 4, 64, 4, 2, 1), (64, 64, 8, 32, 4, 2, 1))


@dataclass(frozen=True)
class Results:
    """What a call computed, in NumPy: gradients are None in a forward pass."""

    y: np.ndarray
    dx: np.ndarray | None
    dw: np.ndarray | None


class Work(Protocol):
    """A layer on a batch."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    @property
    def out_shape(self) -> tuple[int, int, int, int]: ...
    def costs(self, mode: str, item: int) -> tuple[float | None, float]:
        """Operations (None: what counts is memory) and bytes moved once."""
        ...

    def weights(self, rng: np.random.Generator) -> list[np.ndarray]: ...
    def apply(self, lib: Any, x: Any, weights: Sequence[Any]) -> Any: ...
    def check(
        self, got: Results, x: np.ndarray, dy: np.ndarray, weights: Sequence[np.ndarray]
    ) -> Iterator[Sample]: ...


@dataclass(frozen=True)
class Case:
    """A convolution, or a transposed one."""

    n: int
    c: int
    h: int
    o: int
    k: int
    stride: int
    padding: int
    transposed: bool = False

    @property
    def name(self) -> str:
        stride = f"s{self.stride}" if self.stride > 1 else ""
        return f"{'t' if self.transposed else ''}{self.n}x{self.c}x{self.h}x{self.o}k{self.k}{stride}"

    @property
    def size(self) -> int:
        """Of the result's edge."""
        if self.transposed:
            return (self.h - 1) * self.stride - 2 * self.padding + self.k
        return (self.h + 2 * self.padding - self.k) // self.stride + 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.n, self.c, self.h, self.h

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return self.n, self.o, self.size, self.size

    def costs(self, mode: str, item: int) -> tuple[float | None, float]:
        # A multiply-add per kernel position and pair of channels, for every pixel that kernels are laid on.
        pixels = self.n * (self.h if self.transposed else self.size) ** 2
        flops = 2.0 * pixels * self.c * self.o * self.k**2
        arrays = np.prod(self.shape) + np.prod(self.out_shape) + self.c * self.o * self.k**2
        return flops * (3 if mode == "train" else 1), float(item * arrays * (3 if mode == "train" else 1))

    def weights(self, rng: np.random.Generator) -> list[np.ndarray]:
        channels = (self.c, self.o) if self.transposed else (self.o, self.c)
        return [rng.standard_normal((*channels, self.k, self.k), dtype=np.float32)]

    def apply(self, lib: Any, x: Any, weights: Sequence[Any]) -> Any:
        functional = lib.nn.functional
        if self.transposed:
            return functional.conv_transpose2d(x, weights[0], None, self.stride, self.padding)
        return functional.conv2d(x, weights[0], None, self.stride, self.padding)

    def check(
        self, got: Results, x: np.ndarray, dy: np.ndarray, weights: Sequence[np.ndarray]
    ) -> Iterator[Sample]:
        """A transposed convolution is the gradient of one whose image is its result."""
        g = Geometry(self.k, self.stride, self.padding)
        w = weights[0]
        if self.transposed:
            yield sample_image("result", got.y, x, w, g)
            if got.dx is not None and got.dw is not None:
                yield sample_output("gradient of the input", got.dx, dy, w, g)
                yield sample_weight("gradient of the weights", got.dw, dy, x, g)
        else:
            yield sample_output("result", got.y, x, w, g)
            if got.dx is not None and got.dw is not None:
                yield sample_image("gradient of the input", got.dx, dy, w, g)
                yield sample_weight("gradient of the weights", got.dw, x, dy, g)


CHANNELS = 4  # of a layer without weights that are checked


@dataclass(frozen=True)
class Layer:
    """A layer that reads and writes memory and computes little. expected(x): its result in float64."""

    name: str
    module: str
    arguments: tuple[Any, ...]
    shape: tuple[int, int, int, int]
    expected: Callable[[np.ndarray], np.ndarray]

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        n, c, h, w = self.expected(np.zeros((1, 1, *self.shape[2:]))).shape
        return self.shape[0] * n, self.shape[1] * c, h, w

    def costs(self, mode: str, item: int) -> tuple[float | None, float]:
        arrays = float(np.prod(self.shape) + np.prod(self.out_shape))
        return None, item * arrays * (2 if mode == "train" else 1)

    def weights(self, rng: np.random.Generator) -> list[np.ndarray]:
        return []

    def apply(self, lib: Any, x: Any, weights: Sequence[Any]) -> Any:
        return _module(lib, self.module, self.arguments)(x)

    def check(
        self, got: Results, x: np.ndarray, dy: np.ndarray, weights: Sequence[np.ndarray]
    ) -> Iterator[Sample]:
        want = self.expected(x[:, :CHANNELS].astype(np.float64))
        # Of numbers of size 1, of which some are averaged.
        yield Sample("result", got.y[:, :CHANNELS], want, np.maximum(1, np.abs(want)))


_modules: dict[tuple[str, str, tuple[Any, ...]], Any] = {}


def _module(lib: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    """The layer of a library, made once: what is timed is its call."""
    key = (lib.__name__, name, arguments)
    if key not in _modules:
        _modules[key] = getattr(lib.nn, name)(*arguments)
    return _modules[key]


def _windows(x: np.ndarray, k: int, stride: int, padding: int, fill: float) -> np.ndarray:
    edge = (padding, padding)
    wide = np.pad(x, ((0, 0), (0, 0), edge, edge), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(wide, (k, k), (2, 3))
    return view[:, :, ::stride, ::stride]


def _normal(x: np.ndarray) -> np.ndarray:
    mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5)


AROUND = (
    Layer(
        "pool-max-128x6x28k2",
        "MaxPool2d",
        (2,),
        (128, 6, 28, 28),
        lambda x: _windows(x, 2, 2, 0, 0).max((-1, -2)),
    ),
    Layer(
        "pool-max-8x64x112k3s2",
        "MaxPool2d",
        (3, 2, 1),
        (8, 64, 112, 112),
        lambda x: _windows(x, 3, 2, 1, -np.inf).max((-1, -2)),
    ),
    Layer(
        "pool-max-4x128x112k2",
        "MaxPool2d",
        (2,),
        (4, 128, 112, 112),
        lambda x: _windows(x, 2, 2, 0, 0).max((-1, -2)),
    ),
    Layer(
        "pool-avg-8x256x28k2",
        "AvgPool2d",
        (2,),
        (8, 256, 28, 28),
        lambda x: _windows(x, 2, 2, 0, 0).mean((-1, -2)),
    ),
    Layer(
        "pool-global-8x2048x7",
        "AdaptiveAvgPool2d",
        (1,),
        (8, 2048, 7, 7),
        lambda x: x.mean((2, 3), keepdims=True),
    ),
    Layer("norm-32x64x32", "BatchNorm2d", (64,), (32, 64, 32, 32), _normal),
    Layer("norm-8x256x56", "BatchNorm2d", (256,), (8, 256, 56, 56), _normal),
    Layer("norm-8x512x7", "BatchNorm2d", (512,), (8, 512, 7, 7), _normal),
)

CASES: list[Work] = [
    *(Case(*sizes) for sizes in LAYERS),
    *(Case(*sizes, transposed=True) for sizes in TRANSPOSED),
    *AROUND,
]
