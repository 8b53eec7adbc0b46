"""A Transformer from sequence to sequence (Vaswani et al. 2017): encoder, decoder, tables of tokens and positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nonet import nn
from nonet.models.generation import Sampling, beam_search, stream
from nonet.nn import init
from nonet.ops.attention import KeyValueCache, attention
from nonet.ops.creation import arange
from nonet.ops.dropout import dropout
from nonet.ops.index import index_select
from nonet.ops.matmul import linear
from nonet.ops.shape import narrow, reshape
from nonet.tensor import Parameter, Tensor, TensorLike, as_tensor, no_grad

__all__ = ["Translator"]

PAD, START, END = 0, 2, 3


class Translator(nn.Module):
    """Source and target tokens [N, S] and [N, T] -> logits [N, T, target_vocabulary] of the tokens that follow.

    In both vocabularies 0 fills up, 2 begins and 3 ends a text (see `data.WordVocab`). positions: the longest sequence;
    width: of both residual streams; layers: of each stack; inner: of the feed-forward blocks. Layers are normalised
    before their blocks, and the last layer is the targets' table. Errors: ValueError for sizes.
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        positions: int = 64,
        width: int = 128,
        heads: int = 4,
        layers: int = 3,
        inner: int = 512,
        dropout: float = 0.1,
    ):
        sizes = positions, width, heads, layers, inner
        if min(source_vocabulary, target_vocabulary) <= END or min(sizes) < 1 or width % heads:
            raise ValueError(
                "Translator: sizes must be >= 1, width a multiple of heads, vocabularies above 3"
            )
        self.arguments: dict[str, Any] = {
            "source_vocabulary": source_vocabulary,
            "target_vocabulary": target_vocabulary,
            "positions": positions,
            "width": width,
            "heads": heads,
            "layers": layers,
            "inner": inner,
            "dropout": dropout,
        }
        self.rate = dropout
        self.source = nn.Embedding(source_vocabulary, width)
        self.target = nn.Embedding(target_vocabulary, width)
        self.source_places = nn.Embedding(positions, width)
        self.target_places = nn.Embedding(positions, width)
        self.transformer = nn.Transformer(
            width, heads, layers, layers, inner, dropout, batch_first=True, norm_first=True
        )
        self.bias = Parameter(np.zeros(target_vocabulary, np.float32))
        for table in (self.source, self.target, self.source_places, self.target_places):
            init.normal_(table.weight, std=width**-0.5)

    def _embed(self, ids: Tensor, table: nn.Embedding, places: nn.Embedding, first: int = 0) -> Tensor:
        if ids.ndim != 2:
            raise ValueError(f"tokens must have shape [N, T], got {list(ids.shape)}")
        if first + ids.shape[1] > self.arguments["positions"]:
            raise ValueError(
                f"a sequence has at most {self.arguments['positions']} positions, got {first + ids.shape[1]}"
            )
        at = arange(first, first + ids.shape[1], device=ids.device)
        x = table(ids) * self.arguments["width"] ** 0.5 + places(at)
        return dropout(x, self.rate, self.training)

    def encode(self, source: TensorLike) -> tuple[Tensor, Tensor]:
        """(features [N, S, width], which tokens fill up [N, S])"""
        t = as_tensor(source, device=self.bias.device)
        filler = t == PAD
        x = self._embed(t, self.source, self.source_places)
        return self.transformer.encoder(x, src_key_padding_mask=filler), filler

    def forward(self, source: TensorLike, target: TensorLike) -> Tensor:
        memory, filler = self.encode(source)
        t = as_tensor(target, device=self.bias.device)
        x = self._embed(t, self.target, self.target_places)
        x = self.transformer.decoder(x, memory, memory_key_padding_mask=filler, tgt_is_causal=True)
        return linear(x, self.target.weight, self.bias)

    def example(self, shape: Sequence[int]) -> tuple[np.ndarray, ...]:
        codes = np.ones(tuple(shape), np.int64)
        return codes, codes

    def generate(
        self,
        source: TensorLike,
        length: int,
        beams: int = 1,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> np.ndarray:
        """Targets of sources [N, S]: int64 [N, at most length], filled up with 0.

        The likeliest token at each place, or with sampling a drawn one, or with beams > 1 what `beam_search` finds.
        """
        length = min(length, self.arguments["positions"] - 1)
        training = self.training
        self.eval()
        try:
            step, reorder = self._decoding(source, beams, length)
            start = np.full((as_tensor(source).shape[0], 1), START, np.int64)
            if beams > 1:
                found = beam_search(step, reorder, start, beams, length, END)
            else:
                rows = list(stream(step, start, length, sampling or Sampling(0.0), seed, END, PAD))
                found = np.stack(rows, axis=1).tolist() if rows else [[] for _ in start]
        finally:
            self.train(training)
        out = np.zeros((len(found), max(map(len, found), default=0)), np.int64)
        for row, tokens in zip(out, found, strict=True):
            row[: len(tokens)] = tokens
        return out

    def _decoding(self, source: TensorLike, copies: int, length: int) -> Any:
        """(step, reorder) of generation.py for `copies` of every source in a row."""
        decoder: Any = self.transformer.decoder
        a, layers = self.arguments, decoder.layers
        count = as_tensor(source).shape[0] * copies
        rows = as_tensor(np.repeat(np.arange(count // copies), copies), device=self.bias.device)
        with no_grad():
            memory, filler = self.encode(source)
            memory, filler = index_select(memory, 0, rows), index_select(filler, 0, rows)
            seen = reshape(filler == 0, (count, 1, 1, filler.shape[1]))
            memories = [self._memory(layer, memory) for layer in layers]
        caches = [
            KeyValueCache(count, a["heads"], length, a["width"] // a["heads"], device=self.bias.device)
            for _ in layers
        ]

        def step(new: np.ndarray) -> np.ndarray:
            with no_grad():
                t = as_tensor(new, device=self.bias.device)
                x = self._embed(t, self.target, self.target_places, caches[0].length)
                for layer, cache, pair in zip(layers, caches, memories, strict=True):
                    x = self._layer(layer, x, cache, pair, seen)
                logits = linear(decoder.norm(x)[:, -1], self.target.weight, self.bias)
            return np.asarray(logits.to("float32").cpu())

        def reorder(order: np.ndarray) -> None:
            if (order != np.arange(len(order))).any():
                for cache in caches:
                    cache.select(order)

        return step, reorder

    def _memory(self, layer: Any, memory: Tensor) -> Tensor:
        """Keys and values of the encoder's result, side by side."""
        n, attn = self.arguments["width"], layer.multihead_attn
        return linear(
            memory, narrow(attn.in_proj_weight, 0, n, 2 * n), narrow(attn.in_proj_bias, 0, n, 2 * n)
        )

    def _layer(self, layer: Any, x: Tensor, cache: KeyValueCache, memory: Tensor, seen: Tensor) -> Tensor:
        """A decoder layer on the positions behind those in the cache."""
        n, heads = self.arguments["width"], self.arguments["heads"]
        own, other = layer.self_attn, layer.multihead_attn
        packed = linear(layer.norm1(x), own.in_proj_weight, own.in_proj_bias)
        cache.append(packed, packed, n, 2 * n)
        x = x + own.out_proj(cache.attend(packed, heads))
        q = linear(layer.norm2(x), narrow(other.in_proj_weight, 0, 0, n), narrow(other.in_proj_bias, 0, 0, n))
        x = x + other.out_proj(attention(q, memory, heads=heads, mask=seen))
        return x + layer.linear2(layer.linear1(layer.norm3(x)).relu())
