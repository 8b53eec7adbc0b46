"""`nonet tour`: nine models trained for a moment, the page, the exit code; one entry as users see it."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest

from nonet import data
from nonet.cli import main
from nonet.cli.tour import common, entries, images, sequences
from nonet.cli.tour.common import Found, Place


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """One epoch of everything, of little text."""
    monkeypatch.chdir(tmp_path)
    text = data.load_corpus("topics").train[:12000]
    monkeypatch.setattr(data, "load_corpus", lambda name: data.split_text(name, text))
    fit = common.fit
    for module in (images, sequences):
        monkeypatch.setattr(
            module,
            "fit",
            lambda model, loss, train, epochs, lr, **rest: fit(model, loss, train, 2, lr, **rest),
        )
    return tmp_path


def test_page(quick, capsys):
    code = main(["tour", "--json"])
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert code == (0 if record["passed"] else 1)
    names = ["ann", "cnn", "rnn", "lstm", "gru", "autoencoder", "vae", "gan", "transformer"]
    assert [model["name"] for model in record["models"]] == names
    for model in record["models"]:
        assert np.isfinite([model["value"], model["floor"], model["seconds"]]).all()
        sign = 1 if model["higher_is_better"] else -1
        assert model["margin"] == pytest.approx(sign * (model["value"] - model["floor"]))
        assert model["beaten"] == (model["margin"] > 0)
    page = (quick / "runs" / "tour" / "index.html").read_text()
    assert all(f'<h2 id="{name}">' in page for name in names)
    assert "data:image/png;base64," in page
    # Nothing is fetched from anywhere.
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "http" not in page
    assert record["machine"]["threads"] >= 1


def test_pictures_without_matplotlib(quick, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["tour", "--only", "rnn,autoencoder", "--out", "here"]) in (0, 1)
    captured = capsys.readouterr()
    assert captured.err.count("install the extra `plot`") == 1
    assert (quick / "here" / "autoencoder.png").exists() and not (quick / "here" / "rnn.png").exists()
    assert "Recurrent network" in captured.out and "here/index.html" in captured.out


def test_exit_code(quick, capsys, monkeypatch):
    def bad(place: Place) -> Found:
        return Found("accuracy", 0.1, 0.2, "a coin <b>", True, 3, 5, [2.0, 1.0])

    monkeypatch.setattr("nonet.cli.tour.ENTRIES", (entries.Entry("ann", "Bad", "nothing & more", bad),))
    assert main(["tour"]) == 1
    assert "not above the floor: ann" in capsys.readouterr().err
    page = (quick / "runs" / "tour" / "index.html").read_text()
    assert "a coin &lt;b&gt;" in page and "othing &amp; more" in page and "<polyline" in page
    assert main(["tour", "--only", "cnn"]) == 2
    (quick / "file").write_text("")
    assert main(["tour", "--out", "file"]) == 2


def test_an_entry_beats_its_floor(tmp_path, capsys):
    assert main(["tour", "--only", "rnn", "--out", str(tmp_path / "a"), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["models"][0]
    assert first["beaten"] and first["value"] < 45 < first["floor"]
    main(["tour", "--only", "rnn", "--out", str(tmp_path / "b"), "--json"])
    assert json.loads(capsys.readouterr().out)["models"][0]["value"] == first["value"]
