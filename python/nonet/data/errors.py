"""Errors of `nonet.data` and the check of integer arguments."""

from __future__ import annotations

import operator


class DataError(ValueError):
    """Data that cannot be used: the message names the file and what was expected and found."""


class MissingDataError(DataError, FileNotFoundError):
    """A file or directory that is not there."""


def check_int(where: str, name: str, value: object, low: int, high: int | None = None) -> int:
    """Return `value` as an int in [low, high].

    TypeError if it is no integer (a bool is none), ValueError if it is out of range.
    """
    try:
        number = operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{where}: {name} must be an integer, got {value!r}")
    if number < low or (high is not None and number > high):
        wanted = f"at least {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(f"{where}: {name} must be {wanted}, got {number}")
    return number
