"""Adam and its relatives: steps from running means of the gradient and of its square."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nonet import _core
from nonet.optim.optimizer import Optimizer, check_betas, check_nonnegative, refuse_differentiable

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015); amsgrad: Reddi et al., 2018.

    m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2;  p -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps).
    weight_decay is added to the gradient, or with decoupled_weight_decay p *= 1 - lr weight_decay. foreach, capturable
    and fused are accepted: a step is always fused. Errors: ValueError.
    """

    STATES = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):
        check_nonnegative(self, lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas(self, betas)
        refuse_differentiable(self, differentiable)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _update(self, group: dict[str, Any], flat: _core.OptimGroup) -> None:
        beta1, beta2 = group["betas"]
        flat.adam(
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            group["amsgrad"],
            group["maximize"],
            group["decoupled_weight_decay"],
        )


class AdamW(Adam):
    """Adam with decoupled weight decay, p *= 1 - lr weight_decay (Loshchilov & Hutter, 2019)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            differentiable=differentiable,
            decoupled_weight_decay=True,
        )


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, 2016), mu_t = b1 (1 - 0.96^(t momentum_decay) / 2).

    foreach and capturable are accepted. Errors: ValueError.
    """

    STATES = ("exp_avg", "exp_avg_sq")
    COUNTS = ("step", "mu_product")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check_nonnegative(self, lr=lr, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
        check_betas(self, betas)
        refuse_differentiable(self, differentiable)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _update(self, group: dict[str, Any], flat: _core.OptimGroup) -> None:
        beta1, beta2 = group["betas"]
        flat.nadam(
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            group["momentum_decay"],
            group["decoupled_weight_decay"],
            group["maximize"],
        )


class RAdam(Optimizer):
    """Adam whose early steps are rectified while the variance is not yet known (Liu et al., 2020).

    foreach and capturable are accepted. Errors: ValueError.
    """

    STATES = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check_nonnegative(self, lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas(self, betas)
        refuse_differentiable(self, differentiable)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _update(self, group: dict[str, Any], flat: _core.OptimGroup) -> None:
        beta1, beta2 = group["betas"]
        flat.radam(
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            group["decoupled_weight_decay"],
            group["maximize"],
        )


class Adamax(Optimizer):
    """Adam with the largest past gradient in place of the root mean square (Kingma & Ba, 2015, algorithm 2).

    u = max(b2 u, |g| + eps);  p -= lr / (1 - b1^t) m / u. foreach and capturable are accepted. Errors: ValueError.
    """

    STATES = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check_nonnegative(self, lr=lr, eps=eps, weight_decay=weight_decay)
        check_betas(self, betas)
        refuse_differentiable(self, differentiable)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _update(self, group: dict[str, Any], flat: _core.OptimGroup) -> None:
        beta1, beta2 = group["betas"]
        flat.adamax(group["lr"], beta1, beta2, group["eps"], group["weight_decay"], group["maximize"])
