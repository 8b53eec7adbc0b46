"""Schedules against closed forms; exact state; errors."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

import nonet
from nonet.optim import lr_scheduler as s

LR = (0.5, 0.1)


def make(kind="SGD"):
    groups = [{"params": [nonet.Parameter([1.0])], "lr": lr} for lr in LR]
    return nonet.optim.SGD(groups, momentum=0.9) if kind == "SGD" else nonet.optim.Adam(groups)


def rates(schedule, steps):
    out = []
    for _ in range(steps):
        out.append([group["lr"] for group in schedule.optimizer.param_groups])
        assert schedule.get_last_lr() == out[-1]
        schedule.step()
    return out


def cosine(t, low, high, period):
    return low + (high - low) * (1 + math.cos(math.pi * t / period)) / 2


def restarts(t, lr):
    period = 5
    while t >= period:
        t, period = t - period, period * 2
    return cosine(t, 0.01, lr, period)


def triangle(t, low, high):
    t %= 12
    return low + (high - low) * (t / 7 if t <= 7 else (12 - t) / 5)


CASES = {
    "step": (lambda o: s.StepLR(o, 7, 0.3), lambda t, lr: lr * 0.3 ** (t // 7)),
    "multi": (lambda o: s.MultiStepLR(o, [9, 4, 4]), lambda t, lr: lr * 0.1 ** (2 * (t >= 4) + (t >= 9))),
    "constant": (lambda o: s.ConstantLR(o, 0.25, 6), lambda t, lr: lr * (0.25 if t < 6 else 1)),
    "linear": (lambda o: s.LinearLR(o, 0.1, 0.9, 12), lambda t, lr: lr * (0.1 + 0.8 * min(t, 12) / 12)),
    "exponential": (lambda o: s.ExponentialLR(o, 0.9), lambda t, lr: lr * 0.9**t),
    "polynomial": (lambda o: s.PolynomialLR(o, 20, 2.0), lambda t, lr: lr * (1 - min(t, 20) / 20) ** 2),
    "multiplicative": (lambda o: s.MultiplicativeLR(o, lambda t: 0.95), lambda t, lr: lr * 0.95**t),
    "lambda": (lambda o: s.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t, lr: lr / (1 + t)),
    "cosine": (lambda o: s.CosineAnnealingLR(o, 10, 0.01), lambda t, lr: cosine(t, 0.01, lr, 10)),
    "restarts": (lambda o: s.CosineAnnealingWarmRestarts(o, 5, 2, 0.01), restarts),
    "cyclic": (lambda o: s.CyclicLR(o, 0.01, 0.3, 7, 5), lambda t, lr: triangle(t, 0.01, 0.3)),
    "chained": (
        lambda o: s.ChainedScheduler([s.ConstantLR(o, 0.5, 3), s.ExponentialLR(o, 0.9)]),
        lambda t, lr: lr * (0.5 if t < 3 else 1) * 0.9**t,
    ),
    "sequential": (
        lambda o: s.SequentialLR(o, [s.LinearLR(o, 0.1, 1.0, 5), s.CosineAnnealingLR(o, 20)], [5]),
        lambda t, lr: lr * (0.1 + 0.9 * t / 5) if t < 5 else cosine(t - 5, 0, lr, 20),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_closed_forms(name):
    build, want = CASES[name]
    for t, got in enumerate(rates(build(make()), 40)):
        assert got == pytest.approx([want(t, lr) for lr in LR], rel=1e-9, abs=1e-12), t


@pytest.mark.parametrize("name", CASES)
def test_state_goes_on_exactly(name):
    build, _ = CASES[name]
    first, second = make(), make()
    a = build(first)
    for _ in range(7):
        a.step()
    b = build(second)
    b.load_state_dict(a.state_dict())
    second.load_state_dict(first.state_dict())
    assert rates(a, 20) == rates(b, 20)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_one_cycle(kind):
    optimizer = make(kind)
    schedule = s.OneCycleLR(optimizer, 0.3, 40)
    seen = []
    for _ in range(40):
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group["momentum"] if kind == "SGD" else group["betas"][0]))
        schedule.step()
    assert seen[0] == pytest.approx((0.3 / 25, 0.95))
    assert seen[11] == pytest.approx((0.3, 0.85))
    assert seen[39] == pytest.approx((0.3 / 25 / 1e4, 0.95))
    assert [lr for lr, _ in seen[:12]] == sorted(lr for lr, _ in seen[:12])
    assert [lr for lr, _ in seen[11:]] == sorted((lr for lr, _ in seen[11:]), reverse=True)
    with pytest.raises(ValueError, match="step must not exceed total_steps = 40, got 41"):
        schedule.step()


def test_plateau():
    optimizer = make()
    schedule = s.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, cooldown=1, min_lr=[0.2, 0.0])
    got = []
    for value in [3, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1]:
        schedule.step(nonet.tensor(float(value)))
        got.append(optimizer.param_groups[0]["lr"])
    assert got == [0.5] * 4 + [0.25] * 4 + [0.2] * 7  # halved after three bad steps; never below min_lr
    assert s.ReduceLROnPlateau(make(), mode="max").is_better(0.0)
    again = s.ReduceLROnPlateau(optimizer)
    again.load_state_dict(schedule.state_dict())
    assert (again.best, again.num_bad_epochs, again.scale) == (1.0, schedule.num_bad_epochs, 0.5)


def test_bad_arguments():
    optimizer = make()
    for build, message in (
        (lambda: s.StepLR(optimizer, 0), "StepLR: step_size must be > 0, got 0"),
        (lambda: s.LinearLR(optimizer, 0.0), r"LinearLR: start_factor must be in \(0, 1\], got 0.0"),
        (
            lambda: s.ReduceLROnPlateau(optimizer, factor=1.0),
            "ReduceLROnPlateau: factor must be < 1, got 1.0",
        ),
        (lambda: s.OneCycleLR(optimizer, 0.1), "total_steps, or epochs and steps_per_epoch, must be given"),
        (
            lambda: s.LambdaLR(optimizer, [abs]),
            "LambdaLR: lr_lambda must have 2 entries, one per group, got 1",
        ),
        (lambda: s.SequentialLR(optimizer, [s.StepLR(optimizer, 1)], [3]), "milestones must have 0 entries"),
        (lambda: s.ChainedScheduler([s.StepLR(make(), 1)], optimizer), "must act on the same optimizer"),
        (lambda: s.CyclicLR(nonet.optim.Adagrad([nonet.Parameter([1.0])]), 0.1, 1.0), "cycle_momentum needs"),
    ):
        with pytest.raises(ValueError, match=message):
            build()
    with pytest.raises(TypeError, match="StepLR: expected an Optimizer, got int"):
        s.StepLR(3, 1)
    with pytest.raises(KeyError, match="group 0 needs initial_lr"):
        s.StepLR(make(), 1, last_epoch=4)


def test_going_on_behind_a_last_epoch():
    """The rates restored with the optimizer are those of the step after last_epoch: no schedule takes it twice."""
    build = {
        "step": lambda o, e: s.StepLR(o, 7, 0.3, e),
        "multi": lambda o, e: s.MultiStepLR(o, [7, 9], 0.3, e),
        "constant": lambda o, e: s.ConstantLR(o, 0.5, 7, e),
        "linear": lambda o, e: s.LinearLR(o, 0.1, 0.9, 12, e),
        "exponential": lambda o, e: s.ExponentialLR(o, 0.9, e),
        "polynomial": lambda o, e: s.PolynomialLR(o, 20, 2.0, e),
        "multiplicative": lambda o, e: s.MultiplicativeLR(o, lambda t: 0.95, e),
        "cosine": lambda o, e: s.CosineAnnealingLR(o, 10, 0.01, e),
        "lambda": lambda o, e: s.LambdaLR(o, lambda t: 0.9**t, e),
        "cyclic": lambda o, e: s.CyclicLR(o, 0.01, 0.3, 7, 5, last_epoch=e),
        "cycle": lambda o, e: s.OneCycleLR(o, 0.3, 30, last_epoch=e),
    }
    for name, make_schedule in build.items():
        first, second = make(), make()
        a = make_schedule(first, -1)
        for _ in range(7):
            a.step()
        second.load_state_dict(first.state_dict())
        b = make_schedule(second, 6)
        assert b.last_epoch == 7
        np.testing.assert_allclose(rates(b, 12), rates(a, 12), rtol=1e-9, err_msg=name)


def test_a_copy_moves_the_momentum_of_its_own_optimizer():
    schedule = s.OneCycleLR(make(), 0.3, 30)
    other = copy.deepcopy(schedule)
    other.step()
    assert (
        other.optimizer.param_groups[0]["momentum"] < schedule.optimizer.param_groups[0]["momentum"] == 0.95
    )
