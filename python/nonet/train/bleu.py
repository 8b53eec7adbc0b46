"""BLEU of translations, as sacrebleu computes it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_SIGNS = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),  # a point or comma that is not behind a digit
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),  # or not ahead of one
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


def tokenize_13a(text: str) -> list[str]:
    """The tokens of `text` by the rules of mteval-v13a, the script of NIST's and WMT's evaluations."""
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    if "&" in text:
        for entity, sign in _ENTITIES:
            text = text.replace(entity, sign)
    text = f" {text} "
    for pattern, replacement in _SIGNS:
        text = pattern.sub(replacement, text)
    return text.split()


def corpus_bleu(hypotheses: Sequence[str], references: Sequence[str], lowercase: bool = True) -> float:
    """BLEU-4, 0 to 100, of all `hypotheses` against one reference each, over the tokens of `tokenize_13a`.

    The geometric mean of the precisions of 1- to 4-grams times the brevity penalty (Papineni, Roukos, Ward, Zhu, "BLEU:
    a method for automatic evaluation of machine translation", 2002). A precision without a match counts as half of what
    one match would be, the next as a quarter, and so on (sacrebleu's smoothing "exp"). ValueError if there are not as
    many references as hypotheses.
    """
    if len(hypotheses) != len(references):
        raise ValueError(
            f"corpus_bleu: expected as many references as hypotheses, got {len(references)} and {len(hypotheses)}"
        )
    right, counts = [0] * 4, [0] * 4
    written = wanted = 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        if lowercase:
            hypothesis, reference = hypothesis.lower(), reference.lower()
        ours, theirs = tokenize_13a(hypothesis), tokenize_13a(reference)
        written += len(ours)
        wanted += len(theirs)
        for n in range(4):
            found, there = _grams(ours, n + 1), _grams(theirs, n + 1)
            right[n] += sum(min(count, there[gram]) for gram, count in found.items())
            counts[n] += max(len(ours) - n, 0)
    if written == 0 or right[0] == 0:
        return 0.0
    logs, smoothing = 0.0, 1.0
    for n in range(4):
        if counts[n] == 0:
            return 0.0
        if right[n] == 0:
            smoothing *= 2
            logs += math.log(1 / (smoothing * counts[n]))
        else:
            logs += math.log(right[n] / counts[n])
    brevity = 1.0 if written >= wanted else math.exp(1 - wanted / written)
    return 100 * brevity * math.exp(logs / 4)


def _grams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
