"""A training step and the inference of one sample, for the workloads of workloads.py, beside PyTorch.

PyTorch runs with its default and with its fused Adam, in float32 and under its bfloat16 autocast; ratios are taken to
the fastest. All sides start from the same weights and see the same batch, and their losses over 20 steps must agree
before anything is timed. The peak memory of as many steps is measured in processes of their own (memory.py). A workload
for which nonet lacks an op is skipped, by name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

import nonet
from nonet import _core, models
from nonet.bench.errors import UnmeasuredError, WrongResultError
from nonet.bench.harness import Contestant, Timing
from nonet.bench.memory import peak_bytes
from nonet.bench.opponents import lowest, with_precision
from nonet.bench.report import Row
from nonet.bench.run import Options
from nonet.bench.workloads import WORKLOADS, Workload

__all__ = ["Run", "Variant", "names", "names_of", "run", "run_workloads", "variants"]

MODES = ("train", "infer-1")
STEPS = 20  # whose losses must agree
# Differences of losses allowed, in units of the first loss: float32, and bfloat16 somewhere inside; less of the first
# losses, those that `Workload.certain` counts.
EXACT, ROUNDED = 1e-2, 1e-1
EXACT_AT_FIRST, ROUNDED_AT_FIRST = 1e-5, 2e-2


@dataclass(frozen=True)
class Variant:
    """A library with its options; `products` is the precision of nonet's products."""

    lib: Any
    library: str
    label: str
    exact: bool
    before: Callable[[], Any] | None = None
    bfloat16: bool = False
    fused: bool = False

    @property
    def name(self) -> str:
        return f"{self.library} {self.label}"

    def cast(self) -> contextlib.AbstractContextManager[Any]:
        """Around everything whose activations may be bfloat16."""
        if not self.bfloat16:
            return contextlib.nullcontext()
        if self.library == "nonet":
            return self.lib.autocast("bfloat16")
        return self.lib.autocast("cpu", self.lib.bfloat16)

    def without_gradients(self) -> contextlib.AbstractContextManager[Any]:
        return self.lib.no_grad() if self.library == "nonet" else self.lib.inference_mode()


def names() -> list[str]:
    return names_of(WORKLOADS)


def run(options: Options) -> Iterator[list[Row]]:
    return run_workloads("models", WORKLOADS, options, memory=True)


def names_of(workloads: Sequence[Workload], modes: Sequence[str] = MODES) -> list[str]:
    return [f"{workload.name}/{mode}" for workload in workloads for mode in modes]


def run_workloads(
    family: str,
    workloads: Sequence[Workload],
    options: Options,
    memory: bool = False,
    modes: Sequence[str] = MODES,
    steps: int = STEPS,
) -> Iterator[list[Row]]:
    """Rows `train` and `infer-N`, of N samples, of each workload; memory: `train` with its peak too. steps: of which
    losses must agree, and memory is measured.

    Errors: WrongResultError if losses do not agree.
    """
    for workload in workloads:
        wanted = [mode for mode in modes if options.wants(workload.name, mode)]
        if not wanted:
            continue
        missing = what_is_missing(workload)
        if missing is not None:
            options.skip(workload.name, f"nonet has no {missing} yet")
            continue
        options.tell(f"{family} {workload.name}")
        sides = [Run(workload, variant) for variant in variants(options)]
        start = sides[-1].state()  # PyTorch's initialisation where it takes part
        check_losses(workload, sides, start, steps)
        for mode in wanted:
            contestants = [side.contestant(mode, start) for side in sides]
            with contextlib.ExitStack() as stack:
                if mode != "train":
                    for lib in dict.fromkeys(side.variant.library for side in sides):
                        side = next(s for s in sides if s.variant.library == lib)
                        stack.enter_context(side.variant.without_gradients())
                timings = options.time(contestants)
            flops = _flops(workload, mode)
            rows = [_row(family, workload, mode, side, timings[side.name], flops, options) for side in sides]
            yield [_with_memory(row, options, steps) for row in rows] if memory and mode == "train" else rows


