"""Data sets by name."""

from __future__ import annotations

from nonet.data.corpus import TEXT_FILES
from nonet.data.dataset import Splits
from nonet.data.digits import load_digits
from nonet.data.errors import DataError
from nonet.data.faces import FACE_FILES
from nonet.data.files import PathLike
from nonet.data.folder import FOLDER_FILES, load_folder
from nonet.data.heartbeats import ECG5000_FILES
from nonet.data.idx import IDX_FILES, load_idx
from nonet.data.labelled import LABELLED_FILES
from nonet.data.pairs import MULTI30K_FILES, TSV_FILES
from nonet.data.pennfudan import PENNFUDAN_FILES, load_pennfudan
from nonet.data.scenes import Scenes
from nonet.data.series import SERIES_FILES
from nonet.data.shapes import load_shapes
from nonet.data.speech import FSDD_FILES

SETS = ("digits", "mnist", "folder")
SCENE_SETS = ("shapes", "pennfudan")
FILES = {  # of sets that need some
    "mnist": IDX_FILES,
    "folder": FOLDER_FILES,
    "pennfudan": PENNFUDAN_FILES,
    "jsb": "jsb_chorales.npz",
    "nottingham": "nottingham.npz",
    "ett": SERIES_FILES,
    "text": TEXT_FILES,
    **LABELLED_FILES,
    "fsdd": FSDD_FILES,
    "multi30k": MULTI30K_FILES,
    "tsv": TSV_FILES,
    "ecg5000": ECG5000_FILES,
    "faces": FACE_FILES,
}


def load(
    name: str, directory: PathLike | None = None, size: int | None = None, largest: int | None = None
) -> Splits:
    """The labelled images `name`, one of `SETS`.

    "digits"  bundled; takes no directory (see `load_digits`)
    "mnist"   any folder of idx files under MNIST's names (see `load_idx`)
    "folder"  images in folders named after their classes (see `load_folder`, also for `size` and `largest`)

    ValueError for an unknown name, DataError for a directory that is missing or not wanted, or bad files.
    """
    if name not in SETS:
        raise ValueError(f"load: name must be one of {', '.join(SETS)}, got {name!r}")
    if name == "digits":
        _refuse(name, directory)
        return load_digits()
    folder = _demand(name, directory)
    return load_idx(folder) if name == "mnist" else load_folder(folder, size, largest)


def load_scenes(name: str, directory: PathLike | None = None) -> Scenes:
    """The scenes `name`, one of `SCENE_SETS`.

    "shapes"     digits on coloured ground, generated; takes no directory (see `load_shapes`)
    "pennfudan"  street photos with pedestrians (see `load_pennfudan`)

    Errors as of `load`.
    """
    if name not in SCENE_SETS:
        raise ValueError(f"load_scenes: name must be one of {', '.join(SCENE_SETS)}, got {name!r}")
    if name == "shapes":
        _refuse(name, directory)
        return load_shapes()
    return load_pennfudan(_demand(name, directory))


def _refuse(name: str, directory: PathLike | None) -> None:
    if directory is not None:
        raise DataError(f"{name}: comes with nonet, expected no directory, got {directory}")


def _demand(name: str, directory: PathLike | None) -> PathLike:
    if directory is None:
        raise DataError(f"{name}: expected a directory with {FILES[name]}, got none")
    return directory
