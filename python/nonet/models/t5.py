"""T5: an encoder and a decoder over one table of tokens, with biases that depend on distance (Raffel et al. 2020).

v1.0 has a ReLU between two layers, v1.1 a gated GELU (Shazeer, "GLU variants improve Transformer", 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nonet import nn
from nonet.io import FileError
from nonet.io.atomic import PathLike
from nonet.models.generation import Sampling, beam_search, stream
from nonet.models.pretrained import Layout, Report, match_folder, read_config, read_folder, write_folder
from nonet.models.t5_layers import FORMS, Stack
from nonet.nn import init
from nonet.ops.attention import KeyValueCache
from nonet.ops.index import index_select
from nonet.ops.loss_class import cross_entropy
from nonet.ops.matmul import linear
from nonet.ops.precision import is_autocast_enabled
from nonet.ops.shape import reshape
from nonet.tensor import Tensor, TensorLike, as_tensor, no_grad

__all__ = ["T5"]


class T5(nn.Module):
    """Source and target tokens [N, S] and [N, T] -> logits [N, T, vocabulary] of the targets that follow.

    width: of the residual streams; size: of a head (heads · size may differ from width); inner: of the feed-forward
    blocks, whose form is relu or gated-gelu; buckets, distance: of the biases. tied: the last layer is the table of
    tokens; scaled: its input is divided by sqrt(width) (default: if tied). padding: the token that fills up sources,
    which nobody sees; start begins every target, end ends it. Errors: ValueError for sizes and names.
    """

    def __init__(
        self,
        vocabulary: int = 32128,
        width: int = 512,
        size: int = 64,
        inner: int = 2048,
        layers: int = 6,
        decoder_layers: int | None = None,
        heads: int = 8,
        buckets: int = 32,
        distance: int = 128,
        dropout: float = 0.1,
        eps: float = 1e-6,
        form: str = "relu",
        tied: bool = True,
        scaled: bool | None = None,
        padding: int = 0,
        end: int | None = 1,
        start: int = 0,
    ):
        if form not in FORMS:
            raise ValueError(f"T5: form must be one of {', '.join(FORMS)}, got {form!r}")
        if min(vocabulary, width, size, inner, layers, heads) < 1 or buckets < 4:
            raise ValueError("T5: sizes must be >= 1 and buckets >= 4")
        self.arguments: dict[str, Any] = {
            "vocabulary": vocabulary,
            "width": width,
            "size": size,
            "inner": inner,
            "layers": layers,
            "decoder_layers": decoder_layers,
            "heads": heads,
            "buckets": buckets,
            "distance": distance,
            "dropout": dropout,
            "eps": eps,
            "form": form,
            "tied": tied,
            "scaled": scaled,
            "padding": padding,
            "end": end,
            "start": start,
        }
        self.scale = width**-0.5 if (tied if scaled is None else scaled) else 1.0
        sizes = {
            "inner": inner,
            "form": form,
            "heads": heads,
            "size": size,
            "rate": dropout,
            "buckets": buckets,
            "most": distance,
        }
        self.shared = nn.Embedding(vocabulary, width)
        self.encoder = Stack(False, layers, width, eps, **sizes)
        self.decoder = Stack(True, decoder_layers or layers, width, eps, **sizes)
        self.lm_head = None if tied else nn.Linear(width, vocabulary, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        a = self.arguments
        inside = a["heads"] * a["size"]
        ends = {
            "q.weight": (a["width"] * a["size"]) ** -0.5,
            "o.weight": inside**-0.5,
            "wo.weight": a["inner"] ** -0.5,
            "shared.weight": 1.0,
            "lm_head.weight": 1.0,
        }
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                end = next((value for key, value in ends.items() if name.endswith(key)), a["width"] ** -0.5)
                init.normal_(parameter, std=end)

    # ---- the parts
    def encode(self, source: TensorLike, seen: TensorLike | None = None) -> tuple[Tensor, Tensor]:
        """(features [N, S, width], which of them are seen [N, 1, 1, S]); seen: bool [N, S], default: not padding."""
        device = self.shared.weight.device
        t = as_tensor(source, device=device)
        if t.ndim != 2:
            raise ValueError(f"source must have shape [N, S], got {list(t.shape)}")
        mask = t != self.arguments["padding"] if seen is None else as_tensor(seen, device=device) != 0
        if mask.shape != t.shape:
            raise ValueError(f"seen must have shape [N, S] = {list(t.shape)}, got {list(mask.shape)}")
        mask = reshape(mask, (t.shape[0], 1, 1, t.shape[1]))
        return self.encoder(self.shared(t), mask), mask

    def decode(
        self,
        target: TensorLike,
        memories: list[tuple[Tensor, Tensor]],
        seen: Tensor,
        caches: list[KeyValueCache] | None = None,
    ) -> Tensor:
        """Logits [N, T, vocabulary] from `memories` of the encoder's result."""
        t = as_tensor(target, device=self.shared.weight.device)
        x = self.decoder(self.shared(t), None, memories, seen, caches)
        x = x if self.scale == 1.0 else x * self.scale
        return linear(x, self.shared.weight) if self.lm_head is None else self.lm_head(x)

    def own_macs(self, args: tuple[Any, ...], output: Tensor) -> int:
        return output.numel() * self.shared.weight.shape[1] if self.lm_head is None else 0

    def memories(self, encoded: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per decoder layer the keys and values of the encoder's result."""
        blocks: Any = self.decoder.block
        return [block.memory(encoded) for block in blocks]

    def forward(self, source: TensorLike, target: TensorLike, seen: TensorLike | None = None) -> Tensor:
        encoded, mask = self.encode(source, seen)
        return self.decode(target, self.memories(encoded), mask)

    def example(self, shape: Sequence[int]) -> tuple[np.ndarray, ...]:
        codes = np.ones(tuple(shape), np.int64)
        return codes, codes

    def shifted(self, target: TensorLike) -> Tensor:
        """Targets [N, T] moved by one place behind `start`: what the decoder reads. -100 becomes padding."""
        t = np.asarray(as_tensor(target).cpu())
        first = np.full((len(t), 1), self.arguments["start"], t.dtype)
        moved = np.concatenate(
            [first, np.where(t[:, :-1] == -100, self.arguments["padding"], t[:, :-1])], axis=1
        )
        return as_tensor(moved, device=self.shared.weight.device)

    @staticmethod
    def loss(logits: Tensor, targets: TensorLike) -> Tensor:
        """Mean cross-entropy of logits [N, T, vocabulary] with targets [N, T]; -100 counts not."""
        t = as_tensor(targets, device=logits.device)
        return cross_entropy(reshape(logits, (-1, logits.shape[-1])), reshape(t, (-1,)))

    # ---- generation
    def _decoding(self, source: TensorLike, seen: TensorLike | None, copies: int, length: int) -> Any:
        """(step, reorder) of generation.py for `copies` of every source in a row."""
        a, device = self.arguments, self.shared.weight.device
        rows = np.repeat(np.arange(as_tensor(source).shape[0]), copies)
        with no_grad():
            encoded, mask = self.encode(source, seen)
            at = as_tensor(rows, device=device)
            memories = self.memories(index_select(encoded, 0, at) if copies > 1 else encoded)
            mask = index_select(mask, 0, at) if copies > 1 else mask
        kind = "bfloat16" if is_autocast_enabled() else self.shared.weight.dtype
        caches = [
            KeyValueCache(len(rows), a["heads"], length + 1, a["size"], dtype=kind, device=device)
            for _ in range(len(self.decoder.block))
        ]

        def step(new: np.ndarray) -> np.ndarray:
            with no_grad():
                last = self.decode(new, memories, mask, caches)[:, -1]
            return np.asarray(last.to("float32").cpu())

        def reorder(order: np.ndarray) -> None:
            # Beams of one source share its encoding: only what was decoded moves.
            if (order != np.arange(len(order))).any():
                for cache in caches:
                    cache.select(order)

        return step, reorder

    def stream(
        self,
        source: TensorLike,
        length: int,
        sampling: Sampling | None = None,
        seed: int = 0,
        seen: TensorLike | None = None,
    ) -> Iterator[np.ndarray]:
        """The tokens [N] of the targets of sources [N, S], one place after the other, up to `length` of them."""
        training = self.training
        self.eval()
        try:
            step, _ = self._decoding(source, seen, 1, length)
            start = np.full((as_tensor(source).shape[0], 1), self.arguments["start"], np.int64)
            a = self.arguments
            yield from stream(step, start, length, sampling or Sampling(0.0), seed, a["end"], a["padding"])
        finally:
            self.train(training)

    def generate(
        self,
        source: TensorLike,
        length: int,
        beams: int = 1,
        length_penalty: float = 1.0,
        early_stopping: bool = False,
        sampling: Sampling | None = None,
        seed: int = 0,
        seen: TensorLike | None = None,
    ) -> np.ndarray:
        """Targets of sources [N, S]: int64 [N, at most length], filled up with padding.

        The likeliest token at each place, or with sampling a drawn one, or with beams > 1 what `beam_search` finds.
        """
        if beams == 1:
            rows = list(self.stream(source, length, sampling, seed, seen))
            return np.stack(rows, axis=1) if rows else np.zeros((as_tensor(source).shape[0], 0), np.int64)
        a, training = self.arguments, self.training
        self.eval()
        try:
            step, reorder = self._decoding(source, seen, beams, length)
            start = np.full((as_tensor(source).shape[0], 1), a["start"], np.int64)
            found = beam_search(step, reorder, start, beams, length, a["end"], length_penalty, early_stopping)
        finally:
            self.train(training)
        out = np.full((len(found), max(map(len, found), default=0)), a["padding"], np.int64)
        for row, tokens in zip(out, found, strict=True):
            row[: len(tokens)] = tokens
        return out

    # ---- Hugging Face folders
    @property
    def layout(self) -> Layout:
        copies = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
        if self.lm_head is None:
            copies.append("lm_head.weight")
        # Files of transformers before 3.0 have a table of distances in the decoder's second attention, unused.
        ignored = (r"EncDecAttention\.relative_attention_bias",)
        return Layout({name: name for name in self.state_dict()}, "", copies=tuple(copies), ignored=ignored)

    @staticmethod
    def arguments_of(config: Mapping[str, Any]) -> dict[str, Any]:
        """Constructor arguments from a config.json. ValueError for what this model lacks."""
        form = config.get("feed_forward_proj", "relu")
        tied = config.get("tie_word_embeddings", True)
        return {
            "vocabulary": config.get("vocab_size", 32128),
            "width": config.get("d_model", 512),
            "size": config.get("d_kv", 64),
            "inner": config.get("d_ff", 2048),
            "layers": config.get("num_layers", 6),
            "decoder_layers": config.get("num_decoder_layers"),
            "heads": config.get("num_heads", 8),
            "buckets": config.get("relative_attention_num_buckets", 32),
            "distance": config.get("relative_attention_max_distance", 128),
            "dropout": config.get("dropout_rate", 0.1),
            "eps": config.get("layer_norm_epsilon", 1e-6),
            "form": form,
            "tied": tied,
            "scaled": config.get("scale_decoder_outputs", tied),
            "padding": config.get("pad_token_id", 0),
            "end": config.get("eos_token_id", 1),
            "start": config.get("decoder_start_token_id", 0),
        }

    def config(self) -> dict[str, Any]:
        """What config.json says of this model."""
        a = self.arguments
        return {
            "model_type": "t5",
            "architectures": ["T5ForConditionalGeneration"],
            "is_encoder_decoder": True,
            "vocab_size": a["vocabulary"],
            "d_model": a["width"],
            "d_kv": a["size"],
            "d_ff": a["inner"],
            "num_layers": a["layers"],
            "num_decoder_layers": a["decoder_layers"] or a["layers"],
            "num_heads": a["heads"],
            "relative_attention_num_buckets": a["buckets"],
            "relative_attention_max_distance": a["distance"],
            "dropout_rate": a["dropout"],
            "layer_norm_epsilon": a["eps"],
            "feed_forward_proj": a["form"],
            "tie_word_embeddings": a["tied"],
            "scale_decoder_outputs": self.scale != 1.0,
            "pad_token_id": a["padding"],
            "eos_token_id": a["end"],
            "decoder_start_token_id": a["start"],
        }

    @classmethod
    def from_pretrained(cls, directory: PathLike) -> T5:
        """The model in a Hugging Face folder, in evaluation mode. FileError if its files do not fit."""
        return cls.read(directory)[0]

    @classmethod
    def read(cls, directory: PathLike) -> tuple[T5, Report]:
        """The same, and which tensor of the files became which."""
        config, arrays = read_config(directory), read_folder(directory)
        # What configurations say of ties has changed its meaning; the files tell.
        own, shared = arrays.get("lm_head.weight"), arrays.get("shared.weight")
        tied = own is None or (shared is not None and np.array_equal(own, shared))
        try:
            model = cls(**{**cls.arguments_of(config), "tied": tied})
        except (TypeError, ValueError) as error:
            raise FileError(f"{directory}: expected the configuration of a T5, found: {error}") from error
        report = match_folder(model, model.layout, arrays, directory)
        model.eval()
        return model, report

    def save_pretrained(self, directory: PathLike) -> None:
        """Writes a folder that transformers reads."""
        write_folder(directory, self, self.layout, self.config())
