"""Data sets by name."""

from __future__ import annotations

from nonet.data.dataset import Splits
from nonet.data.digits import load_digits
from nonet.data.errors import DataError
from nonet.data.files import PathLike
from nonet.data.idx import IDX_FILES, load_idx

SETS = ("digits", "mnist")


def load(name: str, directory: PathLike | None = None) -> Splits:
    """The data set `name`, one of `SETS`.

    "digits"  bundled; takes no directory (see `load_digits`)
    "mnist"   any folder of idx files under MNIST's names (see `load_idx`)

    ValueError for an unknown name, DataError for a directory that is missing or not wanted, or bad files.
    """
    if name not in SETS:
        raise ValueError(f"load: name must be one of {', '.join(SETS)}, got {name!r}")
    if name == "digits":
        if directory is not None:
            raise DataError(f"digits: bundled with nonet, expected no directory, got {directory}")
        return load_digits()
    if directory is None:
        raise DataError(f"mnist: expected a directory with {IDX_FILES}, got none")
    return load_idx(directory)
