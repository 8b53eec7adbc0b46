"""Learning-rate schedules under torch.optim.lr_scheduler's names.

A schedule changes `lr` in the optimizer's groups, once when it is made (its step 0) and once per `step()`. Most are
defined by the factor from one step to the next, so that several can act on one optimizer; each group's `initial_lr`
keeps the rate it started from.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from nonet.optim.optimizer import Optimizer

__all__ = [
    "LRScheduler",
    "StepLR",
    "MultiStepLR",
    "ConstantLR",
    "LinearLR",
    "ExponentialLR",
    "PolynomialLR",
    "MultiplicativeLR",
    "LambdaLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "OneCycleLR",
    "SequentialLR",
    "ChainedScheduler",
    "ReduceLROnPlateau",
]


class LRScheduler:
    """Base class. Subclasses define `factor(t)`, lr(t) / lr(t - 1), or `get_lr()`.

    last_epoch: -1 to begin, or the step to go on behind; the groups, restored from a state taken after it, must then
    hold `initial_lr`. Errors: TypeError unless optimizer is an Optimizer, ValueError for arguments out of range.
    """

    # Whether rates follow from those before, and not from `initial_lr` alone. If so, restored ones need no change.
    relative: bool = True
    # Attributes that state_dict leaves out: what cannot be saved, or is saved by somebody else.
    transient: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: expected an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"{type(self).__name__}: group {number} needs initial_lr to go on from a step")
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        if last_epoch == -1 or not self.relative:
            self.step()
        else:
            self.last_epoch += 1
            self._set([group["lr"] for group in optimizer.param_groups])

    def factor(self, t: int) -> float:
        raise TypeError(f"{type(self).__name__} defines neither factor() nor get_lr()")

    def get_lr(self) -> list[float]:
        """The rates of step `last_epoch`, given those of the step before in the groups."""
        factor = self.factor(self.last_epoch)
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float]:
        """The rates set last, one per group."""
        return self._last_lr

    def step(self) -> None:
        self.last_epoch += 1
        self._set(self.get_lr())

    def restart(self) -> None:
        """Step 0 again, from the initial rates."""
        self.last_epoch = -1
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self.step()

    def _set(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = list(rates)

    def state_dict(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in self.transient}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what state_dict() gave; the groups' rates come with the optimizer's own state."""
        vars(self).update(state_dict)


def _check(owner: LRScheduler | str, ok: bool, text: str, value: Any) -> None:
    if not ok:
        name = owner if isinstance(owner, str) else type(owner).__name__
        raise ValueError(f"{name}: {text}, got {value}")


def _per_group(name: str, value: Any, optimizer: Optimizer, what: str) -> list[Any]:
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    _check(name, len(value) == count, f"{what} must have {count} entries, one per group", len(value))
    return list(value)


# ------------------------------------------------------------------------------------------------ by factors


class StepLR(LRScheduler):
    """Multiplies the rate by gamma every step_size steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        _check(type(self).__name__, step_size > 0, "step_size must be > 0", step_size)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return self.gamma if t > 0 and t % self.step_size == 0 else 1.0


class MultiStepLR(LRScheduler):
    """Multiplies the rate by gamma at each milestone (as often as it is listed)."""

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return self.gamma ** Counter(self.milestones)[t]


class ConstantLR(LRScheduler):
    """factor times the rate for the first total_iters steps, then the rate itself."""

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ):
        _check(type(self).__name__, 0 < factor <= 1, "factor must be in (0, 1]", factor)
        self.scale, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        if t == 0:
            return self.scale
        return 1 / self.scale if t == self.total_iters else 1.0


class LinearLR(LRScheduler):
    """A factor that goes from start_factor to end_factor within total_iters steps: warm-up."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ):
        name = type(self).__name__
        _check(name, 0 < start_factor <= 1, "start_factor must be in (0, 1]", start_factor)
        _check(name, 0 <= end_factor <= 1, "end_factor must be in [0, 1]", end_factor)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        if t == 0:
            return self.start_factor
        if t > self.total_iters:
            return 1.0
        return self._at(t) / self._at(t - 1)

    def _at(self, t: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * t / self.total_iters


class ExponentialLR(LRScheduler):
    """Multiplies the rate by gamma every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        return self.gamma if t > 0 else 1.0


class PolynomialLR(LRScheduler):
    """The rate times (1 - t / total_iters)^power, 0 from total_iters on."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        if t == 0 or t > self.total_iters:
            return 1.0
        return ((1 - t / self.total_iters) / (1 - (t - 1) / self.total_iters)) ** self.power


class MultiplicativeLR(LRScheduler):
    """Multiplies the rate by lr_lambda(t) every step; one function, or one per group."""

    transient = ("optimizer", "lr_lambdas")

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ):
        self.lr_lambdas = _per_group(type(self).__name__, lr_lambda, optimizer, "lr_lambda")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if self.last_epoch == 0:
            return rates
        return [rate * f(self.last_epoch) for rate, f in zip(rates, self.lr_lambdas, strict=True)]


