"""Heartbeats: ECG5000, single beats of one patient's electrocardiogram."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nonet.data.dataset import ArrayDataset, Splits
from nonet.data.errors import DataError, MissingDataError
from nonet.data.files import PathLike, read_decoded, require_directory

ECG5000_FILES = "ECG5000_TRAIN.txt and a file of held-out beats (ECG5000_TEST.txt, or .npy)"
_CLASSES = ("normal", "R-on-T", "premature ventricular", "supraventricular", "unclassified")


def load_ecg5000(directory: PathLike) -> Splits:
    """Beats float32 [N, T] and int64 labels [N]; label 0 is a normal beat.

    A row of a file is a label from 1 on and T samples, 140 in the original; .txt has them in columns, .npy in an array.
    The training part is the file with TRAIN in its name, the test part the other one that begins with ECG5000. From the
    UCR archive, after PhysioNet (Goldberger et al., "PhysioBank, PhysioToolkit, and PhysioNet", Circulation 101, 2000).
    DataError for files that are missing or damaged.
    """
    folder = require_directory(directory, ECG5000_FILES)
    try:
        names = sorted(
            n for n in os.listdir(folder) if n.startswith("ECG5000") and n.endswith((".txt", ".npy"))
        )
    except OSError as error:
        raise DataError(f"{folder}: expected a readable directory, found: {error.strerror}") from error
    train = [name for name in names if "TRAIN" in name]
    test = [name for name in names if "TRAIN" not in name]
    if not train or not test:
        found = ", ".join(names) or "none"
        raise MissingDataError(f"{folder}: expected {ECG5000_FILES}, found {found}")
    parts = [_beats(folder / found[0]) for found in (train, test)]
    if parts[0].inputs.shape[1:] != parts[1].inputs.shape[1:]:
        sizes = [part.inputs.shape[1] for part in parts]
        raise DataError(f"{folder / test[0]}: expected beats of {sizes[0]} samples, found {sizes[1]}")
    return Splits("ecg5000", parts[0], parts[1], _CLASSES)


def _beats(path: Path) -> ArrayDataset:
    rows: NDArray[Any]
    try:
        if path.suffix == ".npy":
            rows = np.load(path, allow_pickle=False)
        else:
            rows = np.array(
                [line.split() for line in read_decoded(path).splitlines() if line.strip()], np.float64
            )
    except DataError:
        raise
    except Exception as error:  # whatever NumPy makes of a damaged file
        raise DataError(f"{path}: expected rows of a label and samples, found: {error}") from error
    if rows.ndim != 2 or rows.shape[1] < 2 or not len(rows) or rows.dtype.kind not in "iuf":
        raise DataError(
            f"{path}: expected rows of a label and samples, found {rows.dtype} {list(rows.shape)}"
        )
    labels = rows[:, 0]
    if not np.isfinite(rows).all() or ((labels < 1) | (labels > len(_CLASSES)) | (labels % 1 != 0)).any():
        raise DataError(
            f"{path}: expected finite samples behind labels from 1 to {len(_CLASSES)}, found others"
        )
    return ArrayDataset(np.ascontiguousarray(rows[:, 1:], np.float32), labels.astype(np.int64) - 1)
