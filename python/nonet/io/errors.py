"""Errors of `nonet.io`."""

from __future__ import annotations


class FileError(ValueError):
    """A file that cannot be used: the message names the file and what was expected and found."""


class MissingFileError(FileError, FileNotFoundError):
    """A file that is not there."""
