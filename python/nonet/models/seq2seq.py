"""Encoder and decoder of recurrent layers with attention: one sequence of codes to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nonet import nn
from nonet.models.generation import beam_search
from nonet.models.recurrent import layers_of, step_mask
from nonet.ops.index import index_select
from nonet.ops.join import cat
from nonet.ops.matmul import matmul
from nonet.ops.softmax import softmax
from nonet.ops.unary import tanh
from nonet.tensor import Tensor, TensorLike, as_tensor, no_grad


class AdditiveAttention(nn.Module):
    """Which steps of a memory [B, S, M] each query [B, T, Q] looks at: scores v . tanh(W q + U m) (Bahdanau, Cho,
    Bengio, "Neural machine translation by jointly learning to align and translate", 2015). Parameters query, memory,
    score."""

    def __init__(self, query: int, memory: int, size: int) -> None:
        self.query = nn.Linear(query, size, bias=False)
        self.memory = nn.Linear(memory, size)
        self.score = nn.Linear(size, 1, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        """What is computed of the memory once, whatever the queries."""
        return self.memory(memory)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores [B, T, S]."""
        batch, steps, _ = query.shape
        both = self.query(query).reshape(batch, steps, 1, -1) + keys.reshape(batch, 1, *keys.shape[1:])
        return self.score(tanh(both)).reshape(batch, steps, keys.shape[1])


class DotAttention(nn.Module):
    """Scores q . W m / sqrt(Q) (Luong, Pham, Manning, "Effective approaches to attention-based neural machine
    translation", 2015, "general"; scaled as by Vaswani et al. 2017). Parameter memory."""

    def __init__(self, query: int, memory: int, size: int = 0) -> None:
        self.memory = nn.Linear(memory, query, bias=False)
        self.scale = query**-0.5

    def keys(self, memory: Tensor) -> Tensor:
        return self.memory(memory)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        return matmul(query, keys.transpose(1, 2)) * self.scale


ATTENTIONS: dict[str, Any] = {"bahdanau": AdditiveAttention, "dot": DotAttention}


