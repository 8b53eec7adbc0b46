"""Convolutions in the shapes of networks, forward and with all gradients, and the layers around them.

    NxCxHxOkK[sS]   a convolution of N images of C channels and H x H pixels to O channels, kernel K x K, stride S
    tNxCxHxOkK[sS]  a transposed one
    pool…, norm…    max and average pooling, batch normalisation in training

    forward         the result alone
    train           the result and the gradients of input and weights

Operands stay in the caches where they fit. nonet reads images channels-last, as they lie between the layers of a
network; PyTorch reads both layouts, and ratios are taken to the faster one. float32 contestants compute from float32
operands; `bfloat16` ones from operands stored so. Before anything is timed, a sample of every result, and of every
gradient of a convolution, is checked against float64.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import nonet
from nonet import _core
from nonet.bench.bench_matmul import EPS, PATIENCE, TOLERANCES
from nonet.bench.conv_cases import CASES, Case, Layer, Results, Work
from nonet.bench.errors import WrongResultError
from nonet.bench.harness import Contestant
from nonet.bench.opponents import Side, Trial, own_sides
from nonet.bench.report import Row, rated
from nonet.bench.run import Options

__all__ = ["MODES", "contestant", "names", "run"]

MODES = ("forward", "train")


def names() -> list[str]:
    return [f"{case.name}/{mode}/warm" for case in CASES for mode in MODES]


def run(options: Options) -> Iterator[list[Row]]:
    """All cases. Errors: WrongResultError."""
    for case in CASES:
        for mode in MODES:
            if not options.wants(case.name, mode, "warm"):
                continue
            if isinstance(case, Layer) and not hasattr(nonet.nn, case.module):
                options.skip(f"{case.name}/{mode}", f"nonet has no {case.module} yet")
                continue
            options.tell(f"conv {case.name} {mode}")
            yield _case_rows(case, mode, options)


def _case_rows(case: Work, mode: str, options: Options) -> list[Row]:
    rng = np.random.default_rng(sum(case.shape))
    x = rng.standard_normal(case.shape, dtype=np.float32)
    dy = rng.standard_normal(case.out_shape, dtype=np.float32)
    weights = case.weights(rng)
    contestants, about = [], {}
    for side in _sides(case, options):
        if side.before is not None:
            side.before()
        trial = side.make(case, mode, x, dy, weights)
        _verify(case, mode, side, trial(), x, dy, weights)
        seconds = _seconds(trial.call)
        if side.library != "nonet" and seconds > PATIENCE:
            options.skip(f"{case.name}/{mode}", f"a call of {side.name} takes about {seconds:.0f} s")
            continue
        contestants.append(Contestant(side.name, trial.call, side.before))
        about[side.name] = side
    return [
        _row(case, mode, about[name], timing, options) for name, timing in options.time(contestants).items()
    ]


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _row(case: Work, mode: str, side: Side, timing: Any, options: Options) -> Row:
    flops, bytes_ = case.costs(mode, 2 if side.dtype == "bfloat16" else 4)
    row = rated(
        timing,
        peaks=options.peaks,
        isa=_core.isa(),
        threads=nonet.num_threads(),
        precision=side.precision,
        flops=flops or 0.0,
        bytes_=bytes_,
        family="conv",
        case=case.name,
        mode=mode,
        state="warm",
        library=side.library,
        variant=side.variant,
        exact=side.exact,
    )
    # What computes little is told in time, and by its share of the memory's speed.
    return row if flops is not None else dataclasses.replace(row, flops=None, gflops=None)


# ------------------------------------------------------------------------------------------------ contestants


def _sides(case: Work, options: Options) -> Iterator[Side]:
    products = isinstance(case, Case)
    yield from own_sides(options.precisions if products else options.precisions[:1], _nonet)
    if "torch" in options.against:
        for dtype in ("float32", "bfloat16"):
            for layout in ("contiguous", "channels_last"):
                yield Side("torch", f"{dtype}, {layout}", dtype, dtype, _torch(dtype, layout))


def _trial(
    lib: Any,
    case: Work,
    mode: str,
    x: Any,
    dy: Any,
    weights: Sequence[Any],
    to_numpy: Callable[[Any], np.ndarray],
) -> Trial:
    """The calls of both libraries are the same."""
    if mode == "forward":

        def forward() -> Any:
            with lib.no_grad():
                return case.apply(lib, x, weights)

        return Trial(forward, lambda y: Results(to_numpy(y), None, None))

    def train() -> Any:
        x.grad = None
        for w in weights:
            w.grad = None
        y = case.apply(lib, x, weights)
        y.backward(dy)
        return y

    return Trial(
        train,
        lambda y: Results(to_numpy(y), to_numpy(x.grad), to_numpy(weights[0].grad) if weights else None),
    )


def _nonet(dtype: str) -> Callable[..., Trial]:
    def image(a: np.ndarray, grad: bool) -> Any:
        return nonet.Tensor(nonet.tensor(a, dtype=dtype).array.to_format("nhwc"), grad)

    def make(case: Work, mode: str, x: np.ndarray, dy: np.ndarray, weights: Sequence[np.ndarray]) -> Trial:
        parameters = [nonet.nn.Parameter(nonet.tensor(w, dtype=dtype)) for w in weights]
        return _trial(
            nonet,
            case,
            mode,
            image(x, mode == "train"),
            image(dy, False),
            parameters,
            lambda t: t.detach().to("float32").numpy(),
        )

    return make


def _torch(dtype: str, layout: str) -> Callable[..., Trial]:
    def make(case: Work, mode: str, x: np.ndarray, dy: np.ndarray, weights: Sequence[np.ndarray]) -> Trial:
        import torch  # pyright: ignore[reportMissingImports]

        kind = getattr(torch, dtype)
        order = torch.channels_last if layout == "channels_last" else torch.contiguous_format

        def tensor(a: np.ndarray, grad: bool) -> Any:
            return torch.from_numpy(a).to(kind).contiguous(memory_format=order).requires_grad_(grad)

        train = mode == "train"
        parameters = [tensor(w, train) for w in weights]
        return _trial(
            torch,
            case,
            mode,
            tensor(x, train),
            tensor(dy, False),
            parameters,
            lambda t: t.detach().float().contiguous().numpy(),
        )

    return make


def contestant(library: str, layout: str = "contiguous", dtype: str = "float32") -> Callable[..., Trial]:
    """make(case, mode, x, dy, weights) of a library; layout: PyTorch's."""
    return _nonet(dtype) if library == "nonet" else _torch(dtype, layout)


# ------------------------------------------------------------------------------------------------ verification


def _verify(
    case: Work,
    mode: str,
    side: Side,
    got: Results,
    x: np.ndarray,
    dy: np.ndarray,
    weights: Sequence[np.ndarray],
) -> None:
    """Samples of everything against float64, elementwise within a multiple of |A| |B|."""
    allowed = TOLERANCES.get(side.precision, 16 * EPS)
    if side.library != "nonet":
        allowed *= 4  # whoever sums in another order is not to be left out for it
    where = f"{side.name}: {case.name} {mode}"
    if got.y.shape != case.out_shape:
        raise WrongResultError(f"{where}: expected shape {list(case.out_shape)}, got {list(got.y.shape)}")
    for sample in case.check(got, x, dy, weights):
        error = np.abs(sample.got.astype(np.float64) - sample.want) / np.maximum(sample.bound, 1e-30)
        if not error.max(initial=0) <= allowed:
            raise WrongResultError(
                f"{where}: the error of the {sample.what} is {error.max():.1e} of |A| |B|, at most {allowed:.1e} "
                "allowed"
            )
