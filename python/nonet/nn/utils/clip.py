"""Clipping of gradients, by their common norm or by value: one pass over all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from nonet import _core
from nonet.ops.unary import clamp
from nonet.tensor import Tensor, no_grad

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "clip_weights_", "get_total_norm"]


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[_core.Array]:
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    return [p.grad.array for p in parameters if p.grad is not None]


def _norm(arrays: list[_core.Array], norm_type: float, error_if_nonfinite: bool, op: str) -> Tensor:
    total = Tensor(_core.total_norm(arrays, float(norm_type)))
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(f"{op}: the total norm of order {norm_type} is {total.item()}")
    return total


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all elements of the tensors together, a tensor []; norm_type > 0 or inf.

    Errors: ValueError for the order, RuntimeError for a norm that is not finite, if error_if_nonfinite.
    """
    given = [tensors] if isinstance(tensors, Tensor) else tensors
    return _norm([t.array for t in given], norm_type, error_if_nonfinite, "get_total_norm")


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Multiplies all gradients by min(1, max_norm / (total_norm + 1e-6)), in place."""
    _core.scale_to_norm(_gradients(parameters), total_norm.array.to("float32"), float(max_norm))


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales all gradients down, in place, so that their common norm is at most max_norm; returns the norm before, [].

    Parameters without a gradient do not count. Pascanu et al., On the difficulty of training recurrent neural networks,
    2013. Errors: RuntimeError for a norm that is not finite, if error_if_nonfinite.
    """
    arrays = _gradients(parameters)
    total = _norm(arrays, norm_type, error_if_nonfinite, "clip_grad_norm_")
    _core.scale_to_norm(arrays, total.array, float(max_norm))
    return total


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Clamps every element of every gradient to [-clip_value, clip_value], in place."""
    _core.clamp_values(_gradients(parameters), float(clip_value))


def clip_weights_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clamps every element of every parameter to [-clip_value, clip_value], in place.

    Arjovsky, Chintala, Bottou, "Wasserstein generative adversarial networks", ICML 2017. Errors: ValueError unless
    clip_value > 0.
    """
    if not clip_value > 0:
        raise ValueError(f"clip_weights_: clip_value must be above 0, got {clip_value}")
    with no_grad():
        for p in [parameters] if isinstance(parameters, Tensor) else parameters:
            p.copy_(clamp(p.detach(), -clip_value, clip_value))