# ------------------------------------------------------------------------------------------------ by formulas


class LambdaLR(LRScheduler):
    """The initial rate times lr_lambda(t); one function, or one per group. Functions are not saved."""

    transient = ("optimizer", "lr_lambdas")
    relative = False

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ):
        self.lr_lambdas = _per_group(type(self).__name__, lr_lambda, optimizer, "lr_lambda")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class CosineAnnealingLR(LRScheduler):
    """eta_min + (lr - eta_min) (1 + cos(pi t / T_max)) / 2 (Loshchilov & Hutter, "SGDR", 2017), without restarts."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, groups = self.last_epoch, self.optimizer.param_groups
        if t == 0:
            return [group["lr"] for group in groups]
        before, now = (1 + math.cos(math.pi * s / self.T_max) for s in (t - 1, t))
        if (t - 1 - self.T_max) % (
            2 * self.T_max
        ) == 0:  # the step before was at eta_min: no ratio leads away from it
            return [
                group["lr"] + (base - self.eta_min) * now / 2
                for group, base in zip(groups, self.base_lrs, strict=True)
            ]
        return [(group["lr"] - self.eta_min) * now / before + self.eta_min for group in groups]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Cosine annealing that starts over after T_0 steps, then after T_mult times as many, and so on (SGDR, 2017)."""

    relative = False

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ):
        name = type(self).__name__
        _check(name, isinstance(T_0, int) and T_0 > 0, "T_0 must be an integer > 0", T_0)
        _check(name, isinstance(T_mult, int) and T_mult >= 1, "T_mult must be an integer >= 1", T_mult)
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        self.T_i, self.T_cur = T_0, 0.0
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        scale = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * scale for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """epoch: where to be, fractions allowed; by default one step on."""
        t: float = self.last_epoch + 1 if epoch is None else epoch
        _check(self, t >= 0, "epoch must be >= 0", t)
        if self.T_mult == 1:
            cycle_start, self.T_i = t // self.T_0 * self.T_0, self.T_0
        else:
            cycle = int(math.log(t / self.T_0 * (self.T_mult - 1) + 1, self.T_mult) + 1e-9)
            cycle_start = self.T_0 * (self.T_mult**cycle - 1) // (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**cycle
        self.T_cur = t - cycle_start
        self.last_epoch = math.floor(t)
        self._set(self.get_lr())


class _Momentum:
    """Momentum that a cycle moves against the rate: `momentum`, or the first of `betas`."""

    def __init__(self, name: str, optimizer: Optimizer):
        self.optimizer = optimizer
        self.key = "betas" if "betas" in optimizer.defaults else "momentum"
        _check(name, self.key in optimizer.defaults, "cycle_momentum needs an optimizer with", "no momentum")

    def set(self, values: Sequence[float]) -> None:
        for group, value in zip(self.optimizer.param_groups, values, strict=True):
            group[self.key] = (value, *group["betas"][1:]) if self.key == "betas" else value


