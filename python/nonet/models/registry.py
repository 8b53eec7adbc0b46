"""Architectures by name, and models to and from files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from nonet.io import FileError, load_metadata, load_tensors, save_tensors
from nonet.io.atomic import PathLike
from nonet.models import resnet, vgg
from nonet.models.alexnet import AlexNet, alexnet
from nonet.models.ann import MLP
from nonet.models.autoencoder import Autoencoder, ConvAutoencoder
from nonet.models.bert import BERT
from nonet.models.cyclegan import CycleGAN
from nonet.models.detector import Detector
from nonet.models.gan import DCGAN, GAN
from nonet.models.gpt import GPT
from nonet.models.lenet import LeNet5
from nonet.models.pretrained import Report, read_config
from nonet.models.recognizer import SpeechRecognizer
from nonet.models.recurrent import Forecaster, LanguageModel, MusicModel, SequenceClassifier
from nonet.models.seq2seq import Seq2Seq
from nonet.models.t5 import T5
from nonet.models.translator import Translator
from nonet.models.unet import UNet
from nonet.models.vae import VAE, ConvVAE, ResidualVAE
from nonet.nn import Module

# Every class here keeps its constructor's arguments, as JSON has them, in the attribute `arguments`; None if it has no
# words for them.
ARCHITECTURES: dict[str, type[Any]] = {
    "AlexNet": AlexNet,
    "BERT": BERT,
    "Autoencoder": Autoencoder,
    "ConvAutoencoder": ConvAutoencoder,
    "ConvVAE": ConvVAE,
    "ResidualVAE": ResidualVAE,
    "CycleGAN": CycleGAN,
    "DCGAN": DCGAN,
    "Detector": Detector,
    "Forecaster": Forecaster,
    "GAN": GAN,
    "LanguageModel": LanguageModel,
    "GPT": GPT,
    "LeNet5": LeNet5,
    "MLP": MLP,
    "MusicModel": MusicModel,
    "ResNet": resnet.ResNet,
    "Seq2Seq": Seq2Seq,
    "SequenceClassifier": SequenceClassifier,
    "T5": T5,
    "SpeechRecognizer": SpeechRecognizer,
    "Translator": Translator,
    "UNet": UNet,
    "VAE": VAE,
    "VGG": vgg.VGG,
}

# Functions that make one of these with the arguments that its name stands for.
VARIANTS: dict[str, Callable[..., Any]] = {
    "alexnet": alexnet,
    **{f"vgg{n}{bn}": getattr(vgg, f"vgg{n}{bn}") for n in (11, 13, 16, 19) for bn in ("", "_bn")},
    **{f"resnet{n}": getattr(resnet, f"resnet{n}") for n in (18, 34, 50, 101, 152)},
}

# In a checkpoint of a run the model's tensors stand beside the optimizer's, under this prefix.
STATE_PREFIX = "model."


def build(name: str, **arguments: Any) -> Module:
    """A new model of the architecture or variant `name` with these arguments.

    Errors: ValueError for an unknown name; those of the constructor.
    """
    known: dict[str, Callable[..., Any]] = {**ARCHITECTURES, **VARIANTS}
    if name not in known:
        raise ValueError(f"build: name must be one of {', '.join(known)}, got {name!r}")
    return known[name](**arguments)


# Hugging Face's model_type -> the class that reads such a folder.
PRETRAINED: dict[str, type[Any]] = {"bert": BERT, "gpt2": GPT, "t5": T5}


def from_pretrained(directory: PathLike) -> Any:
    """The BERT, GPT or T5 in a Hugging Face folder, in evaluation mode; config.json says which.

    FileError if it says something else, or the files do not fit.
    """
    return read_pretrained(directory)[0]


def read_pretrained(directory: PathLike, name: str | None = None) -> tuple[Any, Report]:
    """The same, and which tensor of the files became which. name: BERT, GPT or T5, whatever config.json says."""
    classes = {kind.__name__: kind for kind in PRETRAINED.values()}
    if name is not None:
        if name not in classes:
            raise ValueError(f"read_pretrained: name must be one of {', '.join(classes)}, got {name!r}")
        return classes[name].read(directory)
    kind = read_config(directory).get("model_type")
    if kind not in PRETRAINED:
        raise FileError(f"{directory}: expected a model_type of {', '.join(PRETRAINED)}, found {kind}")
    return PRETRAINED[kind].read(directory)


def architecture_of(model: Module) -> dict[str, str]:
    """The metadata from which `load_model` builds `model` again; empty if it does not know how."""
    name = type(model).__name__
    if ARCHITECTURES.get(name) is not type(model) or vars(model)["arguments"] is None:
        return {}
    return {"architecture": name, "arguments": json.dumps(vars(model)["arguments"])}


def save_model(model: Module, path: PathLike, metadata: Mapping[str, str] | None = None) -> None:
    """Replaces `path` atomically by a safetensors file of the parameters and persistent buffers of `model`.

    Its metadata holds the architecture, if `build` knows it, and `metadata`.
    """
    save_tensors(path, model.state_dict(), {**architecture_of(model), **(metadata or {})})


def load_model(path: PathLike) -> Module:
    """The model in a `model.safetensors` or in the `last.safetensors` of a run, in evaluation mode.

    FileError if the file is missing or damaged, names no known architecture, or its tensors do not fit it.
    """
    metadata = load_metadata(path)
    name = metadata.get("architecture")
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise FileError(f"{path}: expected metadata with an architecture ({known}), found {name or 'none'}")
    try:
        model = build(name, **json.loads(metadata.get("arguments", "{}")))
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: expected arguments of {name}, found others: {error}") from error
    tensors, _ = load_tensors(path)
    if "state" in metadata:
        tensors = {
            key.removeprefix(STATE_PREFIX): value
            for key, value in tensors.items()
            if key.startswith(STATE_PREFIX)
        }
    try:
        model.load_state_dict(tensors)
    except (KeyError, ValueError) as error:
        raise FileError(f"{path}: expected the tensors of {name}, found others: {error.args[0]}") from error
    return model.eval()
