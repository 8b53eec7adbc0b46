"""What the machine can do at most, measured: multiply-adds in registers, and reading and copying at each cache level.

The compute peaks are those of nonet's own instruction sets, one per kind of kernel. `avx512_bf16` and `amx` are avx512
with products of bfloat16, and their peaks those of the products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import nonet
from nonet import _core
from nonet.bench.harness import Contestant, Effort, Guard, compare
from nonet.bench.machine import available_memory, cache_sizes
from nonet.ops.isa import available_isas, use_isa

__all__ = ["Peak", "Peaks", "ram_bytes", "working_sets"]

# Products of bfloat16 tiles that a float32 product takes at a precision.
PRODUCTS = {"highest": 6, "high": 3, "medium": 1, "bfloat16": 1}
PRODUCT_ISAS = ("avx512_bf16", "amx")  # avx512 with products of bfloat16
UNIT = 128 * 4  # bytes: the parts that peak_read and peak_copy take are multiples of it


@dataclass(frozen=True)
class Peak:
    """One roof. kind: fma, dot, amx (GFLOP/s), read, copy (GB/s; a copied byte counts twice: it is read and written).

    name: the instruction set, or the level L1, L2, L3, RAM. value: the best undisturbed block; median: of all.
    """

    kind: str
    name: str
    threads: int
    value: float
    median: float
    clean: bool


class Peaks:
    """The roofs of a machine."""

    def __init__(self, peaks: Sequence[Peak], caches: Mapping[str, int]) -> None:
        self.peaks = list(peaks)
        self.caches = dict(caches)

    @classmethod
    def measure(cls, guard: Guard, effort: Effort) -> Peaks:
        """Takes a few seconds. Measures with one thread and with as many as nonet uses."""
        found: list[Peak] = []
        for threads in sorted({1, nonet.num_threads()}):
            found += _compute_peaks(guard, effort, threads)
            found += _memory_peaks(guard, effort, threads)
        return cls(found, cache_sizes())

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Peaks:
        return cls([Peak(**entry) for entry in document["peaks"]], document["machine"]["caches"])

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(peak) for peak in self.peaks]

    def value(self, kind: str, name: str, threads: int) -> float | None:
        for peak in self.peaks:
            if (peak.kind, peak.name, peak.threads) == (kind, name, threads):
                return peak.value
        return None

    def compute(self, isa: str, threads: int, precision: str = "ieee") -> tuple[float, str] | None:
        """GFLOP/s that no product of this precision can exceed, and the name of that roof."""
        vectors = "avx512" if isa in PRODUCT_ISAS else isa
        fma, amx = self.value("fma", vectors, threads), self.value("amx", "amx", threads)
        products = PRODUCTS.get(precision)
        if amx is not None and products is not None and isa == "amx" and amx / products > (fma or 0):
            return amx / products, f"AMX/{products}" if products > 1 else "AMX"
        dot = self.value("dot", "avx512_bf16", threads)
        if dot is not None and products == 1 and isa == "avx512_bf16":
            return dot, "bfloat16 dots"
        return None if fma is None else (fma, f"FMA {vectors}")

    def level(self, bytes_: float, threads: int) -> str:
        """The smallest level that holds so many bytes (the private ones once per thread)."""
        for name, size in sorted(self.caches.items()):
            if bytes_ <= size * (1 if name == "L3" else threads):
                return name
        return "RAM"

    def bandwidth(self, level: str, threads: int, kind: str = "read") -> float | None:
        """GB/s of a level, or of the next lower one that could be measured."""
        order = ["L1", "L2", "L3", "RAM"]
        for name in order[order.index(level) :]:
            value = self.value(kind, name, threads)
            if value is not None:
                return value
        return None


def working_sets(caches: Mapping[str, int], threads: int) -> dict[str, int]:
    """Bytes that `threads` threads go over together so that each level, and no faster one, serves them.

    L1 and L2 are private: half of each per thread. L3 is shared, and beyond four times the L2s, where the least
    recently used lines are never hit. A level that leaves no room above the one before is left out.
    """
    out: dict[str, int] = {}
    floor = 0
    for name in ("L1", "L2", "L3"):
        if name not in caches:
            continue
        size = caches[name] // 2 * (1 if name == "L3" else threads)
        if name == "L3":
            size = min(size, 4 * caches.get("L2", 2**20) * threads)
        size = size // (UNIT * threads) * UNIT * threads
        if size > floor:
            out[name] = size
            floor = caches[name] * (1 if name == "L3" else threads)
    out["RAM"] = ram_bytes(caches) // (UNIT * threads) * UNIT * threads
    return out


def ram_bytes(caches: Mapping[str, int]) -> int:
    """Bytes past the last cache by far, at most a quarter of the memory that is free."""
    return int(min(max(4 * max(caches.values(), default=0), 2**27), available_memory() // 4))


def _compute_peaks(guard: Guard, effort: Effort, threads: int) -> Iterator[Peak]:
    for isa in available_isas():
        if isa not in PRODUCT_ISAS:
            with use_isa(isa):
                yield _rate("fma", isa, threads, _core.peak_fma, guard, effort)
        elif not _core.emulated():  # which would take seconds and tell nothing of the machine
            kind, work = ("amx", _core.peak_amx) if isa == "amx" else ("dot", _core.peak_dot)
            yield _rate(kind, isa, threads, work, guard, effort)


def _rate(
    kind: str, name: str, threads: int, work: Callable[[int, int], int], guard: Guard, effort: Effort
) -> Peak:
    iterations = 20_000
    flops = work(iterations, threads)
    timing = compare([Contestant(name, lambda: work(iterations, threads))], effort=effort, guard=guard)[name]
    return Peak(kind, name, threads, flops / timing.best / 1e9, flops / timing.median / 1e9, timing.clean)


def _memory_peaks(guard: Guard, effort: Effort, threads: int) -> Iterator[Peak]:
    for level, bytes_ in working_sets(cache_sizes(), threads).items():
        # A call of four megabytes per thread at least, so that starting the threads costs nothing beside it.
        repeats = max(1, 2**22 * threads // bytes_)
        source = nonet.ones(bytes_ // 4).array  # written: untouched pages would all be one page
        work: dict[str, tuple[int, Callable[[], Any]]] = {
            "read": (bytes_, lambda x=source, r=repeats: _core.peak_read(x, r, threads)),
        }
        half = bytes_ // 8 // (128 * threads) * 128 * threads  # two halves make the same working set
        if half > 0:
            a, b = nonet.ones(half).array, nonet.ones(half).array
            work["copy"] = (8 * half, lambda a=a, b=b, r=repeats: _core.peak_copy(a, b, r, threads))
        for kind, (moved, call) in work.items():
            timing = compare([Contestant(kind, call)], effort=effort, guard=guard)[kind]
            gigabytes = moved * repeats / 1e9
            yield Peak(kind, level, threads, gigabytes / timing.best, gigabytes / timing.median, timing.clean)
