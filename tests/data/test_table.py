"""Numeric CSV: layouts, and faults with file, line and column."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import pytest

from nonet.data import DataError, MissingDataError, read_table


@pytest.fixture
def csv(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "t.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_header_and_dates(csv, delimiter, end, bom):
    rows = ["date,a,b c", "2016-07-01 00:00:00,1,-2.5e3", '"2016-07-02"," 3 ",4', ""]
    table = read_table(csv(bom + end.join(rows).replace(",", delimiter)))
    assert table.columns == ("a", "b c")
    assert table.labels == ("2016-07-01 00:00:00", "2016-07-02")
    assert table.values.tolist() == [[1, -2500], [3, 4]]


@pytest.mark.parametrize(
    ("text", "columns", "labels", "values"),
    [
        ("1,2\n3,4\n", ("1", "2"), (), [[1, 2], [3, 4]]),
        ("x,1\ny,2\n", ("2",), ("x", "y"), [[1], [2]]),
        ("a,b\n1,2", ("a", "b"), (), [[1, 2]]),
        ("5\n\n6\n", ("1",), (), [[5], [6]]),
        ("only\n5\n", ("only",), (), [[5]]),
        ('"a;b",c\n1,2\n', ("a;b", "c"), (), [[1, 2]]),
        ('day,v\n"two\nlines",1\n', ("v",), ("two\nlines",), [[1]]),
    ],
)
def test_layouts(csv, text, columns, labels, values):
    table = read_table(csv(text))
    assert (table.columns, table.labels, table.values.tolist()) == (columns, labels, values)


def test_header_of_numbers_when_told(csv):
    table = read_table(csv("1990,2000\n1,2\n"), header=True)
    assert table.columns == ("1990", "2000")
    assert table.values.tolist() == [[1, 2]]


def test_gzip_and_delimiter(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a;b,1\n"))
    assert read_table(path, delimiter=",").labels == ("a;b",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,x\n", ":3:2: expected a finite number (column 'b'), found 'x'"),
        ("d,v,w\nmon,1,\n", ":2:3: expected a finite number (column 'w'), found ''"),
        ("1,nan\n", ":1:2: expected a finite number (column '2'), found 'nan'"),
        ("1,2\n1,1e999\n", ":2:2: expected a finite number (column '2'), found '1e999'"),
        ("1,1_0\n2,1\n", ":1:2: expected a finite number (column '2'), found '1_0'"),
        ("1,x\n2,3\n", ":1:2: expected a finite number (column '2'), found 'x'"),
        ("1,2\nx,3\n", ":2:1: expected a finite number (column '1'), found 'x'"),
        ('"two\nlines",1\n\nb,?\n', ":4:2: expected a finite number (column '2'), found '?'"),
        ("1,2\n3\n", ":2:2: expected 2 fields, found 1"),
        ("1,2\n\n3,4,5,6\n", ":3:3: expected 2 fields, found 4"),
        ('1,2\n"3,4\n', ":2:1: expected a row of CSV, found: unexpected end of data"),
        ('1,2\n"3"x,4\n', ":2:1: expected a row of CSV, found: "),
        ("", ": expected a table, found no rows"),
        ("\n\n", ": expected a table, found no rows"),
        ("a,b\n", ": expected rows of numbers, found only a header"),
        (b"a,b\n1,2\n3,\xff\n", ":3:3: expected utf-8 text, found byte 0xff"),
    ],
)
def test_faults(csv, text, message):
    path = csv(text)
    with pytest.raises(DataError, match=re.escape(f"{path}{message}")):
        read_table(path)


def test_missing_file(tmp_path):
    with pytest.raises(MissingDataError, match=r"none\.csv: expected a file, found none"):
        read_table(tmp_path / "none.csv")


@pytest.mark.parametrize("delimiter", ["|", "", ",;"])
def test_bad_delimiter(csv, delimiter):
    with pytest.raises(ValueError, match="read_table: delimiter must be one of ',', ';', tab, got"):
        read_table(csv("1"), delimiter=delimiter)


@pytest.mark.skipif("NONET_DATA" not in os.environ, reason="needs NONET_DATA/ett")
def test_real_ett():
    table = read_table(Path(os.environ["NONET_DATA"]) / "ett" / "ETTh1.csv")
    assert table.columns == ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    assert table.values.shape == (17420, 7)
    assert table.labels[0] == "2016-07-01 00:00:00"
