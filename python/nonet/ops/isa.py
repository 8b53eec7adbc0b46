"""Instruction sets: those of this machine, and one of them for a block of code. For tests and measurements."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from nonet import _core

__all__ = ["ISAS", "available_isas", "use_isa"]

ISAS = ("scalar", "avx2", "avx512", "avx512_bf16", "amx")  # the order of Isa in csrc/base/kernel.h


def available_isas() -> tuple[str, ...]:
    """The machine's, the lowest first."""
    return ISAS[: ISAS.index(_core.detected_isa()) + 1]


@contextlib.contextmanager
def use_isa(name: str) -> Iterator[None]:
    """Runs kernels of this instruction set in a with block; process-wide.

    Errors: ValueError for a name that is unknown or better than the machine's.
    """
    before = _core.isa()
    _core.set_isa(name)
    try:
        yield
    finally:
        _core.set_isa(before)
