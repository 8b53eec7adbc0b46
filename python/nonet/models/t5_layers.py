"""The layers of a T5 (see t5.py): attention with biases by distance, feed-forward blocks, stacks of both."""

from __future__ import annotations

from typing import Any

import numpy as np

from nonet import nn
from nonet.ops.attention import KeyValueCache, attention
from nonet.ops.dropout import dropout
from nonet.ops.shape import permute, reshape
from nonet.ops.unary import cast
from nonet.tensor import Tensor

__all__ = ["FORMS", "Stack", "distance_buckets"]

FORMS = ("relu", "gated-gelu")


def distance_buckets(
    queries: int, keys: int, first: int, buckets: int, most: int, both_ways: bool
) -> np.ndarray:
    """Which bias a query at first + i has for a key at j: int64 [queries, keys] (Raffel et al., section 2.1).

    Half of the buckets are for single distances, the rest for ranges that grow up to `most`; both ways: half of all for
    keys behind the query.
    """
    distance = np.arange(keys)[None] - (first + np.arange(queries))[:, None]
    out = np.zeros_like(distance)
    if both_ways:
        buckets //= 2
        out += (distance > 0) * buckets
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    single = buckets // 2
    far = np.maximum(distance, 1).astype(np.float32) / np.float32(single)
    ranges = np.log(far) / np.float32(np.log(most / single)) * np.float32(buckets - single)
    large = np.minimum(single + ranges.astype(np.int64), buckets - 1)
    return out + np.where(distance < single, distance, large)


class _Attention(nn.Module):
    """Attention without biases and without a scale; the first layer's has a table of distances."""

    def __init__(
        self,
        width: int,
        heads: int,
        size: int,
        rate: float,
        buckets: int,
        most: int,
        both_ways: bool,
        table: bool,
    ):
        self.heads, self.size, self.rate = heads, size, rate
        self.buckets, self.most, self.both_ways = buckets, most, both_ways
        self.q = nn.Linear(width, heads * size, bias=False)
        self.k = nn.Linear(width, heads * size, bias=False)
        self.v = nn.Linear(width, heads * size, bias=False)
        self.o = nn.Linear(heads * size, width, bias=False)
        self.relative_attention_bias = nn.Embedding(buckets, heads) if table else None

    def bias(self, queries: int, keys: int, first: int = 0) -> Tensor:
        """[1, heads, queries, keys], for queries from position `first` on."""
        table = self.relative_attention_bias
        assert table is not None
        places = distance_buckets(queries, keys, first, self.buckets, self.most, self.both_ways)
        rows = cast(table(places), "float32")
        return reshape(permute(rows, (2, 0, 1)), (1, self.heads, queries, keys))

    def forward(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor] | None,
        bias: Tensor | None,
        seen: Tensor | None,
        causal: bool,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """memory: keys and values of another sequence. cache: of the positions before x."""
        q = self.q(x)
        if cache is not None:
            cache.append(self.k(x), self.v(x))
            return self.o(cache.attend(q, self.heads, bias=bias, scale=1.0))
        k, v = (self.k(x), self.v(x)) if memory is None else memory
        rate = self.rate if self.training else 0.0
        mixed = attention(
            q, k, v, heads=self.heads, bias=bias, mask=seen, causal=causal, dropout=rate, scale=1.0
        )
        return self.o(mixed)

    def own_macs(self, args: tuple[Any, ...], output: Tensor) -> int:
        keys = output.shape[1] if args[1] is None else args[1][0].shape[1]
        return 2 * output.shape[0] * output.shape[1] * keys * self.heads * self.size


class _SelfAttention(nn.Module):
    def __init__(self, width: int, eps: float, **sizes: Any):
        self.SelfAttention = _Attention(width, **sizes)
        self.layer_norm = nn.RMSNorm(width, eps)


class _CrossAttention(nn.Module):
    def __init__(self, width: int, eps: float, **sizes: Any):
        self.EncDecAttention = _Attention(width, **{**sizes, "table": False})
        self.layer_norm = nn.RMSNorm(width, eps)


