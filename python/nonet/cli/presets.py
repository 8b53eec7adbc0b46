"""Presets: what `nonet train NAME` trains, on which data, with which numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Height and width of the images, number of classes and largest value of a pixel, so that a model can be described
# without its data. Sets of files may have other sizes; what is loaded decides.
IMAGE_SETS: dict[str, tuple[tuple[int, int], int, int]] = {
    "digits": ((8, 8), 10, 16),
    "mnist": ((28, 28), 10, 255),
    "folder": ((32, 32), 10, 255),
    "faces": ((112, 92), 40, 255),
}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What every preset has.

    task               what kind of data, model and metric it is about: a name in `nonet.cli.tasks`
    sets               data sets, the default first; `files` are those that need some, and that --data-dir alone selects
    epochs, batch_size by data set; steps: instead of epochs
    lr, weight_decay   of AdamW; the rate rises over the first `warmup` share of the steps and falls on a cosine, or
                       stays as it is if `constant`
    rates              other rates than `lr`, by data set
    betas              of AdamW
    clip_norm          limit of the gradients' norm
    weight_noise       standard deviation of noise on the weights in training, by data set
    averaging          what a moving average of the parameters keeps of itself at each step, by data set
    keep               which parameters are reported: the "last", or the "best" on the validation part
    validation         share of the training part that is cut off for validation
    """

    name: str
    task: str
    sets: tuple[str, ...]
    files: tuple[str, ...]
    epochs: Mapping[str, int]
    batch_size: Mapping[str, int]
    steps: Mapping[str, int] = field(default_factory=dict)
    lr: float = 1e-3
    rates: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 0.01
    warmup: float = 0.1
    constant: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float | None = None
    weight_noise: Mapping[str, float] = field(default_factory=dict)
    averaging: Mapping[str, float] = field(default_factory=dict)
    keep: str = "last"
    validation: float = 0.1
    metric: str


@dataclass(frozen=True, kw_only=True)
class Classifier(Preset):
    """An image classifier.

    architecture   its name for `nonet.models.build`, `arguments` beside those that the data decide
    colour         the model takes three channels; grey images are repeated
    resize         images are enlarged to this height and width, by data set; flatten: and made one row per image
    shift, flip    images move by up to so many pixels, are mirrored with this probability, by data set
    largest        a folder's images are made this high and wide if they differ in size or are larger
    """

    task: str = "classify"
    metric: str = "accuracy"
    architecture: str
    sets: tuple[str, ...] = ("digits", "mnist")
    files: tuple[str, ...] = ("mnist",)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    colour: bool = False
    resize: Mapping[str, int] = field(default_factory=dict)
    flatten: bool = False
    shift: Mapping[str, int] = field(default_factory=dict)
    flip: Mapping[str, float] = field(default_factory=dict)
    largest: int = 64

    def model_arguments(self, size: tuple[int, int], classes: int) -> dict[str, Any]:
        """Constructor arguments for images of this size (before resizing)."""
        if self.architecture == "MLP":
            pixels = size[0] * size[1]
            return {
                "sizes": [pixels, *self.arguments["hidden"], classes],
                "dropout": self.arguments["dropout"],
            }
        name = "classes" if self.architecture == "LeNet5" else "num_classes"
        return {name: classes, **self.arguments}


@dataclass(frozen=True, kw_only=True)
class ScenePreset(Preset):
    """A model that finds things in scenes (see `nonet.data.Scenes`).

    architecture   its name for `nonet.models.build`, `arguments` beside those that the data decide
    canvas         height and width of the model's input, by data set; `stored`: of the scenes in memory, from which
                   training cuts windows of sides times `zoom`, stretched by up to `stretch`
    flip           probability that a scene is mirrored, by data set
    colours        by how much brightness, contrast and saturation vary
    """

    sets: tuple[str, ...] = ("shapes", "pennfudan")
    files: tuple[str, ...] = ("pennfudan",)
    architecture: str
    arguments: Mapping[str, Mapping[str, Any]]
    canvas: Mapping[str, int]
    stored: Mapping[str, int]
    zoom: Mapping[str, tuple[float, float]]
    stretch: float = 1.15
    flip: Mapping[str, float] = field(default_factory=dict)
    colours: float = 0.4


