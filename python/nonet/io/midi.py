"""Standard MIDI files."""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence

from nonet.io.atomic import PathLike, write_bytes

_TICKS = 96  # per frame


def write_midi(path: PathLike, frames: Sequence[Collection[int]], per_second: float) -> None:
    """Replaces `path` atomically by a MIDI file (format 0) of a piano that plays these notes (0 to 127) in each frame.

    A note of consecutive frames is held. ValueError for another note.
    """
    bad = next((note for frame in frames for note in frame if not 0 <= note < 128), None)
    if bad is not None:
        raise ValueError(f"write_midi: notes must be in [0, 127], got {bad}")
    track = bytearray(b"\x00\xff\x51\x03" + struct.pack(">I", round(1e6 / per_second))[1:])
    written = 0
    before: set[int] = set()
    for now, notes in enumerate((*map(set, frames), set())):
        for status, changed, force in ((0x80, before - notes, 0), (0x90, notes - before, 80)):
            for note in sorted(changed):
                track += _variable((now - written) * _TICKS) + bytes((status, note, force))
                written = now
        before = notes
    track += b"\x00\xff\x2f\x00"
    head = b"MThd" + struct.pack(">IHHH", 6, 0, 1, _TICKS)
    write_bytes(path, head + b"MTrk" + struct.pack(">I", len(track)) + bytes(track))


def _variable(number: int) -> bytes:
    """Seven bits per byte, of which all but the last have the eighth set."""
    out = [number & 127]
    while number := number >> 7:
        out.append(number & 127 | 128)
    return bytes(reversed(out))
