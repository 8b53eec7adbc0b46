"""Where the first number that is not finite comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nonet import io
from nonet.models import observing
from nonet.nn import Module
from nonet.tensor import Tensor


class NonFiniteError(ArithmeticError):
    """Training met a NaN or an infinity and stopped before it reached the parameters.

    step: the step that was not made, from 1; where: what was found; layer: path of the first bad module, or None.
    """

    def __init__(self, message: str, step: int, where: str, layer: str | None) -> None:
        super().__init__(message)
        self.step = step
        self.where = where
        self.layer = layer


def bad_value(value: Any) -> str | None:
    """'nan' or 'inf' if an array, a tensor or a nest of them holds one (nan first), else None."""
    found = None
    for _, leaf in io.leaves(value):
        array = np.asarray(leaf.cpu().numpy() if isinstance(leaf, Tensor) else leaf)
        if array.dtype.name == "bfloat16":
            array = array.astype(np.float32)
        # One pass, no temporary: the sum of finite values in float64 is finite, that of others never is.
        with np.errstate(invalid="ignore"):
            finite = array.dtype.kind != "f" or np.isfinite(np.add.reduce(array, axis=None, dtype=np.float64))
        if finite:
            continue
        if np.isnan(array).any():
            return "nan"
        found = "inf"
    return found


def first_bad(
    model: Module,
    forward: Callable[[Sequence[Tensor]], tuple[Any, Tensor]],
    batches: Sequence[Sequence[Tensor]],
) -> tuple[str, str | None] | None:
    """(what is bad, path of the module) of one step, or None if all of it is finite.

    Looks at parameters and buffers, then at the batch, the outputs of the layers in the order of their calls, the loss,
    and at last at the gradients, from the output backwards. `forward(batch)` returns (output, loss).
    """
    for path, value in (*model.named_parameters(), *model.named_buffers()):
        if bad := bad_value(value):
            return f"{path} holds {bad}", path.rpartition(".")[0]
    paths = {id(module): path for path, module in model.named_modules()}
    for parameter in model.parameters():
        parameter.grad = None
    for batch in batches:
        for field in batch:
            if bad := bad_value(field):
                return f"the batch itself holds {bad}", None
        found: list[tuple[str, str, str]] = []

        def observe(module: Module, args: tuple[Any, ...], output: Any) -> None:
            if not found and (bad := bad_value(output)):  # noqa: B023  called within this turn only
                found.append((paths.get(id(module), ""), type(module).__name__, bad))  # noqa: B023

        with observing(observe):
            _, loss = forward(batch)
        if found:
            path, kind, bad = found[0]
            name = f"{path} ({kind})" if path else kind
            return f"layer {name} put out {bad}", path
        if bad := bad_value(loss):
            return f"the loss is {bad}, while every layer's output is finite", None
        loss.backward()
    for path, parameter in reversed(list(model.named_parameters())):
        if bad := bad_value(parameter.grad):
            return f"the gradient of {path} is {bad}, while the loss is finite", path.rpartition(".")[0]
    return None