@dataclass(frozen=True, kw_only=True)
class PicturePreset(Preset):
    """A model that makes images, or finds samples strange.

    architecture   its name for `nonet.models.build`, `arguments` beside those that the data decide, by data set
    resize         height and width that images are scaled to, by data set; flip, zoom, mix: images are mirrored with
                   this probability, shown in windows of sides times a number from this range, and get up to this share
                   of another image
    noise          standard deviation of the noise to be removed, of pixels in [0, 1]
    quantile       of the normal errors, above which a sample is an anomaly, by data set
    judged         epochs of the LeNet-5 that judges samples, by data set
    largest        a folder's images are made this high and wide if they differ in size or are larger
    """

    sets: tuple[str, ...] = ("digits", "mnist")
    files: tuple[str, ...] = ("mnist",)
    architecture: str
    arguments: Mapping[str, Mapping[str, Any]]
    resize: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    flip: Mapping[str, float] = field(default_factory=dict)
    zoom: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    mix: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.0
    quantile: Mapping[str, float] = field(default_factory=dict)
    judged: Mapping[str, int] = field(default_factory=dict)
    largest: int = 32
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SequencePreset(Preset):
    """A model of sequences.

    architecture   its name for `nonet.models.build`, `arguments` beside those that the data decide, by data set
    block          steps that a language model sees at once, that pieces of music are cut into, or that a forecaster
                   looks back on, or words of a sequence at most, by data set
    horizon        steps of a forecast, by data set
    smoothing      label smoothing of translations; least: how often a word has to be there to have a code, by data set
    beam           width of the search in translations and transcripts that are measured
    unknown        share of the words that are made unknown in training
    """

    architecture: str
    arguments: Mapping[str, Mapping[str, Any]]
    block: Mapping[str, int] = field(default_factory=dict)
    horizon: Mapping[str, int] = field(default_factory=dict)
    smoothing: float = 0.0
    least: Mapping[str, int] = field(default_factory=dict)
    beam: int = 5
    unknown: float = 0.0
    clip_norm: float | None = 1.0
    keep: str = "best"


def _music(
    name: str,
    cell: str,
    hidden: int,
    nottingham: dict[str, Any],
    noise: float,
    epochs: int,
    block: int = 256,
    averaging: float = 0.0,
    lr: float = 3e-3,
) -> SequencePreset:
    return SequencePreset(
        name=name,
        task="music",
        metric="nats_per_frame",
        sets=("jsb", "nottingham"),
        files=("jsb", "nottingham"),
        architecture="MusicModel",
        arguments={
            "jsb": {"cell": cell, "hidden": hidden, "dropout": 0.3},
            "nottingham": {"cell": cell, **nottingham},
        },
        block={"jsb": 256, "nottingham": block},
        epochs={"jsb": 200, "nottingham": epochs},
        batch_size={"jsb": 8, "nottingham": 2},
        weight_noise={"nottingham": noise},
        averaging={"nottingham": averaging},
        lr=1e-2,
        rates={"nottingham": lr},
    )


def _text(name: str, cell: str) -> SequencePreset:
    return SequencePreset(
        name=name,
        task="text",
        metric="nats_per_character",
        sets=("topics", "text"),
        files=("text",),
        architecture="LanguageModel",
        arguments={
            "topics": {"cell": cell, "embed": 64, "hidden": 256, "dropout": 0.2},
            "text": {"cell": cell, "embed": 64, "hidden": 256, "dropout": 0.2},
        },
        block={"topics": 64, "text": 64},
        epochs={"topics": 10, "text": 10},
        batch_size={"topics": 32, "text": 32},
        lr=4e-3,
    )


def _bert(
    name: str,
    task: str,
    metric: str,
    epochs: dict[str, int],
    files: tuple[str, ...],
    block: int,
    dropout: float,
    **more: Any,
) -> SequencePreset:
    sets = tuple(epochs)
    layers = 3 if task == "masked" else 2
    sizes: dict[str, Any] = {
        "width": 128,
        "heads": 4,
        "layers": layers,
        "inner": 512 if task == "masked" else 256,
        "dropout": dropout,
        "window": 3,
    }
    if task == "sentences":
        sizes["pooling"] = "max"
    return SequencePreset(
        name=name,
        task=task,
        metric=metric,
        sets=sets,
        files=files,
        architecture="BERT",
        arguments={key: {**sizes} for key in sets},
        block=dict.fromkeys(sets, block),
        least=dict.fromkeys(sets, 2),
        epochs=epochs,
        batch_size=dict.fromkeys(sets, 32),
        keep="last",
        **more,
    )


