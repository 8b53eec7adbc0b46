"""Architectures, one file per kind of network, and models to and from files."""

from __future__ import annotations

from nonet.models.ann import MLP
from nonet.models.cnn import LeNet5
from nonet.models.registry import ARCHITECTURES, architecture_of, build, load_model, save_model
from nonet.models.summary import Layer, observing, summary

__all__ = [
    "ARCHITECTURES",
    "Layer",
    "LeNet5",
    "MLP",
    "architecture_of",
    "build",
    "load_model",
    "observing",
    "save_model",
    "summary",
]
