"""Helpers around parameters and their gradients."""

from __future__ import annotations

from nonet.nn.utils import parametrizations, parametrize, rnn
from nonet.nn.utils.averaging import move_average_
from nonet.nn.utils.clip import (
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    clip_weights_,
    get_total_norm,
)
from nonet.nn.utils.vector import parameters_to_vector, vector_to_parameters

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "clip_weights_",
    "get_total_norm",
    "move_average_",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "rnn",
    "vector_to_parameters",
]
