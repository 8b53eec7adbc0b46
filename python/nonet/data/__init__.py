"""Data sets, loaders and transforms: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

from nonet.data.dataset import ArrayDataset, Splits, holdout
from nonet.data.digits import load_digits
from nonet.data.errors import DataError, MissingDataError
from nonet.data.idx import IDX_FILES, load_idx, read_idx
from nonet.data.loader import Batch, DataLoader
from nonet.data.normalization import mean_std, normalize
from nonet.data.registry import SETS, load
from nonet.data.table import Table, read_table
from nonet.data.text import CharVocab, read_lines, read_text, read_tsv
from nonet.data.transforms import pad, random_shift, upsample

__all__ = [
    "IDX_FILES",
    "SETS",
    "ArrayDataset",
    "Batch",
    "CharVocab",
    "DataError",
    "DataLoader",
    "MissingDataError",
    "Splits",
    "Table",
    "holdout",
    "load",
    "load_digits",
    "load_idx",
    "mean_std",
    "normalize",
    "pad",
    "random_shift",
    "read_idx",
    "read_lines",
    "read_table",
    "read_text",
    "read_tsv",
    "upsample",
]
