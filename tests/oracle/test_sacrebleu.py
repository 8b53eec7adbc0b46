"""BLEU beside sacrebleu's."""

from __future__ import annotations

import random

import pytest

from nonet.train import corpus_bleu, tokenize_13a

sacrebleu = pytest.importorskip("sacrebleu")

TEXTS = [
    'A man\'s dog, 3.5 years old &amp; "big" (brown), runs -- well-known 4-5 times!',
    "Two young, White males are outside near many bushes.",
    "The U.S. team of 1,000 won $5.50 at 3:15 p.m. <br> &lt;end&gt;",
    "Ünïcödé – dashes and “quotes”…",
]


def test_scores():
    rng = random.Random(0)
    references = [rng.choice(TEXTS) for _ in range(50)]
    hypotheses = []
    for text in references:
        words = text.split()
        if rng.random() < 0.6:
            words[rng.randrange(len(words))] = "other"
        if rng.random() < 0.3:
            words = words[: -rng.randrange(1, 4)]
        hypotheses.append(" ".join(words))
    for count in (1, 2, 50):
        for lower in (True, False):
            pair = hypotheses[:count], references[:count]
            want = sacrebleu.corpus_bleu(pair[0], [pair[1]], lowercase=lower).score
            assert corpus_bleu(*pair, lowercase=lower) == pytest.approx(want, abs=1e-9)
    for one, other in (
        (["a b c"], ["d e f"]),
        (["a"], ["a b"]),
        ([""], ["a"]),
        (["a b c d e"], ["a c b e d"]),
    ):
        assert corpus_bleu(one, other) == pytest.approx(sacrebleu.corpus_bleu(one, [other]).score, abs=1e-9)


def test_tokens():
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    for text in TEXTS:
        assert tokenize_13a(text) == Tokenizer13a()(text).split()
