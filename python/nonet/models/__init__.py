"""Architectures, one per file, and models to and from files."""

from __future__ import annotations

from nonet.models.adversarial import ADVERSARIAL, discriminator_loss, generator_loss
from nonet.models.alexnet import AlexNet, alexnet
from nonet.models.ann import MLP
from nonet.models.autoencoder import Autoencoder, ConvAutoencoder, corrupt
from nonet.models.bert import BERT
from nonet.models.convert import CONVERTIBLE, convert
from nonet.models.cyclegan import CycleGAN
from nonet.models.detector import Detector, decode_boxes, detection_loss, encode_boxes
from nonet.models.gan import DCGAN, GAN, Adversarial
from nonet.models.generation import Sampling, beam_search, choose, stream
from nonet.models.gpt import GPT
from nonet.models.lenet import LeNet5
from nonet.models.pretrained import read_config
from nonet.models.recognizer import SpeechRecognizer
from nonet.models.recurrent import Forecaster, LanguageModel, MusicModel, SequenceClassifier, step_mask
from nonet.models.registry import (
    ARCHITECTURES,
    PRETRAINED,
    VARIANTS,
    architecture_of,
    build,
    from_pretrained,
    load_model,
    read_pretrained,
    save_model,
)
from nonet.models.resnet import ResNet, resnet18, resnet34, resnet50, resnet101, resnet152
from nonet.models.seq2seq import AdditiveAttention, DotAttention, Seq2Seq
from nonet.models.summary import Layer, observing, summary
from nonet.models.t5 import T5
from nonet.models.translator import Translator
from nonet.models.unet import UNet, segmentation_loss
from nonet.models.vae import VAE, ConvVAE, ResidualVAE, kl_divergence, vae_loss
from nonet.models.vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from nonet.models.weights import Matching, load_weights, match_weights, read_weights

__all__ = [
    "beam_search",
    "SpeechRecognizer",
    "step_mask",
    "Seq2Seq",
    "DotAttention",
    "AdditiveAttention",
    "SequenceClassifier",
    "MusicModel",
    "LanguageModel",
    "Forecaster",
    "ADVERSARIAL",
    "ARCHITECTURES",
    "Adversarial",
    "AlexNet",
    "BERT",
    "Autoencoder",
    "CONVERTIBLE",
    "ConvAutoencoder",
    "ConvVAE",
    "CycleGAN",
    "DCGAN",
    "Detector",
    "GPT",
    "GAN",
    "Layer",
    "LeNet5",
    "MLP",
    "Matching",
    "ResNet",
    "ResidualVAE",
    "Sampling",
    "T5",
    "Translator",
    "UNet",
    "VAE",
    "VARIANTS",
    "VGG",
    "alexnet",
    "architecture_of",
    "build",
    "choose",
    "convert",
    "corrupt",
    "decode_boxes",
    "detection_loss",
    "discriminator_loss",
    "encode_boxes",
    "PRETRAINED",
    "from_pretrained",
    "read_config",
    "read_pretrained",
    "generator_loss",
    "kl_divergence",
    "load_model",
    "load_weights",
    "match_weights",
    "observing",
    "read_weights",
    "resnet101",
    "resnet152",
    "resnet18",
    "resnet34",
    "resnet50",
    "save_model",
    "segmentation_loss",
    "stream",
    "summary",
    "vae_loss",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]
