"""The GPU: whether it is there, and what it is. Names follow torch.cuda; there is one device, number 0."""

from __future__ import annotations

from typing import Any

from nonet import _core
from nonet.ops.memory import empty_cache, synchronize

__all__ = [
    "device_count",
    "device_info",
    "empty_cache",
    "is_available",
    "memory_stats",
    "reset_peak_memory",
    "synchronize",
    "why_unavailable",
]


def is_available() -> bool:
    """Whether `device="cuda"` works here. Looks for a driver at the first call."""
    return not why_unavailable()


def why_unavailable() -> str:
    """What is missing for `device="cuda"`; empty if nothing is."""
    return _core.why_unavailable("cuda")


def device_count() -> int:
    return int(is_available())


def device_info() -> dict[str, Any]:
    """name, capability, multiprocessors, driver and runtime versions, tier of kernels, memory_free, memory_total.

    Errors: RuntimeError with the reason if there is no GPU.
    """
    _core.check_device("cuda")
    return _core.device_info("cuda")


def memory_stats() -> dict[str, int]:
    """nonet.memory_stats("cuda")."""
    return _core.memory_stats("cuda")


def reset_peak_memory() -> None:
    """nonet.reset_peak_memory("cuda")."""
    _core.reset_peak_memory("cuda")
