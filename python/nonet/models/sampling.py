"""From logits to codes: random draws, and beam search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def sample(
    logits: np.ndarray,
    rng: np.random.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> np.ndarray:
    """Codes int64 [B] drawn from softmax(logits / temperature) [B, V]; temperature 0 takes the largest, the first of
    equal ones.

    top_k: only the k likeliest codes; top_p: only the likeliest ones whose sum first reaches p (Holtzman et al., "The
    curious case of neural text degeneration", 2020). ValueError for values out of range.
    """
    if temperature < 0:
        raise ValueError(f"sample: temperature must be at least 0, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"sample: top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"sample: top_p must be in (0, 1], got {top_p}")
    values = np.asarray(logits, np.float64)
    if temperature == 0:
        return np.argmax(values, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    sorted_values = np.take_along_axis(values, order, 1) / temperature
    chances = np.exp(sorted_values - sorted_values[:, :1])
    if top_k is not None:
        chances[:, top_k:] = 0
    sums = np.cumsum(chances, axis=1)
    if top_p is not None:
        chances[sums - chances >= top_p * sums[:, -1:]] = 0
        sums = np.cumsum(chances, axis=1)
    drawn = rng.random((len(values), 1)) * sums[:, -1:]
    place = np.minimum((sums <= drawn).sum(axis=1), np.count_nonzero(chances, axis=1) - 1)
    return np.take_along_axis(order, place[:, None], 1)[:, 0]


def beam_search(
    advance: Callable[[np.ndarray, Any], tuple[np.ndarray, Any]],
    select: Callable[[Any, np.ndarray], Any],
    state: Any,
    batch: int,
    *,
    begin: int,
    end: int,
    beam: int = 5,
    longest: int = 100,
    length_penalty: float = 1.0,
) -> list[list[int]]:
    """The best code sequence, without begin and end, of each of `batch` searches.

    advance(codes [N], state) -> (log probabilities [N, V], state); select(state, rows [N]) -> the state of these rows.
    `state` has a row per search at first, batch * beam afterwards. In each step those of the `beam` likeliest texts
    that end are finished, and the `beam` likeliest that do not go on. A finished one is judged by the sum of its log
    probabilities over its length, end included, to the power `length_penalty` (0: the sum itself). A search is over
    when the best finished text is better than all open ones are by the same measure, or after `longest` codes. beam 1
    is greedy decoding.
    """
    if beam < 1:
        raise ValueError(f"beam_search: beam must be at least 1, got {beam}")
    state = select(state, np.repeat(np.arange(batch), beam))
    scores = np.full((batch, beam), -np.inf)
    scores[:, 0] = 0  # all of them are the same as yet
    codes = np.full(batch * beam, begin, np.int64)
    texts = np.zeros((batch, beam, 0), np.int64)
    best: list[tuple[float, list[int]]] = [(-np.inf, []) for _ in range(batch)]
    open_ = np.ones(batch, bool)
    for length in range(1, longest + 1):
        found, state = advance(codes, state)
        size = found.shape[1]
        flat = (scores[:, :, None] + found.reshape(batch, beam, size)).reshape(batch, -1)
        width = min(2 * beam, flat.shape[1])
        top = np.argpartition(-flat, width - 1, axis=1)[:, :width]
        top = np.take_along_axis(top, np.argsort(-np.take_along_axis(flat, top, 1), axis=1, kind="stable"), 1)
        ends = top % size == end
        for i, j in np.argwhere(ends[:, :beam] & open_[:, None]):
            score = float(flat[i, top[i, j]] / length**length_penalty)
            if score > best[i][0]:
                best[i] = score, texts[i, top[i, j] // size].tolist()
        # The first `beam` of those that go on.
        kept = np.argsort(ends, axis=1, kind="stable")[:, :beam]
        top = np.take_along_axis(top, kept, 1)
        scores = np.where(top % size == end, -np.inf, np.take_along_axis(flat, top, 1))
        parent, new = top // size, top % size
        texts = np.concatenate([np.take_along_axis(texts, parent[:, :, None], 1), new[:, :, None]], axis=2)
        open_ &= scores[:, 0] / length**length_penalty > np.array([score for score, _ in best])
        if not open_.any():
            break
        state = select(state, (np.arange(batch)[:, None] * beam + parent).reshape(-1))
        codes = new.reshape(-1)
    for i in range(batch):
        if best[i][0] == -np.inf:  # nothing ended in time
            best[i] = float(scores[i, 0]), texts[i, 0].tolist()
    return [text for _, text in best]
