"""The average of a model's states over a training, which is often better than the last of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from nonet.nn import Module
from nonet.nn.utils import move_average_
from nonet.tensor import Tensor, as_tensor, no_grad

__all__ = ["Average"]


class Average:
    """A moving average of the parameters and buffers of `model` after each update: `averaging` of the old average and
    the rest of the new values, over the sum of all weights so far, so that it does not lean to where it began (as the
    moments of Adam: Kingma, Ba, 2015)."""

    def __init__(self, model: Module, averaging: float) -> None:
        self.model, self.averaging, self.updates = model, averaging, 0
        self.values: dict[str, Tensor] = _copies(model)

    def follow(self) -> None:
        """To be called after every update."""
        self.updates += 1
        rest = (1 - self.averaging) / (1 - self.averaging**self.updates)
        move_average_(self.values, self.model.state_dict(), 1 - rest)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model holds the average."""
        kept = _copies(self.model)
        self.model.load_state_dict(self.values)
        try:
            yield
        finally:
            self.model.load_state_dict(kept)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "values": self.values}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """ValueError if the state is another model's, or a run's without an average."""
        if not state or set(state["values"]) != set(self.values):
            raise ValueError("no average of this model")
        self.updates = int(state["updates"])
        with no_grad():
            for name, value in self.values.items():
                value.copy_(as_tensor(state["values"][name], device=value.device))


def _copies(model: Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
