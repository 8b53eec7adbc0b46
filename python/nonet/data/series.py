"""Time series: yearly sunspots, and tables with a date in front, such as the transformer temperatures of ETT.

The bundled `sunspots.csv` has the yearly mean of the international sunspot number, 1700 to 2008 (WDC-SILSO, Royal
Observatory of Belgium, Brussels, in its version 1; public domain as distributed by NOAA's National Geophysical Data
Center).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nonet.data.dataset import ArrayDataset
from nonet.data.errors import DataError, MissingDataError, check_int
from nonet.data.files import PathLike, require_directory
from nonet.data.table import read_table

SERIES_FILES = "one .csv whose first column is `date`"
_HOURS = 30 * 24  # of a month, in the borders of ETT's published split


@dataclass(frozen=True, eq=False)
class Series:
    """`values` float64 [R, C] of the C `columns`, a row per step; `borders` are the rows where the training,
    validation and test part end."""

    name: str
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    borders: tuple[int, int, int]

    def statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and population standard deviation [C] of the training part; the latter 1 where it is 0."""
        train = self.values[: self.borders[0]]
        std = train.std(axis=0)
        return train.mean(axis=0), np.where(std == 0, 1.0, std)


def load_series(name: str, directory: PathLike | None = None) -> Series:
    """ "sunspots" (bundled, takes no directory) or "ett", a folder with one .csv whose first column is `date`.

    Parts of ETT's files, recognised by their names ETTh* and ETTm* (four rows per hour), are 12, 4 and 4 months of 30
    days; those of others are the first 70 %, the next 10 % and the rest. ValueError for another name, DataError for
    files.
    """
    if name == "sunspots":
        if directory is not None:
            raise DataError(f"{name}: comes with nonet, expected no directory, got {directory}")
        return _read(Path(__file__).with_name("sunspots.csv"), name)
    if name != "ett":
        raise ValueError(f"load_series: name must be one of sunspots, ett, got {name!r}")
    if directory is None:
        raise DataError(f"{name}: expected a directory with {SERIES_FILES}, got none")
    folder = require_directory(directory, SERIES_FILES)
    files = sorted(path for path in folder.glob("*.csv") if path.is_file())
    if not files:
        raise MissingDataError(f"{folder}: expected {SERIES_FILES}, found no .csv")
    if len(files) > 1:
        names = ", ".join(path.name for path in files[:5])
        raise DataError(f"{folder}: expected {SERIES_FILES}, found {len(files)} ({names})")
    return _read(files[0], name)


def _read(path: Path, name: str) -> Series:
    table = read_table(path)
    columns, values = table.columns, table.values
    if columns and columns[0].lower() == "date":  # dates that are numbers
        columns, values = columns[1:], values[:, 1:]
    elif not table.labels:
        raise DataError(f"{path}:1:1: expected a first column `date`, found {columns[0]!r}")
    if not columns:
        raise DataError(f"{path}: expected columns of numbers behind the date, found none")
    rows = len(values)
    month = {"ETTh": _HOURS, "ETTm": 4 * _HOURS}.get(path.name[:4])
    if month is not None:
        borders = (12 * month, 16 * month, 20 * month)
        if rows < borders[2]:
            raise DataError(f"{path}: expected at least {borders[2]} rows, found {rows}")
    else:
        borders = (rows * 7 // 10, rows * 8 // 10, rows)
    return Series(name, columns, values, borders)


def windows(values: NDArray[np.float32], begin: int, end: int, length: int, horizon: int) -> ArrayDataset:
    """What precedes and what follows each step: inputs [N, length, C] and targets [N, horizon, C] of `values` [R, C].

    The targets are all runs of `horizon` rows in [begin, end), the inputs the `length` rows before them, which may lie
    before `begin`. Both are views. ValueError if there is no such run.
    """
    length = check_int("windows", "length", length, 1)
    horizon = check_int("windows", "horizon", horizon, 1)
    first = max(begin, length)
    if first + horizon > end or end > len(values):
        raise ValueError(
            f"windows: rows {begin} to {end} of {len(values)} have no {horizon} rows behind {length} others"
        )
    past = sliding_window_view(values[first - length : end - horizon], length, axis=0)
    future = sliding_window_view(values[first:end], horizon, axis=0)
    return ArrayDataset(past.swapaxes(1, 2), future.swapaxes(1, 2))
