"""BERT: an encoder that sees a sequence in both directions (Devlin et al. 2019), under Hugging Face's names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nonet import nn
from nonet.io import FileError
from nonet.io.atomic import PathLike
from nonet.models.bert_heads import ACTIVATIONS, Dense, MaskedHead, Pooler
from nonet.models.pretrained import Layout, Report, match_folder, read_config, read_folder, write_folder
from nonet.nn import init
from nonet.ops.attention import attention
from nonet.ops.creation import arange, zeros
from nonet.ops.dropout import dropout
from nonet.ops.elementwise import masked_fill
from nonet.ops.index import index_select
from nonet.ops.join import cat
from nonet.ops.loss_class import cross_entropy
from nonet.ops.pad import pad
from nonet.ops.reduce import amax
from nonet.ops.shape import reshape, unsqueeze
from nonet.tensor import Tensor, TensorLike, as_tensor

__all__ = ["BERT"]

POOLINGS = ("first", "max")
HEADS = {
    "mlm": "BertForMaskedLM",
    "classify": "BertForSequenceClassification",
    "tokens": "BertForTokenClassification",
    None: "BertModel",
}


class _Embeddings(nn.Module):
    def __init__(self, vocabulary: int, positions: int, types: int, width: int, eps: float, rate: float):
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(types, width)
        self.LayerNorm = nn.LayerNorm(width, eps)
        self.rate = rate

    def forward(self, ids: Tensor, types: Tensor | None) -> Tensor:
        places = self.position_embeddings(arange(ids.shape[1], device=ids.device))
        kinds = zeros(1, dtype="int64", device=ids.device) if types is None else types
        x = self.LayerNorm(self.word_embeddings(ids) + (places + self.token_type_embeddings(kinds)))
        return dropout(x, self.rate, self.training)


class _Phrases(nn.Module):
    """x + GELU of a convolution over `window` tokens at a time (after Kim, "Convolutional neural networks for sentence
    classification", EMNLP 2014)."""

    def __init__(self, width: int, window: int, rate: float):
        self.dense = nn.Linear(window * width, width)
        self.window, self.rate = window, rate

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        seen = x if mask is None else masked_fill(x, unsqueeze(mask == 0, 2), 0.0)
        before = (self.window - 1) // 2
        wide = pad(seen, (0, 0, before, self.window - 1 - before))
        steps = x.shape[1]
        together = cat([wide[:, i : i + steps] for i in range(self.window)], 2)
        return x + dropout(self.dense(together, "gelu"), self.rate, self.training)


class _Output(nn.Module):
    """LayerNorm(stream + dense(x))"""

    def __init__(self, inner: int, width: int, eps: float, rate: float):
        self.dense = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, eps)
        self.rate = rate

    def forward(self, x: Tensor, stream: Tensor) -> Tensor:
        if self.training and self.rate > 0:
            return self.LayerNorm(dropout(self.dense(x), self.rate), stream)[1]
        return self.LayerNorm(self.dense(x, residual=stream))


class _Self(nn.Module):
    def __init__(self, width: int, heads: int, rate: float):
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.heads, self.rate = heads, rate

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        rate = self.rate if self.training else 0.0
        parts = (self.query(x), self.key(x), self.value(x))
        return attention(*parts, heads=self.heads, mask=seen, dropout=rate)

    def own_macs(self, args: tuple[Any, ...], output: Tensor) -> int:
        return 2 * output.numel() * output.shape[1]


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, eps: float, rate: float, seen_rate: float):
        self.self = _Self(width, heads, seen_rate)
        self.output = _Output(width, width, eps, rate)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        return self.output(self.self(x, seen), x)


class _Layer(nn.Module):
    def __init__(
        self, width: int, heads: int, inner: int, activation: str, eps: float, rate: float, seen_rate: float
    ):
        self.attention = _Attention(width, heads, eps, rate, seen_rate)
        self.intermediate = Dense(width, inner, activation)
        self.output = _Output(inner, width, eps, rate)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        x = self.attention(x, seen)
        return self.output(self.intermediate(x), x)


