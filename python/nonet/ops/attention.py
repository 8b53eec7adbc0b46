"""Scaled dot-product attention (Vaswani et al. 2017) in one pass, without a matrix of all pairs in memory.

Heads are read where they lie: `attention` takes what a linear layer gives, packed or not, and writes what the next one
takes. A query that sees no key gives 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nonet import _core
from nonet._core import Array, Generator
from nonet.ops.index import index_select
from nonet.ops.precision import Current, narrowed
from nonet.ops.random import default_generator
from nonet.ops.shape import expand, reshape
from nonet.ops.unary import cast
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, as_tensors, record

__all__ = ["KeyValueCache", "attention", "scaled_dot_product_attention"]

# Element (b, h, t, 0) of a set of heads is at offset + b * batch + h * head + t * row: these four numbers.
View = tuple[int, int, int, int]


def scaled_dot_product_attention(
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    attn_mask: TensorLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """softmax(scale q k^T + mask) v for every head: query [..., H, L, E], key [..., H, S, E], value [..., H, S, Ev] ->
    [..., H, L, Ev].

    attn_mask: broadcastable to [..., H, L, S]; bool (False: not seen) or floating (added to the scores; gets a
    gradient). is_causal: query i sees keys 0 to i. scale: default 1 / sqrt(E). enable_gqa: key and value may have fewer
    heads, of which H is a multiple; each serves as many neighbouring query heads. dropout_p: of the probabilities.
    Errors: ValueError for shapes and for a mask with is_causal, TypeError for dtypes.
    """
    q, k, v = (narrowed(t) for t in as_tensors(query, key, value))
    op = "scaled_dot_product_attention"
    for name, t, letters in (
        ("query", q, "[..., L, E]"),
        ("key", k, "[..., S, E]"),
        ("value", v, "[..., S, Ev]"),
    ):
        if t.ndim < 2 or t.ndim != q.ndim:
            raise ValueError(
                f"{op}: {name} must have shape {letters} with as many axes as query, got {list(t.shape)}"
            )
    lead, (queries, size), (keys, value_size) = q.shape[:-2], q.shape[-2:], v.shape[-2:]
    kv_lead = k.shape[:-2]
    grouped = enable_gqa and bool(lead) and kv_lead[:-1] == lead[:-1]
    if k.shape[-1] != size or (kv_lead != lead and not grouped):
        raise ValueError(
            f"{op}: key must have shape [..., H, S, E] = {[*lead, keys, size]}, got {list(k.shape)}"
        )
    if v.shape[:-1] != k.shape[:-1]:
        raise ValueError(
            f"{op}: value must have shape [..., H, S, Ev] = {[*k.shape[:-1], value_size]}, got {list(v.shape)}"
        )
    if attn_mask is not None and is_causal:
        raise ValueError(f"{op}: attn_mask and is_causal exclude each other")
    # [N, L, E] has N batches of one head, so that a mask [N, L, S] is one per batch.
    heads, kv_heads = (lead[-1], kv_lead[-1]) if len(lead) > 1 else (1, 1)
    batch = math.prod(lead[:-1]) if len(lead) > 1 else math.prod(lead)
    if (heads or kv_heads) and (kv_heads == 0 or heads % kv_heads):
        raise ValueError(f"{op}: {heads} query heads are no multiple of {kv_heads} key heads")
    bias, mask = _planes(attn_mask, lead, batch, heads, queries, keys, q.device, op)
    views = (
        *_stacked(heads, queries, size),
        *_stacked(kv_heads, keys, size),
        *_stacked(kv_heads, keys, value_size),
        *_stacked(heads, queries, value_size),
    )
    sizes = (batch, heads, kv_heads, queries, keys, size, value_size)
    return attend(
        (q, k, v),
        (0, 1, 2),
        views,
        sizes,
        (*lead, queries, value_size),
        bias,
        mask,
        scale,
        0 if is_causal else None,
        dropout_p,
        generator,
    )


def attention(
    query: TensorLike,
    key: TensorLike | None = None,
    value: TensorLike | None = None,
    *,
    heads: int,
    kv_heads: int | None = None,
    mask: TensorLike | None = None,
    bias: TensorLike | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    scale: float | None = None,
    batch_first: bool = True,
    generator: Generator | None = None,
) -> Tensor:
    """Attention on rows of heads: query [B, L, heads · E], key [B, S, kv_heads · E], value [B, S, kv_heads · Ev] ->
    [B, L, heads · Ev]; without batch_first [L, B, …].

    Without value, key holds both, [B, S, 2 · kv_heads · E]; without key, query holds all three, in this order. No heads
    are copied. mask: bool, False: not seen; bias: added to the scores, with a gradient; both broadcast to
    [B, heads, L, S]. causal: query i of L sees keys 0 to i + S - L. scale: default 1 / sqrt(E).
    Errors: ValueError for shapes, TypeError for dtypes.
    """
    given = [t for t in (query, key, value) if t is not None]
    inputs = [narrowed(t) for t in as_tensors(*given)]
    kv = heads if kv_heads is None else kv_heads
    if heads < 1 or kv < 1 or heads % kv:
        raise ValueError(
            f"attention: heads must be a positive multiple of kv_heads, got {heads} and {kv_heads}"
        )
    for name, t in zip(("query", "key", "value"), inputs, strict=False):
        if t.ndim != 3:
            raise ValueError(f"attention: {name} must have 3 axes, got shape {list(t.shape)}")
    q, k, v = inputs[0], inputs[-1] if len(inputs) < 3 else inputs[1], inputs[-1]
    at, on = (0, 1) if batch_first else (1, 0)
    # Columns of what each input holds.
    if len(inputs) == 1:
        size, rest = divmod(q.shape[2], heads + 2 * kv)
        value_size, starts = size, (0, heads * size, (heads + kv) * size)
    elif len(inputs) == 2:
        size, rest = divmod(q.shape[2], heads)
        value_size, starts = size, (0, 0, kv * size)
        rest += abs(k.shape[2] - 2 * kv * size)
    else:
        size, rest = divmod(q.shape[2], heads)
        value_size, more = divmod(v.shape[2], kv)
        rest += more + abs(k.shape[2] - kv * size)
        starts = (0, 0, 0)
    batch, queries, keys = q.shape[at], q.shape[on], k.shape[on]
    if rest or any(t.shape[at] != batch for t in inputs) or v.shape[on] != keys:
        shapes = ", ".join(str(list(t.shape)) for t in inputs)
        raise ValueError(f"attention: {heads} heads and {kv} key heads do not fit shapes {shapes}")
    lead = (batch, heads)
    device = q.device
    plane, _ = _planes(bias, lead, batch, heads, queries, keys, device, "attention")
    _, seen = _planes(mask, lead, batch, heads, queries, keys, device, "attention")
    if (bias is not None and plane is None) or (mask is not None and seen is None):
        raise TypeError("attention: mask must be bool and bias floating")
    width = heads * value_size
    views = (
        *_rows(q, starts[0], size, at),
        *_rows(k, starts[1], size, at),
        *_rows(v, starts[2], value_size, at),
        0,
        *((queries * width, value_size, width) if batch_first else (width, value_size, batch * width)),
    )
    sources = (0, len(inputs) // 2, len(inputs) - 1)
    sizes = (batch, heads, kv, queries, keys, size, value_size)
    shape = (batch, queries, width) if batch_first else (queries, batch, width)
    shift = keys - queries if causal else None
    return attend(tuple(inputs), sources, views, sizes, shape, plane, seen, scale, shift, dropout, generator)


class KeyValueCache:
    """Keys and values of the positions so far, of one attention layer: what each new query looks at.

    They lie in [B, kv_heads, capacity, E]; where they end, `length`, moves with each call. Nothing is recorded.
    """

    __slots__ = ("keys", "length", "values")

    def __init__(
        self,
        batch: int,
        kv_heads: int,
        capacity: int,
        size: int,
        value_size: int | None = None,
        dtype: str = "float32",
        device: str = "cpu",
    ):
        self.keys: Array = _core.zeros((batch, kv_heads, capacity, size), dtype, device)
        self.values: Array = _core.zeros((batch, kv_heads, capacity, value_size or size), dtype, device)
        self.length = 0

    def append(self, key: Tensor, value: Tensor, key_start: int = 0, value_start: int = 0) -> None:
        """Puts the heads in columns from key_start and value_start on of [B, T, …] behind those stored.

        Errors: ValueError if they do not fit.
        """
        rows = key.shape[1]
        for t, start, cache in ((key, key_start, self.keys), (value, value_start, self.values)):
            view = _rows(t, start, cache.shape[3], 0)
            _core.attention_store(t.array.to(cache.dtype), view, rows, cache, self.length)
        self.length += rows

    def attend(
        self,
        query: Tensor,
        heads: int,
        *,
        causal: bool = True,
        mask: Array | None = None,
        bias: Tensor | None = None,
        scale: float | None = None,
    ) -> Tensor:
        """Attention of the first heads · E columns of query [B, L, …] on what is stored -> [B, L, heads · Ev].

        causal: the queries are the last L of the stored positions. mask, bias: [B or 1, heads or 1, L or 1, length].
        """
        batch, kv_heads, capacity, size = self.keys.shape
        value_size, queries = self.values.shape[3], query.shape[1]
        width = heads * value_size
        views = (
            *_rows(query, 0, size, 0),
            *_stacked(kv_heads, capacity, size),
            *_stacked(kv_heads, capacity, value_size),
            *(0, queries * width, value_size, width),
        )
        sizes = (batch, heads, kv_heads, queries, self.length, size, value_size)
        inputs = (Tensor(query.array.to(self.keys.dtype)), Tensor(self.keys), Tensor(self.values))
        shift = self.length - queries if causal else None
        return attend(
            inputs, (0, 1, 2), views, sizes, (batch, queries, width), bias, mask, scale, shift, 0.0, None
        )

    def select(self, rows: Any) -> None:
        """Keeps the sequences with these numbers, in this order: [B'] int64."""
        at = as_tensor(rows, device=self.keys.device)
        self.keys = index_select(Tensor(self.keys), 0, at).array
        self.values = index_select(Tensor(self.values), 0, at).array


def _stacked(heads: int, rows: int, size: int) -> View:
    return 0, heads * rows * size, rows * size, size


def _rows(t: Tensor, start: int, size: int, batch_axis: int) -> View:
    """Heads side by side in the last axis of t, from column `start` on."""
    width = t.shape[2]
    far = t.shape[1] * width
    return (start, far, size, width) if batch_axis == 0 else (start, width, size, far)


def _planes(
    mask: TensorLike | None,
    lead: Sequence[int],
    batch: int,
    heads: int,
    queries: int,
    keys: int,
    device: str,
    op: str,
) -> tuple[Tensor | None, Array | None]:
    """A mask that broadcasts to [*lead, L, S] as (bias, None) or (None, seen) of shape [B or 1, H or 1, L or 1, S]."""
    if mask is None:
        return None, None
    t = as_tensor(mask, device=device)
    full = (*lead, queries, keys)
    shape = (1,) * (len(full) - t.ndim) + t.shape
    if len(shape) > len(full) or any(n not in (1, want) for n, want in zip(shape, full, strict=False)):
        raise ValueError(f"{op}: the mask must broadcast to {list(full)}, got {list(t.shape)}")
    ahead, own = (shape[:-3], shape[-3]) if len(lead) > 1 else (shape[:-2], 1)
    if math.prod(ahead) not in (1, batch):  # broadcast in some of the axes that are the batch
        ahead = lead[:-1] if len(lead) > 1 else lead
    spread = (*ahead, own, shape[-2], keys) if len(lead) > 1 else (*ahead, shape[-2], keys)
    flat = (math.prod(ahead), own, shape[-2], keys)
    if t.dtype == "bool":
        seen = t.array if t.shape == spread else _core.expand(t.array, spread)
        return None, seen.reshape(flat)
    if t.dtype not in ("float32", "bfloat16"):
        raise TypeError(f"{op}: the mask must be bool or floating, got {t.dtype}")
    t = cast(t, "float32") if t.dtype != "float32" else t
    return reshape(t if t.shape == spread else expand(t, spread), flat), None


def attend(
    inputs: tuple[Tensor, ...],
    sources: tuple[int, int, int],
    views: tuple[int, ...],
    sizes: tuple[int, ...],
    shape: tuple[int, ...],
    bias: Tensor | None,
    mask: Array | None,
    scale: float | None,
    shift: int | None,
    dropout: float,
    generator: Generator | None,
) -> Tensor:
    """The call of the kernel. sources: which of the inputs hold q, k and v. views: of q, k, v and the result; sizes:
    batch, heads, kv_heads, queries, keys, size, value_size; shift: None unless causal."""
    arrays = [t.array for t in inputs]
    plane = None if bias is None else bias.array
    factor = (1.0 / math.sqrt(sizes[5]) if sizes[5] else 1.0) if scale is None else scale
    q, k, v = (arrays[i] for i in sources)
    out, lse, seed, offset = _core.attention_forward(
        q, k, v, plane, mask, views, sizes, shape, factor, shift, dropout,
        generator or default_generator, Current.code,
    )  # fmt: skip
    saved = (
        arrays, sources, plane, mask, views, sizes, factor, shift, dropout, seed, offset, out, lse, Current.code
    )  # fmt: skip
    return record(out, inputs if bias is None else (*inputs, bias), _attention_rule, saved)


def _attention_rule(saved: Any, dy: Array, needs: list[Need]) -> list[Array | None]:
    arrays, sources, bias, mask, views, sizes, scale, shift, dropout, seed, offset, out, lse, code = saved
    q, k, v = (arrays[i] for i in sources)
    gradients: list[Array | None] = [Array(a.shape, a.dtype, a.device) for a in arrays]
    dq, dk, dv = (gradients[i] for i in sources)
    wants_bias = bias is not None and needs[-1] is not False
    dbias = _core.attention_backward(
        q, k, v, bias, mask, views, sizes, scale, shift, dropout, seed, offset,
        out, lse, dy, dq, dk, dv, wants_bias, code,
    )  # fmt: skip
    if bias is not None:
        gradients.append(None if dbias is None else _core.sum_to(dbias, bias.shape))
    return gradients
