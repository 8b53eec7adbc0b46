"""Log-mel spectrograms: what recognisers of speech see of a sound."""

from __future__ import annotations

import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

FLOOR = 1e-6  # power per band of silence, so that its logarithm is finite


def log_mel(
    signal: NDArray[np.float32],
    rate: int,
    bands: int = 40,
    window: float = 0.025,
    hop: float = 0.01,
) -> NDArray[np.float32]:
    """float32 [T, bands]: the logarithm of the power of `signal` [N] in bands of equal width on the mel scale.

    A frame of `window` seconds starts every `hop` seconds; T = 1 + (N - window) // hop, and at least 1: a shorter
    signal is padded with zeros. Frames are weighted by a Hann window; the transform's length is a power of two.
    Bands are triangles from 0 Hz to half the rate (Davis & Mermelstein 1980; mel = 2595 log10(1 + f / 700)).
    ValueError for another shape, or bands that are narrower than the transform resolves.
    """
    if signal.ndim != 1:
        raise ValueError(f"log_mel: signal must have shape [N], got {list(signal.shape)}")
    size, step = round(window * rate), round(hop * rate)
    if size < 2 or step < 1:
        raise ValueError(f"log_mel: rate {rate} leaves windows of {size} samples every {step}")
    if len(signal) < size:
        signal = np.pad(signal, (0, size - len(signal)))
    frames = sliding_window_view(signal.astype(np.float32), size)[::step]
    length = 1 << (size - 1).bit_length()
    spectrum = np.fft.rfft(frames * np.hanning(size).astype(np.float32), length, axis=1)
    power = np.square(np.abs(spectrum)).astype(np.float32)
    return np.log(power @ mel_filters(rate, length, bands) + np.float32(FLOOR))


@functools.lru_cache(8)
def mel_filters(rate: int, length: int, bands: int) -> NDArray[np.float32]:
    """float32 [length // 2 + 1, bands]: the share of each frequency of a transform of `length` in each band.

    ValueError if a band has no frequency.
    """
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    frequencies = np.arange(length // 2 + 1)[:, None] * (rate / length)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rise, fall = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    filters = np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
    if (filters.sum(axis=0) == 0).any():
        raise ValueError(
            f"mel_filters: {bands} bands are too many for {length // 2 + 1} frequencies up to {rate / 2:g} Hz"
        )
    filters.flags.writeable = False
    return filters
