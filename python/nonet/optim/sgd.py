"""Gradient descent with momentum, and the methods that scale by past squares of the gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nonet import _core
from nonet.optim.optimizer import Optimizer, check_nonnegative, check_range, refuse_differentiable

__all__ = ["SGD", "Adadelta", "Adagrad", "RMSprop"]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, Nesterov's if wanted (Sutskever et al., 2013).

    b = momentum b + (1 - dampening) g, the first time b = g;  p -= lr b, with nesterov p -= lr (g + momentum b).
    foreach and fused are accepted: a step is always fused. Errors: ValueError.
    """

    STATES = ("momentum_buffer",)
    COUNTS = ()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check_nonnegative(self, lr=lr, momentum=momentum, weight_decay=weight_decay)
        ok = not nesterov or (momentum > 0 and dampening == 0)
        check_range(self, ok, "nesterov", "False without momentum or with dampening", nesterov)
        refuse_differentiable(self, differentiable)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _update(self, group: dict[str, Any], flat: _core.OptimGroup) -> None:
        flat.sgd(
            group["lr"],
            group["momentum"],
            group["dampening"],
            group["weight_decay"],
            group["nesterov"],
            group["maximize"],
        )


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of the gradient (Hinton, 2012), centered: by its deviation.

    v = alpha v + (1 - alpha) g^2;  p -= lr b, b = momentum b + g / (sqrt(v) + eps). capturable and foreach are
    accepted. Errors: ValueError.
    """

    STATES = ("square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_nonnegative(self, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        refuse_differentiable(self, differentiable)
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _update(self, group: dict[str, Any], flat: _core.OptimGroup) -> None:
        flat.rmsprop(
            group["lr"],
            group["alpha"],
            group["eps"],
            group["weight_decay"],
            group["momentum"],
            group["centered"],
            group["maximize"],
        )


class Adagrad(Optimizer):
    """Steps divided by the root of all past squared gradients (Duchi et al., 2011).

    s += g^2;  p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps). foreach and fused are accepted.
    Errors: ValueError.
    """

    STATES = ("sum",)
    EAGER = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check_nonnegative(self, lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps)
        check_nonnegative(self, initial_accumulator_value=initial_accumulator_value)
        refuse_differentiable(self, differentiable)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: Any) -> None:
        super().add_param_group(param_group)
        self._flat[-1].make_state(0, self.param_groups[-1]["initial_accumulator_value"])

    def _update(self, group: dict[str, Any], flat: _core.OptimGroup) -> None:
        flat.adagrad(group["lr"], group["lr_decay"], group["weight_decay"], group["eps"], group["maximize"])


class Adadelta(Optimizer):
    """Steps of the size of past steps (Zeiler, 2012).

    v = rho v + (1 - rho) g^2, d = sqrt(a + eps) / sqrt(v + eps) g, a = rho a + (1 - rho) d^2;  p -= lr d.
    capturable and foreach are accepted. Errors: ValueError.
    """

    STATES = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_nonnegative(self, lr=lr, eps=eps, weight_decay=weight_decay)
        check_range(self, 0 <= rho <= 1, "rho", "in [0, 1]", rho)
        refuse_differentiable(self, differentiable)
        defaults = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def _update(self, group: dict[str, Any], flat: _core.OptimGroup) -> None:
        flat.adadelta(group["lr"], group["rho"], group["eps"], group["weight_decay"], group["maximize"])