class _Encoder(nn.Module):
    def __init__(self, layers: int, **sizes: Any):
        self.layer = nn.ModuleList([_Layer(**sizes) for _ in range(layers)])

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        for layer in self.layer:
            x = layer(x, seen)
        return x


class BERT(nn.Module):
    """Token numbers [N, T] -> what `head` makes of them.

    head: mlm, logits [N, T, vocabulary] of the tokens themselves, over the table of tokens; classify, [N, classes]
    from the sequence's vector; tokens, [N, T, classes]; None, features [N, T, width]. positions: the longest
    sequence; types: of segments; pooling: the sequence's vector is made of the "first" token, as in the paper, or
    is the "max" over all tokens that are seen; window: tokens that a convolution in front of the encoder joins, 1
    for none; both learn more from few sentences; dropout: of embeddings and residual branches; attention_dropout:
    of probabilities (default the same); padding: the token that fills up, which nobody sees (None: none). With the
    numbers `places` [M] of tokens, counted over all sequences, the heads of every token make [M, ...] of those
    alone: a seventh of the work where words are hidden and guessed. Matrices start normal with deviation 0.02.
    Errors: ValueError for sizes and names.
    """

    def __init__(
        self,
        vocabulary: int = 30522,
        positions: int = 512,
        types: int = 2,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        inner: int = 3072,
        activation: str = "gelu",
        dropout: float = 0.1,
        attention_dropout: float | None = None,
        eps: float = 1e-12,
        head: str | None = "mlm",
        classes: int = 2,
        padding: int | None = 0,
        pooling: str = "first",
        window: int = 1,
    ):
        if activation not in ACTIVATIONS:
            raise ValueError(f"BERT: activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        if head not in HEADS:
            raise ValueError(f"BERT: head must be mlm, classify, tokens or None, got {head!r}")
        if pooling not in POOLINGS:
            raise ValueError(f"BERT: pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        if (
            min(vocabulary, positions, types, width, layers, heads, inner, classes, window) < 1
            or width % heads
        ):
            raise ValueError(
                f"BERT: sizes must be >= 1 and width a multiple of heads, got {width} and {heads}"
            )
        self.arguments: dict[str, Any] = {
            "vocabulary": vocabulary,
            "positions": positions,
            "types": types,
            "width": width,
            "layers": layers,
            "heads": heads,
            "inner": inner,
            "activation": activation,
            "dropout": dropout,
            "attention_dropout": attention_dropout,
            "eps": eps,
            "head": head,
            "classes": classes,
            "padding": padding,
            "pooling": pooling,
            "window": window,
        }
        seen_rate = dropout if attention_dropout is None else attention_dropout
        self.embeddings = _Embeddings(vocabulary, positions, types, width, eps, dropout)
        self.encoder = _Encoder(
            layers,
            width=width,
            heads=heads,
            inner=inner,
            activation=activation,
            eps=eps,
            rate=dropout,
            seen_rate=seen_rate,
        )
        self.phrases = _Phrases(width, window, dropout) if window > 1 else None
        first = head is None or (head == "classify" and pooling == "first")
        self.pooler = Pooler(width) if first else None
        self.cls = MaskedHead(width, vocabulary, activation, eps) if head == "mlm" else None
        self.classifier = nn.Linear(width, classes) if head in ("classify", "tokens") else None
        self.rate = dropout
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                init.zeros_(parameter)

    def features(
        self, ids: TensorLike, seen: TensorLike | None = None, types: TensorLike | None = None
    ) -> Tensor:
        """The encoder's result [N, T, width]. seen: bool [N, T], by default ids other than `padding`; types: [N, T]."""
        device = self.embeddings.word_embeddings.weight.device
        t = as_tensor(ids, device=device)
        if t.ndim != 2:
            raise ValueError(f"ids must have shape [N, T], got {list(t.shape)}")
        if t.shape[1] > self.arguments["positions"]:
            raise ValueError(
                f"a sequence has at most {self.arguments['positions']} positions, got {t.shape[1]}"
            )
        mask = self.mask(t, seen)
        kinds = None if types is None else as_tensor(types, device=device)
        x = self.embeddings(t, kinds)
        if self.phrases is not None:
            x = self.phrases(x, mask)
        return self.encoder(x, None if mask is None else reshape(mask != 0, (t.shape[0], 1, 1, t.shape[1])))

    def mask(self, ids: TensorLike, seen: TensorLike | None = None) -> Tensor | None:
        """Which tokens count, [N, T]: `seen`, by default those that are not padding."""
        t = as_tensor(ids, device=self.embeddings.word_embeddings.weight.device)
        if seen is None:
            padding = self.arguments["padding"]
            return None if padding is None else t != padding
        mask = as_tensor(seen, device=t.device)
        if mask.shape != t.shape:
            raise ValueError(f"seen must have shape [N, T] = {list(t.shape)}, got {list(mask.shape)}")
        return mask

    def forward(
        self,
        ids: TensorLike,
        seen: TensorLike | None = None,
        types: TensorLike | None = None,
        places: TensorLike | None = None,
    ) -> Tensor:
        x = self.features(ids, seen, types)
        if places is not None:
            if self.arguments["head"] not in ("mlm", "tokens"):
                raise ValueError(f"places are for a head of every token, got {self.arguments['head']}")
            x = index_select(reshape(x, (-1, x.shape[-1])), 0, as_tensor(places, device=x.device))
        if self.cls is not None:
            return self.cls.predictions(x, self.embeddings.word_embeddings.weight)
        if self.classifier is None:
            return x
        if self.pooler is not None:
            x = self.pooler(x)
        elif self.arguments["head"] == "classify":
            mask = self.mask(ids, seen)
            x = amax(x if mask is None else masked_fill(x, unsqueeze(mask == 0, 2), -math.inf), 1)
        return self.classifier(dropout(x, self.rate, self.training))

    def embed(self, ids: TensorLike, seen: TensorLike | None = None) -> Tensor:
        """One vector per sequence, [N, width]: the mean of the features of what is seen."""
        t = as_tensor(ids, device=self.embeddings.word_embeddings.weight.device)
        x = self.features(t, seen)
        mask = self.mask(t, seen)
        if mask is None:
            return x.mean(dim=1)
        weights = unsqueeze((mask != 0).to("float32"), 2)
        return (x * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)

    def example(self, shape: Sequence[int]) -> tuple[np.ndarray, ...]:
        return (np.ones(tuple(shape), np.int64),)

    @staticmethod
    def loss(logits: Tensor, targets: TensorLike) -> Tensor:
        """Mean cross-entropy of logits [..., classes] with targets [...]; -100 counts not."""
        t = as_tensor(targets, device=logits.device)
        return cross_entropy(reshape(logits, (-1, logits.shape[-1])), reshape(t, (-1,)))

    # ---- Hugging Face folders
    @property
    def layout(self) -> Layout:
        own = ("embeddings.", "encoder.", "pooler.")
        outer = self.arguments["head"] is not None
        names = {
            name: f"bert.{name}" if outer and name.startswith(own) else name for name in self.state_dict()
        }
        copies = ["cls.predictions.decoder.weight", "cls.predictions.decoder.bias"]
        ignored = [r"\.position_ids$", r"^cls\.seq_relationship\."]
        if self.arguments["head"] != "mlm":
            ignored.append(r"^cls\.")
        if self.pooler is None:
            ignored.append(r"(^|\.)pooler\.")
        if self.classifier is None:
            ignored.append(r"^classifier\.")
        return Layout(
            names,
            "bert.",
            copies=tuple(copies),
            ignored=tuple(ignored),
            renamed=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
            optional=tuple(n for n in names if n.startswith(("pooler.", "phrases.", "classifier.", "cls."))),
        )

    @staticmethod
    def arguments_of(config: Mapping[str, Any]) -> dict[str, Any]:
        """Constructor arguments from a config.json. ValueError for what this model lacks."""
        kind = config.get("position_embedding_type", "absolute")
        if kind != "absolute" or config.get("is_decoder", False):
            raise ValueError(f"BERT: positions must be absolute and the model no decoder, got {kind}")
        names = {architecture: head for head, architecture in HEADS.items()}
        names["BertForPreTraining"] = "mlm"
        architecture = (config.get("architectures") or ["BertModel"])[0]
        labels = config.get("id2label") or {}
        rate = config.get("hidden_dropout_prob", 0.1)
        return {
            "vocabulary": config.get("vocab_size", 30522),
            "positions": config.get("max_position_embeddings", 512),
            "types": config.get("type_vocab_size", 2),
            "width": config.get("hidden_size", 768),
            "layers": config.get("num_hidden_layers", 12),
            "heads": config.get("num_attention_heads", 12),
            "inner": config.get("intermediate_size", 3072),
            "activation": config.get("hidden_act", "gelu"),
            "dropout": rate,
            "attention_dropout": config.get("attention_probs_dropout_prob", 0.1),
            "eps": config.get("layer_norm_eps", 1e-12),
            "head": names.get(architecture),
            "classes": config.get("num_labels", len(labels) or 2),
            "padding": config.get("pad_token_id", 0),
        }

    def config(self) -> dict[str, Any]:
        """What config.json says of this model. ValueError for what Hugging Face's lacks."""
        a = self.arguments
        if self.phrases is not None or (a["head"] == "classify" and self.pooler is None):
            raise ValueError(
                "BERT: Hugging Face's has neither a window nor another pooling than the first token's, got "
                f"window {a['window']} and pooling {a['pooling']!r}"
            )
        seen = a["attention_dropout"]
        return {
            "model_type": "bert",
            "architectures": [HEADS[a["head"]]],
            "vocab_size": a["vocabulary"],
            "max_position_embeddings": a["positions"],
            "type_vocab_size": a["types"],
            "hidden_size": a["width"],
            "num_hidden_layers": a["layers"],
            "num_attention_heads": a["heads"],
            "intermediate_size": a["inner"],
            "hidden_act": a["activation"],
            "hidden_dropout_prob": a["dropout"],
            "attention_probs_dropout_prob": a["dropout"] if seen is None else seen,
            "layer_norm_eps": a["eps"],
            "pad_token_id": a["padding"],
            "id2label": {str(i): f"LABEL_{i}" for i in range(a["classes"])},
            "label2id": {f"LABEL_{i}": i for i in range(a["classes"])},
            "tie_word_embeddings": True,
        }

    @classmethod
    def from_pretrained(cls, directory: PathLike, **arguments: Any) -> BERT:
        """The model in a Hugging Face folder, in evaluation mode; arguments replace those of its configuration.

        With another head than the files have, its parameters are new. FileError if the files do not fit.
        """
        return cls.read(directory, **arguments)[0]

    @classmethod
    def read(cls, directory: PathLike, **arguments: Any) -> tuple[BERT, Report]:
        """The same, and which tensor of the files became which."""
        try:
            model = cls(**{**cls.arguments_of(read_config(directory)), **arguments})
        except (TypeError, ValueError) as error:
            raise FileError(f"{directory}: expected the configuration of a BERT, found: {error}") from error
        report = match_folder(model, model.layout, read_folder(directory), directory)
        model.eval()
        return model, report

    def save_pretrained(self, directory: PathLike) -> None:
        """Writes a folder that transformers reads."""
        write_folder(directory, self, self.layout, self.config())
