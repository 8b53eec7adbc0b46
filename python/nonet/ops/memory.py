"""What nonet keeps to be fast: freed memory for reuse, and packed copies of parameters."""

from __future__ import annotations

from nonet import _core

__all__ = ["cache_budget", "cache_bytes", "empty_cache", "set_cache_budget"]


def cache_bytes() -> int:
    """Bytes of the copies of parameters that matrix products keep in the layout of their kernels.

    A copy lasts until its parameter changes or is gone, or the budget is needed for others.
    """
    return _core.cache_bytes()


def cache_budget() -> int:
    """The most that `cache_bytes` may reach: NONET_CACHE_BYTES, by default 1 GiB."""
    return _core.cache_budget()


def set_cache_budget(bytes: int) -> None:
    """Sets the budget and drops what exceeds it; 0 keeps no copies. Errors: ValueError for a negative number."""
    _core.set_cache_budget(bytes)


def empty_cache() -> None:
    """Drops the packed copies and returns unused memory to the system."""
    _core.drop_packed_weights()
    _core.empty_cache()
