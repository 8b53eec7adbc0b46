"""Data sets, loaders and transforms: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

from nonet.data.buckets import BucketLoader, StreamLoader, pad_batch
from nonet.data.corpus import (
    TEXT_FILES,
    Corpus,
    WordVocab,
    bigram_nats,
    load_corpus,
    sentence,
    split_text,
    words,
)
from nonet.data.dataset import ArrayDataset, Splits, holdout
from nonet.data.digits import load_digits
from nonet.data.errors import DataError, MissingDataError
from nonet.data.faces import FACE_FILES, load_faces
from nonet.data.folder import FOLDER_FILES, fit_square, load_folder
from nonet.data.heartbeats import ECG5000_FILES, load_ecg5000
from nonet.data.idx import IDX_FILES, load_idx, read_idx
from nonet.data.labelled import LABELLED_FILES, LabelledText, load_labelled
from nonet.data.loader import Batch, DataLoader
from nonet.data.normalization import mean_std, normalize
from nonet.data.pairs import MULTI30K_FILES, TSV_FILES, Pairs, load_pairs, number_words
from nonet.data.pennfudan import PENNFUDAN_FILES, load_pennfudan
from nonet.data.polymusic import KEYS, MUSIC_FILES, Music, load_music
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
from nonet.data.series import SERIES_FILES, Series, load_series, windows
from nonet.data.shapes import load_shapes
from nonet.data.spectrogram import log_mel, mel_filters
from nonet.data.speech import FSDD_FILES, DigitStrings, Recording, Recordings, load_fsdd
from nonet.data.styles import STYLE_FILES, Styles, load_styles, thickened_inverse
from nonet.data.table import Table, read_table
from nonet.data.text import CharVocab, read_lines, read_text, read_tsv
from nonet.data.tokenizers import ByteTokenizer, Tokenizer
from nonet.data.transforms import (
    compose,
    pad,
    random_crop,
    random_flip,
    random_mix,
    random_shift,
    resize,
    upsample,
)

__all__ = [
    "ECG5000_FILES",
    "FACE_FILES",
    "FILES",
    "FOLDER_FILES",
    "FSDD_FILES",
    "IDX_FILES",
    "IGNORED",
    "KEYS",
    "LABELLED_FILES",
    "MULTI30K_FILES",
    "MUSIC_FILES",
    "NO_BOX",
    "PENNFUDAN_FILES",
    "SCENE_SETS",
    "SERIES_FILES",
    "SETS",
    "STYLE_FILES",
    "TEXT_FILES",
    "TSV_FILES",
    "ArrayDataset",
    "Batch",
    "BucketLoader",
    "ByteTokenizer",
    "CharVocab",
    "Corpus",
    "DataError",
    "DataLoader",
    "DigitStrings",
    "LabelledText",
    "MissingDataError",
    "Music",
    "Pairs",
    "Recording",
    "Recordings",
    "Scene",
    "Scenes",
    "Series",
    "Splits",
    "StreamLoader",
    "Styles",
    "Table",
    "Tokenizer",
    "WordVocab",
    "bigram_nats",
    "compose",
    "cut",
    "cut_boxes",
    "cut_mask",
    "fit_square",
    "fitted",
    "holdout",
    "load",
    "load_corpus",
    "load_digits",
    "load_ecg5000",
    "load_faces",
    "load_folder",
    "load_fsdd",
    "load_idx",
    "load_labelled",
    "load_music",
    "load_pairs",
    "load_pennfudan",
    "load_scenes",
    "load_series",
    "load_shapes",
    "load_styles",
    "log_mel",
    "mean_std",
    "mel_filters",
    "normalize",
    "number_words",
    "pad",
    "pad_batch",
    "random_colors",
    "random_crop",
    "random_flip",
    "random_mix",
    "random_shift",
    "random_window",
    "read_idx",
    "read_lines",
    "read_table",
    "read_text",
    "read_tsv",
    "resize",
    "scene_arrays",
    "sentence",
    "split_text",
    "thickened_inverse",
    "upsample",
    "windows",
    "words",
]
