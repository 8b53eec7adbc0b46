"""Presets of Transformers on text: train, eval, predict, generate, summary; texts from Hugging Face folders."""

from __future__ import annotations

import json

import numpy as np
import pytest

import nonet
from nonet import data, models
from nonet.cli import main
from nonet.cli.masked import EXTRA, FIRST, MASK, hide, sequences

TEXT = "the quick brown fox jumps over the lazy dog .\n" * 120


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.txt").write_text(TEXT)
    return tmp_path


def _out(capsys, *argv):
    capsys.readouterr()
    assert main(list(argv)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def _json(capsys, *argv):
    return [json.loads(line) for line in _out(capsys, *argv, "--json").splitlines()]


def _fails(capsys, message, *argv):
    capsys.readouterr()
    assert main(list(argv)) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err.strip().splitlines()[-1], captured.err


def _checks(capsys, record, *more):
    """eval gives what train said, and summary knows the model."""
    (again,) = _json(capsys, "eval", record["checkpoint"], *more)
    for name in ("value", "loss", "floor"):
        if name in record:
            assert again[name] == pytest.approx(record[name], rel=1e-5)
    assert again["samples"] > 0
    for what in (record["checkpoint"], record["preset"]):
        (summary,) = _json(capsys, "summary", what)
        assert summary["macs"] > 0 and summary["parameters"] > 0
    assert "total" in _out(capsys, "summary", record["preset"])


def test_characters(here, capsys):
    (record,) = _json(
        capsys, "train", "gpt", "--data-dir", "text", "--steps", "60", "--lr", "6e-3", "--out", "g"
    )
    assert (record["data"], record["metric"]) == ("text", "nats_per_character")
    assert record["value"] < record["floor"] + 1
    checkpoint = record["checkpoint"]
    _checks(capsys, record, "--data-dir", "text")
    (here / "more.txt").write_text("the lazy dog")
    (seen,) = _json(capsys, "predict", checkpoint, "more.txt")
    assert seen["nats_per_character"] < 3 and seen["characters"] == 12
    sure = ("generate", checkpoint, "--length", "80", "--temperature", "0")
    out = _out(capsys, *sure, "--prompt", "the quick")
    assert out.startswith("the quick") and len(out) == 90
    assert _json(capsys, *sure, "--prompt", "the quick")[0]["text"] == out[9:-1]
    assert (
        len({line["text"] for line in _json(capsys, "generate", checkpoint, "--count", "2", "--length", "9")})
        == 2
    )
    _out(capsys, "generate", checkpoint, "--length", "5", "--out", "out.txt")
    assert len((here / "out.txt").read_text()) == 6
    (here / "prompts.txt").write_text("the\nlazy\n")
    both = _json(capsys, *sure, "--input", "prompts.txt")
    assert [line["prompt"] for line in both] == ["the", "lazy"]
    far = _out(capsys, *sure, "--prompt", "the quick", "--repetition-penalty", "50")
    assert len(set(far[9:30])) > len(set(out[9:30])) or far != out
    _fails(capsys, "--prompt: CharVocab: expected one of", "generate", checkpoint, "--prompt", "Ü")
    _fails(capsys, "--prompt: expected a text, found an empty one", "generate", checkpoint, "--prompt", "")
    _fails(capsys, "--beam has no meaning", "generate", checkpoint, "--beam", "2")
    _fails(capsys, "expected --prompt TEXT or --input FILE", *sure, "--prompt", "a", "--input", "b")


def test_steps_or_epochs_of_gpt(here, capsys):
    (record,) = _json(capsys, "train", "gpt", "--data-dir", "text", "--epochs", "1", "--out", "g")
    assert record["epochs"] == 1 and record["steps"] < 10


def test_interrupted_gpt(here, capsys):
    args = ("train", "gpt", "--data-dir", "text")
    for out in "ab":
        _json(capsys, *args, "--steps", "3", "--out", out)  # within the first epoch
        _json(capsys, *args, "--steps", "8", "--out", out, "--resume")
    assert (here / "a/model.safetensors").read_bytes() == (here / "b/model.safetensors").read_bytes()


@pytest.mark.parametrize("preset", ["transformer-translate", "t5"])
def test_translation(here, capsys, preset):
    pairs = data.load_pairs("numbers")
    (here / "pairs").mkdir()
    for part, rows in (
        ("train", pairs.train[:200]),
        ("val", pairs.train[200:220]),
        ("test", pairs.test[:20]),
    ):
        (here / f"pairs/{part}.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in rows))
    args = ("--data", "tsv", "--data-dir", "pairs")
    (record,) = _json(capsys, "train", preset, *args, "--steps", "12", "--out", "t")
    assert record["metric"] == "bleu" and 0 <= record["value"] <= 100
    assert (here / "t/translations.tsv").read_text().count("\n") == 20
    _checks(capsys, record, *args)
    (here / "lines.txt").write_text(f"{pairs.test[0][0]}\n{'7 ' * 100}\n")  # longer than its positions
    given = (record["checkpoint"], "--input", "lines.txt", "--beam", "2", "--length", "4")
    made = _json(capsys, "generate", *given)
    assert len(made) == 2 and all(len(line["translation"].split()) <= 4 for line in made)
    assert len(_out(capsys, "predict", record["checkpoint"], "lines.txt").splitlines()) == 2
    _fails(capsys, "expected --prompt TEXT or --input FILE", "generate", record["checkpoint"])
    _fails(capsys, "--top-k has no meaning", "generate", *given, "--top-k", "2")


def test_numbers_by_a_transformer(here, capsys):
    (record,) = _json(capsys, "train", "transformer-translate", "--steps", "3", "--out", "t")
    assert record["data"] == "numbers"
    _checks(capsys, record)


def test_masked_words_then_classes(here, capsys):
    (record,) = _json(capsys, "train", "bert-mlm", "--data-dir", "text", "--epochs", "8", "--out", "m")
    assert record["metric"] == "nats_per_token" and record["value"] < record["floor"]
    _checks(capsys, record, "--data-dir", "text")
    (here / "masked.txt").write_text("The quick <mask> fox\n")
    (seen,) = _json(capsys, "predict", record["checkpoint"], "masked.txt")
    assert len(seen["words"]) == 1 and seen["words"][0] in TEXT
    _fails(capsys, "makes nothing of its own", "generate", record["checkpoint"])

    rows = [("animal", "the quick fox"), ("time", "over and over"), ("animal", "lazy dog"), ("time", "over")]
    (here / "lines").mkdir()
    for part in ("train", "test"):
        lines = "".join(f"{label}\t{text}\n" for label, text in rows * 12)
        (here / f"lines/{part}.tsv").write_text(lines)
    args = ("train", "bert-classify", "--data-dir", "lines", "--out", "c")
    (classes,) = _json(capsys, *args, "--epochs", "12", "--init", record["checkpoint"])
    assert (classes["data"], classes["metric"]) == ("lines", "accuracy") and classes["value"] > 0.9
    # As many of the lowest layers as the preset has, in the sizes of the checkpoint's model, and another head.
    inner = [models.load_model(r["checkpoint"]).state_dict() for r in (classes, record)]
    encoder = [{k: v.shape for k, v in state.items() if k.startswith("encoder")} for state in inner]
    assert encoder[0] == {k: v for k, v in encoder[1].items() if not k.startswith("encoder.layer.2")}
    _checks(capsys, classes, "--data-dir", "lines")
    (here / "some.txt").write_text("a quick fox\n")
    assert _out(capsys, "predict", classes["checkpoint"], "some.txt").startswith("animal")
    (more,) = _json(capsys, *args, "--epochs", "13", "--resume")
    assert more["epochs"] == 13
    _fails(capsys, "--data trec needs --data-dir", "train", "bert-classify")
    _fails(capsys, "expected parameters of MLP, found none", "train", "ann", "--init", record["checkpoint"])


def test_folder_of_a_gpt(here, capsys):
    pytest.importorskip("tokenizers")
    tokenizer = data.Tokenizer.train_bpe(["the cat sat on the mat"] * 3, 270, ["<|endoftext|>"])
    nonet.manual_seed(0)
    models.GPT(len(tokenizer), 32, 16, 1, 2).save_pretrained(here / "gpt2")
    tokenizer.save(here / "gpt2/tokenizer.json")
    args = ("generate", "gpt2", "--prompt", "the cat", "--length", "5")
    assert _out(capsys, *args, "--temperature", "0").startswith("the cat")
    made = _json(capsys, *args, "--count", "2", "--repetition-penalty", "1.2", "--top-k", "9")
    assert [line["prompt"] for line in made] == ["the cat"] * 2
    _fails(capsys, "--beam has no meaning", *args, "--beam", "2")

    (record,) = _json(capsys, "convert", "gpt2", "gpt.safetensors")
    assert record["architecture"] == "GPT" and record["filled"] == record["left_out"] == []
    assert record["keys"]["h.0.ln_1.bias"] == "transformer.h.0.ln_1.bias"
    converted = ("generate", "gpt.safetensors", *args[2:])
    assert (
        _json(capsys, *converted, "--top-k", "9")[0]["text"]
        == _json(capsys, *args, "--top-k", "9")[0]["text"]
    )
    (summary,) = _json(capsys, "summary", "gpt.safetensors")
    assert summary["input"] == [1, 32]
    assert "GPT, " in _out(capsys, "convert", "gpt2", "again.safetensors", "--arch", "GPT")
    _fails(capsys, "--arch must be one of BERT, GPT, T5", "convert", "gpt2", "x", "--arch", "resnet18")
    _fails(capsys, "expected the tensors of T5, found others", "convert", "gpt2", "x", "--arch", "T5")
    _fails(capsys, "DST must be a file, got the folder", "convert", "gpt2", ".")
    (here / "gpt2/tokenizer.json").unlink()
    _fails(capsys, "expected a tokenizer (in a folder tokenizer.json), found none", *args)


@pytest.mark.parametrize("head", ["mlm", "classify", "tokens", None])
def test_folder_of_a_bert(here, capsys, head):
    pytest.importorskip("tokenizers")
    special = ["[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = data.Tokenizer.train_bpe(["the cat sat on the mat"] * 3, 270, special)
    nonet.manual_seed(0)
    model = models.BERT(len(tokenizer), 32, 2, 16, 1, 2, 32, head=head, classes=3)
    model.save_pretrained(here / "bert")
    tokenizer.save(here / "bert/tokenizer.json")
    config = json.loads((here / "bert/config.json").read_text())
    config["id2label"] = {"0": "cat", "1": "mat", "2": "sat"}
    (here / "bert/config.json").write_text(json.dumps(config))
    (here / "lines.txt").write_text("the [MASK] sat\n")
    (record,) = _json(capsys, "convert", "bert", "bert.safetensors")
    assert record["architecture"] == "BERT" and record["arguments"]["head"] == head
    for name in ("bert", "bert.safetensors"):
        if head is None:
            _fails(capsys, "expected a BERT that fills gaps or classifies", "predict", name, "lines.txt")
            continue
        (found,) = _json(capsys, "predict", name, "lines.txt")
        said = _out(capsys, "predict", name, "lines.txt")
        codes = tokenizer.encode("the [MASK] sat")
        logits = model.eval()(codes[None]).detach().numpy()[0]
        if head == "mlm":
            best = int(logits[codes.tolist().index(tokenizer.token("[MASK]"))].argmax())
            assert found["tokens"] == [tokenizer.decode([best])]
        elif head == "classify":
            assert found["class"] == ["cat", "mat", "sat"][logits.argmax()] and found["class"] in said
        else:
            assert found["classes"] == [["cat", "mat", "sat"][i] for i in logits.argmax(axis=1)]
            assert "[MASK]/" in said
    _fails(capsys, "expected a GPT-2 or T5, found a BERT", "generate", "bert", "--prompt", "x")


def test_folder_of_a_t5(here, capsys):
    pytest.importorskip("tokenizers")
    tokenizer = data.Tokenizer.train_bpe(["the cat sat on the mat"] * 3, 270, ["<pad>", "</s>"])
    nonet.manual_seed(0)
    model = models.T5(len(tokenizer), width=16, size=8, inner=32, layers=1, heads=2)
    model.save_pretrained(here / "t5")
    tokenizer.save(here / "t5/tokenizer.json")
    (here / "in.txt").write_text("the cat\nthe mat\n")
    args = ("generate", "t5", "--input", "in.txt", "--length", "4")
    made = _json(capsys, *args, "--beam", "2")
    assert [line["source"] for line in made] == ["the cat", "the mat"]
    assert _json(capsys, *args, "--temperature", "1", "--seed", "3") != _json(
        capsys, *args, "--temperature", "1"
    )
    _fails(capsys, "--beam has no meaning", *args, "--beam", "2", "--top-p", "0.5")
    _fails(capsys, "expected --prompt TEXT or --input FILE", "generate", "t5")


def test_hidden_words():
    vocab = data.WordVocab.from_texts([["a", "b", "c", "d"]], extra=EXTRA)
    assert vocab.tokens[MASK] == "<mask>" and len(vocab) == FIRST + 4
    ids = sequences("a b c d\n\nd C b a\na a a a", vocab, 12)
    assert ids.tolist() == [[2, 5, 6, 7, 8, 3, 8, 7, 6, 5, 3], [2, 5, 5, 5, 5, 3, 0, 0, 0, 0, 0]]
    many = np.repeat(ids, 2000, axis=0)
    seen, wanted = hide(np.random.default_rng(0), many, len(vocab))
    chosen = wanted != -100
    assert (wanted[chosen] == many[chosen]).all() and (seen[~chosen] == many[~chosen]).all()
    assert not chosen[many < FIRST].any()
    assert abs(chosen[many >= FIRST].mean() - 0.15) < 0.01
    assert abs((seen[chosen] == MASK).mean() - 0.8) < 0.02