class _Dense(nn.Module):
    def __init__(self, width: int, inner: int, form: str, rate: float):
        self.rate = rate
        if form == "relu":
            self.wi = nn.Linear(width, inner, bias=False)
        else:
            self.wi_0 = nn.Linear(width, inner, bias=False)
            self.wi_1 = nn.Linear(width, inner, bias=False)
        self.wo = nn.Linear(inner, width, bias=False)
        self.gated = form != "relu"

    def forward(self, x: Tensor) -> Tensor:
        if self.gated:
            hidden = self.wi_0(x, "gelu_tanh") * self.wi_1(x)
        else:
            hidden = self.wi(x, "relu")
        return self.wo(dropout(hidden, self.rate, self.training))


class _FeedForward(nn.Module):
    def __init__(self, width: int, inner: int, form: str, rate: float, eps: float):
        self.DenseReluDense = _Dense(width, inner, form, rate)
        self.layer_norm = nn.RMSNorm(width, eps)


class _Block(nn.Module):
    def __init__(self, decoder: bool, width: int, inner: int, form: str, eps: float, **sizes: Any):
        parts: list[nn.Module] = [_SelfAttention(width, eps, **sizes)]
        if decoder:
            parts.append(_CrossAttention(width, eps, **sizes))
        parts.append(_FeedForward(width, inner, form, sizes["rate"], eps))
        self.layer = nn.ModuleList(parts)
        self.rate = sizes["rate"]

    def forward(
        self,
        branch: Tensor | None,
        x: Tensor,
        bias: Tensor,
        seen: Tensor | None,
        memory: tuple[Tensor, Tensor] | None = None,
        memory_seen: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(what is to be added to the stream x, the stream): the next norm adds them in its own pass."""
        decoder = len(self.layer) == 3
        first: Any = self.layer[0]
        if branch is None:
            normal = first.layer_norm(x)
        else:
            x, normal = first.layer_norm(branch, x)
        branch = self._drop(first.SelfAttention(normal, None, bias, seen, decoder, cache))
        if decoder:
            second: Any = self.layer[1]
            x, normal = second.layer_norm(branch, x)
            branch = self._drop(second.EncDecAttention(normal, memory, None, memory_seen, False))
        last: Any = self.layer[len(self.layer) - 1]
        x, normal = last.layer_norm(branch, x)
        return self._drop(last.DenseReluDense(normal)), x

    def memory(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values that the decoder's queries look at."""
        second: Any = self.layer[1]
        return second.EncDecAttention.k(encoded), second.EncDecAttention.v(encoded)

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.rate, self.training)


class Stack(nn.Module):
    def __init__(self, decoder: bool, layers: int, width: int, eps: float, **sizes: Any):
        blocks = [
            _Block(decoder, width, eps=eps, both_ways=not decoder, table=i == 0, **sizes)
            for i in range(layers)
        ]
        self.block = nn.ModuleList(blocks)
        self.final_layer_norm = nn.RMSNorm(width, eps)
        self.rate = sizes["rate"]

    def bias(self, queries: int, keys: int, first: int = 0) -> Tensor:
        head: Any = self.block[0]
        return head.layer[0].SelfAttention.bias(queries, keys, first)

    def forward(
        self,
        x: Tensor,
        seen: Tensor | None,
        memories: list[tuple[Tensor, Tensor]] | None = None,
        memory_seen: Tensor | None = None,
        caches: list[KeyValueCache] | None = None,
    ) -> Tensor:
        first = 0 if caches is None else caches[0].length
        bias = self.bias(x.shape[1], first + x.shape[1], first)
        x = dropout(x, self.rate, self.training)
        branch: Tensor | None = None
        for i, block in enumerate(self.block):
            branch, x = block(
                branch,
                x,
                bias,
                seen,
                None if memories is None else memories[i],
                memory_seen,
                None if caches is None else caches[i],
            )
        return dropout(self.final_layer_norm(branch, x)[1], self.rate, self.training)
