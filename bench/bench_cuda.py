"""Kernels on a GPU beside PyTorch's (cuBLAS, cuDNN and its own), every family in one process, call by call in turn.

    python -m nonet.bench.bench_cuda --save bench.json --seconds 440

    python -m nonet.bench.bench_cuda --save bench.json --markdown     (the tables of docs/gpu.md, of what is saved)

A case is verified (both results agree), then both sides run blocks of calls in turn, each block between two
synchronisations; medians of blocks stand against medians. Rows are saved one by one; called again with the same file,
it goes on with what is missing. bench/cuda_all.py is the usual way to call it.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nonet
from nonet import _core
from nonet.bench.workloads import WORKLOADS

DEVICE = "cuda"  # of both; tests say cpu
BLOCKS = 11
BLOCK_SECONDS = 0.01
TIERS = ("simt", "mma80", "sm90a")
MATRICES = [
    *((n, n, n) for n in (64, 128, 256, 512, 1024, 2048, 4096, 8192)),
    *((16, 512, 512), (32, 256, 784), (128, 512, 784), (128, 10, 512), (64, 2048, 512), (128, 768, 768)),
    *((512, 768, 768), (2048, 768, 3072), (2048, 3072, 768), (1, 512, 784), (1, 768, 3072), (1, 4096, 4096)),
]
# N, C, H, O, k, stride
CONVOLUTIONS = [
    *((64, 64, 32, 64, 3, 1), (64, 256, 8, 256, 3, 1), (4, 256, 56, 256, 3, 1), (8, 64, 56, 256, 1, 1)),
    *((8, 128, 28, 256, 3, 2), (8, 3, 224, 64, 7, 2), (128, 1, 28, 6, 5, 1), (128, 6, 14, 16, 5, 1)),
]


@dataclass
class Row:
    """Seconds per call, medians of blocks. flops, bytes: of one call; 0 where they say nothing."""

    name: str
    nonet: float
    torch: float
    flops: float = 0
    bytes: float = 0

    def text(self) -> str:
        rate = f"{self.flops / self.nonet / 1e12:8.1f} TFLOP/s" if self.flops else ""
        rate = rate or (f"{self.bytes / self.nonet / 1e9:8.0f} GB/s" if self.bytes else "")
        ratio = self.torch / self.nonet
        return f"{self.name:<44} {self.nonet * 1e6:10.1f} µs {self.torch * 1e6:10.1f} µs {ratio:6.2f}x {rate}"


@dataclass
class Case:
    """make() returns both sides' calls, and a check of their results (None: there is nothing to compare)."""

    name: str
    make: Callable[[], tuple[Callable[[], Any], Callable[[], Any], float | None]]
    flops: float = 0
    bytes: float = 0
    tier: str = ""


def _torch() -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    return torch


