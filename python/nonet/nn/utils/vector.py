"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from nonet.ops.join import cat
from nonet.ops.shape import narrow, reshape
from nonet.tensor import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements, parameter after parameter, [n]; on the tape. Errors: ValueError for no parameters."""
    return cat([reshape(p, -1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Overwrites the parameters with the elements of a vector [n]. Errors: ValueError unless n fits."""
    given = list(parameters)
    total = sum(p.numel() for p in given)
    if vec.shape != (total,):
        raise ValueError(f"vector_to_parameters: vec must have shape [{total}], got {list(vec.shape)}")
    values = vec.detach()
    start = 0
    for p in given:
        p.copy_(reshape(narrow(values, 0, start, p.numel()), p.shape))
        start += p.numel()
