"""Benchmarks, installed as nonet.bench: `nonet bench` runs the families below (docs/benchmarks.md).

A family is a module, imported when it runs: `names() -> list[str]` tells its cases as `case/mode` or `case/mode/state`,
`run(options)` yields a list of rows whenever a part of them is complete.
"""

from __future__ import annotations

from nonet.bench.errors import BenchError

# Module and what it measures, by the family's name on the command line.
FAMILIES = {
    "matmul": ("nonet.bench.bench_matmul", "matrix products, layers' shapes, every precision"),
    "conv": ("nonet.bench.bench_conv", "convolutions, transposed ones, pooling and batch normalisation"),
    "recurrent": (
        "nonet.bench.bench_recurrent",
        "RNN, LSTM and GRU over whole sequences, with all gradients too",
    ),
    "attention": ("nonet.bench.bench_attention", "attention: whole sequences, and one query on many keys"),
    "models": ("nonet.bench.models", "training step and single-sample inference of ten reference workloads"),
    "networks": ("nonet.bench.networks", "ResNet-50 and VGG-16 at 224: training step, inference, memory"),
    "language": ("nonet.bench.bench_language", "BERT-base's encoder, and a token of a GPT-2"),
    "mlp_step": ("nonet.bench.mlp_step", "a training step so small that only overhead is left"),
}

__all__ = ["FAMILIES", "BenchError"]
