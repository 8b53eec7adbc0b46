"""Tiny random models of transformers: what the tests of `from_pretrained` compare with.

`python tests/oracle/transformers_models.py` writes the folders tests/models/pretrained/NAME: the model's files, and
expected.npz with what it made of some inputs, so that a machine without torch can compare too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import transformers

transformers.utils.logging.set_verbosity(50)
transformers.utils.logging.disable_progress_bar()
VOCABULARY = 53


def _bert(kind):
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=24,
        initializer_range=0.3,
        num_labels=5,
    )
    return kind(config)


def _t5(**more):
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=VOCABULARY,
            d_model=24,
            d_kv=6,
            d_ff=40,
            num_layers=2,
            num_heads=3,
            relative_attention_num_buckets=8,
            relative_attention_max_distance=12,
            decoder_start_token_id=0,
            **more,
        )
    )


def _gpt2():
    ends = {"bos_token_id": None, "eos_token_id": None}
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=40, n_embd=24, n_layer=2, n_head=3, initializer_range=0.4, **ends
    )
    return transformers.GPT2LMHeadModel(config)


MODELS = {
    "gpt2": _gpt2,
    "bert": lambda: _bert(transformers.BertForMaskedLM),
    "bert-classify": lambda: _bert(transformers.BertForSequenceClassification),
    "bert-tokens": lambda: _bert(transformers.BertForTokenClassification),
    "bert-features": lambda: _bert(transformers.BertModel),
    "t5": _t5,
    "t5-gated": lambda: _t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
}
STORED = ("gpt2", "bert", "t5", "t5-gated")


def build(name: str, seed: int = 0):
    torch.manual_seed(seed)
    model = MODELS[name]().eval()
    if name == "t5-gated":  # as in the published v1.1, whose last layer is a matrix of its own
        model.lm_head.weight = torch.nn.Parameter(torch.randn(VOCABULARY, 24))
    if not name.startswith("gpt"):
        for parameter in model.parameters():  # norms and biases begin as ones and zeros
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def inputs(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    ids = rng.integers(2, VOCABULARY, (3, 13))
    ids[1, 9:] = 0
    target = rng.integers(2, VOCABULARY, (3, 7))
    target[:, 0] = 0
    whole = rng.integers(1, VOCABULARY, (2, 13))
    return {"ids": ids, "types": rng.integers(0, 2, ids.shape), "target": target, "whole": whole}


@torch.no_grad()
def expected(name: str, model, x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Logits, and for models that generate the tokens: greedy, and what beams find."""
    t = {key: torch.tensor(value) for key, value in x.items()}
    fixed = {"do_sample": False}
    if name == "gpt2":
        fixed |= {"max_new_tokens": 20, "pad_token_id": 0}
        return {
            "logits": model(t["whole"]).logits.numpy(),
            "greedy": model.generate(t["whole"], **fixed).numpy(),
            "penalised": model.generate(t["whole"], repetition_penalty=1.7, **fixed).numpy(),
        }
    seen = (t["ids"] != 0).long()
    if name.startswith("bert"):
        out = model(t["ids"], attention_mask=seen, token_type_ids=t["types"])
        return {"logits": (out.last_hidden_state if name == "bert-features" else out.logits).numpy()}
    logits = model(t["ids"], attention_mask=seen, decoder_input_ids=t["target"]).logits.numpy()
    out = {"logits": logits}
    for key, options in BEAMS.items():
        rows = model.generate(t["ids"], attention_mask=seen, max_new_tokens=12, **fixed, **options).numpy()
        out[key] = _ended(rows[:, 1:])
    return out


BEAMS = {
    "greedy": {"num_beams": 1},
    "beams": {"num_beams": 4},
    "short beams": {"num_beams": 3, "length_penalty": 0.6},
    "long beams": {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True},
}


def _ended(rows: np.ndarray) -> np.ndarray:
    """0 behind the first 1, whatever stood there."""
    behind = np.cumsum(rows == 1, axis=1) - (rows == 1) > 0
    return np.where(behind, 0, rows)


def main(folder: Path) -> None:
    for name in STORED:
        model = build(name)
        model.save_pretrained(folder / name)
        (folder / name / "generation_config.json").unlink(missing_ok=True)
        x = inputs()
        np.savez_compressed(folder / name / "expected.npz", **x, **expected(name, model, x))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "models" / "pretrained")
