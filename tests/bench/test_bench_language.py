"""`nonet bench language`, at sizes of a test."""

from __future__ import annotations

import numpy as np
import pytest

from nonet.bench import bench_language
from nonet.bench.bench_language import Sizes
from nonet.bench.errors import WrongResultError
from nonet.bench.opponents import Side, Trial
from nonet.bench.run import Options


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(bench_language, "BERT", Sizes(40, 16, 2, 2))
    monkeypatch.setattr(bench_language, "GPT", Sizes(40, 16, 2, 2))


def test_rows():
    options = Options(only=("bert-base/infer-8", "gpt2/*"), quick=True)
    rows = [row for part in bench_language.run(options) for row in part]
    assert {(row.case, row.mode) for row in rows} == {("bert-base", "infer-8"), ("gpt2", "generate")}
    assert {row.variant for row in rows} == {"highest", "bfloat16"}
    assert all(row.median > 0 and row.flops for row in rows)
    assert len(bench_language.names()) == 3


def test_wrong_results_are_not_timed():
    good, bad = np.ones(3, np.float32), np.float32([1, 1, 1.2])
    sides = [
        Side("nonet", "highest", "float32", "highest", lambda: Trial(lambda: bad, np.asarray)),
        Side("torch", "float32", "float32", "float32", lambda: Trial(lambda: good, np.asarray)),
    ]
    with pytest.raises(WrongResultError, match="bert-base infer-1: nonet highest is off by 2.0e-01"):
        bench_language._rows("bert-base", "infer-1", sides, Options(), 1.0, 1.0)
