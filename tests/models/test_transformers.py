"""GPT, BERT and T5: the numbers of transformers' models from files, folders of every kind, generation, training."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

import nonet
from nonet import io, models
from nonet.models import Sampling, beam_search, choose, stream
from pretrained_models import results

FOLDERS = Path(__file__).parent / "pretrained"


def small(kind, **more):
    nonet.manual_seed(0)
    sizes = {
        "gpt": {"vocabulary": 11, "positions": 16, "width": 12, "layers": 2, "heads": 3, "dropout": 0.0},
        "bert": {
            "vocabulary": 11,
            "positions": 16,
            "width": 12,
            "layers": 2,
            "heads": 3,
            "inner": 20,
            "dropout": 0.0,
        },
        "t5": {
            "vocabulary": 11,
            "width": 12,
            "size": 5,
            "layers": 2,
            "heads": 2,
            "inner": 20,
            "dropout": 0.0,
        },
    }[kind]
    return {"gpt": models.GPT, "bert": models.BERT, "t5": models.T5}[kind](**{**sizes, **more})


# ------------------------------------------------------------------------------------- transformers' numbers


@pytest.mark.parametrize("name", ["gpt2", "bert", "t5", "t5-gated"])
def test_same_numbers_as_transformers(name, tmp_path):
    expected = np.load(FOLDERS / name / "expected.npz")
    model = models.from_pretrained(FOLDERS / name)
    got = results(model, expected, expected)
    for key in set(expected) - {"ids", "types", "target", "whole"}:
        if key == "logits":
            np.testing.assert_allclose(got[key], expected[key], atol=1e-4, rtol=0)
        else:
            np.testing.assert_array_equal(got[key], expected[key], err_msg=key)
    model.save_pretrained(tmp_path)
    again = models.from_pretrained(tmp_path)
    assert again.arguments == model.arguments
    np.testing.assert_array_equal(results(again, expected, ())["logits"], got["logits"])


def test_shards_and_prefixes(tmp_path):
    """An index over several files; names without their prefix; buffers of old files are left out."""
    expected = np.load(FOLDERS / "gpt2" / "expected.npz")
    arrays, _ = io.load_tensors(FOLDERS / "gpt2" / "model.safetensors")
    bare = {name.removeprefix("transformer."): value for name, value in arrays.items()}
    bare["h.0.attn.bias"] = np.ones((1, 1, 40, 40), np.float32)
    bare["lm_head.weight"] = bare["wte.weight"]
    names = sorted(bare)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        io.save_tensors(tmp_path / file, {name: bare[name] for name in part})
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copy(FOLDERS / "gpt2" / "config.json", tmp_path)
    model, report = models.GPT.read(tmp_path)
    np.testing.assert_allclose(model(expected["whole"]).detach().numpy(), expected["logits"], atol=1e-4)
    assert report.left_out == ("h.0.attn.bias", "lm_head.weight")
    assert report.keys["h.1.mlp.c_fc.weight"] == "h.1.mlp.c_fc.weight"


def test_old_names_and_another_head(tmp_path):
    arrays, _ = io.load_tensors(FOLDERS / "bert" / "model.safetensors")
    old = {}
    for name, value in arrays.items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        old[name] = value
    io.save_tensors(tmp_path / "model.safetensors", old)
    shutil.copy(FOLDERS / "bert" / "config.json", tmp_path)
    expected = np.load(FOLDERS / "bert" / "expected.npz")
    model = models.BERT.from_pretrained(tmp_path)
    np.testing.assert_allclose(results(model, expected, ())["logits"], expected["logits"], atol=1e-4)
    model, report = models.BERT.read(tmp_path, head="classify", classes=7)
    assert model(expected["ids"]).shape == (3, 7)
    assert "classifier.weight" not in report.keys and any(n.startswith("cls.") for n in report.left_out)


def test_damaged_folders(tmp_path):
    with pytest.raises(io.MissingFileError, match=r"config\.json: expected the configuration of a model"):
        models.from_pretrained(tmp_path)
    shutil.copy(FOLDERS / "gpt2" / "config.json", tmp_path)
    with pytest.raises(
        io.MissingFileError, match=r"expected model\.safetensors, its index or pytorch_model\.bin"
    ):
        models.from_pretrained(tmp_path)
    arrays, _ = io.load_tensors(FOLDERS / "gpt2" / "model.safetensors")
    arrays["extra"] = arrays.pop("transformer.h.0.ln_1.bias")
    arrays["transformer.wpe.weight"] = arrays["transformer.wpe.weight"][:3]
    io.save_tensors(tmp_path / "model.safetensors", arrays)
    with pytest.raises(io.FileError) as error:
        models.from_pretrained(tmp_path)
    for part in (
        "1 missing (transformer.h.0.ln_1.bias)",
        "1 unmapped (extra)",
        "1 misshapen (transformer.wpe.weight [3, 24] for [40, 24])",
    ):
        assert part in str(error.value)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(io.FileError, match="expected a model_type of bert, gpt2, t5, found llama"):
        models.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "scale_attn_weights": false}')
    with pytest.raises(io.FileError, match="scale_attn_weights must be True, got False"):
        models.from_pretrained(tmp_path)


# ------------------------------------------------------------------------------------- generation


def test_caches_change_nothing():
    model = small("gpt").eval()
    ids = np.random.default_rng(0).integers(0, 11, (2, 14))
    whole = model(ids).detach().numpy()
    caches, out = model.caches(2, 14), []
    with nonet.no_grad():
        for a, b in ((0, 5), (5, 6), (6, 12), (12, 14)):
            out.append(model.logits(model.features(ids[:, a:b], caches)).numpy())
    np.testing.assert_allclose(np.concatenate(out, axis=1), whole, atol=1e-5)


def test_generation_beyond_the_positions():
    model = small("gpt")
    out = model.generate(np.array([[1, 2, 3]]), 40, Sampling(temperature=0.0))
    assert out.shape == (1, 43) and (out[0, :3] == [1, 2, 3]).all()
    # Until then it is what the model says without a cache.
    ids = [1, 2, 3]
    for _ in range(13):
        ids.append(int(model.eval()(np.array([ids])).detach().numpy()[0, -1].argmax()))
    assert out[0, :16].tolist() == ids
    assert model.generate(np.array([[1]]), 0).tolist() == [[1]]


def test_streams_end_with_the_end():
    model = small("gpt")
    first = int(model.generate(np.array([[1, 2]]), 1, Sampling(temperature=0.0))[0, -1])
    out = model.generate(np.array([[1, 2], [1, 2]]), 30, Sampling(temperature=0.0), end=first)
    assert out.tolist() == [[1, 2, first]] * 2
    script = iter([[3, 5], [4, 3], [6, 6], [3, 3]])

    def step(new):
        logits = np.zeros((2, 8), np.float32)
        for row, token in enumerate(next(script)):
            logits[row, token] = 9
        return logits

    tokens = list(stream(step, np.zeros((2, 1), np.int64), 9, Sampling(temperature=0.0), end=3, filler=7))
    assert [t.tolist() for t in tokens] == [[3, 5], [7, 3]]


def test_sampling():
    rng = np.random.default_rng(0)
    logits = np.log(np.array([[0.5, 0.25, 0.15, 0.1]], np.float32)).repeat(4000, axis=0)
    used = [np.array([], np.int64)] * 4000

    def shares(how):
        return np.bincount(choose(logits, used, how, rng), minlength=4) / 4000

    np.testing.assert_allclose(shares(Sampling()), [0.5, 0.25, 0.15, 0.1], atol=0.04)
    np.testing.assert_allclose(shares(Sampling(temperature=0.5)), np.array([100, 25, 9, 4]) / 138, atol=0.04)
    np.testing.assert_allclose(shares(Sampling(top_k=2)), [2 / 3, 1 / 3, 0, 0], atol=0.04)
    np.testing.assert_allclose(shares(Sampling(top_p=0.7)), [2 / 3, 1 / 3, 0, 0], atol=0.04)
    np.testing.assert_allclose(shares(Sampling(top_p=0.76)), np.array([50, 25, 15, 0]) / 90, atol=0.04)
    assert shares(Sampling(temperature=0.0)).tolist() == [1, 0, 0, 0]
    punished = choose(np.float32([[2, 1.5, -1]]), [np.array([0])], Sampling(0.0, repetition_penalty=2.0), rng)
    assert punished.tolist() == [1]
    for options, text in (
        ({"temperature": -1}, "temperature must be >= 0, got -1"),
        ({"top_p": 0}, r"top_p must be in \(0, 1\], got 0"),
        ({"top_k": -2}, "top_k must be >= 0, got -2"),
        ({"repetition_penalty": 0}, "repetition_penalty must be > 0, got 0"),
    ):
        with pytest.raises(ValueError, match=text):
            Sampling(**options)


def test_beams_find_the_best_sequence():
    """Against all sequences of a random model with five tokens, of which 4 ends."""
    rng = np.random.default_rng(1)
    table = np.log(rng.dirichlet(np.ones(5), (6, 5)))  # [place, last token, next]

    def best(length):
        found = [(-np.inf, [])]

        def walk(place, last, score, tokens):
            if tokens and (tokens[-1] == 4 or place == length):
                found.append((score / len(tokens), tokens))
                return
            for token in range(5):
                walk(place + 1, token, score + table[place, last, token], [*tokens, token])

        walk(0, 0, 0.0, [])
        return max(found)[1]

    place = 0

    def step(new):
        nonlocal place
        place += 1
        return table[place - 1][new[:, -1]].astype(np.float32)

    for length in (1, 3, 5):
        place = 0
        got = beam_search(step, lambda rows: None, np.zeros((2, 1), np.int64), 400, length, 4)
        assert got == [best(length)] * 2
    with pytest.raises(ValueError, match="beams must be >= 1, got 0"):
        beam_search(step, lambda rows: None, np.zeros((1, 1), np.int64), 0, 3, 4)


# ------------------------------------------------------------------------------------- training


def test_they_learn():
    rng = np.random.default_rng(0)
    ids = rng.integers(2, 11, (8, 10))
    for kind in ("gpt", "bert", "t5"):
        model = small(kind)
        optimizer = nonet.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(60):
            if kind == "gpt":
                loss = model.loss(model(ids[:, :-1]), ids[:, 1:])
            elif kind == "bert":
                loss = model.loss(model(np.where(rng.random(ids.shape) < 0.15, 1, ids)), ids)
            else:
                loss = model.loss(model(ids, model.shifted(ids[:, ::-1].copy())), ids[:, ::-1].copy())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss.item() < 1.0, (kind, loss.item())


def test_autocast_and_files(tmp_path):
    ids = np.random.default_rng(0).integers(1, 11, (2, 9))
    for kind in ("gpt", "bert", "t5"):
        model = small(kind).eval()
        inputs = (ids, ids) if kind == "t5" else (ids,)
        want = model(*inputs).detach().numpy()
        with nonet.autocast("bfloat16"):
            out = model(*inputs)
            model.loss(out, ids).backward()
        assert np.abs(out.to("float32").detach().numpy() - want).max() < 0.05 * np.abs(want).max()
        models.save_model(model, tmp_path / "m.safetensors")
        again = models.load_model(tmp_path / "m.safetensors")
        np.testing.assert_array_equal(again(*inputs).detach().numpy(), want)


@pytest.mark.parametrize("kind", ["gpt", "t5"])
def test_generation_in_bfloat16(kind):
    """With parameters stored so, and under autocast: half of the bytes that are read for a token."""
    model = small(kind).eval()
    ids = np.array([[1, 2, 3], [3, 4, 5]])
    want = model.generate(ids, 6)
    with nonet.autocast("bfloat16"):
        assert model.generate(ids, 6).shape == want.shape
        if kind == "gpt":
            assert model.caches(1, 4)[0].keys.dtype == "bfloat16"
    model.to(dtype="bfloat16")
    assert model.generate(ids, 6).shape[0] == 2
    if kind == "t5":
        assert model.generate(ids, 4, beams=2).shape[0] == 2


def test_embeddings_of_sentences():
    model = small("bert", head=None).eval()
    short, padded = np.array([[3, 4, 5]]), np.array([[3, 4, 5, 0, 0]])
    a, b = (model.embed(x).detach().numpy() for x in (short, padded))
    assert a.shape == (1, 12)
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("pooling", ["first", "max"])
def test_windows_and_maxima(tmp_path, window, pooling):
    model = small("bert", head="classify", classes=3, pooling=pooling, window=window).eval()
    ids = np.array([[3, 4, 5, 6, 7], [8, 9, 10, 0, 0]])
    logits = model(ids).numpy()
    np.testing.assert_allclose(
        model(ids[1:, :3]).numpy(), logits[1:], rtol=1e-5, atol=1e-6
    )  # padding is not seen
    if pooling == "max":
        vector = model.features(ids).numpy()[1, :3].max(axis=0)
        expected = vector @ model.classifier.weight.numpy().T + model.classifier.bias.numpy()
        np.testing.assert_allclose(logits[1], expected, rtol=1e-4, atol=1e-5)
    if window > 1:
        x = np.random.default_rng(0).normal(size=(2, 5, 12)).astype(np.float32)
        weight, bias = (
            p.numpy().astype(np.float64) for p in (model.phrases.dense.weight, model.phrases.dense.bias)
        )
        seen = np.where(ids[..., None] != 0, x, 0).astype(np.float64)
        before = (window - 1) // 2
        wide = np.pad(seen, ((0, 0), (before, window - 1 - before), (0, 0)))
        together = np.stack([wide[:, i : i + window].reshape(2, -1) for i in range(5)], 1) @ weight.T + bias
        expected = x + 0.5 * together * (1 + np.vectorize(math.erf)(together / math.sqrt(2)))
        got = model.phrases(nonet.tensor(x), nonet.tensor(ids != 0)).numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)

    models.save_model(model, tmp_path / "own.safetensors")
    again = models.load_model(tmp_path / "own.safetensors")
    assert np.array_equal(again.eval()(ids).numpy(), logits)
    if (window, pooling) != (1, "first"):
        with pytest.raises(ValueError, match=f"got window {window} and pooling '{pooling}'"):
            model.save_pretrained(tmp_path / "folder")


def test_a_folder_begins_a_model_with_a_window():
    model = models.BERT.from_pretrained(FOLDERS / "bert", head="classify", classes=4, pooling="max", window=3)
    assert model(np.array([[2, 3, 4]])).shape == (1, 4)
    encoder = models.from_pretrained(FOLDERS / "bert").encoder.state_dict()
    for name, value in model.encoder.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), encoder[name].numpy())


def test_bad_input():
    model = small("gpt")
    with pytest.raises(ValueError, match=r"GPT: ids must have shape \[N, T\], got \[3\]"):
        model(np.array([1, 2, 3]))
    with pytest.raises(ValueError, match="a sequence has at most 16 positions, got 17"):
        model(np.zeros((1, 17), int))
    with pytest.raises(ValueError, match=r"prompt must have shape \[N, T\] with T > 0"):
        model.generate(np.zeros((1, 0), int), 3)
    with pytest.raises(ValueError, match="GPT: activation must be one of"):
        models.GPT(activation="tanh")
    with pytest.raises(ValueError, match="width a multiple of heads, got 10 and 3"):
        models.GPT(width=10, heads=3)
    with pytest.raises(ValueError, match="BERT: head must be mlm, classify, tokens or None, got 'pooled'"):
        models.BERT(head="pooled")
    with pytest.raises(ValueError, match="BERT: activation must be one of"):
        small("bert", activation="swish")
    with pytest.raises(ValueError, match="BERT: pooling must be one of first, max, got 'mean'"):
        small("bert", pooling="mean")
    bert = small("bert")
    with pytest.raises(ValueError, match="at most 16 positions, got 17"):
        bert(np.ones((1, 17), int))
    with pytest.raises(ValueError, match=r"seen must have shape \[N, T\] = \[1, 3\], got \[1, 2\]"):
        bert(np.ones((1, 3), int), np.ones((1, 2), bool))
    with pytest.raises(ValueError, match="T5: form must be one of relu, gated-gelu, got 'gelu'"):
        models.T5(form="gelu")
    with pytest.raises(ValueError, match=r"T5: source must have shape \[N, S\], got \[3\]"):
        small("t5")(np.array([1, 2, 3]), np.array([[1]]))


def test_places_are_tokens_of_all_sequences():
    """BERT's heads of every token, on some of them."""
    nonet.manual_seed(0)
    ids = np.array([[1, 5, 6, 2], [1, 7, 2, 0]])
    places = np.array([6, 1, 4])
    for head, classes in (("mlm", 9), ("tokens", 3)):
        model = models.BERT(9, 4, 1, 8, 1, 2, 16, head=head, classes=3).eval()
        whole = np.asarray(model(ids).detach()).reshape(-1, classes)
        np.testing.assert_allclose(np.asarray(model(ids, places=places).detach()), whole[places], atol=1e-6)
    with pytest.raises(ValueError, match="places are for a head of every token, got classify"):
        models.BERT(9, 4, 1, 8, 1, 2, 16, head="classify")(ids, places=places)
