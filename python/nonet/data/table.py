"""Numeric tables in CSV files."""

from __future__ import annotations

import csv
import io
import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from nonet.data.errors import DataError
from nonet.data.files import PathLike, read_decoded

_DELIMITERS = "\t;,"  # the order in which the first line is searched: a comma is the likeliest inside a name


@dataclass(frozen=True, eq=False)
class Table:
    """`values` float64 [R, C], the C names of `columns`, the R texts of a first column `labels` (or none)."""

    columns: tuple[str, ...]
    values: NDArray[np.float64]
    labels: tuple[str, ...] = ()


def read_table(
    path: PathLike, header: bool | None = None, delimiter: str | None = None, encoding: str = "utf-8"
) -> Table:
    """Read a CSV file (.gz or not) of finite numbers, whose first column may be text, such as a date.

    `header` None: the first row is one if none of its fields is a number. Without a header, the columns are
    named by their position from 1. `delimiter` None: tab, semicolon or comma, the first of these in the first
    line. The first column is text if its first value is no number. Blank lines are skipped.

    DataError as path:line:column (column = field, from 1) with what was expected and found: a field that is
    no number, a ragged row, broken quotes; and for an empty file, wrong encoding, missing file.
    """
    if delimiter is not None and (delimiter not in _DELIMITERS or len(delimiter) != 1):
        raise ValueError(f"read_table: delimiter must be one of ',', ';', tab, got {delimiter!r}")
    text = read_decoded(path, encoding)
    rows = _rows(text, path, delimiter or _sniff(text))
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: expected a table, found no rows")
    names = first[1]
    has_header = all(_number(name) is None for name in names) if header is None else header
    row = next(rows, None) if has_header else first
    if row is None:
        raise DataError(f"{path}: expected rows of numbers, found only a header")
    width = len(names)
    skip = int(_number(row[1][0]) is None and width > 1)
    columns = tuple(names[skip:]) if has_header else tuple(str(i + 1) for i in range(skip, width))
    labels: list[str] = []
    values = array("d")
    for line, fields in chain([row], rows):
        if len(fields) != width:
            at = min(len(fields), width) + 1  # the first field that is missing or extra
            raise DataError(f"{path}:{line}:{at}: expected {width} fields, found {len(fields)}")
        labels += fields[:skip]
        for position, field in enumerate(fields[skip:], skip):
            number = _number(field)
            if number is None or not math.isfinite(number) or "_" in field:  # float() reads 1_0 as 10
                raise DataError(
                    f"{path}:{line}:{position + 1}: expected a finite number "
                    f"(column {columns[position - skip]!r}), found {field!r}"
                )
            values.append(number)
    return Table(columns, np.array(values).reshape(-1, width - skip), tuple(labels))


def _rows(text: str, path: PathLike, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The number of its first line and the stripped fields of every row that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            if fields and fields != [""]:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{line}:1: expected a row of CSV, found: {error}") from error


def _sniff(text: str) -> str:
    first = text.lstrip("\r\n").partition("\n")[0]
    unquoted = re.sub(r'"[^"]*"', "", first)
    return next((delimiter for delimiter in _DELIMITERS if delimiter in unquoted), ",")


def _number(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None
