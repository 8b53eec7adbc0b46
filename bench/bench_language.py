"""Transformers of the size that is in use: the encoder of BERT-base, and text from a GPT-2 of 124 million parameters.

    bert-base/infer-N   N sequences of 128 tokens, through layers that are written once over both libraries
    gpt2/generate       a token behind 64 others: of 16 that are the likeliest, each after the other; a decoder with a
                        cache of keys and values

bfloat16 contestants run the encoder under autocast, and generate with parameters stored so. Beside PyTorch results are
compared before anything is timed. The rate of a token in bytes is that of its parameters: what memory must deliver.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import nonet
from nonet import _core, models
from nonet.bench.errors import WrongResultError
from nonet.bench.harness import Contestant
from nonet.bench.opponents import Side, Trial, own_sides
from nonet.bench.report import Row, rated
from nonet.bench.run import Options

__all__ = ["names", "run"]

TOKENS = 128  # of a sequence
BATCHES = (1, 8)
PROMPT, NEW = 64, 16
EXACT, ROUNDED = 1e-3, 1e-1  # of the largest value


@dataclass(frozen=True)
class Sizes:
    vocabulary: int
    width: int
    layers: int
    heads: int

    @property
    def layer_weights(self) -> int:
        return 12 * self.width**2 * self.layers


BERT = Sizes(30522, 768, 12, 12)
GPT = Sizes(50257, 768, 12, 12)


def names() -> list[str]:
    return [*(f"bert-base/infer-{n}" for n in BATCHES), "gpt2/generate"]


def run(options: Options) -> Iterator[list[Row]]:
    """All cases. Errors: WrongResultError."""
    wanted = [n for n in BATCHES if options.wants("bert-base", f"infer-{n}")]
    if wanted:
        options.tell("language bert-base")
        yield from _encoder_rows(BERT, wanted, options)
    if options.wants("gpt2", "generate"):
        options.tell("language gpt2")
        yield _generation_rows(GPT, options)


def _sides(
    options: Options, own: Callable[[str], Callable[..., Trial]], other: Callable[[str], Callable[..., Trial]]
) -> list[Side]:
    """own, other: from a dtype."""
    sides = list(own_sides(options.precisions, own))
    if "torch" in options.against:
        sides += [Side("torch", dtype, dtype, dtype, other(dtype)) for dtype in ("bfloat16", "float32")]
    return sides


def _compare(where: str, sides: list[Side], results: list[np.ndarray]) -> None:
    """With the last one's result. Errors: WrongResultError."""
    scale = float(np.abs(results[-1]).max())
    for side, result in zip(sides, results, strict=True):
        exact = side.exact and sides[-1].exact
        error = float(np.abs(result - results[-1]).max()) / scale
        if not error <= (EXACT if exact else ROUNDED):
            raise WrongResultError(f"{where}: {side.name} is off by {error:.1e} of the largest")


def _rows(
    case: str, mode: str, sides: list[Side], options: Options, flops: float, moved: float, count: int = 1
) -> list[Row]:
    """count: results of a call, which flops and bytes are of one of."""
    precision = nonet.get_matmul_precision()
    try:
        trials, results = [], []
        for side in sides:
            if side.before is not None:
                side.before()
            trials.append(side.make())
            results.append(trials[-1]())
        _compare(f"{case} {mode}", sides, results)
        contestants = [
            Contestant(side.name, trial.call, side.before) for side, trial in zip(sides, trials, strict=True)
        ]
        timings = options.time(contestants)
    finally:
        nonet.set_matmul_precision(precision)
    rows = []
    for side in sides:
        rows.append(
            rated(
                timings[side.name],
                peaks=options.peaks,
                isa=_core.isa(),
                threads=nonet.num_threads(),
                precision=side.precision,
                flops=count * flops,
                bytes_=count * moved * (0.5 if side.dtype == "bfloat16" else 1),
                family="language",
                case=case,
                mode=mode,
                state="",
                library=side.library,
                variant=side.variant,
                exact=side.exact,
            )
        )
    return rows


# ------------------------------------------------------------------------------------------------ BERT-base


def encoder(lib: Any, sizes: Sizes) -> Any:
    nn, n = lib.nn, sizes.width

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(sizes.vocabulary, n), nn.Embedding(512, n)
            self.norm = nn.LayerNorm(n)
            layer = nn.TransformerEncoderLayer(n, sizes.heads, 4 * n, 0.1, "gelu", batch_first=True)
            self.layers = nn.TransformerEncoder(layer, sizes.layers)

        def forward(self, ids: Any) -> Any:
            return self.layers(self.norm(self.tokens(ids) + self.positions(lib.arange(ids.shape[1]))))

    return Encoder().eval()


def _encoder_rows(sizes: Sizes, batches: list[int], options: Options) -> Iterator[list[Row]]:
    nonet.manual_seed(0)
    own = encoder(nonet, sizes)
    other: Any = None
    if "torch" in options.against:
        import torch  # pyright: ignore[reportMissingImports]

        other = encoder(torch, sizes)
        own.load_state_dict({name: nonet.tensor(value.numpy()) for name, value in other.state_dict().items()})
    pairs = 2 * sizes.layers * TOKENS * sizes.width
    for batch in batches:
        ids = np.random.default_rng(batch).integers(0, sizes.vocabulary, (batch, TOKENS))
        macs = batch * TOKENS * (sizes.layer_weights + pairs)
        sides = _sides(options, _encode_own(own, ids), _encode_other(other, ids))
        yield _rows("bert-base", f"infer-{batch}", sides, options, 2.0 * macs, 4.0 * sizes.layer_weights)


