"""Presets of sequences: train, eval, predict, generate, resume."""

from __future__ import annotations

import json
import os
import wave
from pathlib import Path

import numpy as np
import pytest

from nonet import data, io
from nonet.cli import main
from nonet.plot import gradients
from nonet.train import load_state

TEXT = "the cat sat on the mat. the dog sat on the log. " * 100


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.txt").write_text(TEXT)
    return tmp_path


def _json(capsys, *argv):
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0, capsys.readouterr().err
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _fails(capsys, message, *argv):
    capsys.readouterr()
    assert main(list(argv)) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and message in captured.err.strip().splitlines()[-1], captured.err


def _out(capsys, *argv):
    capsys.readouterr()
    assert main(list(argv)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def _checks(capsys, record, *more):
    """eval gives what train said, and summary knows the model."""
    (again,) = _json(capsys, "eval", record["checkpoint"], *more)
    for name in ("value", "loss", "floor", "mae"):
        if name in record:
            assert again[name] == pytest.approx(record[name], rel=1e-6)
    assert again["samples"] > 0
    (summary,) = _json(capsys, "summary", record["checkpoint"])
    assert summary["parameters"] == record["params"] and summary["macs"] > 0
    (summary,) = _json(capsys, "summary", record["preset"])
    assert summary["macs"] > 0


# ---- music
def write_music(folder: Path):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 12), ("valid", 3), ("test", 3)):
        lengths = rng.integers(5, 20, count)
        rolls = np.zeros((lengths.sum(), 88), np.uint8)
        rolls[:, 40:44] = rng.random((lengths.sum(), 4)) < 0.5
        arrays[f"{part}_lengths"] = lengths.astype(np.int32)
        arrays[f"{part}_frames"] = np.packbits(rolls, axis=1)
    for name in ("jsb_chorales", "nottingham"):
        np.savez(folder / f"{name}.npz", **arrays)


def test_music(here, capsys):
    write_music(here)
    (record,) = _json(capsys, "train", "gru-music", "--data-dir", ".", "--epochs", "3", "--out", "m")
    assert (record["data"], record["metric"]) == ("jsb", "nats_per_frame")
    assert 0 < record["floor"] < record["value"] < 100
    _checks(capsys, record, "--data-dir", ".")
    (played,) = _json(capsys, "generate", record["checkpoint"], "--length", "9", "--out", "a.mid")
    assert len(played["notes"]) == 9 and all(21 <= n <= 108 for frame in played["notes"] for n in frame)
    midi = (here / "a.mid").read_bytes()
    assert (
        midi[:4] == b"MThd"
        and midi[14:18] == b"MTrk"
        and len(midi) == 22 + int.from_bytes(midi[18:22], "big")
    )
    assert len(_json(capsys, "generate", record["checkpoint"], "--count", "2", "--out", "b.mid")) == 2
    assert (here / "b-1.mid").exists() and (here / "b-2.mid").exists()
    (other,) = _json(
        capsys, "train", "rnn-music", "--data", "nottingham", "--data-dir", ".", "--steps", "1", "--out", "n"
    )
    assert other["data"] == "nottingham"
    (averaged,) = _json(
        capsys,
        "train",
        "lstm-music",
        "--data",
        "nottingham",
        "--data-dir",
        ".",
        "--epochs",
        "2",
        "--out",
        "v",
    )
    _checks(capsys, averaged, "--data", "nottingham", "--data-dir", ".")
    state = load_state(here / "v" / "last.safetensors")
    assert state["average"]["updates"] == averaged["steps"]
    _fails(capsys, "needs --data-dir, a folder with jsb_chorales.npz", "train", "rnn-music")
    _fails(
        capsys, "--beam has no meaning for models of music", "generate", record["checkpoint"], "--beam", "2"
    )
    _fails(capsys, "`nonet generate` lets it play", "predict", record["checkpoint"], "a.mid")


