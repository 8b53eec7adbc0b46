"""Errors of `nonet.bench`."""

from __future__ import annotations


class BenchError(ValueError):
    """A benchmark that cannot be run or compared as asked: an opponent that is missing, a file of another machine."""


class WrongResultError(RuntimeError):
    """A contestant computed something else: nothing is timed."""
