"""Errors of the command line and the exit codes of all others."""

from __future__ import annotations

OK, FAILED, USAGE, NON_FINITE, INTERRUPTED = 0, 1, 2, 3, 130


class UsageError(ValueError):
    """A wrong option, or options that do not go together: exit code 2."""


def exit_code(error: BaseException) -> int:
    """1 failed, 2 usage or data, 3 a number that is not finite, 130 Ctrl-C."""
    from nonet.data import DataError
    from nonet.io import FileError, MissingExtraError
    from nonet.train import NonFiniteError, RunFolderError

    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, (UsageError, DataError, FileError, MissingExtraError, RunFolderError)):
        return USAGE
    return NON_FINITE if isinstance(error, NonFiniteError) else FAILED


def sentence(error: BaseException) -> str:
    """`error` in one line, without a traceback."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    return text if exit_code(error) != FAILED and text else f"{type(error).__name__}: {text}"
