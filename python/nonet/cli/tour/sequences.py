"""The tour's models of sequences: a forecast, and characters of Python's own help texts."""

from __future__ import annotations

from typing import Any

import numpy as np

from nonet import data, models
from nonet.cli import text as characters
from nonet.cli.tour.common import Found, Place, count, fit
from nonet.nn import functional
from nonet.plot.results import attention
from nonet.plot.series import draw
from nonet.tensor import as_tensor, no_grad

_BLOCK = 64
_WRITTEN = 400  # characters of a sample
_AHEAD, _BACK = 5, 33  # years of a forecast, and before it


def rnn(place: Place) -> Found:
    series = data.load_series("sunspots")
    mean, std = (values.astype(np.float64) for values in series.statistics())
    values = ((series.values - mean) / std).astype(np.float32)
    borders = (0, *series.borders)
    train, validation, test = (
        data.windows(values, borders[i], borders[i + 1], _BACK, _AHEAD) for i in range(3)
    )
    model = models.Forecaster(1, _AHEAD, hidden=32, cell="rnn")
    loader = data.DataLoader(train, 16, shuffle=True, seed=place.seed)
    steps, curve = fit(model, functional.l1_loss, loader, 100, 3e-3, clip_norm=1.0)
    model.eval()
    with no_grad():
        forecasts, held = (np.asarray(model(part.inputs.copy())) for part in (test, validation))
    model.calibrate(validation.targets - held)
    scale = float(std[0])
    value = float(np.abs(forecasts - test.targets).mean()) * scale
    floor = float(np.abs(test.inputs[:, -1:] - test.targets).mean()) * scale
    found = Found("MAE, sunspots", value, floor, "the last year repeated", False, steps, count(model), curve)
    low, high = model.interval(forecasts)
    found.facts["covered_by_90_percent_intervals"] = float(
        ((low <= test.targets) & (test.targets <= high)).mean()
    )
    with no_grad():
        ahead = np.asarray(model(values[None, -_BACK:]))
    parts = [part[0] * std + mean for part in (ahead, *model.interval(ahead))]
    place.figure(
        found,
        "rnn",
        f"yearly sunspots, and the next {_AHEAD} years with intervals that are to hold 90 %",
        lambda path: draw(path, series.values[-60:], parts[0], parts[1], parts[2], ["sunspots"]),
    )
    years = "\n".join(
        f"{i:+d} years  {mid:6.1f}  ({a:.1f} to {b:.1f})"
        for i, (mid, a, b) in enumerate(zip(*(part[:, 0] for part in parts), strict=True), 1)
    )
    found.texts.append(("the forecast behind the last year of the series", years))
    return found


def _topics() -> tuple[data.Corpus, data.CharVocab, np.ndarray]:
    corpus = data.load_corpus("topics")
    vocab = corpus.vocab()
    return corpus, vocab, vocab.encode(corpus.train)


def _language(
    place: Place, model: Any, loader: Any, epochs: int, lr: float, inputs: int
) -> tuple[Found, data.CharVocab]:
    corpus, vocab, _ = _topics()
    steps, curve = fit(
        model, characters.code_loss, loader, epochs, lr, inputs=inputs, clip_norm=1.0, weight_decay=0.01
    )
    measured = characters.measure(model, corpus, vocab, _BLOCK)
    found = Found(
        "nats per character",
        measured["value"],
        measured["floor"],
        "bigrams",
        False,
        steps,
        count(model),
        curve,
    )
    return found, vocab


def lstm(place: Place) -> Found:
    _, vocab, codes = _topics()
    model = models.LanguageModel(len(vocab), embed=48, hidden=160, cell="lstm")
    loader = data.StreamLoader(codes, 32, _BLOCK, shuffle=True, seed=place.seed)
    found, vocab = _language(place, model, loader, 3, 8e-3, 2)
    drawn = model.stream(vocab.encode("The ").tolist(), models.Sampling(temperature=0.7), seed=place.seed)
    written = "The " + "".join(vocab.characters[next(drawn)] for _ in range(_WRITTEN))
    found.texts.append(("what it writes behind “The ”", written))
    return found


def transformer(place: Place) -> Found:
    _, vocab, codes = _topics()
    model = models.GPT(len(vocab), positions=_BLOCK, width=96, layers=2, heads=4, dropout=0.0)
    starts = np.arange(0, len(codes) - _BLOCK - 1, 37)
    at = starts[:, None] + np.arange(_BLOCK)
    loader = data.DataLoader((codes[at], codes[at + 1]), 16, shuffle=True, seed=place.seed)
    found, vocab = _language(place, model, loader, 1, 4e-3, 1)
    prompt = vocab.encode("The ")[None]
    drawn = model.stream(prompt, _WRITTEN, models.Sampling(temperature=0.7), seed=place.seed)
    written = "The " + "".join(vocab.characters[int(row[0])] for row in drawn)
    found.texts.append(("what it writes behind “The ”", written))
    line = next(
        (t for t in data.load_corpus("topics").test.splitlines() if 24 <= len(t) <= 40), written[:32]
    )[:32]
    place.figure(
        found,
        "transformer",
        "which characters before them the characters of a line look at, in the first layer",
        lambda path: attention(path, first_attention(model, vocab.encode(line)), list(line), list(line)),
    )
    return found


def first_attention(model: Any, codes: np.ndarray) -> np.ndarray:
    """Weights [heads, T, T] of the first layer of a GPT for one sequence of codes [T]."""
    block, heads = model.h[0], model.arguments["heads"]
    steps = len(codes)
    with no_grad():
        x = model.wte(as_tensor(codes[None])) + model.wpe(as_tensor(np.arange(steps)[None]))
        packed = np.asarray(block.attn.c_attn(block.ln_1(x)), np.float64)[0]
    width = packed.shape[1] // 3
    q, k = (packed[:, i * width : (i + 1) * width].reshape(steps, heads, -1) for i in (0, 1))
    scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(q.shape[2])
    scores[:, np.triu(np.ones((steps, steps), bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    return weights / weights.sum(axis=2, keepdims=True)
