"""The libraries that nonet is set against: finding them, their thread counts, their trials, nonet's own precisions."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nonet
from nonet import _core
from nonet.bench.errors import BenchError

__all__ = [
    "OPPONENTS",
    "Side",
    "Trial",
    "check_opponents",
    "own_sides",
    "precisions",
    "restoring_precision",
    "set_threads",
    "with_precision",
]

OPPONENTS = ("torch", "numpy")
PRECISIONS = ("highest", "high", "medium", "ieee")


def check_opponents(names: Sequence[str]) -> None:
    """Errors: BenchError for a name that is unknown or a library that is not installed."""
    for name in names:
        if name not in OPPONENTS:
            raise BenchError(f"--against must be one or more of {', '.join(OPPONENTS)}, got {name!r}")
        if importlib.util.find_spec(name) is None:
            raise BenchError(f"--against {name}: {name} is not installed here (pip install 'nonet[oracle]')")


def set_threads(count: int, against: Sequence[str]) -> None:
    """The same number of threads for nonet and every opponent."""
    nonet.set_num_threads(count)
    if "torch" in against:
        import torch  # pyright: ignore[reportMissingImports]

        torch.set_num_threads(count)
    if "numpy" in against:
        _set_openblas_threads(count)


def details(against: Sequence[str]) -> dict[str, Any]:
    """What the opponents say about themselves."""
    out: dict[str, Any] = {}
    if "torch" in against:
        import torch  # pyright: ignore[reportMissingImports]

        out["torch"] = {
            "capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
        }
    return out


def _set_openblas_threads(count: int) -> None:
    """NumPy has no call for it: its OpenBLAS is found among the libraries of this process."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return
    for path in sorted(set(re.findall(r"/\S*openblas\S*\.so\S*", maps))):
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(path)
            for name in (
                "scipy_openblas_set_num_threads64_",
                "openblas_set_num_threads64_",
                "openblas_set_num_threads",
            ):
                if hasattr(library, name):
                    getattr(library, name)(count)
                    break


# ------------------------------------------------------------------------------------------------ nonet's precisions


def precisions(wanted: Sequence[str] = ()) -> list[str]:
    """The wanted ones; by default all that differ here: without products of bfloat16 all are multiply-adds.

    Errors: BenchError for one that this version of nonet does not offer.
    """
    offered = PRECISIONS if hasattr(nonet, "set_matmul_precision") else PRECISIONS[:1]
    for name in wanted:
        if name not in offered:
            raise BenchError(f"--precision must be one or more of {', '.join(offered)}, got {name!r}")
    if not wanted and _core.isa() != "amx":
        return ["highest", "medium"] if _core.isa() == "avx512_bf16" else ["highest"]
    return [name for name in offered if not wanted or name in wanted]


def lowest(names: Sequence[str]) -> str:
    """The one to use with operands stored as bfloat16, which lose nothing to it."""
    return max(names, key=("ieee", *PRECISIONS[:3]).index)


def with_precision(name: str) -> Callable[[], Any] | None:
    """What sets it ahead of a block; None where there is nothing to choose."""
    setter = getattr(nonet, "set_matmul_precision", None)
    return None if setter is None else lambda: setter(name)


@contextlib.contextmanager
def restoring_precision() -> Iterator[None]:
    """Leaves the precision as it was."""
    setter = getattr(nonet, "set_matmul_precision", None)
    getter = getattr(nonet, "get_matmul_precision", None)
    before = getter() if getter is not None else "highest"
    try:
        yield
    finally:
        if setter is not None:
            setter(before)


@dataclass(frozen=True)
class Trial:
    """A call to time, and what it computed."""

    call: Callable[[], Any]
    results: Callable[[Any], Any]

    def __call__(self) -> Any:
        return self.results(self.call())


@dataclass(frozen=True)
class Side:
    """A library at a precision, which makes the trials of a family's cases."""

    library: str
    variant: str
    dtype: str
    precision: str
    make: Callable[..., Trial]
    before: Callable[[], Any] | None = None

    @property
    def name(self) -> str:
        return f"{self.library} {self.variant}"

    @property
    def exact(self) -> bool:
        """Whether results are as good as float32's."""
        return self.dtype == "float32" and self.precision in ("highest", "ieee", "float32")


def own_sides(wanted: Sequence[str], make: Callable[[str], Callable[..., Trial]]) -> Iterator[Side]:
    """nonet at the wanted precisions, and with operands stored as bfloat16. make: from a dtype."""
    names = wanted or PRECISIONS[:1]
    for name in names:
        yield Side("nonet", name, "float32", name, make("float32"), with_precision(name))
    yield Side("nonet", "bfloat16", "bfloat16", "bfloat16", make("bfloat16"), with_precision(lowest(names)))
