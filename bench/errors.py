"""Errors of `nonet.bench`."""

from __future__ import annotations


class BenchError(ValueError):
    """A benchmark that cannot be run or compared as asked: an opponent that is missing, a file of another machine."""


class UnmeasuredError(RuntimeError):
    """A figure that could not be had; the reason is in the message."""


class WrongResultError(RuntimeError):
    """A contestant computed something else: nothing is timed."""
