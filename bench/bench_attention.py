"""Scaled dot-product attention of 12 heads of 64 elements, beside PyTorch's.

    BxS             B sequences of S queries and as many keys
    1x1xS           one query on S keys, as in generation

    full, causal    what a query sees
    forward         the result alone
    train           the result and the gradients of queries, keys and values
    dropout         the same, a tenth of the probabilities dropped

float32 contestants compute from float32 operands, `bfloat16` ones from operands stored so. Before anything is timed,
some rows of every result, and without dropout of the queries' gradient, are checked against float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import nonet
from nonet import _core
from nonet.bench.errors import WrongResultError
from nonet.bench.harness import Contestant
from nonet.bench.opponents import Side, Trial, own_sides
from nonet.bench.report import Row, rated
from nonet.bench.run import Options

__all__ = ["names", "run"]

HEADS, SIZE = 12, 64
RATE = 0.1
CHECKED = 3  # rows of a head


@dataclass(frozen=True)
class Case:
    batch: int
    queries: int
    keys: int
    causal: bool

    @property
    def name(self) -> str:
        sizes = f"{self.batch}x{self.keys}" if self.queries > 1 else f"{self.batch}x1x{self.keys}"
        return f"{sizes}-{'causal' if self.causal else 'full'}"

    @property
    def modes(self) -> tuple[str, ...]:
        return ("forward", "train", "dropout") if self.queries > 1 else ("forward",)

    def costs(self, mode: str, item: int) -> tuple[float, float]:
        """(operations, bytes of operands and results)"""
        pairs = self.batch * HEADS * self.queries * self.keys * (0.5 if self.causal else 1.0)
        rows = 2 * self.queries + 2 * self.keys
        passes = 1 if mode == "forward" else 3.5
        moved = self.batch * HEADS * rows * SIZE * item * (1 if mode == "forward" else 3)
        return 4.0 * pairs * SIZE * passes, float(moved)


CASES = [
    *(
        Case(batch, length, length, causal)
        for batch, length in ((8, 128), (4, 512), (1, 1024), (1, 2048))
        for causal in (False, True)
    ),
    Case(1, 1, 1024, False),
    Case(1, 1, 8192, False),
]


def names() -> list[str]:
    return [f"{case.name}/{mode}/warm" for case in CASES for mode in case.modes]


def run(options: Options) -> Iterator[list[Row]]:
    """All cases. Errors: WrongResultError."""
    for case in CASES:
        for mode in case.modes:
            if options.wants(case.name, mode, "warm"):
                options.tell(f"attention {case.name} {mode}")
                yield _rows(case, mode, options)


def _rows(case: Case, mode: str, options: Options) -> list[Row]:
    rng = np.random.default_rng(case.keys)
    shape = (case.batch, HEADS, case.queries, SIZE)
    q = rng.standard_normal(shape, dtype=np.float32)
    k, v = (rng.standard_normal((case.batch, HEADS, case.keys, SIZE), dtype=np.float32) for _ in range(2))
    dy = rng.standard_normal(shape, dtype=np.float32)
    sides = _sides(options)
    contestants = []
    for side in sides:
        if side.before is not None:
            side.before()
        trial = side.make(case, mode, q, k, v, dy)
        _verify(case, mode, side, trial(), q, k, v, dy)
        contestants.append(Contestant(side.name, trial.call, side.before))
    timings = options.time(contestants)
    out = []
    for side in sides:
        flops, moved = case.costs(mode, 2 if side.dtype == "bfloat16" else 4)
        out.append(
            rated(
                timings[side.name],
                peaks=options.peaks,
                isa=_core.isa(),
                threads=nonet.num_threads(),
                precision=side.precision,
                flops=flops,
                bytes_=moved,
                family="attention",
                case=case.name,
                mode=mode,
                state="warm",
                library=side.library,
                variant=side.variant,
                exact=side.exact,
            )
        )
    return out


def _sides(options: Options) -> list[Side]:
    sides = list(own_sides(options.precisions, _nonet))
    if "torch" in options.against:
        sides += [Side("torch", dtype, dtype, dtype, _torch(dtype)) for dtype in ("float32", "bfloat16")]
    return sides


def _trial(
    attend: Callable[..., Any], parts: list[Any], dy: Any, case: Case, mode: str, no_grad: Callable[[], Any]
) -> Trial:
    """The calls of both libraries are the same. Results: the result, the queries' gradient or None."""
    if mode == "forward":

        def forward() -> Any:
            with no_grad():
                return attend(*parts, is_causal=case.causal), None

        return Trial(forward, _values)
    rate = RATE if mode == "dropout" else 0.0

    def train() -> Any:
        for part in parts:
            part.grad = None
        y = attend(*parts, is_causal=case.causal, dropout_p=rate)
        y.backward(dy)
        return y, parts[0].grad

    return Trial(train, _values)


def _nonet(dtype: str) -> Callable[..., Trial]:
    def make(case: Case, mode: str, *arrays: np.ndarray) -> Trial:
        grad = mode != "forward"
        parts = [nonet.tensor(a, dtype=dtype, requires_grad=grad) for a in arrays[:3]]
        attend = nonet.nn.functional.scaled_dot_product_attention
        return _trial(attend, parts, nonet.tensor(arrays[3], dtype=dtype), case, mode, nonet.no_grad)

    return make


def _torch(dtype: str) -> Callable[..., Trial]:
    import torch  # pyright: ignore[reportMissingImports]

    def make(case: Case, mode: str, *arrays: np.ndarray) -> Trial:
        kind = getattr(torch, dtype)
        parts = [torch.from_numpy(a).to(kind).requires_grad_(mode != "forward") for a in arrays[:3]]
        attend = torch.nn.functional.scaled_dot_product_attention
        return _trial(attend, parts, torch.from_numpy(arrays[3]).to(kind), case, mode, torch.no_grad)

    return make


def _values(results: tuple[Any, Any]) -> list[np.ndarray | None]:
    return [None if t is None else np.asarray(t.detach().float().numpy()) for t in results]


def _verify(
    case: Case, mode: str, side: Side, got: Any, q: np.ndarray, k: np.ndarray, v: np.ndarray, dy: np.ndarray
) -> None:
    """Rows of the first and the last head; nothing of what dropout makes."""
    y, dq = got
    name = side.name
    if y is None or y.shape != q.shape or not np.isfinite(y).all():
        raise WrongResultError(f"{name}: {case.name} {mode}: another shape, or numbers that are not finite")
    if mode == "dropout":
        return
    allowed = 2e-5 if side.exact else 4e-2
    rows = np.linspace(0, case.queries - 1, min(CHECKED, case.queries)).astype(int)
    for b, h in ((0, 0), (case.batch - 1, HEADS - 1)):
        x, keys, values = (a[b, h].astype(np.float64) for a in (q, k, v))
        s = x[rows] @ keys.T / np.sqrt(SIZE)
        if case.causal:
            s = np.where(np.arange(case.keys)[None] <= rows[:, None], s, -np.inf)
        p = np.exp(s - s.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        pairs = [(y[b, h, rows], p @ values)]
        if dq is not None:
            dp = dy[b, h, rows].astype(np.float64) @ values.T
            pairs.append(
                (dq[b, h, rows], p * (dp - (dp * p).sum(axis=1, keepdims=True)) @ keys / np.sqrt(SIZE))
            )
        for found, want in pairs:
            error = float(np.abs(found - want).max() / np.abs(want).max())
            if not error <= allowed:
                where = f"{name}: {case.name} {mode}"
                raise WrongResultError(
                    f"{where}: off by {error:.1e} of the largest value, {allowed:.0e} allowed"
                )