def _with_memory(row: Row, options: Options, steps: int) -> Row:
    steps = 2 if options.quick else steps
    try:
        peak = peak_bytes(row.case, row.name, options.precisions or ("highest",), nonet.num_threads(), steps)
    except UnmeasuredError as error:
        options.skip(f"{row.case}/memory", str(error))
        return row
    return replace(row, peak_bytes=float(peak))


def variants(options: Options) -> Iterator[Variant]:
    """The contestants; PyTorch's float32 with its default Adam, which the others are checked against, is the last."""
    precisions = options.precisions or ("highest",)
    for precision in precisions:
        exact = precision in ("highest", "ieee")
        yield Variant(nonet, "nonet", precision, exact, with_precision(precision))
    if hasattr(nonet, "autocast"):
        precision = lowest(precisions)
        label = f"{precision}, autocast"
        yield Variant(nonet, "nonet", label, False, with_precision(precision), bfloat16=True)
    if "torch" in options.against:
        import torch  # pyright: ignore[reportMissingImports]

        for bfloat16 in (True, False):
            for fused in (True, False):
                label = "bfloat16" if bfloat16 else "float32"
                label += ", fused Adam" if fused else ""
                yield Variant(torch, "torch", label, not bfloat16, bfloat16=bfloat16, fused=fused)


