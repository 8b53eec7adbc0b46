"""What nonet keeps to be fast: freed memory for reuse, and packed copies of parameters."""

from __future__ import annotations

from nonet import _core

__all__ = [
    "cache_budget",
    "cache_bytes",
    "empty_cache",
    "memory_stats",
    "reset_peak_memory",
    "set_cache_budget",
    "synchronize",
]


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
    """Drops the packed copies and returns unused memory to the system, and a GPU's to its driver."""
    _core.drop_packed_weights()
    for device in ("cpu", "cuda"):
        if not _core.why_unavailable(device):
            _core.empty_cache(device)


def memory_stats(device: str = "cpu") -> dict[str, int]:
    """Bytes on a device: in_use by tensors, cached for reuse, and the peak of in_use since reset_peak_memory()."""
    return _core.memory_stats(device)


def reset_peak_memory(device: str = "cpu") -> None:
    """Starts the peak of memory_stats() anew."""
    _core.reset_peak_memory(device)


def synchronize(device: str = "cuda") -> None:
    """Waits until the device has done all that it was given. Errors: RuntimeError for what failed in it."""
    _core.synchronize(device)
