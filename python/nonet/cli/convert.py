"""`nonet convert SRC DST`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

import nonet
from nonet import models
from nonet.cli import pretrained
from nonet.cli.errors import OK, UsageError
from nonet.cli.images import ImageInput
from nonet.train.log import to_json

# What torchvision's models for ImageNet were trained with.
_SIDE, _SHORTER = 224, 256
_MEAN = [255 * share for share in (0.485, 0.456, 0.406)]
_STD = [255 * share for share in (0.229, 0.224, 0.225)]


def run(args: argparse.Namespace) -> int:
    """Another library's model as a checkpoint of nonet, and how it went: a Hugging Face folder of BERT, GPT-2 or T5, or
    the tensors of torch.save or safetensors under torchvision's names."""
    folder = os.path.isdir(args.src)
    known = tuple(kind.__name__ for kind in models.PRETRAINED.values()) if folder else models.CONVERTIBLE
    if args.arch is not None and args.arch not in known:
        raise UsageError(f"--arch must be one of {', '.join(known)}, got {args.arch!r}")
    if os.path.realpath(args.src) == os.path.realpath(args.dst):
        raise UsageError(f"DST must be another file than SRC, got {args.dst} for both")
    if os.path.isdir(args.dst):
        raise UsageError(f"DST must be a file, got the folder {args.dst}")
    model, found = (_from_folder if folder else _from_file)(args)
    metadata = pretrained.metadata_of(args.src) if folder else _image_metadata(model)
    models.save_model(model, args.dst, {"nonet": nonet.__version__, **metadata})
    record: dict[str, Any] = {
        "source": args.src,
        "checkpoint": args.dst,
        "architecture": type(model).__name__,
        "arguments": json.loads(models.architecture_of(model)["arguments"]),
        "prefix": "",
        "tensors": len(found["keys"]),
        "params": sum(p.numel() for p in model.parameters()),
        **found,
    }
    if args.json:
        print(to_json(record))
        return OK
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    for name, source in record["keys"].items():
        print(f"{source} -> {name} {shapes[name]}", file=sys.stderr)
    for name in record["filled"]:
        print(f"not in the file, begins {'new' if folder else 'at 0'}: {name}", file=sys.stderr)
    for name in record["left_out"]:
        print(f"left out: {name}", file=sys.stderr)
    print(
        f"{record['architecture']}, {record['params']:,} parameters: {record['tensors']} tensors, "
        f"{len(record['filled'])} {'begin new' if folder else 'counters begin at 0'}, "
        f"{len(record['left_out'])} left out; saved in {args.dst}"
    )
    return OK


def _from_file(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    model, matching = models.convert(models.read_weights(args.src), args.src, args.arch)
    return model, {
        "prefix": matching.prefix,
        "filled": list(matching.filled),
        "left_out": list(matching.left_out),
        "keys": {name: matching.prefix + name for name in matching.tensors if name not in matching.filled},
    }


def _from_folder(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    model, report = models.read_pretrained(args.src, args.arch)
    new = [name for name in model.layout.names if name not in report.keys]
    return model, {"filled": new, "left_out": list(report.left_out), "keys": report.keys}


def _image_metadata(model: Any) -> dict[str, str]:
    """So that `nonet predict` knows images and classes (by number) of networks for ImageNet."""
    if not isinstance(model, (models.AlexNet, models.ResNet, models.VGG)) or model.arguments is None:
        return {}
    if model.arguments.get("cifar_stem"):
        return {}
    image = ImageInput(_SIDE, _SIDE, 255, None, False, _MEAN, _STD, colour=True, shorter=_SHORTER)
    classes = [str(i) for i in range(model.arguments["num_classes"])]
    return {"classes": json.dumps(classes), **image.metadata()}