class Seq2Seq(nn.Module):
    """Codes [B, S] of one vocabulary to logits [B, T, target_vocabulary] of another (Sutskever et al. 2014, with the
    attention of Bahdanau et al. or of Luong et al.).

    A bidirectional `encoder` reads the source. The first layers of the decoder, `reader`, read what was written so far
    and ask: their output, with the steps of the encoder that `attention` ("bahdanau" or "dot") weighs by it, goes to
    `writer`, one more recurrent layer, whose output, again with what was attended to and the last code's embedding,
    makes the logits, through the transposed embedding. So a whole target takes one call of each part (the arrangement
    is that of Wu et al., "Google's neural machine translation system", 2016). ValueError for arguments.

    forward(source, lengths, target): teacher forcing; target [B, T] begins with the code for begin, and the logits are
    of what follows each of its codes. Code 0 is padding. `translate` searches.
    """

    pad, begin, end = 0, 2, 3  # those of nonet.data.WordVocab

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        embed: int = 256,
        hidden: int = 256,
        layers: int = 1,
        cell: str = "lstm",
        attention: str = "bahdanau",
        dropout: float = 0.3,
    ) -> None:
        self.arguments: dict[str, Any] = {
            "source_vocabulary": source_vocabulary,
            "target_vocabulary": target_vocabulary,
            "embed": embed,
            "hidden": hidden,
            "layers": layers,
            "cell": cell,
            "attention": attention,
            "dropout": dropout,
        }
        if attention not in ATTENTIONS:
            raise ValueError(f"Seq2Seq: attention must be one of {', '.join(ATTENTIONS)}, got {attention!r}")
        self.layers, self.hidden, self.pair = layers, hidden, cell == "lstm"
        self.source_embedding = nn.Embedding(source_vocabulary, embed)
        self.target_embedding = nn.Embedding(target_vocabulary, embed)
        nn.init.normal_(self.source_embedding.weight, std=embed**-0.5)
        nn.init.normal_(self.target_embedding.weight, std=embed**-0.5)
        self.encoder = layers_of("Seq2Seq", cell, embed, hidden, layers, dropout, True)
        self.bridge = nn.Linear(2 * hidden, hidden * (2 if self.pair else 1))
        self.reader = layers_of("Seq2Seq", cell, embed, hidden, layers, dropout)
        self.attention = ATTENTIONS[attention](hidden, 2 * hidden, hidden)
        self.writer = layers_of("Seq2Seq", cell, 3 * hidden, hidden)
        self.readout = nn.Linear(3 * hidden + embed, embed)
        self.drop = nn.Dropout(dropout)
        self.bias = nn.Parameter(np.zeros(target_vocabulary, np.float32))

    def forward(self, source: TensorLike, lengths: TensorLike, target: TensorLike) -> Tensor:
        memory, states = self._encode(as_tensor(source), lengths)
        logits, _ = self._decode(as_tensor(target), memory, states)
        return logits

    def _encode(self, source: Tensor, lengths: TensorLike) -> tuple[Any, Any]:
        """(what the decoder attends to, the states of its recurrent layers)."""
        out, last = self.encoder(self.drop(self.source_embedding(source)), lengths=lengths)
        final = last[0] if self.pair else last
        # The last layer's two directions, of which the decoder's states are made.
        size = final.shape[0]
        start = tanh(self.bridge(cat([final[size - 2], final[size - 1]], 1)))
        parts = [start[:, : self.hidden], start[:, self.hidden :]] if self.pair else [start]
        one = [part.reshape(1, *part.shape) for part in parts]
        reader = [cat([part] * self.layers, 0) for part in one]
        mask = (step_mask(lengths, source.shape[1])[:, None] - 1) * np.float32(1e9)
        memory = (out, self.attention.keys(out), as_tensor(mask, device=source.device))
        return memory, (tuple(reader), tuple(one))

    def _decode(self, target: Tensor, memory: Any, states: Any) -> tuple[Tensor, Any]:
        out, keys, mask = memory
        embedded = self.drop(self.target_embedding(target))
        asked, reader = self.reader(embedded, self._given(states[0]))
        weights = softmax(self.attention(asked, keys) + mask, 2)
        seen = matmul(weights, out)
        written, writer = self.writer(cat([self.drop(asked), seen], 2), self._given(states[1]))
        last = self.drop(tanh(self.readout(cat([written, seen, embedded], 2))))
        logits = nn.functional.linear(last, self.target_embedding.weight, self.bias)
        return logits, (self._taken(reader), self._taken(writer))

    def _given(self, state: tuple[Tensor, ...]) -> Any:
        return state if self.pair else state[0]

    def _taken(self, state: Any) -> tuple[Tensor, ...]:
        return state if self.pair else (state,)

    def translate(
        self,
        source: TensorLike,
        lengths: TensorLike,
        beam: int = 5,
        longest: int = 60,
        length_penalty: float = 1.0,
    ) -> list[list[int]]:
        """The codes of the likeliest targets found for each source [B, S], without begin and end; see `beam_search`."""
        with no_grad():
            memory, states = self._encode(as_tensor(source), lengths)

            batch = memory[0].shape[0]
            sources = np.repeat(np.arange(batch), beam)
            kept = tuple(index_select(t, 0, sources) for t in memory)
            layers = tuple(tuple(index_select(t, 1, sources) for t in part) for part in states)

            def step(codes: np.ndarray) -> np.ndarray:
                nonlocal layers
                logits, layers = self._decode(as_tensor(codes, device=memory[0].device), kept, layers)
                out = np.array(logits[:, 0].float().cpu())
                out[:, [self.pad, self.begin]] = -np.inf
                return out

            def reorder(rows: np.ndarray) -> None:  # of one source each: what is kept of it stays
                nonlocal layers
                layers = tuple(tuple(index_select(t, 1, rows) for t in part) for part in layers)

            start = np.full((batch, 1), self.begin, np.int64)
            found = beam_search(step, reorder, start, beam, longest, self.end, length_penalty)
            return [codes[:-1] if codes and codes[-1] == self.end else codes for codes in found]

    def example(self, shape: Sequence[int]) -> tuple[np.ndarray, ...]:
        codes = np.zeros(tuple(shape), np.int64)
        return codes, np.full(shape[0], shape[1], np.int64), codes
