"""The Transformer of translations: what it writes step by step is what it says of whole sequences."""

from __future__ import annotations

import numpy as np
import pytest

import nonet
from nonet import models

PAD, START, END = 0, 2, 3


def small():
    nonet.manual_seed(0)
    return models.Translator(9, 11, positions=12, width=12, heads=3, layers=2, inner=20, dropout=0.1).eval()


def sources():
    rng = np.random.default_rng(0)
    ids = rng.integers(4, 9, (3, 6))
    ids[1, 4:] = PAD
    return ids


def test_padding_changes_nothing():
    model, ids = small(), sources()
    target = np.array([[START, 5, 6]])
    whole = np.asarray(model(ids[1:2], target))
    np.testing.assert_allclose(np.asarray(model(ids[1:2, :4], target)), whole, atol=1e-5)
    assert whole.shape == (1, 3, 11)


def test_greedy_steps_are_the_likeliest_of_the_whole():
    model, ids = small(), sources()
    found = model.generate(ids, 8)
    for row, source in zip(found, ids, strict=True):
        written = [START]
        for token in row:
            logits = np.asarray(model(source[None], np.array([written])))[0, -1]
            assert token == logits.argmax()
            written.append(int(token))
            if token == END:
                break


def test_beams_score_no_less():
    model, ids = small(), sources()

    def score(source, row):
        row = [int(token) for token in row if token != PAD]
        row = row[: row.index(END) + 1] if END in row else row
        logits = np.asarray(model(source[None], np.array([[START, *row[:-1]]])), np.float64)[0]
        logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return logp[np.arange(len(row)), row].sum() / len(row)

    wide, narrow = model.generate(ids, 3, beams=11**2), model.generate(ids, 3)
    for i, source in enumerate(ids):
        assert score(source, wide[i]) >= score(source, narrow[i]) - 1e-6


def test_a_mode_is_kept():
    model = small().train()
    model.generate(sources(), 2)
    assert model.training


def test_errors():
    with pytest.raises(ValueError, match="vocabularies above 3"):
        models.Translator(3, 11)
    with pytest.raises(ValueError, match="width a multiple of heads"):
        models.Translator(9, 11, width=10, heads=4)
    with pytest.raises(ValueError, match="at most 12 positions, got 13"):
        small()(np.full((1, 13), 4), np.array([[START]]))
    with pytest.raises(ValueError, match="must have shape"):
        small()(np.full(3, 4), np.array([[START]]))
