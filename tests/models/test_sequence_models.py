"""Models of sequences: what padding, state and attention may and may not change; sampling and searching."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

import nonet
from nonet import models


def values(tensor) -> np.ndarray:
    return np.asarray(tensor.detach().cpu())


@pytest.fixture(autouse=True)
def seeded():
    nonet.manual_seed(0)


RNG = np.random.default_rng(0)


# ---- classifier
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_classifiers_do_not_see_padding(cell):
    model = models.SequenceClassifier(3, 5, hidden=4, layers=2, cell=cell).eval()
    x = RNG.standard_normal((2, 6, 3)).astype(np.float32)
    both = values(model(x, np.array([6, 4])))
    other = x.copy()
    other[1, 4:] = 9
    np.testing.assert_array_equal(values(model(other, np.array([6, 4]))), both)
    np.testing.assert_allclose(values(model(x[1:, :4])), both[1:], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="cell must be one of rnn, lstm, gru, got 'tree'"):
        models.SequenceClassifier(3, 5, cell="tree")


# ---- forecaster
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("segment", [1, 3])
def test_forecasters(shared, segment):
    model = models.Forecaster(3, 5, hidden=4, shared=shared, segment=segment).eval()
    x = RNG.standard_normal((2, 7, 3)).astype(np.float32)
    y = values(model(x))
    assert y.shape == (2, 5, 3)
    # A series that stands higher goes on in the same way from there.
    np.testing.assert_allclose(values(model(x + 10)), y + 10, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(values(model(x[:, 7 % segment :])), y)  # the oldest ones are left over
    if shared:  # other channels do not matter
        other = x.copy()
        other[:, :, 1:] = 0
        np.testing.assert_allclose(values(model(other))[:, :, 0], y[:, :, 0], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"= \[B, T >= \d, 3\], got \[2, 3\]"):
        model(x[:, 0])
    with pytest.raises(ValueError, match="Forecaster: channels must be at least 1, got 0"):
        models.Forecaster(0, 5)


def test_intervals():
    model = models.Forecaster(2, 3, hidden=4)
    errors = RNG.standard_normal((4000, 3, 2)) * np.array([1, 5])
    model.calibrate(errors, 0.9)
    low, high = model.interval(np.zeros((1, 3, 2), np.float32))
    np.testing.assert_allclose(high[0, :, 0], 1.645, atol=0.15)
    np.testing.assert_allclose(low[0, :, 1], -1.645 * 5, atol=0.75)
    assert "errors" in model.state_dict()


# ---- language models
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("training", [True, False])
def test_states_are_carried(cell, training):
    model = models.LanguageModel(7, 3, 5, layers=2, cell=cell).train(training)
    codes = RNG.integers(0, 7, (2, 12))
    whole = values(model(codes))
    assert model.carried is None
    start, on = np.ones(2, np.float32), np.zeros(2, np.float32)
    parts = [values(model(codes[:, i : i + 4], on if i else start)) for i in (0, 4, 8)]
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, rtol=1e-5, atol=1e-6)
    again = values(model(codes[:, :4], np.array([1, 0], np.float32)))
    np.testing.assert_allclose(again[0], whole[0, :4], rtol=1e-5, atol=1e-6)
    assert np.abs(again[1] - whole[1, :4]).max() > 1e-3
    assert (model.carried is not None) == training


def test_training_and_evaluation_do_not_share_a_state():
    model = models.LanguageModel(7, 3, 5)
    model(np.zeros((2, 3), np.int64), np.ones(2))
    before = [values(t) for t in model.carried or ()]
    model.eval()
    model(np.ones((4, 3), np.int64), np.ones(4))
    for old, new in zip(before, model.carried or (), strict=True):
        np.testing.assert_array_equal(old, values(new))


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_streams_are_what_the_model_says(cell):
    model = models.LanguageModel(7, 3, 5, layers=2, cell=cell).eval()
    found = list(islice(model.stream([1, 2], models.Sampling(temperature=0)), 6))
    text = [1, 2, *found]
    logits = values(model(np.array([text])))[0]
    assert found == np.argmax(logits[1:-1], axis=1).tolist()
    one, two, other = (list(islice(model.stream([1], seed=s), 30)) for s in (3, 3, 4))
    assert one == two != other
    with pytest.raises(ValueError, match="prompt must not be empty"):
        next(model.stream([]))


def test_streams_keep_memory_flat():
    """Ten minutes of speech at 100 frames a second would be 60000 steps; a tenth of them takes what one takes."""
    model = models.LanguageModel(7, 8, 16, layers=2).eval()
    stream = model.stream([1])
    next(stream)
    nonet.empty_cache()  # what others have left there may be given up at any time
    nonet.reset_peak_memory()
    for _ in range(50):
        next(stream)
    before = nonet.memory_stats()
    for _ in range(6000):
        next(stream)
    assert nonet.memory_stats() == before


# ---- music
@pytest.mark.parametrize("embed", [0, 4])
def test_music_is_predicted_from_what_was_before(embed):
    model = models.MusicModel(6, hidden=5, embed=embed).eval()
    roll = (RNG.random((2, 8, 6)) < 0.3).astype(np.float32)
    y = values(model(roll, np.array([8, 5])))
    other = roll.copy()
    other[:, 4:] = 1
    np.testing.assert_array_equal(values(model(other))[:, :5], values(model(roll))[:, :5])
    np.testing.assert_allclose(values(model(roll[1:, :5])), y[1:, :5], rtol=1e-5, atol=1e-6)
    one, two, other = (model.generate(20, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (20, 6) and set(np.unique(one)) <= {0, 1} and (one != other).any()
    assert model.generate(3, prompt=roll[0]).shape == (3, 6)
    with pytest.raises(ValueError, match=r"rolls must have shape \[B, T, keys\] = \[B, T, 6\], got \[8, 6\]"):
        model(roll[0])


# ---- speech
def test_recognizers():
    model = models.SpeechRecognizer(4, 6, hidden=5, stride=3).eval()
    x = RNG.standard_normal((2, 10, 4)).astype(np.float32)
    lengths = np.array([10, 6])
    y = values(model(x, lengths))
    assert y.shape == (2, 4, 6) and model.steps(lengths).tolist() == [4, 2]
    np.testing.assert_allclose(np.exp(y).sum(axis=2), 1, rtol=1e-5)
    padded = x.copy()
    padded[1, 6:] = 9
    np.testing.assert_array_equal(values(model(padded, lengths))[1, :2], y[1, :2])
    loss = model.loss(nonet.tensor(y), lengths, np.array([[1, 2], [3, 0]]), np.array([2, 1]))
    assert np.isfinite(loss.item())
    sure = np.log(np.full((1, 5, 6), 1e-6))
    for step, label in enumerate((2, 2, 0, 2, 5)):
        sure[0, step, label] = 0
    assert model.decode(sure.astype(np.float32), np.array([15])) == [[2, 2, 5]]
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        models.SpeechRecognizer(4, 6, stride=0)
    with pytest.raises(ValueError, match=r"input must have shape \[B, T, inputs\] = \[B, T, 4\]"):
        model(x[:, :, :3], lengths)


# ---- sequence to sequence
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("attention", ["bahdanau", "dot"])
def test_translators(cell, attention):
    model = models.Seq2Seq(20, 15, 6, 8, layers=2, cell=cell, attention=attention).eval()
    source, lengths = RNG.integers(4, 20, (3, 7)), np.array([7, 5, 1])
    target = RNG.integers(4, 15, (3, 6))
    y = values(model(source, lengths, target))
    assert y.shape == (3, 6, 15)
    later = target.copy()
    later[:, 4:] = 5
    np.testing.assert_array_equal(values(model(source, lengths, later))[:, :4], y[:, :4])
    padded = source.copy()
    padded[1, 5:] = 0
    np.testing.assert_array_equal(values(model(padded, lengths, target)), y)
    alone = values(model(source[1:2, :5], lengths[1:2], target[1:2]))
    np.testing.assert_allclose(alone, y[1:2], rtol=1e-5, atol=1e-6)
    # Greedy: each word is the likeliest behind those before it.
    for i, written in enumerate(model.translate(source, lengths, beam=1, longest=5)):
        given = np.array([[model.begin, *written]])
        logits = values(model(source[i : i + 1, : lengths[i]], lengths[i : i + 1], given))[0]
        logits[:, [model.pad, model.begin]] = -np.inf
        want = np.argmax(logits, axis=1).tolist()
        assert written == want[: len(written)]
        assert len(written) == 5 or want[len(written)] == model.end
    assert len(model.translate(source, lengths, beam=4, longest=5)) == 3
    with pytest.raises(ValueError, match="attention must be one of bahdanau, dot, got 'self'"):
        models.Seq2Seq(20, 15, attention="self")


def test_translators_learn():
    """To turn sequences around, in a few steps."""
    model = models.Seq2Seq(14, 14, 16, 32, dropout=0.0)
    optimizer = nonet.optim.Adam(model.parameters(), lr=1e-2)
    rng = np.random.default_rng(1)
    for _ in range(150):
        body = rng.integers(4, 14, (32, 4))
        target = np.concatenate([np.full((32, 1), 2), body[:, ::-1], np.full((32, 1), 3)], axis=1)
        logits = model(body, np.full(32, 4), target[:, :-1])
        loss = nonet.nn.functional.cross_entropy(logits.reshape(-1, 14), target[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    body = rng.integers(4, 14, (20, 4))
    found = model.eval().translate(body, np.full(20, 4), beam=3, longest=8)
    right = sum(text == row[::-1].tolist() for text, row in zip(found, body, strict=True))
    assert right >= 18


# ---- summaries and registry
@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("SequenceClassifier", {"inputs": 4, "classes": 3}, (9, 4)),
        ("Forecaster", {"channels": 2, "horizon": 3}, (9, 2)),
        ("LanguageModel", {"vocabulary": 11}, (9,)),
        ("MusicModel", {}, (9, 88)),
        ("MusicModel", {"embed": 5}, (9, 88)),
        ("SpeechRecognizer", {"inputs": 4, "classes": 3, "stride": 1}, (9, 4)),
        ("Seq2Seq", {"source_vocabulary": 9, "target_vocabulary": 8}, (9,)),
    ],
)
def test_files_and_summaries(tmp_path, name, arguments, shape):
    model = models.build(name, **arguments)
    models.save_model(model, tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors")
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(values(value), values(again.state_dict()[key]))
    layers = models.summary(model, (1, *shape))
    assert sum(layer.macs for layer in layers) > 0
    # A step of a recurrent layer is one use of each of its weights.
    rnn = next(layer for layer in layers if layer.kind in ("GRU", "LSTM"))
    weights = sum(p.numel() for p in model.get_submodule(rnn.path).parameters() if p.ndim == 2)
    assert rnn.macs == 9 * weights