# ---- series
def test_sunspots(here, capsys):
    (record,) = _json(capsys, "train", "rnn-series", "--epochs", "10", "--out", "s")
    assert record["value"] < record["floor"] and 0 < record["coverage"] < 1
    _checks(capsys, record)
    (ahead,) = _json(capsys, "generate", record["checkpoint"])
    assert np.shape(ahead["forecast"]) == (5, 1)
    low, middle, high = (np.array(ahead[key]) for key in ("low", "forecast", "high"))
    assert (low < high).all() and (low - 60 < middle).all() and (middle < high + 60).all()
    rows = _out(capsys, "generate", record["checkpoint"], "--length", "7").splitlines()
    assert rows[0] == "step,sunspots,sunspots_low,sunspots_high" and len(rows) == 8
    assert np.float64(rows[1].split(",")[1]) == pytest.approx(middle[0, 0], rel=1e-4)
    values = data.load_series("sunspots").values[:, 0]
    (here / "sun.csv").write_text(
        "date,sunspots\n" + "".join(f"{1700 + i},{v}\n" for i, v in enumerate(values))
    )
    (seen,) = _json(capsys, "predict", record["checkpoint"], "sun.csv")
    assert seen["forecast"] == ahead["forecast"]
    (here / "short.csv").write_text("date,sunspots\n1,2\n2,3\n")
    _fails(
        capsys, "short.csv: expected at least 33 rows, found 2", "predict", record["checkpoint"], "short.csv"
    )
    _fails(
        capsys, "--prompt has no meaning for forecasters", "generate", record["checkpoint"], "--prompt", "x"
    )


