"""Normalisation per channel: batch (Ioffe & Szegedy 2015), instance (Ulyanov et al. 2016), group (Wu & He 2018).

Inputs: [N, C, …], float32 or bfloat16; a channels-last image stays one. Statistics are float32 anyway.
"""

from __future__ import annotations

from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.tensor import Need, Tensor, TensorLike, as_tensor, record

__all__ = ["batch_norm", "batch_norm_act", "group_norm", "instance_norm"]


def batch_norm(
    input: TensorLike,
    running_mean: TensorLike | None,
    running_var: TensorLike | None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias with the mean and variance of each channel of [N, C, …].

    training: they are those of the input, and the running ones, if given, are overwritten by (1 - momentum) of
    themselves + momentum of the new (variance: with n - 1). Else the running ones are used. weight, bias and both
    running statistics: [C] or None. Errors: ValueError for a shape, for one value per channel in training, for missing
    statistics, and unless eps > 0; TypeError for integers.
    """
    return batch_norm_act(input, running_mean, running_var, weight, bias, training, momentum, eps)


def batch_norm_act(
    input: TensorLike,
    running_mean: TensorLike | None,
    running_var: TensorLike | None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str | None = None,
    residual: TensorLike | None = None,
) -> Tensor:
    """activation(batch_norm(input, …) + residual) in one pass. activation: relu or None; residual: like input, or None.

    Errors: those of batch_norm; ValueError for another activation.
    """
    if activation not in (None, "relu"):
        raise ValueError(f"batch_norm: activation must be 'relu' or None, got {activation!r}")
    if eps <= 0:
        raise ValueError(f"batch_norm: eps must be positive, got {eps}")
    x = as_tensor(input)
    if training:
        _check_values(x, x.array.numel // x.shape[1] if x.ndim > 1 and x.shape[1] else 0, "batch_norm")
    running = None if running_mean is None else as_tensor(running_mean, device=x.device)
    running2 = None if running_var is None else as_tensor(running_var, device=x.device)
    shortcut = None if residual is None else as_tensor(residual, device=x.device)
    options = (0, eps, not training, activation is not None, "batch_norm")
    return _normalize(x, shortcut, weight, bias, running, running2, momentum, options)


def instance_norm(
    input: TensorLike,
    running_mean: TensorLike | None = None,
    running_var: TensorLike | None = None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As batch_norm, with the mean and variance of each channel of each sample; the running statistics take their
    average over the samples.

    use_input_stats=False: the running ones are used. Errors: ValueError for a shape, for one value per channel, and
    for missing statistics; TypeError for integers.
    """
    x = as_tensor(input)
    if use_input_stats:
        places = 1
        for size in x.shape[2:]:
            places *= size
        _check_values(x, places, "instance_norm")
    running = None if running_mean is None else as_tensor(running_mean, device=x.device)
    running2 = None if running_var is None else as_tensor(running_var, device=x.device)
    groups = x.shape[1] if use_input_stats and x.ndim > 1 else 0
    options = (groups, eps, not use_input_stats, False, "instance_norm")
    return _normalize(x, None, weight, bias, running, running2, momentum, options)


def group_norm(
    input: TensorLike,
    num_groups: int,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias with the mean and variance of each of num_groups groups of channels
    of each sample of [N, C, …].

    weight, bias: [C] or None. Errors: ValueError for a shape, and for groups that do not divide C or have one value
    each; TypeError for integers.
    """
    x = as_tensor(input)
    if num_groups <= 0:
        raise ValueError(f"group_norm: num_groups must be positive, got {num_groups}")
    if x.ndim > 1 and x.shape[1] % num_groups == 0:
        # As in torch, which counts the values of a group in all samples.
        _check_values(x, x.array.numel // num_groups, "group_norm")
    return _normalize(x, None, weight, bias, None, None, 0.0, (num_groups, eps, False, False, "group_norm"))


def _check_values(x: Tensor, count: int, op: str) -> None:
    if count == 1:
        kind = "group" if op == "group_norm" else "channel"
        raise ValueError(f"{op}: input must have more than one value per {kind}, got shape {list(x.shape)}")


def _normalize(
    x: Tensor,
    residual: Tensor | None,
    weight: TensorLike | None,
    bias: TensorLike | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    options: tuple[int, float, bool, bool, str],
) -> Tensor:
    w = None if weight is None else as_tensor(weight, device=x.device)
    b = None if bias is None else as_tensor(bias, device=x.device)
    scale, shift = None if w is None else w.array, None if b is None else b.array
    y, mean, rstd = _core.channel_norm_forward(
        x.array,
        None if residual is None else residual.array,
        scale,
        shift,
        None if running_mean is None else running_mean.array,
        None if running_var is None else running_var.array,
        momentum,
        *options,
    )
    out = y if residual is not None and options[3] else None
    dtype = None if residual is None else residual.dtype
    saved = (x.array, scale, shift, out, mean, rstd, options, dtype)
    return record(y, (x, residual, w, b), _rule, saved)


def _rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, ...]:
    x, scale, shift, y, mean, rstd, options, residual_dtype = saved
    dx, dresidual, dw, db = _core.channel_norm_backward(
        dy, x, scale, shift, y, mean, rstd, *options, *[need is not False for need in needs]
    )
    if dresidual is not None and dresidual.dtype != residual_dtype:
        dresidual = dresidual.to(residual_dtype)
    if dw is not None and dw.dtype != scale.dtype:
        dw = dw.to(scale.dtype)
    if db is not None and db.dtype != shift.dtype:
        db = db.to(shift.dtype)
    return dx, dresidual, dw, db