class CyclicLR(LRScheduler):
    """Up and down between base_lr and max_lr (Smith, "Cyclical learning rates", 2017).

    mode: triangular, triangular2 (half the height each cycle) or exp_range (gamma^t); scale_fn overrides it, with the
    number of the cycle or of the step (scale_mode: cycle, iterations).
    """

    transient = ("optimizer", "momentum", "scale_fn")
    relative = False

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ):
        name = type(self).__name__
        _check(
            name,
            scale_fn is not None or mode in ("triangular", "triangular2", "exp_range"),
            "mode must be triangular, triangular2 or exp_range",
            mode,
        )
        for group, rate in zip(
            optimizer.param_groups, _per_group(name, base_lr, optimizer, "base_lr"), strict=True
        ):
            if last_epoch == -1:
                group["lr"] = group["initial_lr"] = rate
        self.max_lrs = _per_group(name, max_lr, optimizer, "max_lr")
        self.up = step_size_up
        self.total = step_size_up + (step_size_up if step_size_down is None else step_size_down)
        self.mode, self.gamma, self.scale_fn = mode, gamma, scale_fn
        self.scale_mode = "iterations" if mode == "exp_range" and scale_fn is None else scale_mode
        self.momentum = _Momentum(name, optimizer) if cycle_momentum else None
        self.base_momentums = _per_group(name, base_momentum, optimizer, "base_momentum")
        self.max_momentums = _per_group(name, max_momentum, optimizer, "max_momentum")
        super().__init__(optimizer, last_epoch)

    def _scale(self, cycle: int) -> float:
        x = cycle if self.scale_mode == "cycle" else self.last_epoch
        if self.scale_fn is not None:
            return self.scale_fn(x)
        if self.mode == "exp_range":
            return self.gamma**x
        return 1.0 if self.mode == "triangular" else 1 / 2.0 ** (x - 1)

    def get_lr(self) -> list[float]:
        cycle, t = divmod(self.last_epoch, self.total)
        height = t / self.up if t <= self.up else (self.total - t) / (self.total - self.up)
        height *= self._scale(cycle + 1)
        if self.momentum is not None:
            self.momentum.set(
                [
                    high - (high - low) * height
                    for low, high in zip(self.base_momentums, self.max_momentums, strict=True)
                ]
            )
        return [base + (high - base) * height for base, high in zip(self.base_lrs, self.max_lrs, strict=True)]


class OneCycleLR(LRScheduler):
    """One cycle: from max_lr / div_factor up to max_lr and down to initial / final_div_factor (Smith & Topin, 2019).

    total_steps, or epochs and steps_per_epoch. three_phase: as long down as up, then the final descent.
    Errors: ValueError for a step beyond the total.
    """

    transient = ("optimizer", "momentum")
    relative = False

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ):
        name = type(self).__name__
        if total_steps is None:
            given = (epochs, steps_per_epoch)
            _check(
                name, None not in given, "total_steps, or epochs and steps_per_epoch, must be given", given
            )
            total_steps = (epochs or 0) * (steps_per_epoch or 0)
        _check(name, total_steps > 0, "total_steps must be > 0", total_steps)
        _check(name, 0 <= pct_start <= 1, "pct_start must be in [0, 1]", pct_start)
        _check(
            name,
            anneal_strategy in ("cos", "linear"),
            "anneal_strategy must be cos or linear",
            anneal_strategy,
        )
        self.total_steps, self.anneal_strategy = total_steps, anneal_strategy
        peak = pct_start * total_steps - 1
        self.max_lrs = _per_group(name, max_lr, optimizer, "max_lr")
        for group, high in zip(optimizer.param_groups, self.max_lrs, strict=True):
            if last_epoch == -1:
                group["lr"] = group["initial_lr"] = high / div_factor
        self.final_div_factor = final_div_factor
        # (last step, what the rate goes to, what momentum goes to) of each phase; see _targets.
        self.phases = [(peak, "high", "low")]
        if three_phase:
            self.phases.append((2 * pct_start * total_steps - 2, "start", "high"))
        self.phases.append((total_steps - 1, "final", "high"))
        self.momentum = _Momentum(name, optimizer) if cycle_momentum else None
        self.base_momentums = _per_group(name, base_momentum, optimizer, "base_momentum")
        self.max_momentums = _per_group(name, max_momentum, optimizer, "max_momentum")
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, part: float) -> float:
        if self.anneal_strategy == "cos":
            part = (1 - math.cos(math.pi * part)) / 2
        return start + (end - start) * part

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        _check(self, t <= self.total_steps, f"step must not exceed total_steps = {self.total_steps}", t)
        phase = next((i for i, (end, _, _) in enumerate(self.phases) if t <= end), len(self.phases) - 1)
        begin, rate_from, momentum_from = self.phases[phase - 1] if phase > 0 else (0.0, "start", "high")
        end, rate_to, momentum_to = self.phases[phase]
        part = (t - begin) / (end - begin) if end > begin else 1.0
        rates = []
        for base, high in zip(self.base_lrs, self.max_lrs, strict=True):
            level = {"start": base, "high": high, "final": base / self.final_div_factor}
            rates.append(self._between(level[rate_from], level[rate_to], part))
        if self.momentum is not None:
            pairs = zip(self.base_momentums, self.max_momentums, strict=True)
            levels = [{"low": low, "high": high} for low, high in pairs]
            self.momentum.set([self._between(m[momentum_from], m[momentum_to], part) for m in levels])
        return rates


