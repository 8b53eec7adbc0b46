"""Matrix products in the shapes of layers: cubes, small batches, feed-forward blocks, single rows, weight gradients.

    linear   y = x W^T       x [M, K], W [N, K] a Parameter: packed once and used again, as in inference
    matmul   c = a b         a [M, K], b [K, N] plain tensors: packing is inside the time
    grad     dW = dY^T X     dY [K, N], X [K, M] -> [N, M]: a weight gradient over a batch of K

Warm: operands stay in the caches. Cold: every call takes other operands, out of more memory than the caches hold.
float32 contestants compute from float32 operands; `bfloat16` ones from operands stored so. Before anything is timed,
a sample of every result is checked against float64.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import nonet
from nonet import _core, nn
from nonet.bench.errors import WrongResultError
from nonet.bench.harness import Contestant, rotate
from nonet.bench.machine import available_memory, cache_sizes
from nonet.bench.opponents import lowest, with_precision
from nonet.bench.report import Row, rated
from nonet.bench.run import Options
from nonet.ops.matmul import matmul_flags

__all__ = ["CASES", "Case", "names", "run"]

CUBES = (64, 128, 256, 512, 1024, 2048, 4096)
SHAPES = (
    (16, 512, 512),
    (32, 256, 784),
    (128, 512, 784),
    (128, 10, 512),
    (64, 2048, 512),
    (128, 768, 768),
    (512, 768, 768),
    (2048, 768, 3072),
    (2048, 3072, 768),
    (1, 512, 784),
    (1, 768, 3072),
    (1, 4096, 4096),
)
GRADIENTS = ((784, 512, 128), (512, 512, 512), (768, 3072, 2048))
STATES = ("warm", "cold")
SETS = 4096  # at most so many operand sets in a cold case
PATIENCE = 3.0  # seconds that an opponent's call may take: kernels that a library has only as a fallback take minutes
SAMPLE = 48  # rows and columns of the result that are checked

EPS = 2.0**-24  # half a unit in the last place of 1: the rounding error of float32
# Largest error allowed, in units of |A| |B|: what the rounding of the operands gives (TF32 has 11 bits, bfloat16 8),
# and for float32 sums a random walk's growth with room to spare.
TOLERANCES = {"high": 2.0**-10, "medium": 2.0**-7, "bfloat16": 2.0**-7}


@dataclass(frozen=True)
class Case:
    """A product of [m, k] and [k, n] under the name it has in tables."""

    name: str
    mode: str
    m: int
    n: int
    k: int

    @property
    def flops(self) -> float:
        return 2.0 * self.m * self.n * self.k

    def bytes(self, item: int = 4) -> float:
        return float(item) * (self.m * self.k + self.k * self.n + self.m * self.n)


def _cases() -> list[Case]:
    out = []
    for m, n, k in [(edge, edge, edge) for edge in CUBES] + [*SHAPES]:
        out += [Case(f"{m}x{n}x{k}", mode, m, n, k) for mode in ("linear", "matmul")]
    # dW [out, in] = dY^T X, so the rows of the result are the layer's outputs.
    return out + [Case(f"{i}x{o}xB{batch}", "grad", o, i, batch) for i, o, batch in GRADIENTS]


CASES = _cases()


def names() -> list[str]:
    return [f"{case.name}/{case.mode}/{state}" for case in CASES for state in STATES]


def run(options: Options) -> Iterator[list[Row]]:
    """All cases, warm and cold. Errors: WrongResultError."""
    rates: dict[tuple[str, str], float] = {}  # operations per second so far
    for case in CASES:
        for state in STATES:
            if options.wants(case.name, case.mode, state):
                options.tell(f"matmul {case.name} {case.mode} {state}")
                with nonet.no_grad(), _inference(options.against):
                    rows = _case_rows(case, state, options, rates)
                rates |= {(row.name, row.mode): case.flops / row.median for row in rows}
                yield rows


def _case_rows(case: Case, state: str, options: Options, rates: Mapping[tuple[str, str], float]) -> list[Row]:
    sides = []
    for side in (side for make in _makers(options) for side in make(case)):
        expected = case.flops / rates.get((side.name, case.mode), math.inf)
        if side.library == "nonet" or expected <= PATIENCE:
            sides.append(side)
        else:
            full = f"{case.name}/{case.mode}/{state}"
            options.skip(full, f"a call of {side.name} would take about {expected:.0f} s")
    sets = 1 if state == "warm" else _sets(case)
    rng = np.random.default_rng(case.m + 7 * case.n + 49 * case.k)
    operands = [_operands(case, rng) for _ in range(min(sets, 8))]
    contestants, about = [], {}
    for side in sides:
        if side.before is not None:
            side.before()
        # A few operands in many copies: making random numbers for all of them would take longer than the timing.
        calls = [side.make(*(x.copy() for x in operands[i % len(operands)])) for i in range(sets)]
        _verify(case, side, calls[0], operands[0])
        contestants.append(Contestant(side.name, rotate(calls), side.before, cold=state == "cold"))
        about[side.name] = side
    return [
        rated(
            timing,
            peaks=options.peaks,
            isa=_core.isa(),
            threads=nonet.num_threads(),
            precision=about[name].precision,
            flops=case.flops,
            bytes_=case.bytes(2 if about[name].precision == "bfloat16" else 4),
            family="matmul",
            case=case.name,
            mode=case.mode,
            state=state,
            library=about[name].library,
            variant=about[name].precision,
            exact=about[name].precision in ("highest", "ieee", "float32"),
        )
        for name, timing in options.time(contestants).items()
    ]


def _sets(case: Case) -> int:
    """Operand sets of a cold case: twice the last cache together, as far as memory allows."""
    last = max(cache_sizes().values(), default=2**25)
    wanted = int(2 * last // case.bytes()) + 2
    # Each contestant has its own copy, and nonet a packed one beside it.
    affordable = int(available_memory() // 2 // (12 * case.bytes()))
    return max(2, min(wanted, affordable, SETS))


def _operands(case: Case, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    shapes = {
        "linear": ((case.m, case.k), (case.n, case.k)),
        "matmul": ((case.m, case.k), (case.k, case.n)),
        "grad": ((case.k, case.m), (case.k, case.n)),
    }[case.mode]
    a, b = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return a, b


# ------------------------------------------------------------------------------------------------ contestants


@dataclass(frozen=True)
class Side:
    """A library at a precision: `make` turns two float32 operands into a call that multiplies them."""

    library: str
    precision: str
    make: Callable[[np.ndarray, np.ndarray], Callable[[], Any]]
    before: Callable[[], Any] | None = None

    @property
    def name(self) -> str:
        return f"{self.library} {self.precision}"


def _makers(options: Options) -> list[Callable[[Case], Iterator[Side]]]:
    makers: list[Callable[[Case], Iterator[Side]]] = [
        lambda case: _nonet_sides(case, options.precisions or ("highest",))
    ]
    if "torch" in options.against:
        makers.append(_torch_sides)
    if "numpy" in options.against:
        makers.append(_numpy_sides)
    return makers


def _nonet_sides(case: Case, precisions: Sequence[str]) -> Iterator[Side]:
    def make(dtype: str) -> Callable[[np.ndarray, np.ndarray], Callable[[], Any]]:
        def build(a: np.ndarray, b: np.ndarray) -> Callable[[], Any]:
            x, y = nonet.tensor(a, dtype=dtype), nonet.tensor(b, dtype=dtype)
            if case.mode == "linear":
                weight = nn.Parameter(y)
                return lambda: nn.functional.linear(x, weight)
            if case.mode == "matmul":
                return lambda: nonet.matmul(x, y)
            return lambda: matmul_flags(x, y, True, False)

        return build

    for precision in precisions:
        yield Side("nonet", precision, make("float32"), with_precision(precision))
    yield Side("nonet", "bfloat16", make("bfloat16"), with_precision(lowest(precisions)))


def _torch_sides(case: Case) -> Iterator[Side]:
    import torch  # pyright: ignore[reportMissingImports]

    def make(dtype: Any) -> Callable[[np.ndarray, np.ndarray], Callable[[], Any]]:
        def build(a: np.ndarray, b: np.ndarray) -> Callable[[], Any]:
            x, y = torch.from_numpy(a).to(dtype), torch.from_numpy(b).to(dtype)
            if case.mode == "linear":
                return lambda: torch.nn.functional.linear(x, y)
            left = x if case.mode == "matmul" else x.T
            return lambda: torch.matmul(left, y)

        return build

    yield Side("torch", "float32", make(torch.float32))
    yield Side("torch", "bfloat16", make(torch.bfloat16))


def _numpy_sides(case: Case) -> Iterator[Side]:
    def build(a: np.ndarray, b: np.ndarray) -> Callable[[], Any]:
        left = a.T if case.mode == "grad" else a
        right = b.T if case.mode == "linear" else b
        return lambda: left @ right

    yield Side("numpy", "float32", build)


@contextlib.contextmanager
def _inference(against: Sequence[str]) -> Iterator[None]:
    """Without gradients on the other side too."""
    if "torch" not in against:
        yield
        return
    import torch  # pyright: ignore[reportMissingImports]

    with torch.inference_mode():
        yield


# ------------------------------------------------------------------------------------------------ verification


def _verify(case: Case, side: Side, call: Callable[[], Any], operands: tuple[np.ndarray, np.ndarray]) -> None:
    """A random sample of rows and columns against float64, elementwise within a multiple of |A| |B|."""
    a, b = (x.astype(np.float64) for x in operands)
    if case.mode == "grad":
        a = a.T
    if case.mode == "linear":
        b = b.T
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(case.m)[:SAMPLE])
    columns = np.sort(rng.permutation(case.n)[:SAMPLE])
    a, b = a[rows], b[:, columns]
    result = call()
    if side.library == "torch":
        result = result.float().numpy()
    got = np.asarray(result)
    if got.shape != (case.m, case.n):
        raise WrongResultError(
            f"{side.name}: {case.name} {case.mode}: expected shape {[case.m, case.n]}, got {list(got.shape)}"
        )
    error = np.abs(got[np.ix_(rows, columns)].astype(np.float64) - a @ b) / (np.abs(a) @ np.abs(b))
    allowed = TOLERANCES.get(side.precision, 16 * EPS)
    if not error.max() <= allowed:
        raise WrongResultError(
            f"{side.name}: {case.name} {case.mode}: the error is {error.max():.1e} of |A| |B|, "
            f"at most {allowed:.1e} allowed"
        )