class Run:
    """One workload on one library: the model, its optimizers and a batch, ready to step."""

    def __init__(self, workload: Workload, variant: Variant) -> None:
        self.workload, self.variant = workload, variant
        self.name = variant.name
        self.lib: Any = variant.lib
        self.model = workload.build(self.lib)
        parts = [self.model.discriminator, self.model.generator] if workload.adversarial else [self.model]
        options = {"fused": True} if variant.fused else {}
        self.optimizers = [
            self.lib.optim.Adam(part.parameters(), lr=workload.lr, **options) for part in parts
        ]
        x, y = workload.sample(np.random.default_rng(0), workload.batch)
        self.x, self.y = self.lib.from_numpy(x), self.lib.from_numpy(y)
        self.samples: Any = None  # of an inference
        if workload.adversarial:
            self.ones = self.lib.ones(workload.batch, 1)
            self.zeros = self.lib.zeros(workload.batch, 1)

    def state(self) -> dict[str, np.ndarray]:
        return {name: np.array(value.detach()) for name, value in self.model.state_dict().items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.model.load_state_dict({name: self.lib.from_numpy(value) for name, value in state.items()})

    def step(self) -> Any:
        if self.workload.adversarial:
            return self._adversarial_step()
        (optimizer,) = self.optimizers
        optimizer.zero_grad()
        with self.variant.cast():
            loss = self.workload.loss(self.lib, self.model, self.x, self.y)
        loss.backward()
        optimizer.step()
        return loss

    def _adversarial_step(self) -> Any:
        """The discriminator on a real and a made batch, then the generator; returns both losses' sum."""
        model, judge = self.model, self.workload.loss
        for_discriminator, for_generator = self.optimizers
        z = model.noise(self.x)
        with self.variant.cast():
            made = model.generator(z)
            for_discriminator.zero_grad()
            loss = judge(self.lib, model, self.y, self.ones)
            loss = loss + judge(self.lib, model, made.detach(), self.zeros)
        loss.backward()
        for_discriminator.step()
        for_generator.zero_grad()
        with self.variant.cast():
            fooled = judge(self.lib, model, made, self.ones)
        fooled.backward()
        for_generator.step()
        return loss.detach() + fooled.detach()

    def infer(self) -> Any:
        with self.variant.cast():
            return self.model(self.samples)

    def losses(self, start: dict[str, np.ndarray], steps: int = STEPS) -> list[float]:
        """Of `steps` steps from `start`, with noise that is the same on every side."""
        self.restore(start)
        if self.variant.before is not None:
            self.variant.before()
        own = getattr(self.model, "noise", None)
        if own is not None:
            rng = np.random.default_rng(2)
            self.model.noise = lambda like: self.lib.from_numpy(
                rng.standard_normal(tuple(like.shape), dtype=np.float32)
            )
        out = [float(self.step().detach()) for _ in range(steps)]
        if own is not None:
            self.model.noise = own
        return out

    def contestant(self, mode: str, start: dict[str, np.ndarray]) -> Contestant:
        """Each block of training begins from `start`: training one batch for long would end in tiny, slow numbers. An
        inference finds the same weights in every block, as it does in use: what a library makes of them once stays."""
        if mode != "train":
            self.restore(start)
            count = int(mode.removeprefix("infer-"))
            self.samples = self.lib.from_numpy(self.workload.sample(np.random.default_rng(1), count)[0])

        def before() -> None:
            if self.variant.before is not None:
                self.variant.before()
            self.model.train(mode == "train")
            if mode == "train":
                self.restore(start)

        return Contestant(self.name, self.step if mode == "train" else self.infer, before)


def check_losses(
    workload: Workload,
    sides: Sequence[Run],
    start: dict[str, np.ndarray],
    steps: int = STEPS,
) -> None:
    """All sides against the last, which is PyTorch in float32 where it takes part. Errors: WrongResultError."""
    want = sides[-1].losses(start, steps)
    for side in sides[:-1]:
        got = side.losses(start, steps)
        exact = side.variant.exact and sides[-1].variant.exact
        allowed = np.full(steps, EXACT if exact else ROUNDED)
        allowed[: workload.certain] = EXACT_AT_FIRST if exact else ROUNDED_AT_FIRST
        apart = np.abs(np.subtract(got, want)) / abs(want[0])
        wrong = ~(apart <= allowed)  # NaN is
        if wrong.any():
            step = int(np.argmax(wrong))
            raise WrongResultError(
                f"{workload.name}: losses differ at step {step + 1} of {steps}: {side.name} {got[step]:.6g}, "
                f"{sides[-1].name} {want[step]:.6g}; {allowed[step]:g} of the first loss is allowed"
            )
    if not np.isfinite(want).all():
        raise WrongResultError(f"{workload.name}: {sides[-1].name} has losses that are not finite: {want}")


def what_is_missing(workload: Workload) -> str | None:
    """The name that nonet lacks for a workload; None if it can train it."""
    try:
        Run(workload, Variant(nonet, "nonet", "highest", True)).step()
    except AttributeError as error:
        if isinstance(error.obj, (ModuleType, nonet.Tensor)) and error.name is not None:
            return error.name
        raise
    return None


def _flops(workload: Workload, mode: str) -> float | None:
    """Of the layers that `nonet summary` counts; a training step is counted as three forward passes."""
    x, _ = workload.sample(np.random.default_rng(0), 1)
    if x.dtype != np.float32 or workload.adversarial:
        return None
    macs = sum(layer.macs for layer in models.summary(workload.build(nonet), x.shape))
    return 2.0 * macs * (3 * workload.batch if mode == "train" else int(mode.removeprefix("infer-")))


def _row(
    family: str,
    workload: Workload,
    mode: str,
    side: Run,
    timing: Timing,
    flops: float | None,
    options: Options,
) -> Row:
    gflops = None if not flops else flops / timing.median / 1e9
    precision = (
        "bfloat16" if side.variant.library != "nonet" and not side.variant.exact else side.variant.label
    )
    compute = options.peaks.compute(_core.isa(), nonet.num_threads(), precision.split(",")[0])
    percent = None if gflops is None or compute is None else 100 * gflops / compute[0]
    return Row(
        family=family,
        case=workload.name,
        mode=mode,
        state="",
        library=side.variant.library,
        variant=side.variant.label,
        exact=side.variant.exact,
        median=timing.median,
        low=timing.low,
        high=timing.high,
        clean=timing.clean,
        flops=flops,
        gflops=gflops,
        percent=percent,
        roof=None if percent is None or compute is None else compute[1],
    )
