"""GPT-2: a decoder that predicts the next token (Radford et al. 2019), under Hugging Face's names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nonet import nn
from nonet.io import FileError
from nonet.io.atomic import PathLike
from nonet.models.generation import Sampling, stream
from nonet.models.pretrained import Layout, Report, match_folder, read_config, read_folder, write_folder
from nonet.nn import init
from nonet.ops.attention import KeyValueCache, attention
from nonet.ops.creation import arange
from nonet.ops.dropout import dropout
from nonet.ops.loss_class import cross_entropy
from nonet.ops.matmul import linear
from nonet.ops.precision import is_autocast_enabled
from nonet.ops.shape import reshape
from nonet.tensor import Tensor, TensorLike, as_tensor, no_grad

__all__ = ["GPT"]

# transformers' names of activations -> those of linear_act.
ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float, residual_dropout: float):
        self.heads, self.rate, self.residual = heads, dropout, residual_dropout
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, cache: KeyValueCache | None) -> Tensor:
        """What the positions of x see in each other and, with a cache, in those before."""
        packed = self.c_attn(x)
        if cache is None:
            rate = self.rate if self.training else 0.0
            mixed = attention(packed, heads=self.heads, causal=True, dropout=rate)
        else:
            width = self.c_proj.in_features
            cache.append(packed, packed, width, 2 * width)
            mixed = cache.attend(packed, self.heads)
        return dropout(self.c_proj(mixed), self.residual, self.training)

    def own_macs(self, args: tuple[Any, ...], output: Tensor) -> int:
        return 2 * output.numel() * output.shape[1]


class _MLP(nn.Module):
    def __init__(self, width: int, inner: int, activation: str, residual_dropout: float):
        self.activation, self.residual = ACTIVATIONS[activation], residual_dropout
        self.c_fc = nn.Linear(width, inner)
        self.c_proj = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return dropout(self.c_proj(self.c_fc(x, self.activation)), self.residual, self.training)


class _Block(nn.Module):
    def __init__(
        self, width: int, heads: int, inner: int, activation: str, eps: float, drop: float, seen: float
    ):
        self.ln_1 = nn.LayerNorm(width, eps)
        self.attn = _Attention(width, heads, seen, drop)
        self.ln_2 = nn.LayerNorm(width, eps)
        self.mlp = _MLP(width, inner, activation, drop)

    def forward(
        self, branch: Tensor | None, stream: Tensor, cache: KeyValueCache | None = None
    ) -> tuple[Tensor, Tensor]:
        """(what is to be added to the stream, the stream): the next norm adds them in its own pass."""
        if branch is None:
            normal = self.ln_1(stream)
        else:
            stream, normal = self.ln_1(branch, stream)
        stream, normal = self.ln_2(self.attn(normal, cache), stream)
        return self.mlp(normal), stream


class GPT(nn.Module):
    """Token numbers [N, T] -> logits [N, T, vocabulary] of the tokens that follow.

    positions: the longest sequence; width: of the residual stream, a multiple of heads; inner: of the feed-forward
    blocks (default 4 · width); dropout: of embeddings and residual branches, attention_dropout: of probabilities
    (default the same). tied: the last layer is the table of tokens. Matrices start normal with deviation 0.02, those
    that end a residual branch with 0.02 / sqrt(2 · layers). Errors: ValueError for sizes and names.
    """

    def __init__(
        self,
        vocabulary: int = 50257,
        positions: int = 1024,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        inner: int | None = None,
        activation: str = "gelu_new",
        dropout: float = 0.1,
        attention_dropout: float | None = None,
        eps: float = 1e-5,
        tied: bool = True,
    ):
        if activation not in ACTIVATIONS:
            raise ValueError(f"GPT: activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        if min(vocabulary, positions, width, layers, heads) < 1 or width % heads:
            raise ValueError(
                f"GPT: sizes must be >= 1 and width a multiple of heads, got {width} and {heads}"
            )
        self.arguments: dict[str, Any] = {
            "vocabulary": vocabulary,
            "positions": positions,
            "width": width,
            "layers": layers,
            "heads": heads,
            "inner": inner,
            "activation": activation,
            "dropout": dropout,
            "attention_dropout": attention_dropout,
            "eps": eps,
            "tied": tied,
        }
        self.rate = dropout
        seen = dropout if attention_dropout is None else attention_dropout
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(positions, width)
        wide = 4 * width if inner is None else inner
        self.h = nn.ModuleList(
            [_Block(width, heads, wide, activation, eps, dropout, seen) for _ in range(layers)]
        )
        self.ln_f = nn.LayerNorm(width, eps)
        self.lm_head = None if tied else nn.Linear(width, vocabulary, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        last = 0.02 / (2 * len(self.h)) ** 0.5
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                init.normal_(parameter, std=last if name.endswith("c_proj.weight") else 0.02)
            elif name.endswith("bias"):
                init.zeros_(parameter)

    def features(self, ids: TensorLike, caches: list[KeyValueCache] | None = None) -> Tensor:
        """The last layer's input, [N, T, width]. caches: one per layer, of the positions before ids."""
        t = as_tensor(ids, device=self.wte.weight.device)
        if t.ndim != 2:
            raise ValueError(f"ids must have shape [N, T], got {list(t.shape)}")
        first = 0 if caches is None else caches[0].length
        length, most = t.shape[1], self.arguments["positions"]
        if first + length > most:
            raise ValueError(f"a sequence has at most {most} positions, got {first + length}")
        places = arange(first, first + length, device=t.device)
        x = self.wte(t) + self.wpe(places)
        x = dropout(x, self.rate, self.training)
        branch: Tensor | None = None
        for i, block in enumerate(self.h):
            branch, x = block(branch, x, None if caches is None else caches[i])
        return self.ln_f(branch, x)[1]

    def forward(self, ids: TensorLike) -> Tensor:
        return self.logits(self.features(ids))

    def logits(self, features: Tensor) -> Tensor:
        return linear(features, self.wte.weight) if self.lm_head is None else self.lm_head(features)

    def own_macs(self, args: tuple[Any, ...], output: Tensor) -> int:
        return output.numel() * self.wte.weight.shape[1] if self.lm_head is None else 0

    def example(self, shape: Sequence[int]) -> tuple[np.ndarray, ...]:
        return (np.zeros(tuple(shape), np.int64),)

    @staticmethod
    def loss(logits: Tensor, targets: TensorLike) -> Tensor:
        """Mean cross-entropy of logits [N, T, vocabulary] with the tokens [N, T] that follow; -100 counts not."""
        t = as_tensor(targets, device=logits.device)
        return cross_entropy(reshape(logits, (-1, logits.shape[-1])), reshape(t, (-1,)))

    def caches(self, batch: int, capacity: int, dtype: str | None = None) -> list[KeyValueCache]:
        """Empty ones, for `features`. dtype: by default that of the parameters, bfloat16 under autocast."""
        heads, width, table = self.arguments["heads"], self.arguments["width"], self.wte.weight
        kind = dtype or ("bfloat16" if is_autocast_enabled() else table.dtype)
        return [
            KeyValueCache(batch, heads, capacity, width // heads, dtype=kind, device=table.device)
            for _ in self.h
        ]

    def stream(
        self,
        prompt: TensorLike,
        length: int,
        sampling: Sampling | None = None,
        seed: int = 0,
        end: int | None = None,
    ) -> Iterator[np.ndarray]:
        """The next tokens [N] of prompts [N, T], up to `length` times; stops when every row has met `end`.

        Beyond the model's positions it goes on with the later half of what there is. Errors: ValueError for an empty
        prompt.
        """
        ids = np.asarray(as_tensor(prompt).cpu()).astype(np.int64)
        if ids.ndim != 2 or ids.shape[1] == 0:
            raise ValueError(f"GPT: prompt must have shape [N, T] with T > 0, got {list(ids.shape)}")
        most = self.arguments["positions"]
        all_ids = ids
        state: dict[str, Any] = {"caches": None}

        def step(new: np.ndarray) -> np.ndarray:
            nonlocal all_ids
            if state["caches"] is not None:
                all_ids = np.concatenate([all_ids, new], axis=1)
            caches = state["caches"]
            if caches is None or caches[0].length + new.shape[1] > most:
                # Room for the rest, or half of the positions to go on with.
                new = (
                    all_ids if all_ids.shape[1] < most and caches is None else all_ids[:, -(most + 1) // 2 :]
                )
                caches = state["caches"] = self.caches(len(ids), min(most, new.shape[1] + length))
            elif caches[0].length + new.shape[1] > caches[0].keys.shape[2]:
                raise AssertionError("unreachable: a cache has room for all that is asked for")
            training = self.training
            self.eval()
            try:
                with no_grad():
                    x = self.features(new, caches)
                    last = self.logits(x[:, -1])
            finally:
                self.train(training)
            return np.asarray(last.to("float32").cpu())

        yield from stream(step, ids, length, sampling or Sampling(), seed, end)

    def generate(
        self,
        prompt: TensorLike,
        length: int,
        sampling: Sampling | None = None,
        seed: int = 0,
        end: int | None = None,
    ) -> np.ndarray:
        """Prompts with what `stream` adds, [N, T + at most length] int64."""
        ids = np.asarray(as_tensor(prompt).cpu()).astype(np.int64)
        new = list(self.stream(ids, length, sampling, seed, end))
        return np.concatenate([ids, np.stack(new, axis=1)], axis=1) if new else ids

    # ---- Hugging Face folders
    @property
    def layout(self) -> Layout:
        names = {name: f"transformer.{name}" for name in self.state_dict()}
        if self.lm_head is not None:
            names["lm_head.weight"] = "lm_head.weight"
        kinds = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
        return Layout(
            names,
            "transformer.",
            frozenset(name for name in names if name.endswith(kinds)),
            copies=("lm_head.weight",) if self.lm_head is None else (),
            ignored=(r"\.attn\.(masked_)?bias$",),
        )

    @staticmethod
    def arguments_of(config: Mapping[str, Any]) -> dict[str, Any]:
        """Constructor arguments from a config.json. ValueError for what this model lacks."""
        for name, wanted in (
            ("scale_attn_weights", True),
            ("scale_attn_by_inverse_layer_idx", False),
            ("add_cross_attention", False),
        ):
            if config.get(name, wanted) != wanted:
                raise ValueError(f"GPT: {name} must be {wanted}, got {config[name]}")
        return {
            "vocabulary": config.get("vocab_size", 50257),
            "positions": config.get("n_positions", 1024),
            "width": config.get("n_embd", 768),
            "layers": config.get("n_layer", 12),
            "heads": config.get("n_head", 12),
            "inner": config.get("n_inner"),
            "activation": config.get("activation_function", "gelu_new"),
            "dropout": config.get("resid_pdrop", 0.1),
            "attention_dropout": config.get("attn_pdrop", 0.1),
            "eps": config.get("layer_norm_epsilon", 1e-5),
            "tied": config.get("tie_word_embeddings", True),
        }

    def config(self) -> dict[str, Any]:
        """What config.json says of this model."""
        a = self.arguments
        seen = a["attention_dropout"]
        return {
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "vocab_size": a["vocabulary"],
            "n_positions": a["positions"],
            "n_embd": a["width"],
            "n_layer": a["layers"],
            "n_head": a["heads"],
            "n_inner": a["inner"],
            "activation_function": a["activation"],
            "resid_pdrop": a["dropout"],
            "embd_pdrop": a["dropout"],
            "attn_pdrop": a["dropout"] if seen is None else seen,
            "layer_norm_epsilon": a["eps"],
            "tie_word_embeddings": a["tied"],
        }

    @classmethod
    def from_pretrained(cls, directory: PathLike) -> GPT:
        """The model in a Hugging Face folder, in evaluation mode. FileError if its files do not fit."""
        return cls.read(directory)[0]

    @classmethod
    def read(cls, directory: PathLike) -> tuple[GPT, Report]:
        """The same, and which tensor of the files became which."""
        config = read_config(directory)
        try:
            model = cls(**cls.arguments_of(config))
        except (TypeError, ValueError) as error:
            raise FileError(f"{directory}: expected the configuration of a GPT-2, found: {error}") from error
        report = match_folder(model, model.layout, read_folder(directory), directory)
        model.eval()
        return model, report

    def save_pretrained(self, directory: PathLike) -> None:
        """Writes a folder that transformers reads."""
        write_folder(directory, self, self.layout, self.config())
