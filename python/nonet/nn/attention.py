"""Multi-head attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nonet.nn import init
from nonet.nn.linear import Linear
from nonet.nn.module import Module
from nonet.ops.attention import attention
from nonet.ops.compare import logical_and, logical_not, ne
from nonet.ops.creation import empty, zeros
from nonet.ops.dropout import dropout
from nonet.ops.elementwise import where
from nonet.ops.join import cat
from nonet.ops.matmul import linear, matmul_flags
from nonet.ops.reduce import mean
from nonet.ops.shape import expand, narrow, permute, reshape, squeeze, unsqueeze
from nonet.ops.softmax import softmax
from nonet.tensor import DTypeLike, Parameter, Tensor, TensorLike, as_tensor

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """W_o [head_1 … head_h], head_i = softmax(q_i k_i^T / sqrt(E / h) + mask) v_i of linear maps of the inputs
    (Vaswani et al. 2017).

    query: [L, N, E], key: [S, N, kdim], value: [S, N, vdim]; with batch_first [N, L, E] …; without a batch [L, E] …
    -> (output like query, weights [N, L, S] averaged over heads, [N, num_heads, L, S] unless average_attn_weights, or
    None unless need_weights). key_padding_mask [N, S] and attn_mask [L, S] or [N · num_heads, L, S]: True is left out;
    floating masks are added. is_causal: position i sees 0 to i, whether or not attn_mask says so. add_bias_kv appends a
    learnt key and value, add_zero_attn zeros. A query that may see nothing gives the bias of out_proj.
    Weights take the matrix of all pairs: ask with need_weights=False where they are not used.
    Errors: ValueError for sizes and shapes.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"MultiheadAttention: embed_dim and num_heads must be > 0, got {embed_dim} and {num_heads}"
            )
        if embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: embed_dim must be a multiple of num_heads, got {embed_dim} and {num_heads}"
            )
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.add_zero_attn = add_zero_attn
        kind = dtype or "float32"

        def parameter(*shape: int) -> Parameter:
            return Parameter(empty(*shape, dtype=kind, device=device))

        self.in_proj_weight = self.q_proj_weight = self.k_proj_weight = self.v_proj_weight = None
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = parameter(3 * embed_dim, embed_dim)
        else:
            self.q_proj_weight = parameter(embed_dim, embed_dim)
            self.k_proj_weight = parameter(embed_dim, self.kdim)
            self.v_proj_weight = parameter(embed_dim, self.vdim)
        self.in_proj_bias = parameter(3 * embed_dim) if bias else None
        self.bias_k = parameter(1, 1, embed_dim) if add_bias_kv else None
        self.bias_v = parameter(1, 1, embed_dim) if add_bias_kv else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None and self.out_proj.bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query: TensorLike,
        key: TensorLike,
        value: TensorLike,
        key_padding_mask: TensorLike | None = None,
        need_weights: bool = True,
        attn_mask: TensorLike | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        q, k, v = as_tensor(query), as_tensor(key), as_tensor(value)
        self._check(q, k, v)
        batched = q.ndim == 3
        if not batched:
            axis = 0 if self.batch_first else 1
            same = k is q, v is k
            q = unsqueeze(q, axis)
            k = q if same[0] else unsqueeze(k, axis)
            v = k if same[1] else unsqueeze(v, axis)
        at, on = (0, 1) if self.batch_first else (1, 0)
        batch, queries, keys = q.shape[at], q.shape[on], k.shape[on]
        seen, bias = self._masks(key_padding_mask, attn_mask, batch, queries, keys, q.device)
        parts = self._project(q, k, v)
        added = (self.bias_k is not None) + self.add_zero_attn
        if added:
            parts = self._extend(parts, batch)
            seen, bias = _visible_rest(seen, added, True), _visible_rest(bias, added, 0.0)
        rate = self.dropout if self.training else 0.0
        weights = None
        if need_weights or (is_causal and added):
            seen = _causal(seen, queries, keys, added, q.device) if is_causal else seen
            out, weights = self._with_weights(parts, seen, bias, rate)
        else:
            shift_fits = not is_causal or queries == keys
            if not shift_fits:
                seen = _causal(seen, queries, keys, 0, q.device)
            out = attention(
                *parts,
                heads=self.num_heads,
                mask=seen,
                bias=bias,
                causal=is_causal and shift_fits,
                dropout=rate,
                batch_first=self.batch_first,
            )
        out = self.out_proj(out)
        if not batched:
            out = squeeze(out, at)
        if weights is None or not need_weights:
            return out, None
        weights = mean(weights, 1) if average_attn_weights else weights
        return out, weights if batched else squeeze(weights, 0)

    def _check(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        if q.ndim not in (2, 3):
            raise ValueError(f"query must have 2 or 3 axes, got shape {list(q.shape)}")
        for name, t, size in (("query", q, self.embed_dim), ("key", k, self.kdim), ("value", v, self.vdim)):
            if t.ndim != q.ndim or t.shape[-1] != size:
                raise ValueError(
                    f"{name} must have {q.ndim} axes, the last of size {size}, got shape {list(t.shape)}"
                )
        at = 0 if self.batch_first else 1
        if k.shape[:-1] != v.shape[:-1] or (q.ndim == 3 and q.shape[at] != k.shape[at]):
            raise ValueError(
                "key and value must have one length, and one batch size with query, got shapes "
                f"{list(q.shape)}, {list(k.shape)} and {list(v.shape)}"
            )

    def _project(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """(q, k, v), (q, kv) or (qkv,): the fewest products."""
        n, weight, bias = self.embed_dim, self.in_proj_weight, self.in_proj_bias
        if weight is not None and q is k and k is v:
            return (linear(q, weight, bias),)

        def rows(first: int, count: int) -> tuple[Tensor | None, Tensor | None]:
            w = None if weight is None else narrow(weight, 0, first * n, count * n)
            return w, None if bias is None else narrow(bias, 0, first * n, count * n)

        if weight is not None and k is v:
            (wq, bq), (wkv, bkv) = rows(0, 1), rows(1, 2)
            assert wq is not None and wkv is not None
            return linear(q, wq, bq), linear(k, wkv, bkv)
        out = []
        own = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        for i, x in enumerate((q, k, v)):
            w, b = rows(i, 1)
            w = own[i] if w is None else w
            assert w is not None
            out.append(linear(x, w, b))
        return tuple(out)

    def _separate(self, parts: tuple[Tensor, ...]) -> list[Tensor]:
        n = self.embed_dim
        columns = [(t, i * n) for t in parts for i in range(t.shape[2] // n)]
        return [t if t.shape[2] == n else narrow(t, 2, first, n) for t, first in columns]

    def _extend(self, parts: tuple[Tensor, ...], batch: int) -> tuple[Tensor, ...]:
        """bias_k and bias_v, then zeros, behind the keys and values."""
        q, k, v = self._separate(parts)
        shape = (batch, 1, self.embed_dim) if self.batch_first else (1, batch, self.embed_dim)
        on = 1 if self.batch_first else 0
        if self.bias_k is not None and self.bias_v is not None:
            k, v = cat([k, expand(self.bias_k, shape)], on), cat([v, expand(self.bias_v, shape)], on)
        if self.add_zero_attn:
            rest = zeros(shape, dtype=k.dtype, device=k.device)
            k, v = cat([k, rest], on), cat([v, rest], on)
        return q, k, v

    def _masks(
        self,
        padding: TensorLike | None,
        mask: TensorLike | None,
        batch: int,
        queries: int,
        keys: int,
        device: str,
    ) -> tuple[Tensor | None, Tensor | None]:
        """(seen, bias) that broadcast to [N, heads, L, S]."""
        seen: Tensor | None = None
        bias: Tensor | None = None
        given = []
        if padding is not None:
            t = as_tensor(padding, device=device)
            want = (batch, keys)
            if t.shape != want and t.shape != want[1:]:
                raise ValueError(
                    f"key_padding_mask must have shape [N, S] = {list(want)}, got {list(t.shape)}"
                )
            given.append((t, (t.numel() // keys if keys else 1, 1, 1, keys)))
        if mask is not None:
            t = as_tensor(mask, device=device)
            if t.ndim == 2 and t.shape == (queries, keys):
                given.append((t, (1, 1, queries, keys)))
            elif t.shape == (batch * self.num_heads, queries, keys):
                given.append((t, (batch, self.num_heads, queries, keys)))
            else:
                raise ValueError(
                    f"attn_mask must have shape [L, S] = {[queries, keys]} or [N · num_heads, L, S] = "
                    f"{[batch * self.num_heads, queries, keys]}, got {list(t.shape)}"
                )
        for t, shape in given:
            t = reshape(t, shape)
            if t.dtype == "bool":
                t = logical_not(t)
                seen = t if seen is None else logical_and(seen, t)
            elif t.dtype in ("float32", "bfloat16"):
                bias = t if bias is None else bias + t
            else:
                raise TypeError(f"masks must be bool or floating, got {t.dtype}")
        return seen, bias

    def _with_weights(
        self, parts: tuple[Tensor, ...], seen: Tensor | None, bias: Tensor | None, rate: float
    ) -> tuple[Tensor, Tensor]:
        """(output like query, probabilities [N, heads, L, S])."""

        def heads(t: Tensor) -> Tensor:
            t = reshape(t, (*t.shape[:2], self.num_heads, self.head_dim))
            return permute(t, (0, 2, 1, 3) if self.batch_first else (1, 2, 0, 3))

        q, k, v = (heads(t) for t in self._separate(parts))
        scores = matmul_flags(q * (1 / math.sqrt(self.head_dim)), k, False, True)
        if bias is not None:
            finite = ne(bias, -math.inf)
            scores = scores + where(finite, bias, 0.0)
            seen = finite if seen is None else logical_and(seen, finite)
        if seen is None:
            weights = softmax(scores, -1)
        else:  # a row that sees nothing is zeros
            weights = where(seen, softmax(where(seen, scores, -1e30), -1), 0.0)
        weights = dropout(weights, rate)
        out = permute(
            matmul_flags(weights, v, False, False), (0, 2, 1, 3) if self.batch_first else (2, 0, 1, 3)
        )
        return reshape(out, (*out.shape[:2], self.embed_dim)), weights

    def own_macs(self, args: tuple[Any, ...], output: Tensor) -> int:
        """Of one forward pass, without out_proj: the maps of the inputs, scores and mixtures."""
        q, k, v = (as_tensor(x) for x in args[:3])
        n = self.embed_dim
        keys = k.shape[1 if self.batch_first and k.ndim == 3 else 0]
        return q.numel() * n + k.numel() * n + v.numel() * n + 2 * q.numel() * keys

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, batch_first={self.batch_first}"


def _visible_rest(mask: Tensor | None, count: int, value: bool | float) -> Tensor | None:
    """A mask with columns for what was appended to the keys."""
    if mask is None:
        return None
    rest = np.full((*mask.shape[:3], count), value, bool if value is True else np.float32)
    return cat([mask, as_tensor(rest, dtype=mask.dtype, device=mask.device)], 3)


def _causal(seen: Tensor | None, queries: int, keys: int, added: int, device: str) -> Tensor:
    below = np.concatenate([np.tri(queries, keys, dtype=bool), np.ones((queries, added), bool)], axis=1)
    mask = as_tensor(below.reshape(1, 1, queries, keys + added), device=device)
    return mask if seen is None else logical_and(seen, mask)