def _encode_own(model: Any, ids: np.ndarray) -> Callable[[str], Callable[[], Trial]]:
    given = nonet.tensor(ids)

    def encode(dtype: str) -> Any:
        with nonet.no_grad(), nonet.autocast("bfloat16", enabled=dtype == "bfloat16"):
            return model(given)

    return lambda dtype: lambda: Trial(lambda: encode(dtype), _values)


def _encode_other(model: Any, ids: np.ndarray) -> Callable[[str], Callable[[], Trial]]:
    def encode(dtype: str) -> Any:
        import torch  # pyright: ignore[reportMissingImports]

        cast = torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else contextlib.nullcontext()
        with torch.inference_mode(), cast:
            return model(torch.from_numpy(ids))

    return lambda dtype: lambda: Trial(lambda: encode(dtype), _values)


def _values(y: Any) -> np.ndarray:
    return y.float().numpy()


# ------------------------------------------------------------------------------------------------ GPT-2


def _generation_rows(sizes: Sizes, options: Options) -> list[Row]:
    nonet.manual_seed(0)
    own: dict[str, Any] = {}
    for dtype in ("float32", "bfloat16"):
        model = models.GPT(sizes.vocabulary, PROMPT + NEW, sizes.width, sizes.layers, sizes.heads).eval()
        if own:
            model.load_state_dict(own["float32"].state_dict())
        own[dtype] = model.to(dtype=dtype)
    weights = {name: np.array(value.detach()) for name, value in own["float32"].state_dict().items()}
    prompt = np.random.default_rng(0).integers(0, sizes.vocabulary, (1, PROMPT))

    def make_own(dtype: str) -> Callable[[], Trial]:
        model = own[dtype]

        def step(ids: np.ndarray, caches: Any) -> np.ndarray:
            return model.logits(model.features(ids, caches)[:, -1]).float().numpy()

        def call() -> np.ndarray:
            with nonet.no_grad():
                return _logits(step, prompt, model.caches(1, PROMPT + NEW))

        return lambda: Trial(call, np.asarray)

    def make_other(dtype: str) -> Callable[[], Trial]:
        decoder = TorchDecoder(weights, sizes, dtype)
        return lambda: Trial(lambda: _logits(decoder.step, prompt, decoder.caches()), np.asarray)

    table = sizes.vocabulary * sizes.width
    macs = sizes.layer_weights + table + 2 * sizes.layers * (PROMPT + NEW) * sizes.width
    sides = _sides(options, make_own, make_other)
    return _rows("gpt2", "generate", sides, options, 2.0 * macs, 4.0 * (sizes.layer_weights + table), NEW)


def _logits(step: Callable[[np.ndarray, Any], np.ndarray], prompt: np.ndarray, caches: Any) -> np.ndarray:
    """The logits of the last token of the prompt, and then NEW - 1 times of the likeliest token so far.

    -> the first [vocabulary]: which token is the likeliest, and all that follows, may hang on its last digit.
    """
    first = logits = step(prompt, caches)
    for _ in range(NEW - 1):
        logits = step(logits.argmax(axis=1)[:, None], caches)
    return first


class TorchDecoder:
    """GPT-2 from nonet's parameters, with keys and values in tensors of their full length."""

    def __init__(self, weights: dict[str, np.ndarray], sizes: Sizes, dtype: str) -> None:
        import torch  # pyright: ignore[reportMissingImports]

        self.torch, self.F, self.sizes = torch, torch.nn.functional, sizes
        self.kind = getattr(torch, dtype)
        self.weights = {name: torch.from_numpy(value).to(self.kind) for name, value in weights.items()}

    def caches(self) -> list[Any]:
        heads = self.sizes.heads
        shape = (2, 1, heads, PROMPT + NEW, self.sizes.width // heads)
        return [0, *(self.torch.zeros(shape, dtype=self.kind) for _ in range(self.sizes.layers))]

    def step(self, ids: np.ndarray, caches: list[Any]) -> np.ndarray:
        with self.torch.inference_mode():
            return self._step(self.torch.from_numpy(ids), caches).float().numpy()

    def _step(self, ids: Any, caches: list[Any]) -> Any:
        w, F, heads = self.weights, self.F, self.sizes.heads
        first, count = caches[0], ids.shape[1]
        caches[0] = end = first + count

        def linear(x: Any, name: str) -> Any:
            return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

        def norm(x: Any, name: str) -> Any:
            return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

        x = w["wte.weight"][ids] + w["wpe.weight"][first:end]
        for i, cache in enumerate(caches[1:]):
            qkv = linear(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn")
            q, k, v = qkv.reshape(1, count, 3, heads, -1).permute(2, 0, 3, 1, 4)
            cache[0, :, :, first:end], cache[1, :, :, first:end] = k, v
            y = F.scaled_dot_product_attention(q, *cache[:, :, :, :end], is_causal=count > 1)
            x = x + linear(y.transpose(1, 2).reshape(1, count, -1), f"h.{i}.attn.c_proj")
            h = F.gelu(linear(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"), approximate="tanh")
            x = x + linear(h, f"h.{i}.mlp.c_proj")
        return F.linear(norm(x, "ln_f")[:, -1], w["wte.weight"])
