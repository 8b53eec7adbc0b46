"""RNN, LSTM and GRU over whole sequences, forward and with all gradients of a training step.

    KIND-TxBxH      one layer of H units over B sequences of T steps, with inputs of H numbers

    forward         the outputs alone
    train           the outputs and the gradients of input, weights and biases

Operands stay in the caches where they fit. float32 contestants compute from float32 operands; `bfloat16` ones from
operands stored so. Ratios are taken to PyTorch's faster one. Before anything is timed, all outputs and all gradients
are checked against float64.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import nonet
from nonet import _core
from nonet.bench.bench_matmul import PATIENCE
from nonet.bench.errors import WrongResultError
from nonet.bench.harness import Contestant
from nonet.bench.opponents import Side, Trial, own_sides
from nonet.bench.recurrent_reference import GATES, Results, expected
from nonet.bench.report import Row, rated
from nonet.bench.run import Options

__all__ = ["CASES", "Case", "names", "run"]

MODES = ("forward", "train")
# Largest error allowed, in units of the largest value of a result: errors of a step go on through the following ones.
EXACT, TF32, ROUNDED = 1e-4, 1e-2, 1e-1


@dataclass(frozen=True)
class Case:
    kind: str
    steps: int
    batch: int
    hidden: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.steps}x{self.batch}x{self.hidden}"

    def operands(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Input, gradient of the output, weights as layers start with."""
        rng = np.random.default_rng(self.steps + 7 * self.batch + 49 * self.hidden)
        rows, bound = GATES[self.kind] * self.hidden, self.hidden**-0.5
        shapes = [(rows, self.hidden), (rows, self.hidden), (rows,), (rows,)]
        shape = (self.steps, self.batch, self.hidden)
        x, dy = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
        return x, dy, [rng.uniform(-bound, bound, shape).astype(np.float32) for shape in shapes]

    def costs(self, mode: str, size: int) -> tuple[float, float]:
        """Operations of the products, and bytes of input, output and weights."""
        rows = self.steps * self.batch
        passes = 3 if mode == "train" else 1
        weights = 2 * GATES[self.kind] * self.hidden**2
        return passes * 2.0 * rows * weights, passes * size * (2.0 * rows * self.hidden + weights)


SIZES = (
    (64, 32, 128),
    (128, 16, 256),
    (64, 64, 512),
    (256, 32, 256),
    (64, 1, 256),
    (64, 1, 32),
    (64, 1, 128),
)
CASES = [Case(kind, *size) for kind in GATES for size in SIZES]


def names() -> list[str]:
    return [f"{case.name}/{mode}/warm" for case in CASES for mode in MODES]


def run(options: Options) -> Iterator[list[Row]]:
    """All cases. Errors: WrongResultError."""
    for case in CASES:
        for mode in MODES:
            if options.wants(case.name, mode, "warm"):
                options.tell(f"recurrent {case.name} {mode}")
                yield _case_rows(case, mode, options)


def _case_rows(case: Case, mode: str, options: Options) -> list[Row]:
    x, dy, weights = case.operands()
    want = expected(case.kind, x, weights, dy if mode == "train" else None)
    contestants, about = [], {}
    for side in _sides(options):
        if side.before is not None:
            side.before()
        trial = side.make(case, mode, x, dy, weights)
        verify(f"{side.name}: {case.name} {mode}", side.precision, trial(), want)
        start = time.perf_counter()
        trial.call()
        seconds = time.perf_counter() - start
        if side.library != "nonet" and seconds > PATIENCE:
            options.skip(f"{case.name}/{mode}", f"a call of {side.name} takes about {seconds:.0f} s")
            continue
        contestants.append(Contestant(side.name, trial.call, side.before))
        about[side.name] = side
    return [
        _row(case, mode, about[name], timing, options) for name, timing in options.time(contestants).items()
    ]


def _row(case: Case, mode: str, side: Side, timing: Any, options: Options) -> Row:
    flops, bytes_ = case.costs(mode, 2 if side.dtype == "bfloat16" else 4)
    return rated(
        timing,
        peaks=options.peaks,
        isa=_core.isa(),
        threads=nonet.num_threads(),
        precision=side.precision,
        flops=flops,
        bytes_=bytes_,
        family="recurrent",
        case=case.name,
        mode=mode,
        state="warm",
        library=side.library,
        variant=side.variant,
        exact=side.exact,
    )


# ------------------------------------------------------------------------------------------------ contestants


def _sides(options: Options) -> Iterator[Side]:
    yield from own_sides(options.precisions, _nonet)
    if "torch" in options.against:
        for dtype in ("float32", "bfloat16"):
            yield Side("torch", dtype, dtype, dtype, _torch(dtype))


def _trial(lib: Any, mode: str, layer: Any, x: Any, dy: Any, to_numpy: Callable[[Any], np.ndarray]) -> Trial:
    """The calls of both libraries are the same."""
    weights = [layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0]

    def forward() -> Any:
        with lib.no_grad():
            return layer(x)[0]

    def train() -> Any:
        x.grad = None
        for w in weights:
            w.grad = None
        y = layer(x)[0]
        y.backward(dy)
        return y

    if mode == "forward":
        return Trial(forward, lambda y: Results(to_numpy(y)))
    return Trial(train, lambda y: Results(to_numpy(y), *(to_numpy(t.grad) for t in (x, *weights))))


def _layer(lib: Any, case: Case, weights: Sequence[Any]) -> Any:
    layer = getattr(lib.nn, case.kind.upper())(case.hidden, case.hidden)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    layer.load_state_dict(dict(zip(names, weights, strict=True)))
    return layer


def _nonet(dtype: str) -> Callable[..., Trial]:
    def make(case: Case, mode: str, x: np.ndarray, dy: np.ndarray, weights: Sequence[np.ndarray]) -> Trial:
        layer = _layer(nonet, case, weights).to(dtype)
        given = nonet.tensor(x, dtype=dtype, requires_grad=mode == "train")
        return _trial(
            nonet,
            mode,
            layer,
            given,
            nonet.tensor(dy, dtype=dtype),
            lambda t: t.detach().to("float32").numpy(),
        )

    return make


def _torch(dtype: str) -> Callable[..., Trial]:
    def make(case: Case, mode: str, x: np.ndarray, dy: np.ndarray, weights: Sequence[np.ndarray]) -> Trial:
        import torch  # pyright: ignore[reportMissingImports]

        kind = getattr(torch, dtype)
        layer = _layer(torch, case, [torch.from_numpy(w) for w in weights]).to(kind)
        given = torch.from_numpy(x).to(kind).requires_grad_(mode == "train")
        to_numpy: Callable[[Any], np.ndarray] = lambda t: t.detach().float().numpy()  # noqa: E731
        return _trial(torch, mode, layer, given, torch.from_numpy(dy).to(kind), to_numpy)

    return make


# ------------------------------------------------------------------------------------------------ verification


def verify(where: str, precision: str, got: Results, want: Results) -> None:
    """Everything that was computed. Errors: WrongResultError."""
    allowed = {"high": TF32, "medium": ROUNDED, "bfloat16": ROUNDED}.get(precision, EXACT)
    found = got.named()
    for what, value in want.named().items():
        if found[what].shape != value.shape:
            raise WrongResultError(
                f"{where}: {what}: expected shape {list(value.shape)}, got {list(found[what].shape)}"
            )
        error = np.abs(found[what] - value).max() / np.abs(value).max()
        if not error <= allowed:
            raise WrongResultError(
                f"{where}: the error of {what} is {error:.1e} of its largest value, at most {allowed:.1e} allowed"
            )
