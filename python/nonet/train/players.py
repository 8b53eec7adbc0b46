"""Steps of several players, each with a loss and an optimizer of its own, on one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nonet.nn import Module
from nonet.nn.utils import clip_grad_norm_, clip_grad_value_
from nonet.tensor import Tensor
from nonet.train.engine import Engine, Group

__all__ = ["Optimizers", "PlayersEngine"]


class Optimizers:
    """Optimizers as one, for its state and its parameter groups."""

    def __init__(self, optimizers: Sequence[Any]) -> None:
        self.players = tuple(optimizers)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.players for group in optimizer.param_groups]

    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:
        return {p: state for optimizer in self.players for p, state in optimizer.state.items()}

    def zero_grad(self) -> None:
        for optimizer in self.players:
            optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return {str(i): optimizer.state_dict() for i, optimizer in enumerate(self.players)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for i, optimizer in enumerate(self.players):
            optimizer.load_state_dict(state[str(i)])


class _Schedulers:
    """Schedules as one."""

    def __init__(self, schedulers: Sequence[Any]) -> None:
        self.all = tuple(schedulers)

    def step(self) -> None:
        for scheduler in self.all:
            scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return {str(i): scheduler.state_dict() for i, scheduler in enumerate(self.all)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for i, scheduler in enumerate(self.all):
            scheduler.load_state_dict(state[str(i)])


class PlayersEngine(Engine):
    """An engine whose step is one step of each player, in their order.

    losses: loss(model, *batch) -> tensor [] of each; optimizers: of each, over the parameters that it moves. While it
    is a player's turn the parameters of the others want no gradient, so that a generator records no tape when the
    discriminator learns. The loss of a batch is the sum over the players. after: called with the model after every
    player's step (clipping of weights). scheduler: a sequence, one for each player. ValueError for lengths.
    """

    def __init__(
        self,
        model: Module,
        losses: Sequence[Callable[..., Tensor]],
        optimizers: Sequence[Any],
        train: Any,
        *,
        scheduler: Sequence[Any] | None,
        **settings: Any,
    ) -> None:
        if len(losses) != len(optimizers) or not losses:
            raise ValueError(
                f"Trainer: expected a loss for each optimizer, got {len(losses)} and {len(optimizers)}"
            )
        if scheduler is not None and len(scheduler) != len(optimizers):
            raise ValueError(
                f"Trainer: expected a scheduler for each of {len(optimizers)} optimizers, got {len(scheduler)}"
            )
        joined = Optimizers(optimizers)
        super().__init__(
            model,
            self._total,
            joined,
            train,
            scheduler=None if scheduler is None else _Schedulers(scheduler),
            **settings,
        )
        self._losses, self._optimizers = tuple(losses), joined.players
        self._moved = [[p for group in o.param_groups for p in group["params"]] for o in self._optimizers]

    def _total(self, output: Any, *batch: Tensor) -> Tensor:
        raise TypeError("the losses of players take the model and its batch")

    def forward(self, batch: Sequence[Tensor]) -> tuple[Any, Tensor]:
        """(None, sum of all losses) for one batch."""
        with self.context():
            total = self._losses[0](self.model, *batch)
            for loss in self._losses[1:]:
                total = total + loss(self.model, *batch)
            return None, total

    def gradients(self, group: Group) -> list[tuple[Tensor, int]]:
        """Moves all players but the last, whose gradients it leaves; returns (sum of the losses, samples) per batch."""
        sums: list[tuple[Tensor, int]] = []
        for turn in range(len(self._losses)):
            if turn:
                self._step(turn - 1)
            losses = self._turn(turn, group)
            sums = losses if not turn else [(a + b, n) for (a, n), (b, _) in zip(sums, losses, strict=True)]
        return sums

    def _turn(self, turn: int, group: Group) -> list[tuple[Tensor, int]]:
        own = {id(p) for p in self._moved[turn]}
        for p in self._parameters:
            p.requires_grad = id(p) in own
        try:
            self._optimizers[turn].zero_grad()
            total = sum(len(batch[0]) for batch in group)
            out: list[tuple[Tensor, int]] = []
            for batch in group:
                with self.context():
                    loss = self._losses[turn](self.model, *batch)
                loss.backward(None if len(group) == 1 else np.float32(len(batch[0]) / total))
                out.append((loss.detach(), len(batch[0])))
            return out
        finally:
            for p in self._parameters:
                p.requires_grad = True

    def _step(self, turn: int) -> None:
        moved = self._moved[turn]
        if self.clip_norm is not None:
            clip_grad_norm_(moved, self.clip_norm)
        if self.clip_value is not None:
            clip_grad_value_(moved, self.clip_value)
        self._optimizers[turn].step()
        if self.after is not None:
            self.after(self.model)

    def update(self) -> None:
        self._step(len(self._losses) - 1)
        if self.per_step and self.scheduler is not None:
            self.scheduler.step()

    def gradient_norms(self) -> dict[str, float]:
        return {}  # they are of several losses
