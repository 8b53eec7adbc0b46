"""Sequences from models that predict the next token: sampling, greedy choice, beam search.

A model is a function of the tokens that are new: step(tokens [N, T]) -> logits [N, V] of what follows, which keeps what
it needs of earlier ones (`KeyValueCache`); reorder(rows) makes it go on with those sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sampling", "beam_search", "choose", "stream"]

Step = Callable[[NDArray[np.int64]], NDArray[np.float32]]
Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn from logits, in this order.

    repetition_penalty  logits of tokens that have been used are divided by it if positive, else multiplied (Keskar et
                        al., "CTRL", 2019)
    temperature         logits are divided by it; 0: the largest one is taken
    top_k               only so many of the likeliest tokens are kept (Fan et al. 2018); 0: all
    top_p               only the fewest of the likeliest tokens whose probabilities add up to it (Holtzman et al. 2020)

    Errors: ValueError outside their ranges.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name, value, ok, rule in (
            ("temperature", self.temperature, self.temperature >= 0, ">= 0"),
            ("top_k", self.top_k, self.top_k >= 0, ">= 0"),
            ("top_p", self.top_p, 0 < self.top_p <= 1, "in (0, 1]"),
            ("repetition_penalty", self.repetition_penalty, self.repetition_penalty > 0, "> 0"),
        ):
            if not ok:
                raise ValueError(f"Sampling: {name} must be {rule}, got {value}")


def choose(
    logits: NDArray[Any], used: Sequence[NDArray[Any]], how: Sampling, rng: np.random.Generator
) -> Tokens:
    """One token per row of logits [N, V]; used: the tokens so far of each row."""
    out = np.empty(len(logits), np.int64)
    for n, row in enumerate(np.array(logits, np.float32)):
        if how.repetition_penalty != 1.0:
            known = np.unique(used[n])
            values = row[known]
            row[known] = np.where(
                values > 0, values / how.repetition_penalty, values * how.repetition_penalty
            )
        if how.temperature == 0.0:
            out[n] = int(np.argmax(row))
            continue
        row = row / np.float32(how.temperature)
        kept = None
        if 0 < how.top_k < len(row):
            kept = np.sort(np.argpartition(-row, how.top_k - 1)[: how.top_k])
            row = row[kept]
        p = np.exp(row - row.max())
        if how.top_p < 1.0:
            nucleus = _nucleus(p, how.top_p)
            kept, p = nucleus if kept is None else kept[nucleus], p[nucleus]
        sums = np.cumsum(p, dtype=np.float64)
        place = min(int(np.searchsorted(sums, rng.random() * sums[-1], side="right")), len(p) - 1)
        out[n] = place if kept is None else kept[place]
    return out


def _nucleus(p: NDArray[np.float32], share: float) -> Tokens:
    """The places of the fewest of the largest p that add up to this share of their sum."""
    limit = share * float(p.sum(dtype=np.float64))
    # Sorting a whole vocabulary would take longer than a small model; the likeliest tokens nearly always suffice.
    for count in (256, 4096, len(p)):
        places = np.arange(len(p))
        if count < len(p):
            places = np.sort(np.argpartition(-p, count - 1)[:count])
        places = places[np.argsort(-p[places], kind="stable")]
        sums = np.cumsum(p[places], dtype=np.float64)
        if sums[-1] >= limit or count >= len(p):
            break
    return places[: int(np.searchsorted(sums, limit)) + 1]


def stream(
    step: Step,
    prompt: Tokens,
    length: int,
    how: Sampling,
    seed: int = 0,
    end: int | None = None,
    filler: int | None = None,
) -> Iterator[Tokens]:
    """The next tokens [N] of prompts [N, T], up to `length` times, as soon as they are known.

    A row that reached `end` goes on with `filler` (default: end); the stream ends when all have.
    """
    rng = np.random.default_rng(seed)
    punished = how.repetition_penalty != 1.0
    used = [list(row) for row in prompt] if punished else []
    done = np.zeros(len(prompt), bool)
    new = prompt
    for _ in range(length):
        logits = step(new)
        tokens = choose(logits, [np.array(row, np.int64) for row in used], how, rng)
        if end is not None:
            tokens = np.where(done, end if filler is None else filler, tokens)
            done |= tokens == end
        for row, token in zip(used, tokens, strict=False):
            row.append(int(token))
        yield tokens
        if done.all():
            return
        new = tokens[:, None]


@dataclass
class _Hypothesis:
    score: float
    tokens: list[int]


def beam_search(
    step: Step,
    reorder: Callable[[NDArray[np.int64]], None],
    start: Tokens,
    beams: int,
    length: int,
    end: int | None,
    length_penalty: float = 1.0,
    early_stopping: bool = False,
) -> list[list[int]]:
    """The best continuation of every start [N, T], by the sum of log-probabilities over its length ** length_penalty.

    step and reorder see N · beams sequences, those of one start in a row; the first call is step of all starts, each
    `beams` times. A continuation ends with `end`, which is part of it, or after `length` tokens. A start is finished
    when `beams` continuations have ended and no unfinished one could still become better at its present length;
    early_stopping: as soon as so many have ended. Errors: ValueError unless beams >= 1.
    """
    if beams < 1:
        raise ValueError(f"beam_search: beams must be >= 1, got {beams}")
    count = len(start)
    scores = np.full((count, beams), -1e9)
    scores[:, 0] = 0.0
    running = [[[] for _ in range(beams)] for _ in range(count)]
    ended: list[list[_Hypothesis]] = [[] for _ in range(count)]
    done = np.zeros(count, bool)
    new = np.repeat(start, beams, axis=0)
    for n in range(1, length + 1):
        logits = step(new).astype(np.float64)
        most = logits.max(axis=1, keepdims=True)
        logp = logits - most - np.log(np.exp(logits - most).sum(axis=1, keepdims=True))
        vocabulary = logp.shape[1]
        total = (logp.reshape(count, beams, vocabulary) + scores[:, :, None]).reshape(count, -1)
        wanted = min(2 * beams, total.shape[1])
        best = np.argpartition(-total, wanted - 1, axis=1)[:, :wanted]
        rows = np.arange(count * beams, dtype=np.int64)
        tokens = np.zeros(count * beams, np.int64)
        for i in range(count):
            if done[i]:
                continue
            order = best[i][np.argsort(-total[i, best[i]], kind="stable")]
            following: list[tuple[int, int, float]] = []
            for rank, candidate in enumerate(order):
                beam, token = divmod(int(candidate), vocabulary)
                score = float(total[i, candidate])
                if token == end:
                    if rank < beams:
                        _keep(
                            ended[i],
                            _Hypothesis(score / n**length_penalty, [*running[i][beam], token]),
                            beams,
                        )
                elif len(following) < beams:
                    following.append((beam, token, score))
            while len(following) < beams:  # a vocabulary smaller than the beams
                following.append((*following[0][:2], -1e9) if following else (0, 0, -1e9))
            top = following[0][2]
            if len(ended[i]) >= beams:
                worst = min(h.score for h in ended[i])
                done[i] = early_stopping or worst >= top / n**length_penalty
            before = running[i]
            running[i] = [[*before[beam], token] for beam, token, _ in following]
            scores[i] = [score for *_, score in following]
            rows[i * beams : (i + 1) * beams] = [i * beams + beam for beam, *_ in following]
            tokens[i * beams : (i + 1) * beams] = [token for _, token, _ in following]
        if done.all():
            break
        reorder(rows)
        new = tokens[:, None]
    out = []
    for i in range(count):
        if not done[i]:
            for beam in range(beams):
                if running[i][beam] and scores[i, beam] > -1e8:
                    score = scores[i, beam] / len(running[i][beam]) ** length_penalty
                    _keep(ended[i], _Hypothesis(score, running[i][beam]), beams)
        out.append(max(ended[i], key=lambda h: h.score).tokens if ended[i] else [])
    return out


def _keep(ended: list[_Hypothesis], new: _Hypothesis, beams: int) -> None:
    """Adds a hypothesis; the worst one makes room."""
    ended.append(new)
    if len(ended) > beams:
        ended.remove(min(ended, key=lambda h: h.score))
