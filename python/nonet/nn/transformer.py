"""Transformer encoders and decoders (Vaswani et al. 2017)."""

from __future__ import annotations

import copy
from collections.abc import Callable

from nonet.nn import init
from nonet.nn.attention import MultiheadAttention
from nonet.nn.container import ModuleList
from nonet.nn.dropout import Dropout
from nonet.nn.linear import Linear
from nonet.nn.module import Module
from nonet.nn.normalization import LayerNorm, RMSNorm
from nonet.ops.activation import gelu, relu
from nonet.ops.creation import full
from nonet.ops.shape import triu
from nonet.tensor import DTypeLike, Tensor, TensorLike, as_tensor

__all__ = [
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]

Activation = str | Callable[[Tensor], Tensor]


class _Layer(Module):
    """What encoder and decoder layers share: the feed-forward block, and how a block joins the residual stream."""

    linear1: Linear
    dropout: Dropout
    linear2: Linear
    norm_first: bool

    def _check(self, activation: Activation) -> None:
        if not callable(activation) and activation not in ("relu", "gelu"):
            raise ValueError(
                f"{type(self).__name__}: activation must be relu, gelu or a function, got {activation!r}"
            )
        self.activation = activation

    def _feed_forward(self, x: Tensor) -> Tensor:
        first, f = self.linear1, self.activation
        name = "relu" if f is relu else "gelu" if f is gelu else f
        if not isinstance(name, str):
            hidden = name(first(x))
        elif type(first) is Linear:
            hidden = first(x, name)
        else:
            hidden = (relu if name == "relu" else gelu)(first(x))
        return self.linear2(self.dropout(hidden))

    def _through(self, x: Tensor, *parts: tuple[Module, Callable[[Tensor], Tensor], Dropout]) -> Tensor:
        """x through blocks, each with its norm and dropout: x + drop(block(norm(x))), or without norm_first
        norm(x + drop(block(x)))."""
        if not self.norm_first:
            for norm, block, drop in parts:
                x = _sum_and_norm(norm, drop(block(x)), x)[1]
            return x
        branch: Tensor | None = None
        for norm, block, drop in parts:
            if branch is None:
                normal = norm(x)
            else:
                x, normal = _sum_and_norm(norm, branch, x)
            branch = drop(block(normal))
        return x if branch is None else x + branch


def _sum_and_norm(norm: Module, branch: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """x + branch and its norm, in one pass if the norm is nonet's."""
    if type(norm) in (LayerNorm, RMSNorm):
        return norm(branch, x)
    total = x + branch
    return total, norm(total)


class TransformerEncoderLayer(_Layer):
    """Self-attention and a feed-forward block, each with residual connection and layer norm.

    src: [S, N, d_model] ([N, S, d_model] with batch_first, [S, d_model] without a batch) -> the same shape. src_mask
    [S, S] or [N · nhead, S, S] and src_key_padding_mask [N, S]: as attn_mask and key_padding_mask of
    MultiheadAttention; is_causal: position i sees 0 to i. activation: relu, gelu or a function. norm_first: norms ahead
    of the blocks (Xiong et al. 2020). Errors: ValueError.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        self._check(activation)
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, device=device, dtype=dtype
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias, device, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, device, dtype)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)

    def forward(
        self,
        src: TensorLike,
        src_mask: TensorLike | None = None,
        src_key_padding_mask: TensorLike | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]

        return self._through(
            as_tensor(src),
            (self.norm1, attend, self.dropout1),
            (self.norm2, self._feed_forward, self.dropout2),
        )


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention on the encoder's result and a feed-forward block, each with residual connection and
    layer norm.

    tgt: [T, N, d_model], memory: [S, N, d_model], as in TransformerEncoderLayer -> like tgt. Masks and is_causal of
    both attentions: as attn_mask, key_padding_mask and is_causal of MultiheadAttention. Errors: ValueError.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        self._check(activation)
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, device=device, dtype=dtype
        )
        self.multihead_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, device=device, dtype=dtype
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias, device, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, device, dtype)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)

    def forward(
        self,
        tgt: TensorLike,
        memory: TensorLike,
        tgt_mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        tgt_key_padding_mask: TensorLike | None = None,
        memory_key_padding_mask: TensorLike | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        source = as_tensor(memory)

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]

        def look(x: Tensor) -> Tensor:
            return self.multihead_attn(
                x, source, source, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )[0]

        return self._through(
            as_tensor(tgt),
            (self.norm1, attend, self.dropout1),
            (self.norm2, look, self.dropout2),
            (self.norm3, self._feed_forward, self.dropout3),
        )


class TransformerEncoder(Module):
    """num_layers copies of an encoder layer, one after the other, and a last norm.

    src, masks and result: as of TransformerEncoderLayer; is_causal: None is False. enable_nested_tensor and mask_check
    are accepted for compatibility and change nothing.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ):
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: TensorLike,
        mask: TensorLike | None = None,
        src_key_padding_mask: TensorLike | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        x = as_tensor(src)
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, bool(is_causal))
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """num_layers copies of a decoder layer, one after the other, and a last norm.

    tgt, memory, masks and result: as of TransformerDecoderLayer; tgt_is_causal: None is False.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None):
        self.layers = ModuleList([copy.deepcopy(decoder_layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: TensorLike,
        memory: TensorLike,
        tgt_mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        tgt_key_padding_mask: TensorLike | None = None,
        memory_key_padding_mask: TensorLike | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        x, source = as_tensor(tgt), as_tensor(memory)
        for layer in self.layers:
            x = layer(
                x,
                source,
                tgt_mask,
                memory_mask,
                tgt_key_padding_mask,
                memory_key_padding_mask,
                bool(tgt_is_causal),
                memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """Encoder and decoder: src [S, N, d_model] and tgt [T, N, d_model] -> [T, N, d_model]; [N, …, d_model] with
    batch_first, [S, d_model] and [T, d_model] without a batch.

    Both end in a layer norm; custom_encoder and custom_decoder take their places. Matrices start Xavier-uniform.
    Errors: ValueError for shapes.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        sizes = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first)
        more = (norm_first, bias, device, dtype)

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)

        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*sizes, *more), num_encoder_layers, norm()
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*sizes, *more), num_decoder_layers, norm()
        )
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: TensorLike,
        tgt: TensorLike,
        src_mask: TensorLike | None = None,
        tgt_mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        src_key_padding_mask: TensorLike | None = None,
        tgt_key_padding_mask: TensorLike | None = None,
        memory_key_padding_mask: TensorLike | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        s, t = as_tensor(src), as_tensor(tgt)
        at = 0 if self.batch_first else 1
        if s.ndim != t.ndim or s.ndim not in (2, 3) or (s.ndim == 3 and s.shape[at] != t.shape[at]):
            raise ValueError(
                f"src and tgt must have one batch size, got shapes {list(s.shape)} and {list(t.shape)}"
            )
        if s.shape[-1] != self.d_model or t.shape[-1] != self.d_model:
            raise ValueError(
                f"the last axis of src and tgt must be of size d_model = {self.d_model}, got shapes "
                f"{list(s.shape)} and {list(t.shape)}"
            )
        memory = self.encoder(s, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            t,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: str | None = None, dtype: DTypeLike | None = None
    ) -> Tensor:
        """[sz, sz]: 0 on and below the diagonal, -inf above."""
        return triu(full((sz, sz), float("-inf"), dtype=dtype or "float32", device=device), 1)
