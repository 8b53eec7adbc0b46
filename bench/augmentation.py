"""Whether samples of a conditional GAN help a classifier that has few labelled images.

    python -m nonet.bench.augmentation [--data-dir MNIST] [--labelled 200] [--made 1000] [--seeds 3] [--steps 1500]

Trains a conditional GAN on the labelled images alone, then a LeNet-5 on them, and on them with samples of the GAN, for
as many steps; prints the accuracy of both on the test part for each seed, as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np

import nonet
from nonet import data, models, optim
from nonet.nn import functional
from nonet.train import Trainer
from nonet.train.judge import grey_28, judged


def labelled(images: np.ndarray, labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` images, as many of each class."""
    rng = np.random.default_rng(seed)
    classes = np.unique(labels)
    picked = np.concatenate(
        [rng.permutation(np.flatnonzero(labels == c))[: count // len(classes)] for c in classes]
    )
    return images[picked], labels[picked]


def samples_of_gan(
    images: np.ndarray, labels: np.ndarray, made: int, steps: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Samples, as many of each class, of a conditional DCGAN of these images."""
    nonet.manual_seed(seed)
    classes = int(labels.max()) + 1
    model = models.DCGAN(images.shape[1:], latent=32, width=16, classes=classes, averaging=0.99)
    judging = [p for name, p in model.named_parameters() if not name.startswith("generator")]
    players = [
        optim.Adam(own, lr=5e-4, betas=(0.5, 0.999)) for own in (judging, list(model.generator.parameters()))
    ]
    loader = data.DataLoader((images, labels), 50, shuffle=True, drop_last=True, seed=seed)
    Trainer(
        model,
        model.losses(),
        players,
        loader,
        steps=steps,
        progress=False,
        after_update=lambda gan: gan.follow(),  # pyright: ignore[reportAttributeAccessIssue]
    ).fit()
    kinds = np.arange(made) % classes
    return model.sample(made, kinds, seed), kinds


def accuracy(
    images: np.ndarray,
    labels: np.ndarray,
    test: data.ArrayDataset,
    steps: int,
    seed: int,
) -> float:
    """Of a LeNet-5 trained on these images for so many steps, on the test part."""
    nonet.manual_seed(seed)
    model = models.LeNet5(int(labels.max()) + 1)
    optimizer = optim.AdamW(model.parameters(), lr=2e-3)
    loader = data.DataLoader(
        (grey_28(images), labels), 50, shuffle=True, seed=seed, transform=data.random_shift(2)
    )
    rates = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    Trainer(
        model,
        functional.cross_entropy,
        optimizer,
        loader,
        steps=steps,
        scheduler=rates,
        schedule="step",
        progress=False,
    ).fit()
    return float((judged(model, test.inputs) == test.targets).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data-dir", help="a folder of idx files; default: the bundled digits")
    parser.add_argument("--labelled", type=int, default=200)
    parser.add_argument("--made", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500, help="of the GAN")
    parser.add_argument("--classifier-steps", type=int, default=600)
    args = parser.parse_args()
    splits = data.load("mnist", args.data_dir) if args.data_dir else data.load("digits")
    top = 255 if args.data_dir else 16
    whole, test = (
        data.ArrayDataset(part.inputs.astype(np.float32) / np.float32(top), part.targets)
        for part in (splits.train, splits.test)
    )
    found: dict[str, list[float]] = {"without": [], "with": []}
    for seed in range(args.seeds):
        images, labels = labelled(whole.inputs, whole.targets, args.labelled, seed)
        made, kinds = samples_of_gan(images, labels, args.made, args.steps, seed)
        both = np.concatenate([images, made]), np.concatenate([labels, kinds])
        found["without"].append(accuracy(images, labels, test, args.classifier_steps, seed))
        found["with"].append(accuracy(*both, test, args.classifier_steps, seed))
        print(
            f"seed {seed}: {found['without'][-1]:.4f}, {found['with'][-1]:.4f}", file=sys.stderr, flush=True
        )
    means = {f"mean_{name}": float(np.mean(values)) for name, values in found.items()}
    print(json.dumps({"data": splits.name, "labelled": args.labelled, "made": args.made, **found, **means}))


if __name__ == "__main__":
    main()
