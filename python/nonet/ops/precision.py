"""What happens inside a matrix product of float32 numbers: the user's word on speed against digits."""

from __future__ import annotations

import contextlib

__all__ = ["get_matmul_precision", "set_matmul_precision"]

# The order of Precision in csrc/ops/matmul/matmul.h.
CODES = {"ieee": 0, "highest": 1, "high": 2, "medium": 3}
NAMES = tuple(CODES)


class Current:
    """The process-wide setting as the code that kernels take. A class attribute: read on every product."""

    code = CODES["highest"]


def code_of(precision: str) -> int:
    """Errors: ValueError."""
    if precision not in CODES:
        raise ValueError(f"precision: expected one of {', '.join(NAMES)}, got {precision!r}")
    return CODES[precision]


class set_matmul_precision(contextlib.AbstractContextManager[None]):
    """Sets the precision of matrix products in this process: at once, and back at the end of a with block.

    highest (default): float32 results, normwise as accurate as fused multiply-adds; high: more than TF32's 10 bits of
    mantissa; medium: operands rounded to bfloat16, sums in float32; ieee: fused multiply-adds and nothing else. They
    differ where the processor has AMX (Henry, Tang & Heinecke 2019); elsewhere all are ieee. Backward passes use the
    precision of their forward pass. Ops on products take `precision=` for one call, which is also what to use
    from several threads. Errors: ValueError.
    """

    def __init__(self, precision: str):
        self._code = code_of(precision)
        self._before = Current.code
        Current.code = self._code

    def __enter__(self) -> None:
        Current.code = self._code

    def __exit__(self, *_: object) -> None:
        Current.code = self._before


def get_matmul_precision() -> str:
    """The setting in force: highest, high, medium or ieee."""
    return NAMES[Current.code]
