"""The nine model types of the tour, in its order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nonet.cli.tour import images, sequences
from nonet.cli.tour.common import Found, Place

__all__ = ["ENTRIES", "Entry", "Found", "Place"]


@dataclass(frozen=True)
class Entry:
    """A model type: its task in words, and the function that trains it and measures it beside its floor."""

    name: str
    title: str
    task: str
    train: Callable[[Place], Found]


ENTRIES = (
    Entry("ann", "Feed-forward network", "handwritten digits of 8 x 8 pixels", images.ann),
    Entry("cnn", "Convolutional network", "LeNet-5 on the same digits, moved about", images.cnn),
    Entry("rnn", "Recurrent network", "sunspots, five years ahead", sequences.rnn),
    Entry("lstm", "LSTM", "the next character of Python's help texts", sequences.lstm),
    Entry("gru", "GRU", "digits read row by row", images.gru),
    Entry("autoencoder", "Autoencoder", "digits through eight numbers", images.autoencoder),
    Entry("vae", "Variational autoencoder", "digits as a distribution", images.vae),
    Entry("gan", "Generative adversarial network", "digits made from noise", images.gan),
    Entry("transformer", "Transformer", "a small GPT on Python's help texts", sequences.transformer),
)
