"""BLEU: numbers that sacrebleu 2 gave, and what can be counted by hand."""

from __future__ import annotations

import math

import pytest

from nonet.train import corpus_bleu, tokenize_13a


def test_tokens():
    text = 'A man\'s dog, 3.5 years &amp; "big" (1,000), 4-5 well-known.'
    assert " ".join(tokenize_13a(text)) == 'A man\'s dog , 3.5 years & " big " ( 1,000 ) , 4 - 5 well-known .'


def test_scores():
    reference = "the quick brown fox jumps over the lazy dog"
    assert corpus_bleu([reference.upper()], [reference]) == pytest.approx(100)
    assert corpus_bleu([reference.upper()], [reference], lowercase=False) == 0
    # 8 of 9 words, 7 of 8 pairs, 6 of 7, 5 of 6.
    want = 100 * math.exp(sum(math.log(p) for p in (8 / 9, 7 / 8, 6 / 7, 5 / 6)) / 4)
    assert corpus_bleu([reference.replace("dog", "cat")], [reference]) == pytest.approx(want)
    # Shorter by two words, all of them right.
    short = " ".join(reference.split()[:7])
    assert corpus_bleu([short], [reference]) == pytest.approx(100 * math.exp(1 - 9 / 7))
    assert corpus_bleu(["a b c d e"], ["a c b e d"]) == pytest.approx(15.97357760615681)
    assert corpus_bleu([""], ["a"]) == corpus_bleu(["b"], ["a"]) == 0
    with pytest.raises(ValueError, match="expected as many references as hypotheses, got 1 and 2"):
        corpus_bleu(["a", "b"], ["a"])
