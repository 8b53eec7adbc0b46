"""Data sets, loaders and transforms: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

from nonet.data.dataset import ArrayDataset, Splits, holdout
from nonet.data.digits import load_digits
from nonet.data.errors import DataError, MissingDataError
from nonet.data.folder import FOLDER_FILES, fit_square, load_folder
from nonet.data.idx import IDX_FILES, load_idx, read_idx
from nonet.data.loader import Batch, DataLoader
from nonet.data.normalization import mean_std, normalize
from nonet.data.pennfudan import PENNFUDAN_FILES, load_pennfudan
from nonet.data.registry import FILES, SCENE_SETS, SETS, load, load_scenes
from nonet.data.scenes import (
    IGNORED,
    NO_BOX,
    Scene,
    Scenes,
    cut,
    cut_boxes,
    cut_mask,
    fitted,
    random_colors,
    random_window,
    scene_arrays,
)
from nonet.data.shapes import load_shapes
from nonet.data.table import Table, read_table
from nonet.data.text import CharVocab, read_lines, read_text, read_tsv
from nonet.data.transforms import compose, pad, random_crop, random_flip, random_shift, resize, upsample

__all__ = [
    "FILES",
    "FOLDER_FILES",
    "IDX_FILES",
    "IGNORED",
    "NO_BOX",
    "PENNFUDAN_FILES",
    "SCENE_SETS",
    "SETS",
    "ArrayDataset",
    "Batch",
    "CharVocab",
    "DataError",
    "DataLoader",
    "MissingDataError",
    "Scene",
    "Scenes",
    "Splits",
    "Table",
    "compose",
    "cut",
    "cut_boxes",
    "cut_mask",
    "fit_square",
    "fitted",
    "holdout",
    "load",
    "load_digits",
    "load_folder",
    "load_idx",
    "load_pennfudan",
    "load_scenes",
    "load_shapes",
    "mean_std",
    "normalize",
    "pad",
    "random_colors",
    "random_crop",
    "random_flip",
    "random_shift",
    "random_window",
    "read_idx",
    "read_lines",
    "read_table",
    "read_text",
    "read_tsv",
    "resize",
    "scene_arrays",
    "upsample",
]
