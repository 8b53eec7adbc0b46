"""`nonet convert SRC DST`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

import nonet
from nonet import models
from nonet.cli.errors import OK, UsageError
from nonet.cli.images import ImageInput
from nonet.train.log import to_json

# What torchvision's models for ImageNet were trained with.
_SIDE, _SHORTER = 224, 256
_MEAN = [255 * share for share in (0.485, 0.456, 0.406)]
_STD = [255 * share for share in (0.229, 0.224, 0.225)]


def run(args: argparse.Namespace) -> int:
    """Tensors of torch.save or safetensors, under torchvision's names, as a checkpoint of nonet; and how it went."""
    if args.arch is not None and args.arch not in models.CONVERTIBLE:
        raise UsageError(f"--arch must be one of {', '.join(models.CONVERTIBLE)}, got {args.arch!r}")
    if os.path.realpath(args.src) == os.path.realpath(args.dst):
        raise UsageError(f"DST must be another file than SRC, got {args.dst} for both")
    model, matching = models.convert(models.read_weights(args.src), args.src, args.arch)
    architecture = type(model).__name__
    metadata = {"nonet": nonet.__version__, **_image_metadata(model)}
    models.save_model(model, args.dst, metadata)
    record: dict[str, Any] = {
        "source": args.src,
        "checkpoint": args.dst,
        "architecture": architecture,
        "arguments": json.loads(models.architecture_of(model)["arguments"]),
        "prefix": matching.prefix,
        "tensors": len(matching.tensors) - len(matching.filled),
        "filled": list(matching.filled),
        "left_out": list(matching.left_out),
        "params": sum(p.numel() for p in model.parameters()),
        "keys": {name: matching.prefix + name for name in matching.tensors if name not in matching.filled},
    }
    if args.json:
        print(to_json(record))
        return OK
    for name, source in record["keys"].items():
        print(f"{source} -> {name} {list(matching.tensors[name].shape)}", file=sys.stderr)
    for name in matching.filled:
        print(f"not in the file, begins at 0: {name}", file=sys.stderr)
    for name in matching.left_out:
        print(f"left out: {name}", file=sys.stderr)
    print(
        f"{architecture}, {record['params']:,} parameters: {record['tensors']} tensors, "
        f"{len(matching.filled)} counters begin at 0, {len(matching.left_out)} left out; saved in {args.dst}"
    )
    return OK


def _image_metadata(model: Any) -> dict[str, str]:
    """So that `nonet predict` knows images and classes (by number) of networks for ImageNet."""
    if not isinstance(model, (models.AlexNet, models.ResNet, models.VGG)) or model.arguments is None:
        return {}
    if model.arguments.get("cifar_stem"):
        return {}
    image = ImageInput(_SIDE, _SIDE, 255, None, False, _MEAN, _STD, colour=True, shorter=_SHORTER)
    classes = [str(i) for i in range(model.arguments["num_classes"])]
    return {"classes": json.dumps(classes), **image.metadata()}