@functools.lru_cache(maxsize=4)
def _numbers(shape: tuple[int, ...], seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def pair(shape: Sequence[int], seed: int, dtype: str = "float32") -> tuple[Any, Any]:
    """The same normal numbers on the GPU for both."""
    values = _numbers(tuple(shape), seed)
    torch = _torch()
    theirs = torch.from_numpy(values.copy()).to(DEVICE).to(getattr(torch, dtype))
    return nonet.tensor(values).to(DEVICE).to(dtype), theirs


# ------------------------------------------------------------------------------------------------ cases


def matmul_cases() -> Iterator[Case]:
    """bfloat16 on each tier with tensor cores, float32 by multiply-adds, and TF32 where the precision allows."""
    kinds = [
        ("bfloat16", "highest", "mma80", 2e-2),
        ("bfloat16", "highest", "sm90a", 2e-2),
        ("float32", "highest", "simt", 1e-4),
        ("float32", "high", "mma80", 1e-2),
        ("float32", "high", "sm90a", 1e-2),
        ("float32", "medium", "sm90a", 5e-2),
    ]
    for dtype, precision, tier, tolerance in kinds:
        for m, n, k in MATRICES:

            def make(m=m, n=n, k=k, dtype=dtype, precision=precision, tolerance=tolerance) -> Any:
                (a, x), (b, y) = pair((m, k), 1, dtype), pair((k, n), 2, dtype)
                torch = _torch()
                torch.backends.cuda.matmul.allow_tf32 = precision != "highest"
                return lambda: nonet.matmul(a, b, precision=precision), lambda: torch.mm(x, y), tolerance

            name = f"matmul {dtype} {precision} {m}x{n}x{k}"
            yield Case(f"{name} {tier}", make, flops=2.0 * m * n * k, tier=tier)


def conv_cases() -> Iterator[Case]:
    for sizes in CONVOLUTIONS:
        yield from _conv_cases(*sizes)


def _conv_cases(n: int, c: int, h: int, o: int, k: int, s: int) -> Iterator[Case]:
    out = (h + 2 * (k // 2) - k) // s + 1
    flops = 2.0 * n * o * out * out * c * k * k
    ours, theirs = nonet.nn.functional.conv2d, _torch().nn.functional.conv2d

    def tensors() -> Any:
        (a, x), (b, y) = pair((n, c, h, h), 1), pair((o, c, k, k), 2)
        _torch().backends.cudnn.allow_tf32 = False
        _torch().backends.cudnn.benchmark = True
        return a, x, b, y

    def forward() -> Any:
        a, x, b, y = tensors()
        return lambda: ours(a, b, None, s, k // 2), lambda: theirs(x, y, None, s, k // 2), 1e-4

    def both() -> Any:
        a, x, b, y = (t.requires_grad_() for t in tensors())
        g, d = pair((n, o, out, out), 3)
        return (
            lambda: ours(a, b, None, s, k // 2).backward(g),
            lambda: theirs(x, y, None, s, k // 2).backward(d),
            None,
        )

    shape = f"{n},{c},{h},{o},{k}" + (f" s{s}" if s > 1 else "")
    yield Case(f"conv2d {shape} forward", forward, flops=flops)
    yield Case(f"conv2d {shape} forward + backward", both, flops=3 * flops)


def memory_cases() -> Iterator[Case]:
    """What moves through memory once: bytes are those that must move."""
    from nonet.nn import functional as F

    def simple(name: str, shape: Sequence[int], moved: float, call: str, **options: Any) -> Case:
        def make() -> Any:
            a, x = pair(shape, 1)
            ours, theirs = getattr(F, call, None) or getattr(nonet, call), _functional(call)
            return lambda: ours(a, **options), lambda: theirs(x, **options), 1e-4

        return Case(f"{name} {'x'.join(map(str, shape))}", make, bytes=4.0 * np.prod(shape) * moved)

    def training(name: str, shape: Sequence[int], moved: float, ours: Any, theirs: Any) -> Case:
        def make() -> Any:
            a, x = (t.requires_grad_() for t in pair(shape, 1))
            g, d = pair(shape, 2)
            return lambda: ours(a).backward(g), lambda: theirs(x).backward(d), None

        return Case(f"{name} {'x'.join(map(str, shape))}", make, bytes=4.0 * np.prod(shape) * moved)

    big = (4096, 16384)
    yield simple("exp", big, 2, "exp")
    yield simple("gelu", big, 2, "gelu")
    yield simple("sum", big, 1, "sum", dim=1)
    yield simple("sum of columns", big, 1, "sum", dim=0)
    yield simple("softmax", (8192, 4096), 2, "softmax", dim=1)
    yield simple("softmax", (16, 1 << 20), 2, "softmax", dim=1)
    yield simple("layer_norm", (8192, 4096), 2, "layer_norm", normalized_shape=(4096,))
    yield simple("max_pool2d", (64, 64, 112, 112), 1.25, "max_pool2d", kernel_size=2)
    yield simple("sort", (1024, 8192), 4, "sort", dim=1)
    T = _torch().nn.functional
    yield training(
        "softmax forward + backward", (8192, 4096), 5, lambda x: F.softmax(x, 1), lambda x: T.softmax(x, 1)
    )
    yield training(
        "layer_norm forward + backward",
        (8192, 4096),
        5,
        lambda x: F.layer_norm(x, (4096,)),
        lambda x: T.layer_norm(x, (4096,)),
    )
    yield training(
        "dropout forward + backward", big, 4, lambda x: F.dropout(x, 0.1), lambda x: T.dropout(x, 0.1)
    )

    def cross_entropy() -> Any:
        a, x = (t.requires_grad_() for t in pair((8192, 32000), 1))
        labels = np.random.default_rng(2).integers(0, 32000, 8192)
        mine, yours = nonet.tensor(labels).to(DEVICE), _torch().from_numpy(labels).to(DEVICE)
        return lambda: F.cross_entropy(a, mine).backward(), lambda: T.cross_entropy(x, yours).backward(), None

    yield Case("cross_entropy forward + backward 8192x32000", cross_entropy, bytes=4.0 * 8192 * 32000 * 3)

    def embedding() -> Any:
        a, x = (t.requires_grad_() for t in pair((50000, 768), 1))
        ids = np.random.default_rng(2).integers(0, 50000, (32, 512))
        mine, yours = nonet.tensor(ids).to(DEVICE), _torch().from_numpy(ids).to(DEVICE)
        return (
            lambda: F.embedding(mine, a).sum().backward(),
            lambda: T.embedding(yours, x).sum().backward(),
            None,
        )

    yield Case("embedding forward + backward 50000x768", embedding)

    def adamw() -> Any:
        torch = _torch()
        a, x = pair((28_000_000,), 1)
        g, d = pair((28_000_000,), 2)
        p, q = nonet.nn.Parameter(a), torch.nn.Parameter(x)
        p.grad, q.grad = g, d
        ours, theirs = nonet.optim.AdamW([p]), torch.optim.AdamW([q], fused=True)
        return ours.step, theirs.step, None

    yield Case("AdamW step 28 M", adamw, bytes=28e6 * 4 * 7)


def _functional(name: str) -> Callable[..., Any]:
    torch = _torch()
    return getattr(torch.nn.functional, name, None) or getattr(torch, name)


# Steps, batch, hidden size.
SEQUENCES = [(64, 32, 128), (128, 16, 256), (64, 64, 512), (64, 1, 256)]


def recurrent_cases() -> Iterator[Case]:
    """Whole sequences; PyTorch's are cuDNN's."""
    for kind in ("RNN", "LSTM", "GRU"):
        for t, b, h in SEQUENCES:
            for backward in (False, True):

                def make(kind=kind, t=t, b=b, h=h, backward=backward) -> Any:
                    torch = _torch()
                    ours, theirs = getattr(nonet.nn, kind)(h, h), getattr(torch.nn, kind)(h, h)
                    theirs.load_state_dict(
                        {k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()}
                    )
                    ours, theirs = ours.to(DEVICE), theirs.to(DEVICE)
                    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
                    a, x = pair((t, b, h), 1)
                    if not backward:
                        return lambda: _quietly(ours, a), lambda: _torch_quietly(theirs, x), 1e-4
                    a, x = a.requires_grad_(), x.requires_grad_()
                    g, d = pair((t, b, h), 2)
                    return lambda: ours(a)[0].backward(g), lambda: theirs(x)[0].backward(d), None

                gates = {"RNN": 1, "LSTM": 4, "GRU": 3}[kind]
                flops = 2.0 * t * b * gates * h * 2 * h * (3 if backward else 1)
                name = f"{kind} {t}x{b}x{h} forward" + (" + backward" if backward else "")
                yield Case(name, make, flops=flops)


# Batch, heads, length, head size.
ATTENTIONS = [(8, 12, 128, 64), (4, 12, 512, 64), (2, 12, 2048, 64)]


def attention_cases() -> Iterator[Case]:
    """Causal; PyTorch's are its fused kernels."""
    for dtype in ("float32", "bfloat16"):
        for shape in ATTENTIONS:
            for backward in (False, True):

                def make(shape=shape, dtype=dtype, backward=backward) -> Any:
                    pairs = [pair(shape, seed, dtype) for seed in range(3)]
                    ours = nonet.nn.functional.scaled_dot_product_attention
                    theirs = _torch().nn.functional.scaled_dot_product_attention
                    mine, yours = [p[0] for p in pairs], [p[1] for p in pairs]
                    if not backward:
                        limit = 1e-3 if dtype == "float32" else 2e-2
                        return (
                            lambda: ours(*mine, is_causal=True),
                            lambda: theirs(*yours, is_causal=True),
                            limit,
                        )
                    for tensor in (*mine, *yours):
                        tensor.requires_grad_()
                    g, d = pair(shape, 3, dtype)
                    return (
                        lambda: ours(*mine, is_causal=True).backward(g),
                        lambda: theirs(*yours, is_causal=True).backward(d),
                        None,
                    )

                b, h, t, size = shape
                flops = (
                    2.0 * b * h * t * t * size * (3.5 if backward else 1)
                )  # the lower triangle of both products
                name = f"attention {dtype} {b}x{h}x{t}x{size} forward" + (" + backward" if backward else "")
                yield Case(name, make, flops=flops)


def _quietly(module: Any, *inputs: Any) -> Any:
    with nonet.no_grad():
        return module(*inputs)


def _torch_quietly(module: Any, *inputs: Any) -> Any:
    with _torch().no_grad():
        return module(*inputs)


def step_cases() -> Iterator[Case]:
    """Whole training steps of the workloads whose ops are there."""
    for workload in WORKLOADS[:2]:

        def make(workload=workload) -> Any:
            torch = _torch()
            x, y = workload.sample(np.random.default_rng(0), workload.batch)

            def step(lib: Any, x: Any, y: Any, **options: Any) -> Callable[[], Any]:
                model = workload.build(lib).to(DEVICE)
                optimizer = lib.optim.Adam(model.parameters(), lr=workload.lr, **options)

                def run() -> None:
                    optimizer.zero_grad()
                    workload.loss(lib, model, x, y).backward()
                    optimizer.step()

                return run

            ours = step(nonet, nonet.tensor(x).to(DEVICE), nonet.tensor(y).to(DEVICE))
            theirs = step(torch, torch.from_numpy(x).to(DEVICE), torch.from_numpy(y).to(DEVICE), fused=True)
            return ours, theirs, None

        yield Case(f"step {workload.name}", make)


def cases() -> Iterator[Case]:
    yield from step_cases()
    yield from recurrent_cases()
    yield from attention_cases()
    yield from memory_cases()
    yield from conv_cases()
    yield from matmul_cases()


# ------------------------------------------------------------------------------------------------ timing


def measure(case: Case) -> Row:
    """Errors: RuntimeError if the results differ."""
    torch = _torch()
    ours, theirs, tolerance = case.make()
    if tolerance is not None:
        _verify(case.name, ours(), theirs(), tolerance)
    wait_for_torch = torch.cuda.synchronize if DEVICE == "cuda" else lambda: None
    sides = ((ours, lambda: nonet.synchronize(DEVICE)), (theirs, wait_for_torch))

    def block(side: int, calls: int) -> float:
        call, wait = sides[side]
        wait()
        began = time.perf_counter()
        for _ in range(calls):
            call()
        wait()
        return (time.perf_counter() - began) / calls

    calls = []
    for side in (0, 1):
        block(side, 2)
        calls.append(max(1, int(BLOCK_SECONDS / block(side, 3))))
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(BLOCKS):
        for side in (0, 1):
            seconds[side].append(block(side, calls[side]))
    return Row(
        case.name, statistics.median(seconds[0]), statistics.median(seconds[1]), case.flops, case.bytes
    )


def _verify(name: str, ours: Any, theirs: Any, tolerance: float) -> None:
    def first(x: Any) -> Any:
        return x[0] if isinstance(x, tuple) else x

    got = first(ours).detach().cpu().to("float32").numpy().astype(np.float64)
    want = first(theirs).detach().cpu().float().numpy().astype(np.float64)
    error = float(np.abs(got - want).max() / np.abs(want).max())
    if not error <= tolerance:
        raise RuntimeError(
            f"{name}: the results differ by {error:.1e} of the largest value, allowed {tolerance:.0e}"
        )


def markdown(document: dict[str, Any]) -> str:
    """Products as a table of shapes and kinds, each with its ratio to PyTorch; a line per other case."""
    device = document["device"]
    head = (
        f"{device['name']}, CUDA {device['runtime']}, driver {device['driver']}, PyTorch {document['torch']}"
    )
    rows = {row["name"]: Row(**row) for row in document["rows"]}
    products = {name: row for name, row in rows.items() if name.startswith("matmul ")}
    lines = [head, ""]
    if products:
        kinds = list(dict.fromkeys(tuple(_kind(name)) for name in products))
        lines.append("| matmul | " + " | ".join(", ".join(kind) for kind in kinds) + " |")
        lines.append("| --- |" + " --: |" * len(kinds))
        for shape in dict.fromkeys(name.split()[3] for name in products):
            cells = []
            for dtype, precision, tier in kinds:
                row = products.get(f"matmul {dtype} {precision} {shape} {tier}")
                cells.append(
                    ""
                    if row is None
                    else f"{row.flops / row.nonet / 1e12:.1f} TFLOP/s, {row.torch / row.nonet:.2f}"
                )
            lines.append(f"| {shape} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["| case | nonet | PyTorch | ratio | rate |", "| --- | --: | --: | --: | --: |"]
    for name, row in rows.items():
        if name in products:
            continue
        rate = f"{row.flops / row.nonet / 1e12:.1f} TFLOP/s" if row.flops else ""
        rate = rate or (f"{row.bytes / row.nonet / 1e9:.0f} GB/s" if row.bytes else "")
        lines.append(
            f"| {name} | {row.nonet * 1e6:.1f} µs | {row.torch * 1e6:.1f} µs | {row.torch / row.nonet:.2f} | {rate} |"
        )
    return "\n".join([*lines, *(f"* failed: {name}: {why}" for name, why in document["failed"].items())])


def _kind(name: str) -> tuple[str, str, str]:
    _, dtype, precision, _, tier = name.split()
    return dtype, precision, tier


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--save", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=440.0)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--markdown", action="store_true", help="measure nothing, show the file as Markdown")
    args = parser.parse_args(argv)
    if args.markdown:
        print(markdown(json.loads(args.save.read_text())))
        return 0
    info = nonet.cuda.device_info()
    document: dict[str, Any] = {"device": info, "torch": _torch().__version__, "rows": [], "failed": {}}
    if args.save.exists():
        document = json.loads(args.save.read_text())
    usable = TIERS[: TIERS.index(info["tier"]) + 1]
    wanted = [c for c in cases() if args.only in c.name and (not c.tier or c.tier in usable)]
    run(wanted, document, args.save, time.monotonic() + args.seconds, info["tier"])
    return 1 if document["failed"] else 0


def run(
    wanted: Sequence[Case], document: dict[str, Any], file: Path, deadline: float, best: str = ""
) -> None:
    """Measures what the document lacks, on the case's tier or the best, until time is up; saves after every case."""
    done = {row["name"] for row in document["rows"]} | set(document["failed"])
    for case in wanted:
        if case.name in done or time.monotonic() > deadline:
            continue
        if case.tier or best:
            _core.set_tier(DEVICE, case.tier or best)
        try:
            row = measure(case)
            document["rows"].append(asdict(row))
            print(row.text(), flush=True)
        except (RuntimeError, ValueError, TypeError) as error:
            document["failed"][case.name] = str(error)
            print(f"FAILED {case.name}: {error}", flush=True)
        done.add(case.name)
        document["missing"] = [c.name for c in wanted if c.name not in done]
        file.write_text(json.dumps(document, indent=1))
        nonet.empty_cache()
    document["missing"] = [c.name for c in wanted if c.name not in done]
    file.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    sys.exit(main())
