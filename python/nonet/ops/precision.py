"""What happens inside products of float32 numbers, and what their results are stored as: speed against digits."""

from __future__ import annotations

import contextlib
from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.tensor import DTypeLike, Need, Tensor, TensorLike, as_tensor, record

__all__ = ["autocast", "get_matmul_precision", "is_autocast_enabled", "set_matmul_precision"]

# The order of Precision in csrc/ops/matmul/matmul.h.
CODES = {"ieee": 0, "highest": 1, "high": 2, "medium": 3}
NAMES = tuple(CODES)
_MIXED = 8  # added to the code under autocast


class Current:
    """The process-wide setting as the code that kernels take. A class attribute: read on every product."""

    code = CODES["highest"]


def code_of(precision: str) -> int:
    """The code of a per-call argument. Errors: ValueError."""
    if precision not in CODES:
        raise ValueError(f"precision: expected one of {', '.join(NAMES)}, got {precision!r}")
    return CODES[precision] | (Current.code & _MIXED)


class set_matmul_precision(contextlib.AbstractContextManager[None]):
    """Sets the precision of matrix products in this process: at once, and back at the end of a with block.

    highest (default): float32 results, normwise as accurate as fused multiply-adds; high: at least TF32's 11 bits of
    each operand; medium: operands rounded to bfloat16, sums in float32; ieee: fused multiply-adds and nothing else.
    They differ where the processor has AMX (Henry, Tang & Heinecke 2019), whose high keeps 16 bits, and on GPUs with
    tensor cores, where highest is ieee for float32; elsewhere all are ieee, but for convolutions of 3 x 3 kernels,
    which take fewer multiplications (Winograd; Lavin & Gray 2016) unless ieee is asked for. Products of two bfloat16
    arrays are exact and summed in float32 whatever the setting. Backward passes use the precision of their forward
    pass. Ops on products take `precision=` for one call, which is also what to use from several threads. Errors:
    ValueError.
    """

    def __init__(self, precision: str):
        code_of(precision)
        self.precision = precision
        self._before = NAMES[Current.code & ~_MIXED]
        Current.code = code_of(precision)

    def __enter__(self) -> None:
        Current.code = code_of(self.precision)

    def __exit__(self, *_: object) -> None:
        Current.code = code_of(self._before)


def get_matmul_precision() -> str:
    """The setting in force: highest, high, medium or ieee."""
    return NAMES[Current.code & ~_MIXED]


class autocast(contextlib.ContextDecorator):
    """Stores activations as bfloat16 in a with block or decorated call: half the memory traffic, float32 arithmetic.

    Products (linear, matmul, convolution) take float32 and bfloat16 operands together and give bfloat16, which
    element-wise ops, pooling and normalisations carry on; softmax and losses give float32, and statistics are float32
    anyway. Parameters and their gradients stay float32. How products are computed is `set_matmul_precision`'s to say.
    Process-wide. Errors: TypeError for another dtype.
    """

    def __init__(self, dtype: DTypeLike = "bfloat16", enabled: bool = True):
        if _core.dtype_name(dtype) != "bfloat16":
            raise TypeError(f"autocast: dtype must be bfloat16, got {_core.dtype_name(dtype)}")
        self.enabled = enabled
        self._before: list[int] = []

    def __enter__(self) -> None:
        self._before.append(Current.code & _MIXED)
        Current.code = (Current.code & ~_MIXED) | (_MIXED if self.enabled else 0)

    def __exit__(self, *_: object) -> None:
        Current.code = (Current.code & ~_MIXED) | self._before.pop()


def is_autocast_enabled() -> bool:
    return Current.code >= _MIXED


def widened(x: TensorLike, device: str | None = None) -> Tensor:
    """As a tensor; under autocast a bfloat16 one as float32: for ops that want the digits. device: as of as_tensor."""
    t = as_tensor(x, device=device)
    if Current.code >= _MIXED and t.array.dtype == "bfloat16":
        return record(t.array.to("float32"), (t,), _widened_rule, None)
    return t


def _widened_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (dy.to("bfloat16"),)


def narrowed(t: Tensor) -> Tensor:
    """Under autocast a float32 result as bfloat16."""
    if Current.code >= _MIXED and t.array.dtype == "float32":
        return record(t.array.to("bfloat16"), (t,), _narrowed_rule, None)
    return t


def _narrowed_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (dy.to("float32"),)
