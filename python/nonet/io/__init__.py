"""Arrays to and from files: safetensors, state of any depth, torch.save, images, atomic writes. Knows no models."""

from __future__ import annotations

from nonet.io.atomic import naming, remove_leftovers, replacing, sync_folder, write_bytes, write_text
from nonet.io.audio import read_audio
from nonet.io.errors import FileError, MissingFileError
from nonet.io.image import MissingExtraError, read_image, write_png
from nonet.io.midi import write_midi
from nonet.io.pth import load_pth
from nonet.io.tensors import load_metadata, load_tensors, save_tensors
from nonet.io.tree import leaves, map_tensors, pack, unpack

__all__ = [
    "FileError",
    "MissingExtraError",
    "MissingFileError",
    "leaves",
    "load_metadata",
    "load_pth",
    "load_tensors",
    "map_tensors",
    "naming",
    "pack",
    "read_audio",
    "read_image",
    "remove_leftovers",
    "replacing",
    "save_tensors",
    "sync_folder",
    "unpack",
    "write_bytes",
    "write_midi",
    "write_png",
    "write_text",
]
