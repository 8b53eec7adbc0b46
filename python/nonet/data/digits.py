"""The bundled digits: real handwriting that needs no download.

"Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49, licence CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). The bundled
`digits.npz` holds the 1797 images of the set's test file, in their order and unchanged: each of the 8x8
values counts the dark pixels (0 to 16) in a 4x4 block of a 32x32 scan. They are stored as uint8, compressed
by `numpy.savez_compressed(file, images=[1797, 8, 8], labels=[1797])`.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from nonet.data.dataset import ArrayDataset, Splits
from nonet.data.errors import DataError
from nonet.data.files import opened

_FILE = Path(__file__).with_name("digits.npz")
_SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"


def load_digits() -> Splits:
    """The UCI digits: uint8 images [N, 1, 8, 8] of values 0 to 16, int64 labels [N] of 0 to 9.

    The test part (359) is every row with index % 5 == 4 of the 1797, the training part (1438) the others.
    DataError if the bundled file is missing or damaged.
    """
    import hashlib  # here, because it costs more to import than the rest of nonet.data together

    with opened(_FILE) as file:
        data = file.read()
    found = hashlib.sha256(data).hexdigest()
    if found != _SHA256:
        raise DataError(
            f"{_FILE}: expected the bundled digits (SHA-256 {_SHA256[:16]}…), "
            f"found {len(data)} bytes with SHA-256 {found[:16]}…; reinstall nonet"
        )
    with np.load(io.BytesIO(data)) as arrays:
        rows = ArrayDataset(arrays["images"][:, None], arrays["labels"].astype(np.int64))
    is_test = np.arange(len(rows)) % 5 == 4
    classes = tuple(str(digit) for digit in range(10))
    return Splits("digits", rows.subset(~is_test), rows.subset(is_test), classes)
