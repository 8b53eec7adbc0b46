"""`nonet bench attention`: its cases, and what it checks before it times."""

from __future__ import annotations

import numpy as np
import pytest

import nonet
from nonet.bench import bench_attention
from nonet.bench.bench_attention import CASES, Case
from nonet.bench.errors import WrongResultError
from nonet.bench.run import Options


def test_the_cases():
    names = bench_attention.names()
    assert len(set(names)) == len(names) and "4x512-causal/dropout/warm" in names
    assert [name for name in names if "1x1x8192" in name] == ["1x1x8192-full/forward/warm"]
    flops, moved = Case(1, 10, 20, False).costs("forward", 4)
    assert flops == 4 * 12 * 200 * 64 and moved == 12 * 60 * 64 * 4
    assert {case.causal for case in CASES} == {False, True}


@pytest.mark.parametrize("mode", ["forward", "train", "dropout"])
def test_rows_of_a_small_case(monkeypatch, mode):
    monkeypatch.setattr(bench_attention, "CASES", [Case(2, 20, 20, True)])
    rows = next(iter(bench_attention.run(Options(only=(f"*/{mode}/*",), quick=True))))
    assert {(row.library, row.variant) for row in rows} == {("nonet", "highest"), ("nonet", "bfloat16")}
    assert all(row.family == "attention" and row.median > 0 for row in rows)


def test_wrong_results_are_not_timed():
    q, k, v, dy = np.random.default_rng(0).standard_normal((4, 1, 12, 6, 64)).astype(np.float32)
    case = Case(1, 6, 6, False)
    side = bench_attention._sides(Options())[0]
    y = nonet.nn.functional.scaled_dot_product_attention(q, k, v).numpy()
    bench_attention._verify(case, "forward", side, (y, None), q, k, v, dy)
    with pytest.raises(WrongResultError, match="nonet highest: 1x6-full forward: off by"):
        bench_attention._verify(case, "forward", side, (y * 1.01, None), q, k, v, dy)
    with pytest.raises(WrongResultError, match="numbers that are not finite"):
        bench_attention._verify(case, "dropout", side, (y * np.inf, None), q, k, v, dy)
