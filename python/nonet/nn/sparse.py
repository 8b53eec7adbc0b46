"""Embedding and EmbeddingBag."""

from __future__ import annotations

from typing import Any

from nonet.nn import init
from nonet.nn.module import Module
from nonet.ops.creation import empty
from nonet.ops.embedding import embedding, embedding_bag
from nonet.tensor import DTypeLike, Parameter, Tensor, TensorLike, as_tensor

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    """`weight` [num_embeddings, embedding_dim] starts standard normal, the row padding_idx 0."""

    weight: Parameter

    def _make(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        given: TensorLike | None,
        device: str | None,
        dtype: DTypeLike | None,
    ) -> None:
        name = type(self).__name__
        if num_embeddings < 0 or embedding_dim < 0:
            raise ValueError(f"{name}: sizes must be >= 0, got {num_embeddings} and {embedding_dim}")
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(f"{name}: padding_idx must be a row of {num_embeddings}, got {padding_idx}")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        if given is None:
            self.weight = Parameter(
                empty(num_embeddings, embedding_dim, dtype=dtype or "float32", device=device)
            )
            self.reset_parameters()
            return
        table = as_tensor(given)
        if table.shape != (num_embeddings, embedding_dim):
            want = [num_embeddings, embedding_dim]
            raise ValueError(
                f"{name}: weight must have shape [rows, columns] = {want}, got {list(table.shape)}"
            )
        self.weight = Parameter(table)

    def reset_parameters(self) -> None:
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with self.weight.mutable() as table:
                table[self.padding_idx] = 0

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


def _from_pretrained(cls: Any, embeddings: TensorLike, freeze: bool, **options: Any) -> Any:
    table = as_tensor(embeddings)
    if table.ndim != 2:
        raise ValueError(
            f"{cls.__name__}: embeddings must have shape [rows, columns], got {list(table.shape)}"
        )
    out = cls(*table.shape, _weight=table, **options)
    out.weight.requires_grad = not freeze
    return out


class Embedding(_Table):
    """Rows of a table by number: int64 or int32 [...] -> [..., embedding_dim].

    padding_idx: a row that starts as 0 and gets no gradient. max_norm, norm_type: rows in use with a larger norm are
    scaled down to it in place. scale_grad_by_freq: gradients divided by the number of uses. sparse: only False.
    Errors: ValueError for sizes; IndexError with value and position for an index out of range.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: TensorLike | None = None,
        _freeze: bool = False,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        if sparse:
            raise ValueError("Embedding: sparse must be False, gradients are always dense here")
        self.sparse = False
        self._make(num_embeddings, embedding_dim, padding_idx, _weight, device, dtype)
        self.weight.requires_grad = not _freeze

    @classmethod
    def from_pretrained(
        cls,
        embeddings: TensorLike,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """A layer with this table [rows, columns]; freeze: without gradient."""
        return _from_pretrained(
            cls,
            embeddings,
            freeze,
            padding_idx=padding_idx,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
        )

    def forward(self, input: TensorLike) -> Tensor:
        return embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq
        )


class EmbeddingBag(_Table):
    """Rows of a table reduced per bag (mode sum, mean or max): [bags, n], or [J] with offsets -> [bags, embedding_dim].

    The other arguments are those of Embedding; include_last_offset: offsets also hold where the last bag ends;
    padding_idx is left out of the bags. Errors: as Embedding; ValueError for another mode.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: TensorLike | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        if mode not in ("sum", "mean", "max"):
            raise ValueError(f"EmbeddingBag: mode must be sum, mean or max, got {mode}")
        if sparse:
            raise ValueError("EmbeddingBag: sparse must be False, gradients are always dense here")
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.mode = mode
        self.sparse = False
        self.include_last_offset = include_last_offset
        self._make(num_embeddings, embedding_dim, padding_idx, _weight, device, dtype)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: TensorLike,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """A layer with this table [rows, columns]; freeze: without gradient."""
        return _from_pretrained(
            cls,
            embeddings,
            freeze,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            mode=mode,
            sparse=sparse,
            include_last_offset=include_last_offset,
            padding_idx=padding_idx,
        )

    def forward(
        self,
        input: TensorLike,
        offsets: TensorLike | None = None,
        per_sample_weights: TensorLike | None = None,
    ) -> Tensor:
        return embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            False,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode}"
