"""The tour's models of images: feed-forward and convolutional networks, autoencoder, VAE, GAN; and digits in rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from nonet import data, models
from nonet.cli.tour.common import Found, Place, count, fit
from nonet.models.vae import vae_loss
from nonet.nn import Module, functional
from nonet.plot import grid
from nonet.plot.results import confusion
from nonet.tensor import as_tensor, no_grad
from nonet.train.generative import (
    nearest_neighbour_accuracy,
    nearest_neighbour_class,
    parzen_log_likelihood,
    parzen_sigma,
    pca_errors,
)


def digits() -> tuple[data.ArrayDataset, data.ArrayDataset]:
    """Training and test part with pixels in [0, 1]: float32 [N, 1, 8, 8]."""
    splits = data.load_digits()
    train, test = (
        data.ArrayDataset(part.inputs.astype(np.float32) / np.float32(16), part.targets)
        for part in (splits.train, splits.test)
    )
    return train, test


def class_means(train: data.ArrayDataset, test: data.ArrayDataset) -> float:
    """Accuracy of the nearest mean of a class."""
    means = np.stack([train.inputs[train.targets == c].mean(axis=0) for c in range(10)])
    return float((nearest_neighbour_class(test.inputs, means, np.arange(10)) == test.targets).mean())


def _logits(model: Module, x: np.ndarray) -> np.ndarray:
    model.eval()
    with no_grad():
        return np.concatenate([np.asarray(model(as_tensor(x[i : i + 256]))) for i in range(0, len(x), 256)])


def _classifier(
    place: Place,
    name: str,
    model: Module,
    inputs: tuple[np.ndarray, np.ndarray],
    epochs: int,
    lr: float,
    shift: int = 0,
) -> Found:
    train, test = digits()
    transform = data.random_shift(shift) if shift else None
    loader = data.DataLoader(
        (inputs[0], train.targets), 64, shuffle=True, seed=place.seed, transform=transform
    )
    steps, curve = fit(model, functional.cross_entropy, loader, epochs, lr)
    predicted = _logits(model, inputs[1]).argmax(axis=1)
    accuracy = float((predicted == test.targets).mean())
    found = Found(
        "accuracy",
        accuracy,
        class_means(train, test),
        "nearest mean of a class",
        True,
        steps,
        count(model),
        curve,
    )
    neighbour = nearest_neighbour_class(test.inputs, train.inputs, train.targets)
    found.facts["majority"] = float(np.bincount(test.targets).max() / len(test))
    found.facts["nearest_neighbour"] = float((neighbour == test.targets).mean())
    wrong = np.flatnonzero(predicted != test.targets)[:16]
    if len(wrong):
        words = ", ".join(f"{test.targets[i]} for {predicted[i]}" for i in wrong).replace(
            " for ", " taken for "
        )
        place.png(
            found, f"{name}-errors", f"what it got wrong: {words}", grid.grid([list(test.inputs[wrong])])
        )
    counts = np.zeros((10, 10), np.int64)
    np.add.at(counts, (test.targets, predicted), 1)
    place.figure(
        found,
        f"{name}-confusion",
        "test digits: true class, class found",
        lambda path: confusion(path, counts, [str(c) for c in range(10)]),
    )
    return found


def ann(place: Place) -> Found:
    train, test = digits()
    rows = tuple(part.inputs.reshape(len(part), -1) for part in (train, test))
    model = models.MLP([64, 128, 128, 10], dropout=0.2)
    return _classifier(place, "ann", model, (rows[0], rows[1]), 30, 2e-3)


def cnn(place: Place) -> Found:
    train, test = digits()
    large = [np.ascontiguousarray(data.upsample(part.inputs, 28), np.float32) for part in (train, test)]
    model = models.LeNet5()
    found = _classifier(place, "cnn", model, (large[0], large[1]), 12, 3e-3, shift=2)
    kernels = np.asarray(model.conv1.weight.detach())
    low, high = kernels.min(), kernels.max()
    shown = [(kernel - low) / (high - low) for kernel in kernels]
    place.png(found, "cnn-kernels", "the six kernels of the first layer", grid.grid([shown]))
    return found


def gru(place: Place) -> Found:
    train, test = digits()
    rows = tuple(np.ascontiguousarray(part.inputs[:, 0]) for part in (train, test))
    model = models.SequenceClassifier(8, 10, hidden=48, cell="gru")
    found = _classifier(place, "gru", model, (rows[0], rows[1]), 60, 8e-3)
    shares = [
        float((_logits(model, rows[1][:, :n]).argmax(axis=1) == test.targets).mean()) for n in range(1, 9)
    ]
    found.facts["accuracy_by_rows"] = shares
    text = "\n".join(
        f"{n} rows  {share:6.1%}  {'█' * round(30 * share)}" for n, share in enumerate(shares, 1)
    )
    found.texts.append(("accuracy after the first rows of a digit have been read", text))
    return found


def autoencoder(place: Place) -> Found:
    train, test = digits()
    model = models.Autoencoder((1, 8, 8), hidden=(128, 64), codes=8)
    loader = data.DataLoader((train.inputs, train.inputs), 64, shuffle=True, seed=place.seed)
    steps, curve = fit(model, functional.mse_loss, loader, 80, 3e-3, weight_decay=0.0)
    floor = float(pca_errors(train.inputs, test.inputs, 8).mean())
    error = float(model.errors(test.inputs).mean(dtype=np.float64))
    found = Found("MSE per pixel", error, floor, "PCA with 8 components", False, steps, count(model), curve)
    shown = test.inputs[:: len(test) // 12][:12]
    place.png(
        found,
        "autoencoder",
        "test digits, what is left of them behind 8 numbers, and the error",
        grid.reconstructions(shown, model.reconstructed(shown)),
    )
    return found


def vae(place: Place) -> Found:
    train, test = digits()
    model = models.VAE((1, 8, 8), hidden=(128,), codes=8)
    loader = data.DataLoader((train.inputs, train.inputs), 64, shuffle=True, seed=place.seed)
    steps, curve = fit(model, vae_loss, loader, 60, 3e-3, weight_decay=0.0)
    model.eval()
    with no_grad():
        value = float(np.mean([vae_loss(model(test.inputs), test.inputs).item() for _ in range(5)]))
    mean = train.inputs.mean(axis=0, dtype=np.float64).clip(1e-6, 1 - 1e-6)
    floor = float(-(test.inputs * np.log(mean) + (1 - test.inputs) * np.log(1 - mean)).sum() / len(test))
    found = Found("nats per image", value, floor, "independent pixels", False, steps, count(model), curve)
    likelihood = model.log_likelihood(test.inputs[:100], draws=50)
    found.facts["log_likelihood"] = float(likelihood.mean())
    rows = grid.rows_of(list(model.sample(36, seed=place.seed)), 12)
    place.png(found, "vae", "samples", grid.grid(rows))
    picked = [int(np.flatnonzero(test.targets == c)[0]) for c in (0, 1, 3, 4, 6, 7)]
    strips = model.interpolated(test.inputs[picked[::2]], test.inputs[picked[1::2]], 12)
    place.png(found, "vae-strips", "from one test digit to another", grid.grid([list(s) for s in strips]))
    return found


def gan(place: Place) -> Found:
    train, test = digits()
    rest, validation = data.holdout(train, 0.1, place.seed)
    model: Any = models.GAN((1, 8, 8), latent=32, hidden=(128, 256))
    loader = data.DataLoader((rest.inputs,), 64, shuffle=True, drop_last=True, seed=place.seed)
    players = (list(model.discriminator.parameters()), list(model.generator.parameters()))
    steps, curve = fit(
        model, model.losses(), loader, 60, 5e-4, betas=(0.5, 0.999), weight_decay=0.0, players=players
    )
    made = model.sample(5000, seed=place.seed)
    # The floor draws every pixel by itself from the training images.
    rng = np.random.default_rng(place.seed)
    flat = rest.inputs.reshape(len(rest), -1)
    picks = rng.integers(0, len(flat), (5000, flat.shape[1]))
    alone = np.take_along_axis(flat, picks, axis=0).reshape(-1, 1, 8, 8)
    value, floor = (
        float(parzen_log_likelihood(x, test.inputs, parzen_sigma(x, validation.inputs)).mean())
        for x in (made, alone)
    )
    found = Found(
        "Parzen log-likelihood",
        value,
        floor,
        "independent pixels",
        True,
        steps,
        count(model),
        curve,
    )
    n = len(test)
    found.facts["two_sample"] = nearest_neighbour_accuracy(made[:n], test.inputs)
    kinds = nearest_neighbour_class(made, train.inputs, train.targets)
    found.facts["smallest_class_share"] = float(np.bincount(kinds, minlength=10).min() / len(kinds))
    place.png(found, "gan", "samples", grid.grid(grid.rows_of(list(made[:48]), 12)))
    return found


__all__ = ["ann", "autoencoder", "cnn", "gan", "gru", "vae"]