# ------------------------------------------------------------------------------------------------ of schedules


class SequentialLR(LRScheduler):
    """One schedule after the other: schedulers[i] from milestones[i - 1] on, each from its own step 0."""

    transient = ("optimizer", "_schedulers")

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ):
        name = type(self).__name__
        _check(name, len(schedulers) > 0, "schedulers must not be empty", schedulers)
        _check(
            name,
            len(milestones) == len(schedulers) - 1,
            f"milestones must have {len(schedulers) - 1} entries, one fewer than schedulers",
            len(milestones),
        )
        _check_optimizers(name, optimizer, schedulers)
        self._schedulers, self._milestones = schedulers, milestones
        self.optimizer, self.last_epoch = optimizer, last_epoch + 1
        # Each schedule took its step 0 when it was made; only the first one's counts.
        schedulers[0].restart()
        self._last_lr = schedulers[0].get_last_lr()

    def step(self) -> None:
        self.last_epoch += 1
        index = bisect.bisect_right(self._milestones, self.last_epoch)
        current = self._schedulers[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            current.restart()
        else:
            current.step()
        self._last_lr = current.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        _load_all(self, self._schedulers, state_dict)


class ChainedScheduler(LRScheduler):
    """All schedules at once, each acting on the rates that the one before left."""

    transient = ("optimizer", "_schedulers")

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None):
        name = type(self).__name__
        _check(name, len(schedulers) > 0, "schedulers must not be empty", schedulers)
        self.optimizer = optimizer or schedulers[0].optimizer
        _check_optimizers(name, self.optimizer, schedulers)
        self._schedulers = list(schedulers)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def step(self) -> None:
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        _load_all(self, self._schedulers, state_dict)


def _check_optimizers(name: str, optimizer: Optimizer, schedulers: Sequence[LRScheduler]) -> None:
    for index, scheduler in enumerate(schedulers):
        same = scheduler.optimizer is optimizer
        _check(name, same, f"schedulers[{index}] must act on the same optimizer", "another one")


def _load_all(owner: LRScheduler, schedulers: Sequence[LRScheduler], state_dict: Mapping[str, Any]) -> None:
    states = state_dict["_schedulers"]
    _check(owner, len(states) == len(schedulers), f"state must hold {len(schedulers)} schedules", len(states))
    vars(owner).update({key: value for key, value in state_dict.items() if key != "_schedulers"})
    for scheduler, state in zip(schedulers, states, strict=True):
        scheduler.load_state_dict(state)


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the rate by factor once `step(metric)` has seen no improvement for more than patience steps.

    mode: min or max; threshold_mode: rel (of the best value) or abs. cooldown: steps to wait after a reduction.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ):
        name = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{name}: expected an Optimizer, got {type(optimizer).__name__}")
        _check(name, factor < 1.0, "factor must be < 1", factor)
        _check(name, mode in ("min", "max"), "mode must be min or max", mode)
        _check(name, threshold_mode in ("rel", "abs"), "threshold_mode must be rel or abs", threshold_mode)
        self.optimizer = optimizer
        self.mode, self.scale, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = (
            threshold,
            threshold_mode,
            cooldown,
            eps,
        )
        self.min_lrs = _per_group(name, min_lr, optimizer, "min_lr")
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def is_better(self, value: float) -> bool:
        margin = self.threshold * abs(self.best) if self.threshold_mode == "rel" else self.threshold
        if math.isinf(self.best):
            margin = 0.0
        return value < self.best - margin if self.mode == "min" else value > self.best + margin

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """metrics: the value watched, a number or a tensor of one element."""
        value = float(metrics)
        self.last_epoch += 1
        if self.is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        groups = self.optimizer.param_groups
        if self.num_bad_epochs > self.patience:
            for group, least in zip(groups, self.min_lrs, strict=True):
                rate = max(group["lr"] * self.scale, least)
                if group["lr"] - rate > self.eps:
                    group["lr"] = rate
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in groups]
