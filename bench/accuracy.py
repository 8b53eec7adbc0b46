"""How far matrix products are from the exact ones: nonet at every precision beside NumPy and PyTorch.

    python -m nonet.bench.accuracy --against torch,numpy --save accuracy.json --docs docs

C = A B with A [64, K] and B [K, 64] of float32 numbers, from families that stress different things. The error of an
element is given in units of 2^-24, the unit roundoff of float32, and of

    normwise        |A_row| |B_column|, 2-norms: what a product of rounded terms can promise
    componentwise   (|A| |B|), the sum of the magnitudes of its products: what multiply-adds can promise

Both are at most 1 where a result is rounded once. The reference is a float64 product: the products of two float32 are
exact in float64, so its own error is at most K 2^-53 of |A| |B|; a sample of every case is checked against `math.fsum`
of the same products, which is exact but for its last rounding.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import _core, io
from nonet.bench.errors import BenchError, WrongResultError
from nonet.bench.machine import commit, environment, machine, now, versions
from nonet.bench.opponents import PRECISIONS, check_opponents, details, set_threads
from nonet.bench.report import piped
from nonet.ops.isa import ISAS, use_isa
from nonet.plot import require_matplotlib

__all__ = ["DEPTHS", "FAMILIES", "METRICS", "Result", "main", "measure", "tables"]

EDGE = 64  # rows of A and columns of B
DEPTHS = (32, 128, 512, 2048, 8192, 32768, 65536)
DRAWS = 32  # pairs of matrices per family up to K = 2048, then fewer, down to an eighth
UNIT = 2.0**-24
SAMPLE = 8  # elements per product whose reference is checked
TABLE_DEPTH = 2048  # the K of the tables

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


# ------------------------------------------------------------------------------------------------ families


def _pair(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((EDGE, k)), rng.standard_normal((k, EDGE))


def _uniform(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.random((EDGE, k)), rng.random((k, EDGE))


def _log_uniform(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = _pair(rng, k)
    return np.sign(a) * 10.0 ** rng.uniform(-15, 15, a.shape), np.sign(b) * 10.0 ** rng.uniform(
        -15, 15, b.shape
    )


def _scaled(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = _pair(rng, k)
    return a * 10.0 ** rng.uniform(-12, 12, (EDGE, 1)), b * 10.0 ** rng.uniform(-12, 12, (1, EDGE))


def _cancelling(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The second half of the sum takes the first one back, but for a part in 4096."""
    a, b = _pair(rng, k)
    a[:, k // 2 :] = a[:, : k // 2]
    b[k // 2 :] = -b[: k // 2] * (1 + 2.0**-12 * b[k // 2 :])
    return a, b


def _relu(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = _pair(rng, k)
    return np.maximum(a, 0), b


def _softmax(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray]:
    """A weight's gradient: (softmax - one-hot) / K of sharp logits over a batch of K, times ReLU's outputs."""
    logits = 8 * rng.standard_normal((EDGE, k))
    p = np.exp(logits - logits.max(axis=0))
    p /= p.sum(axis=0)
    p[rng.integers(0, EDGE, k), np.arange(k)] -= 1
    return p / k, np.maximum(rng.standard_normal((k, EDGE)), 0)


def _ranges(rng: np.random.Generator, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of A from denormal numbers to 2^80, columns of B so that no result leaves the normal numbers."""
    a, b = _pair(rng, k)
    return a * 2.0 ** rng.integers(-140, 81, (EDGE, 1)), b * 2.0 ** rng.integers(24, 27, (1, EDGE))


FAMILIES: dict[str, Draw] = {
    "normal": _pair,
    "uniform": _uniform,
    "log-uniform": _log_uniform,
    "scaled": _scaled,
    "cancelling": _cancelling,
    "relu": _relu,
    "softmax": _softmax,
    "ranges": _ranges,
}


# ------------------------------------------------------------------------------------------------ contestants


@dataclass(frozen=True)
class Side:
    """name: library, precision and, for nonet, the instruction set. Takes two float32 matrices, gives their product."""

    name: str
    multiply: Callable[[np.ndarray, np.ndarray], np.ndarray]


def sides(against: Sequence[str]) -> Iterator[Side]:
    """Multiply-adds of every vector set, every precision on tiles where they are, and the opponents."""
    usable = ISAS[: ISAS.index(_core.isa()) + 1]
    for isa in usable[1:3] or usable:
        yield Side(f"nonet ieee, {isa}", _nonet(isa, "ieee"))
    if "amx" in usable:
        for precision in PRECISIONS[:3]:
            yield Side(f"nonet {precision}, amx", _nonet("amx", precision))
    elif "avx512_bf16" in usable:
        yield Side("nonet medium, avx512_bf16", _nonet("avx512_bf16", "medium"))
    if "numpy" in against:
        yield Side("numpy float32", np.matmul)
    if "torch" in against:
        for dtype in ("float32", "bfloat16"):
            yield Side(f"torch {dtype}", _torch(dtype))


def _nonet(isa: str, precision: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        with use_isa(isa):
            return nonet.matmul(a, b, precision=precision).numpy()

    return multiply


def _torch(dtype: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    import torch  # pyright: ignore[reportMissingImports]

    kind = getattr(torch, dtype)

    def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (torch.from_numpy(a).to(kind) @ torch.from_numpy(b).to(kind)).float().numpy()

    return multiply


# ------------------------------------------------------------------------------------------------ errors


@dataclass(frozen=True)
class Result:
    """Errors of a contestant on all draws of a family at one K, in units of 2^-24; None unless all are finite."""

    family: str
    k: int
    side: str
    normwise_max: float | None
    normwise_rms: float | None
    componentwise_max: float | None
    componentwise_rms: float | None


METRICS = {
    "normwise_rms": "normwise, root mean square",
    "normwise_max": "normwise, largest",
    "componentwise_max": "componentwise, largest",
}


def reference(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """The float64 product, |A| |B|, and the largest error of a sample of it in units of |A| |B|.

    Errors: WrongResultError if that is above K 2^-53, which it cannot be.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    exact, magnitude = a @ b, np.abs(a) @ np.abs(b)
    worst = 0.0
    for i, j in rng.integers(0, EDGE, (SAMPLE, 2)):
        worst = max(worst, abs(float(exact[i, j]) - math.fsum(a[i] * b[:, j])) / float(magnitude[i, j]))
    if worst > a.shape[1] * 2.0**-53:
        raise WrongResultError(f"accuracy: the float64 reference is off by {worst:.1e} of |A| |B|")
    return exact, magnitude, worst


def measure(
    against: Sequence[str],
    *,
    depths: Sequence[int] = DEPTHS,
    draws: int = DRAWS,
    tell: Callable[[str], Any] = lambda _: None,
) -> dict[str, Any]:
    """The document of a study: where it ran, and a Result per contestant, family and K."""
    check_opponents(against)
    set_threads(nonet.num_threads(), against)
    contestants = list(sides(against))
    results: list[Result] = []
    worst_reference = 0.0
    for name, draw in FAMILIES.items():
        for k in depths:
            tell(f"accuracy {name} K={k}")
            rng = np.random.default_rng([k, *name.encode()])
            found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {side.name: [] for side in contestants}
            for _ in range(max(draws // 8, min(draws, draws * TABLE_DEPTH // k), 1)):
                a, b = (x.astype(np.float32) for x in draw(rng, k))
                exact, magnitude, worst = reference(a, b, rng)
                worst_reference = max(worst_reference, worst)
                norms = _norms(a, 1)[:, None] * _norms(b, 0)
                for side in contestants:
                    error = np.abs(side.multiply(a, b) - exact)
                    found[side.name].append((error / norms / UNIT, error / magnitude / UNIT))
            results += [_result(name, k, side, errors) for side, errors in found.items()]
    return {
        "commit": commit(),
        "date": now(),
        "machine": machine(),
        "versions": versions(),
        "environment": environment(),
        "opponents": details(against),
        "edge": EDGE,
        "draws": draws,
        "reference_error": worst_reference,
        "results": [asdict(result) for result in results],
    }


def _norms(x: np.ndarray, axis: int) -> np.ndarray:
    return np.linalg.norm(x.astype(np.float64), axis=axis)


def _result(family: str, k: int, side: str, errors: Sequence[tuple[np.ndarray, np.ndarray]]) -> Result:
    def figures(which: int) -> Iterator[float | None]:
        values = np.stack([error[which] for error in errors])
        for value in (values.max(), np.sqrt(np.mean(values * values))):
            yield float(value) if np.isfinite(value) else None

    return Result(family, k, side, *figures(0), *figures(1))


# ------------------------------------------------------------------------------------------------ tables


def tables(document: Mapping[str, Any]) -> str:
    """Where it was measured; a table per metric, families by contestants; ratios of rms errors, families by K."""
    results = [Result(**entry) for entry in document["results"]]
    names = list(dict.fromkeys(result.side for result in results))
    depths = sorted({result.k for result in results})
    families = list(dict.fromkeys(result.family for result in results))
    by_key = {(r.family, r.k, r.side): r for r in results}
    at = TABLE_DEPTH if TABLE_DEPTH in depths else depths[-1]
    out = [_where(document)]
    for metric, words in METRICS.items():
        lines = [[f"K = {at}", *names]]
        for family in families:
            lines.append([family, *(_figure(getattr(by_key[family, at, name], metric)) for name in names)])
        out += ["", f"Error {words}, in units of 2^-24:", "", piped(lines, 1)]
    for one, other in _pairs_of(names):
        lines = [[f"{one} / {other}", *(f"K = {k}" for k in depths)]]
        for family in families:
            both = [
                (by_key[family, k, one].normwise_rms, by_key[family, k, other].normwise_rms) for k in depths
            ]
            lines.append([family, *(f"{x / y:.2f}" if x is not None and y else "" for x, y in both)])
        out += ["", f"Root mean square of the normwise error, {one} over {other}:", "", piped(lines, 1)]
    return "\n".join(out)


def _pairs_of(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Which contestants are set against each other."""
    highest, mkl = "nonet highest, amx", "torch float32"
    fma = [name for name in names if name.startswith("nonet ieee")]
    if highest in names and fma:
        yield highest, fma[-1]
    if mkl in names:
        yield from ((name, mkl) for name in (highest, *fma[:1]) if name in names)


def _figure(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _where(document: Mapping[str, Any]) -> str:
    where = document["machine"]
    parts = [where["cpu"], ", ".join(f"{k} {v}" for k, v in document["versions"].items() if v)]
    parts += [f"{name}={value}" for name, value in document["environment"].items()]
    parts += (
        [f"torch's capability {document['opponents']['torch']['capability']}"]
        if document["opponents"]
        else []
    )
    parts += [
        f"{document['draws']} draws of {document['edge']} x K x {document['edge']}, an eighth of it for large K"
    ]
    parts += [f"{document['commit']}, {document['date'][:10]}"]
    emulated = (
        "**avx512 and amx are emulated, bit for bit** (the processor has neither); avx2, NumPy and PyTorch ran on it."
        if where["emulated"]
        else f"All of it ran on the processor ({where['isa']})."
    )
    checked = f"The float64 reference was off by {document['reference_error']:.1e} of |A| |B| at most where sampled."
    return f"{'; '.join(parts)}. {emulated} {checked}"


# ------------------------------------------------------------------------------------------------ the command


BEGIN, END = "<!-- printed by python -m nonet.bench.accuracy -->", "<!-- end of what is printed -->"


def write_docs(document: Mapping[str, Any], folder: Path) -> None:
    """Puts the tables between the two marks of accuracy.md in `folder`, and the charts beside it.

    Errors: BenchError if the page or its marks are not there, MissingExtraError without matplotlib.
    """
    from nonet.plot.accuracy import draw  # above this module

    page = folder / "accuracy.md"
    text = page.read_text() if page.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BenchError(f"--docs: {page} must have the lines {BEGIN!r} and {END!r}")
    for metric, words in METRICS.items():
        draw(document, metric, words, folder / f"accuracy-{metric.replace('_', '-')}.svg")
    io.write_text(page, f"{before}{BEGIN}\n\n{tables(document)}\n\n{END}{after}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m nonet.bench.accuracy", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--against", default="", help="torch, numpy")
    parser.add_argument("--depths", default=",".join(map(str, DEPTHS)), help="values of K")
    parser.add_argument("--draws", type=int, default=DRAWS, help="pairs of matrices per family and K")
    parser.add_argument("--save", metavar="FILE", help="the document, as JSON")
    parser.add_argument("--load", metavar="FILE", help="shows a saved document instead of measuring")
    parser.add_argument(
        "--docs", metavar="FOLDER", type=Path, help="updates accuracy.md there and draws the charts"
    )
    args = parser.parse_args(argv)
    try:
        if args.docs is not None:
            require_matplotlib()
        document = _load(args.load) if args.load is not None else _measured(args)
        if args.save is not None:
            io.write_text(args.save, json.dumps(document, indent=1, allow_nan=False) + "\n")
        if args.docs is not None:
            write_docs(document, args.docs)
    except (BenchError, io.MissingExtraError) as error:
        parser.error(str(error))
    print(tables(document))
    return 0


def _measured(args: argparse.Namespace) -> dict[str, Any]:
    return measure(
        [name for name in args.against.split(",") if name],
        depths=[int(k) for k in args.depths.split(",")],
        draws=args.draws,
        tell=lambda text: print(text, file=sys.stderr, flush=True),
    )


def _load(path: str) -> dict[str, Any]:
    try:
        document = json.loads(Path(path).read_text())
        [Result(**entry) for entry in document["results"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"--load {path}: expected a file that --save wrote") from error
    return document


if __name__ == "__main__":
    raise SystemExit(main())
