"""`nonet eval CHECKPOINT`."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from nonet import data, io, models
from nonet.cli.device import check_device
from nonet.cli.errors import OK
from nonet.cli.images import ImageInput, load_set, loader, set_name
from nonet.cli.presets import PRESETS, Preset
from nonet.nn import functional
from nonet.tensor import as_tensor, no_grad
from nonet.train import Accuracy
from nonet.train.log import to_json

_BATCH = 256


def run(args: argparse.Namespace) -> int:
    check_device(args.device)
    metadata = io.load_metadata(args.checkpoint)
    preset = preset_of(metadata, args.checkpoint)
    image = ImageInput.from_metadata(metadata, args.checkpoint)
    name = set_name(args.data, args.data_dir, preset, metadata.get("data", preset.sets[0]))
    test = load_set(name, args.data_dir).test
    size = test.inputs.shape[2:]
    if size != (image.height, image.width):
        found = " x ".join(map(str, size))
        raise data.DataError(f"{name}: expected images of {image.height} x {image.width}, found {found}")
    model = models.load_model(args.checkpoint).to(device=args.device or "cpu")
    accuracy, loss = Accuracy(), 0.0
    with no_grad():
        for inputs, labels in loader(test, image, _BATCH):
            logits = model(as_tensor(inputs, device=args.device))
            loss += functional.cross_entropy(logits, as_tensor(labels, device=args.device)).item() * len(
                labels
            )
            accuracy.update(np.asarray(logits.cpu()), labels)
    record: dict[str, Any] = {
        "checkpoint": args.checkpoint,
        "preset": preset.name,
        "data": name,
        "metric": preset.metric,
        "value": accuracy.value(),
        "loss": loss / len(test),
        "samples": len(test),
    }
    if args.json:
        print(to_json(record))
    else:
        print(
            f"{preset.metric} {record['value']:.4f}, loss {record['loss']:.4f} on {len(test)} images of {name}"
        )
    return OK


def preset_of(metadata: dict[str, str], path: str) -> Preset:
    name = metadata.get("preset")
    if name not in PRESETS:
        raise io.FileError(f"{path}: expected a checkpoint of `nonet train`, found preset {name or 'none'}")
    return PRESETS[name]


def classes_of(metadata: dict[str, str], path: str) -> list[str]:
    try:
        return [str(name) for name in json.loads(metadata["classes"])]
    except (KeyError, TypeError, ValueError) as error:
        raise io.FileError(f"{path}: expected metadata with class names, found none") from error