def test_pictures_of_forecasts(here, capsys):
    pytest.importorskip("matplotlib")
    (record,) = _json(capsys, "train", "rnn-series", "--steps", "2", "--out", "s")
    (made,) = _json(capsys, "generate", record["checkpoint"], "--out", "f.csv")
    assert made["picture"] == "f.png" and (here / "f.png").read_bytes()[:4] == b"\x89PNG"
    assert (here / "f.csv").read_text().startswith("step,sunspots")
    gradients.draw("s/log.jsonl", "g.png")
    assert (here / "g.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(io.FileError, match="expected the log of a run"):
        gradients.draw("f.csv", "h.png")


def test_tables(here, capsys):
    t = np.arange(600)
    rows = [f"day {i},{np.sin(i / 5)},{np.cos(i / 7)}" for i in t]
    (here / "ett").mkdir()
    (here / "ett/a.csv").write_text("\n".join(["date,x,y", *rows]) + "\n")
    (record,) = _json(capsys, "train", "lstm-ett", "--data-dir", "ett", "--steps", "6", "--out", "e")
    assert record["metric"] == "mse" and record["mae"] > 0 and record["value"] != record["loss"] + 1
    (again,) = _json(capsys, "eval", record["checkpoint"], "--data-dir", "ett")
    assert again["value"] == pytest.approx(record["value"], rel=1e-6)
    (made,) = _json(capsys, "generate", record["checkpoint"], "--input", "ett/a.csv", "--length", "30")
    assert np.shape(made["forecast"]) == (30, 2)
    _fails(capsys, "--input must name a CSV file with the columns x, y", "generate", record["checkpoint"])
    (here / "ett/a.csv").write_text("\n".join(["date,x,z", *rows]) + "\n")
    _fails(capsys, "expected the columns x, y, found x, z", "eval", record["checkpoint"], "--data-dir", "ett")


# ---- text
def test_text(here, capsys):
    args = ("--data-dir", "text", "--batch-size", "4")
    (record,) = _json(capsys, "train", "gru-text", *args, "--epochs", "8", "--out", "t")
    assert record["metric"] == "nats_per_character" and record["value"] < 2.2
    _checks(capsys, record, "--data-dir", "text")
    lines = [json.loads(line) for line in (here / "t/log.jsonl").read_text().splitlines()]
    norms = [line["gradient_norms"] for line in lines if line["event"] == "epoch"]
    assert len(norms) == 8 and all(norm > 0 for epoch in norms for norm in epoch.values())
    steps, drawn = gradients.read("t/log.jsonl")
    assert len(steps) == 8 and drawn["head.bias"] == [epoch["head.bias"] for epoch in norms]
    assert set(norms[0]) >= {"embedding.weight", "rnn.weight_hh_l0", "head.bias"}
    (made,) = _json(
        capsys, "generate", record["checkpoint"], "--prompt", "the ", "--length", "20", "--seed", "3"
    )
    assert len(made["text"]) == 20 and set(made["text"]) <= set(TEXT)
    again = _out(
        capsys, "generate", record["checkpoint"], "--prompt", "the ", "--length", "20", "--seed", "3"
    )
    assert again == f"the {made['text']}\n"
    sure = [
        _out(capsys, "generate", record["checkpoint"], "--prompt", "t", "--temperature", "0", "--seed", s)
        for s in "12"
    ]
    assert sure[0] == sure[1]
    many = _json(
        capsys,
        "generate",
        record["checkpoint"],
        "--prompt",
        "t",
        "--count",
        "3",
        "--top-k",
        "5",
        "--top-p",
        "0.9",
    )
    assert len({line["text"] for line in many}) == 3
    (seen,) = _json(capsys, "predict", record["checkpoint"], "text/a.txt")
    assert seen["characters"] == len(TEXT) and seen["nats_per_character"] < 2.2
    _fails(capsys, "--prompt: CharVocab: expected one of", "generate", record["checkpoint"], "--prompt", "X")
    _fails(capsys, "expected a number of at most 1", "generate", record["checkpoint"], "--top-p", "2")


def test_texts_that_are_too_short(here, capsys):
    (here / "text/a.txt").write_text("ab" * 60)
    _fails(capsys, "expected a longer text", "train", "gru-text", "--data-dir", "text")


@pytest.mark.parametrize("preset", ["rnn-text", "lstm-text"])
def test_interrupted_texts_go_on_with_their_state(here, capsys, preset):
    args = ("train", preset, "--data-dir", "text", "--batch-size", "4")
    _json(capsys, *args, "--steps", "4", "--out", "b")  # within the first epoch
    _json(capsys, *args, "--steps", "9", "--out", "b", "--resume")
    _json(capsys, *args, "--steps", "4", "--out", "c")
    os.replace(here / "c", here / "d")
    _json(capsys, *args, "--steps", "9", "--out", "d", "--resume")
    assert (here / "b/model.safetensors").read_bytes() == (here / "d/model.safetensors").read_bytes()


def test_a_run_in_two_parts_is_the_run(here):
    """The Trainer itself, whose schedule does not depend on the length: parameters, carried state and all."""
    from nonet import manual_seed, models, optim
    from nonet.cli.text import code_loss
    from nonet.train import Trainer

    codes = np.random.default_rng(0).integers(0, 9, 700)

    def train(steps: int, out: str, resume: bool = False):
        manual_seed(1)
        model = models.LanguageModel(9, 4, 8, dropout=0.2)
        loader = data.StreamLoader(codes, 3, 7, shuffle=True)
        trainer = Trainer(
            model, code_loss, optim.Adam(model.parameters(), lr=1e-2), loader,
            inputs=2, steps=steps, out=out, resume=resume, keep="last", progress=False,
            validation=data.StreamLoader(codes, 3, 7),
        )  # fmt: skip
        trainer.fit()

    train(50, "whole")
    train(20, "parts")
    train(50, "parts", True)
    whole, parts = ((here / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


# ---- speech
def write_digits(folder: Path):
    rng = np.random.default_rng(0)
    t = np.arange(2000) / 8000
    folder.mkdir()
    for digit in range(10):
        for index in (*range(5), *range(5, 15)):
            length = int(rng.integers(1200, 2000))
            tone = np.sin(2 * np.pi * (300 + 250 * digit) * t[:length]) * 8000 + rng.normal(0, 300, length)
            with wave.open(str(folder / f"{digit}_ann_{index}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(8000)
                file.writeframes(tone.astype("<i2").tobytes())


def test_speech(here, capsys):
    write_digits(here / "recordings")
    (record,) = _json(capsys, "train", "gru-speech", "--data-dir", ".", "--epochs", "20", "--out", "g")
    assert record["metric"] == "accuracy" and record["value"] > 0.8
    _checks(capsys, record, "--data-dir", ".")
    (seen,) = _json(capsys, "predict", record["checkpoint"], "recordings/7_ann_0.wav")
    assert seen["class"] == "7" and seen["probability"] > 0.3
    _fails(capsys, "makes nothing of its own", "generate", record["checkpoint"])
    _fails(capsys, "expected a sound file, found none", "predict", record["checkpoint"], "no.wav")


def test_transcripts(here, capsys):
    write_digits(here / "recordings")
    (record,) = _json(capsys, "train", "ctc-speech", "--data-dir", ".", "--steps", "3", "--out", "c")
    # Three steps teach nothing: it writes more digits than there are, how many depends on the last bits.
    assert record["metric"] == "digit_error_rate" and 0.5 < record["value"] < 10
    _checks(capsys, record, "--data-dir", ".")
    (seen,) = _json(capsys, "predict", record["checkpoint"], "recordings/7_ann_0.wav")
    assert set(seen["transcript"]) <= set("0123456789 ")


# ---- translation
def test_translation(here, capsys):
    rows = [f"{n}\t{data.number_words(n)}\n" for n in range(100)]
    (here / "pairs").mkdir()
    (here / "pairs/all.tsv").write_text("".join(rows))
    args = ("--data", "tsv", "--data-dir", "pairs")
    (record,) = _json(capsys, "train", "lstm-translate", *args, "--steps", "10", "--out", "l")
    assert record["metric"] == "bleu" and 0 <= record["value"] <= 100
    lines = Path(record["translations"]).read_text().splitlines()
    assert len(lines) == 10 and all(line.count("\t") == 2 for line in lines)
    _checks(capsys, record, "--data-dir", "pairs", "--data", "tsv")
    (here / "in.txt").write_text("12\n7\n")
    made = _json(
        capsys, "generate", record["checkpoint"], "--input", "in.txt", "--beam", "2", "--length", "4"
    )
    assert [line["source"] for line in made] == ["12", "7"]
    assert all(len(line["translation"].split()) <= 4 for line in made)
    (one,) = _out(capsys, "generate", record["checkpoint"], "--prompt", "12", "--length", "4").splitlines()
    assert len(one.split()) <= 4
    assert _out(capsys, "predict", record["checkpoint"], "in.txt").count("\n") == 2
    _out(capsys, "generate", record["checkpoint"], "--input", "in.txt", "--out", "out.txt")
    assert (here / "out.txt").read_text().count("\n") == 2
    _fails(capsys, "expected --prompt TEXT or --input FILE", "generate", record["checkpoint"])
    (other,) = _json(
        capsys,
        "train",
        "lstm-translate",
        "--data-dir",
        "pairs",
        "--data",
        "tsv",
        "--steps",
        "1",
        "--out",
        "k",
    )
    assert other["data"] == "tsv"


def test_folders_of_pairs_are_told_apart(here, capsys):
    (here / "pairs").mkdir()
    (here / "pairs/all.tsv").write_text("a\tb\n" * 30)
    (record,) = _json(capsys, "train", "lstm-translate", "--data-dir", "pairs", "--steps", "1", "--out", "l")
    assert record["data"] == "tsv"
    _fails(capsys, "train.de: expected a file, found none", "train", "lstm-translate", "--data-dir", "text")