def _translator(
    name: str, architecture: str, small: dict[str, Any], large: dict[str, Any], **more: Any
) -> SequencePreset:
    return SequencePreset(
        name=name,
        task="translate",
        metric="bleu",
        sets=("numbers", "multi30k", "tsv"),
        files=("multi30k", "tsv"),
        architecture=architecture,
        arguments={"numbers": small, "multi30k": large, "tsv": large},
        least={"numbers": 1, "multi30k": 2, "tsv": 2},
        epochs={"numbers": 6, "multi30k": 15, "tsv": 15},
        batch_size={"numbers": 64, "multi30k": 64, "tsv": 64},
        validation=0.0,
        **more,
    )


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Classifier(
            name="ann",
            architecture="MLP",
            epochs={"digits": 60, "mnist": 20},
            batch_size={"digits": 128, "mnist": 128},
            arguments={"hidden": (512, 512), "dropout": 0.2},
            flatten=True,
        ),
        Classifier(
            name="lenet5",
            architecture="LeNet5",
            epochs={"digits": 60, "mnist": 20},
            batch_size={"digits": 64, "mnist": 64},
            resize={"digits": 28, "mnist": 28},
            shift={"digits": 3, "mnist": 2},
            lr=3e-3,
        ),
        Classifier(
            name="resnet18",
            architecture="resnet18",
            arguments={"cifar_stem": True},
            sets=("digits", "mnist", "folder"),
            files=("mnist", "folder"),
            epochs={"digits": 10, "mnist": 3, "folder": 5},
            batch_size={"digits": 64, "mnist": 128, "folder": 128},
            colour=True,
            resize={"digits": 16},
            shift={"digits": 2, "mnist": 2, "folder": 4},
            flip={"folder": 0.5},
            lr=2e-3,
            weight_decay=0.05,
            warmup=0.2,
        ),
        ScenePreset(
            name="segment",
            task="segment",
            metric="mean_iou",
            architecture="UNet",
            arguments={"shapes": {"width": 8, "depth": 3}, "pennfudan": {"width": 16, "depth": 5}},
            epochs={"shapes": 5, "pennfudan": 150},
            batch_size={"shapes": 16, "pennfudan": 6},
            canvas={"shapes": 64, "pennfudan": 192},
            stored={"shapes": 64, "pennfudan": 320},
            zoom={"shapes": (0.8, 1.25), "pennfudan": (0.45, 1.1)},
            flip={"pennfudan": 0.5},
            lr=2e-3,
        ),
        ScenePreset(
            name="detect",
            task="detect",
            metric="ap50",
            architecture="Detector",
            arguments={"shapes": {"width": 16}, "pennfudan": {"width": 32}},
            epochs={"shapes": 20, "pennfudan": 250},
            batch_size={"shapes": 16, "pennfudan": 6},
            canvas={"shapes": 64, "pennfudan": 192},
            stored={"shapes": 64, "pennfudan": 320},
            zoom={"shapes": (0.8, 1.25), "pennfudan": (0.45, 1.2)},
            flip={"pennfudan": 0.5},
            lr=2e-3,
            clip_norm=10.0,
        ),
        _music("rnn-music", "rnn", 92, {"hidden": 92}, 0.05, 240),
        _music("gru-music", "gru", 46, {"hidden": 64, "embed": 16, "dropout": 0.15}, 0.075, 200),
        _music(
            "lstm-music",
            "lstm",
            38,
            {"hidden": 60, "embed": 12, "dropout": 0.1},
            noise=0.075,
            epochs=200,
            block=320,  # a quarter of the tunes has 257 frames
            averaging=0.999,
            lr=5e-3,
        ),
        SequencePreset(
            name="rnn-series",
            task="series",
            metric="mae",
            sets=("sunspots",),
            files=(),
            architecture="Forecaster",
            arguments={"sunspots": {"cell": "rnn", "hidden": 32}},
            block={"sunspots": 33},
            horizon={"sunspots": 5},
            epochs={"sunspots": 100},
            batch_size={"sunspots": 16},
            lr=3e-3,
        ),
        SequencePreset(
            name="lstm-ett",
            task="series",
            metric="mse",
            sets=("ett",),
            files=("ett",),
            architecture="Forecaster",
            arguments={"ett": {"cell": "lstm", "hidden": 64, "shared": True, "segment": 24, "dropout": 0.2}},
            block={"ett": 336},
            horizon={"ett": 24},
            epochs={"ett": 5},
            batch_size={"ett": 64},
            lr=2e-3,
        ),
        _text("rnn-text", "rnn"),
        _text("gru-text", "gru"),
        _text("lstm-text", "lstm"),
        SequencePreset(
            name="gpt",
            task="text",
            metric="nats_per_character",
            sets=("topics", "text"),
            files=("text",),
            architecture="GPT",
            arguments={
                key: {"positions": 64, "width": 128, "layers": 4, "heads": 4, "dropout": 0.0}
                for key in ("topics", "text")
            },
            block={"topics": 64, "text": 64},
            epochs={},
            steps={"topics": 2000, "text": 2000},
            batch_size={"topics": 12, "text": 12},
            lr=4e-3,
            weight_decay=0.1,
            warmup=0.05,
            keep="last",
        ),
        _bert("bert-mlm", "masked", "nats_per_token", {"topics": 30, "text": 15}, ("text",), 64, 0.1),
        _bert(
            "bert-classify",
            "sentences",
            "accuracy",
            {"trec": 12, "lines": 12},
            ("trec", "lines"),
            40,
            0.3,
            weight_decay=0.1,
            unknown=0.2,
        ),
        SequencePreset(
            name="gru-speech",
            task="speech",
            metric="accuracy",
            sets=("fsdd",),
            files=("fsdd",),
            architecture="SequenceClassifier",
            arguments={"fsdd": {"cell": "gru", "hidden": 64, "dropout": 0.3}},
            epochs={"fsdd": 20},
            batch_size={"fsdd": 32},
            lr=3e-3,
            keep="last",
        ),
        SequencePreset(
            name="ctc-speech",
            task="transcribe",
            metric="digit_error_rate",
            sets=("fsdd",),
            files=("fsdd",),
            architecture="SpeechRecognizer",
            arguments={"fsdd": {"cell": "gru", "hidden": 96, "layers": 2, "stride": 3, "dropout": 0.2}},
            epochs={"fsdd": 12},
            batch_size={"fsdd": 32},
            lr=3e-3,
            beam=8,
            keep="last",
        ),
        SequencePreset(
            name="lstm-translate",
            task="translate",
            metric="bleu",
            sets=("numbers", "multi30k", "tsv"),
            files=("multi30k", "tsv"),
            architecture="Seq2Seq",
            arguments={
                "numbers": {"cell": "lstm", "embed": 64, "hidden": 64, "dropout": 0.1},
                "multi30k": {"cell": "lstm", "embed": 256, "hidden": 256, "dropout": 0.4},
                "tsv": {"cell": "lstm", "embed": 256, "hidden": 256, "dropout": 0.4},
            },
            least={"numbers": 1, "multi30k": 2, "tsv": 2},
            epochs={"numbers": 6, "multi30k": 12, "tsv": 12},
            batch_size={"numbers": 64, "multi30k": 64, "tsv": 64},
            lr=2e-3,
            smoothing=0.1,
            validation=0.0,
        ),
        _translator(
            "transformer-translate",
            "Translator",
            {"width": 64, "heads": 4, "layers": 2, "inner": 128},
            {"width": 128, "heads": 4, "layers": 3, "inner": 512},
            lr=1.5e-3,
            smoothing=0.1,
        ),
        _translator(
            "t5",
            "T5",
            {"width": 64, "size": 16, "heads": 4, "layers": 2, "inner": 128, "form": "gated-gelu"},
            {"width": 128, "size": 32, "heads": 4, "layers": 3, "inner": 256, "form": "gated-gelu"},
            lr=2e-3,
        ),
        PicturePreset(
            name="autoencoder-linear",
            task="reconstruct",
            metric="mse",
            architecture="Autoencoder",
            arguments={name: {"hidden": (), "codes": 32} for name in ("digits", "mnist")},
            epochs={"digits": 200, "mnist": 20},
            batch_size={"digits": 64, "mnist": 128},
            lr=3e-3,
        ),
        PicturePreset(
            name="autoencoder",
            task="reconstruct",
            metric="squared_error",
            architecture="Autoencoder",
            arguments={
                "digits": {"hidden": (256, 128), "codes": 30},
                "mnist": {"hidden": (1024, 512), "codes": 30},
            },
            epochs={"digits": 100, "mnist": 20},
            batch_size={"digits": 64, "mnist": 128},
            lr=1e-3,
        ),
        PicturePreset(
            name="denoise",
            task="reconstruct",
            metric="psnr",
            architecture="Autoencoder",
            arguments={
                "digits": {"hidden": (256,), "codes": 64},
                "mnist": {"hidden": (1024, 512), "codes": 128},
            },
            epochs={"digits": 100, "mnist": 20},
            batch_size={"digits": 64, "mnist": 128},
            noise=0.5,
        ),
        PicturePreset(
            name="anomaly",
            task="anomaly",
            metric="accuracy",
            sets=("digits", "ecg5000"),
            files=("ecg5000",),
            architecture="Autoencoder",
            arguments={
                "digits": {"hidden": (64,), "codes": 8},
                "ecg5000": {"hidden": (64,), "codes": 8, "noise": 0.7},
            },
            epochs={"digits": 300, "ecg5000": 100},
            validation=0.05,
            batch_size={"digits": 16, "ecg5000": 16},
            quantile={"digits": 0.98, "ecg5000": 0.99},
        ),
        PicturePreset(
            name="vae",
            task="variational",
            metric="elbo",
            architecture="VAE",
            arguments={
                "digits": {"hidden": (128,), "codes": 8},
                "mnist": {"hidden": (400,), "codes": 20},
            },
            epochs={"digits": 100, "mnist": 10},
            batch_size={"digits": 64, "mnist": 128},
            # As the example that published results are of; the validation part is small for the same reason.
            constant=True,
            validation=1 / 60,
        ),
        PicturePreset(
            name="vae-faces",
            task="variational",
            metric="elbo",
            sets=("faces",),
            files=("faces",),
            architecture="ResidualVAE",
            arguments={"faces": {"codes": 40, "width": 16, "depth": 3}},
            resize={"faces": (56, 48)},
            flip={"faces": 0.5},
            mix={"faces": 1.0},
            # Few: what it learns of the people that it sees helps with others for so long.
            epochs={"faces": 15},
            batch_size={"faces": 32},
            lr=3e-4,
        ),
        PicturePreset(
            name="gan",
            task="adversarial",
            metric="parzen",
            architecture="GAN",
            arguments={
                "digits": {"latent": 32, "hidden": (128, 256), "averaging": 0.995},
                "mnist": {"latent": 16, "hidden": (256, 512), "averaging": 0.99975},
            },
            epochs={"digits": 200, "mnist": 15},
            batch_size={"digits": 64, "mnist": 128},
            lr=2e-4,
            rates={"mnist": 5e-4},
            # The average of the generator, taken twice a step, does its work while the generator moves.
            constant=True,
            betas=(0.5, 0.999),
            judged={"digits": 20, "mnist": 2},
            warmup=0.02,
        ),
        PicturePreset(
            name="dcgan",
            task="adversarial",
            metric="parzen",
            sets=("digits", "mnist", "folder"),
            files=("mnist", "folder"),
            architecture="DCGAN",
            arguments={
                "digits": {"latent": 32, "width": 16, "averaging": 0.995},
                "mnist": {"latent": 64, "width": 32, "averaging": 0.999},
                "folder": {
                    "latent": 100,
                    "width": 64,
                    "spectral": True,
                    "kind": "hinge",
                    "averaging": 0.999,
                },
            },
            resize={"digits": (16, 16), "folder": (32, 32)},
            epochs={"digits": 100, "mnist": 5, "folder": 20},
            batch_size={"digits": 64, "mnist": 128, "folder": 64},
            lr=2e-4,
            betas=(0.5, 0.999),
            judged={"digits": 20, "mnist": 2, "folder": 2},
            warmup=0.02,
        ),
        PicturePreset(
            name="cyclegan",
            task="translate_images",
            metric="cycle_l1",
            sets=("digits", "folder"),
            files=("folder",),
            architecture="CycleGAN",
            arguments={
                # No identity loss: what is of B already is nearly black, what is of A white; it would forbid inverting.
                # The cycle counts after three tenths of the steps of both players: which polarity is right has to be
                # found first.
                "digits": {
                    "width": 16,
                    "blocks": 1,
                    "kernel": 3,
                    "down": 0,
                    "identity": 0.0,
                    "delay": 528,
                },
                "folder": {"width": 32, "blocks": 3, "kernel": 7},
            },
            resize={"digits": (16, 16), "folder": (64, 64)},
            epochs={"digits": 20, "folder": 50},
            batch_size={"digits": 16, "folder": 4},
            lr=4e-4,
            betas=(0.5, 0.999),
            judged={"digits": 30},
            warmup=0.02,
        ),
    )
}
