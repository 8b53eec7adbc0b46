"""The part of training that decides the numbers: one step, its state, and the search for what is not finite."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

import nonet
from nonet import io
from nonet.nn import Module
from nonet.nn.utils import clip_grad_norm_, clip_grad_value_
from nonet.ops.random import randn
from nonet.tensor import Tensor, as_tensor, no_grad
from nonet.train.averaging import Average
from nonet.train.diagnose import NonFiniteError, bad_value, first_bad

Group = Sequence[Sequence[Tensor]]


class Engine:
    """Model, loss, optimizer and loader, and the steps they make together. Arguments as in `Trainer`.

    `scheduler` is stepped after every step if `per_step`, else by the trainer; its state is kept here.
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Tensor],
        optimizer: Any,
        train: Any,
        *,
        inputs: int,
        scheduler: Any,
        per_step: bool,
        clip_norm: float | None,
        clip_value: float | None,
        accumulate: int,
        context: Callable[[], AbstractContextManager[Any]],
        after: Callable[[Module], None] | None = None,
        weight_noise: float = 0.0,
        averaging: float = 0.0,
    ) -> None:
        self.model, self.loss, self.optimizer, self.train = model, loss, optimizer, train
        self.inputs, self.scheduler, self.per_step = inputs, scheduler, per_step
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.accumulate, self.context, self.after = accumulate, context, after
        self.weight_noise = weight_noise
        self.average = Average(model, averaging) if averaging else None
        self._parameters = list(model.parameters())
        self._norm: Tensor | None = None  # of the last step's gradients, before they were clipped

    # ---- one step
    def groups(self) -> Iterator[list[list[Tensor]]]:
        """Batches as tensors, `accumulate` to a step; fewer in the last step of an epoch."""
        group: list[list[Tensor]] = []
        for batch in self.train:
            group.append(self.tensors(batch))
            if len(group) == self.accumulate:
                yield group
                group = []
        if group:
            yield group

    def tensors(self, batch: Sequence[Any]) -> list[Tensor]:
        """A batch of arrays, where the model is."""
        device = self._parameters[0].device if self._parameters else "cpu"
        return [as_tensor(array).to(device) for array in batch]

    def forward(self, batch: Sequence[Tensor]) -> tuple[Any, Tensor]:
        """(output of the model, loss) for one batch."""
        with self.context():
            output = self.model(*batch[: self.inputs])
            return output, self.loss(output, *batch[self.inputs :])

    def gradients(self, group: Group) -> list[tuple[Tensor, int]]:
        """Leaves the gradient of the mean loss over all samples of `group`; returns (loss, samples) per batch."""
        self.optimizer.zero_grad()
        total = sum(len(batch[0]) for batch in group)
        losses: list[tuple[Tensor, int]] = []
        with self._noise():
            for batch in group:
                _, loss = self.forward(batch)
                loss.backward(None if len(group) == 1 else np.float32(len(batch[0]) / total))
                losses.append((loss.detach(), len(batch[0])))
        return losses

    @contextlib.contextmanager
    def _noise(self) -> Iterator[None]:
        """Adds noise to the weights, and takes it away again."""
        if not self.weight_noise:
            yield
            return
        matrices = [p for p in self._parameters if p.ndim > 1]
        with no_grad():
            kept = [p.clone() for p in matrices]
            for p in matrices:
                p.copy_(p + self.weight_noise * randn(*p.shape, device=p.device))
        try:
            yield
        finally:
            with no_grad():
                for p, value in zip(matrices, kept, strict=True):
                    p.copy_(value)

    def update(self) -> None:
        if self.clip_norm is not None:
            self._norm = clip_grad_norm_(self._parameters, self.clip_norm)
        if self.clip_value is not None:
            clip_grad_value_(self._parameters, self.clip_value)
        self.optimizer.step()
        if self.after is not None:
            self.after(self.model)
        if self.average is not None:
            self.average.follow()
        if self.per_step and self.scheduler is not None:
            self.scheduler.step()

    def gradient_norms(self) -> dict[str, float]:
        """Path -> norm of every parameter's gradient in the last step, before clipping by the norm of all; empty if
        there was none."""
        clipped = 1.0
        if self.clip_norm is not None and self._norm is not None:
            clipped = max(1.0, self._norm.item() / self.clip_norm)
        norms: dict[str, float] = {}
        for path, parameter in self.model.named_parameters():
            if parameter.grad is not None:
                gradient = np.asarray(parameter.grad.cpu()).astype(np.float32).reshape(-1)
                norms[path] = float(np.sqrt(np.dot(gradient, gradient))) * clipped
        return norms

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the model holds what is measured and kept: the average, if there is one."""
        return contextlib.nullcontext() if self.average is None else self.average.in_place()

    # ---- state
    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, sharing memory with model and optimizer."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "generator": nonet.get_rng_state(),
            "loader": self.train.state_dict(),
            # What a model hands from one batch to the next, such as the state of a recurrent network.
            "carried": getattr(self.model, "carried", None),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        nonet.set_rng_state(state["generator"])
        self.train.load_state_dict(state["loader"])
        if hasattr(self.model, "carried"):
            carried = state.get("carried")
            self.model.carried = carried and tuple(as_tensor(value) for value in carried)

    def snapshot(self) -> Any:
        """A copy of `state_dict()` as arrays."""
        return io.map_tensors(
            self.state_dict(), lambda t: np.array(t.cpu().numpy() if isinstance(t, Tensor) else t)
        )

    def continue_epoch(self) -> None:
        """Makes the next loop over the loader go on where the last one was left, not with the next epoch."""
        self.train.load_state_dict(self.train.state_dict())

    def epoch_is_over(self) -> bool:
        """Whether the loader stands between two epochs, to which it is moved if it was left after a last batch."""
        if self.train.batch == len(self.train):
            self.continue_epoch()
            for _ in self.train:
                pass
        return self.train.batch == 0

    # ---- numbers that are not finite
    def bad_state(self) -> tuple[str, str] | None:
        """(path, 'nan' or 'inf') of the first parameter or buffer that holds one, itself or in its moments."""
        paths = {id(p): path for path, p in self.model.named_parameters()}
        states = getattr(self.optimizer, "state", {})
        moments = [(paths.get(id(p), "a parameter"), state) for p, state in states.items()]
        for path, value in (*self.model.state_dict().items(), *moments):
            if bad := bad_value(value):
                return path, bad
        return None

    def stop(self, snapshot: Any, done: int, last: int) -> NonFiniteError:
        """The error for a number that turned up by step `last`, when `snapshot`, of step `done`, was finite.

        Repeats the steps between with a look at every number, and leaves the state before the first bad update.
        """
        self.load_state_dict(snapshot)
        groups = self.groups()
        before = snapshot
        for step in range(done, last):
            group = next(groups, None)
            if group is None:
                break
            losses = self.gradients(group)
            fine = bad_value([[loss for loss, _ in losses], [p.grad for p in self._parameters]]) is None
            bad = None
            if fine:
                self.update()
                bad = self.bad_state()
            if not fine or bad is not None:
                return self._error(before, group, step + 1, bad)
            before = self.snapshot()
        text = (
            f"training stopped after step {last}: a number is not finite, but not when the steps were repeated; "
            "model or loss are no function of inputs and seed"
        )
        return NonFiniteError(text, last, "not reproduced", None)

    def _error(self, before: Any, group: Group, step: int, bad: tuple[str, str] | None) -> NonFiniteError:
        """`bad`: what the update of the step made of a state and gradients that were finite."""
        self.load_state_dict(before)
        found = first_bad(self.model, self.forward, group)
        self.load_state_dict(before)
        self.optimizer.zero_grad()
        rate = float(self.optimizer.param_groups[0]["lr"])
        if found is None and bad is not None:
            path, value = bad
            found = (
                f"the update makes {path} or its moments {value} (learning rate {rate:g})",
                path.rpartition(".")[0],
            )
        where, layer = found or ("not reproduced", None)
        return NonFiniteError(
            f"training stopped before the update of step {step}: {where}", step, where, layer
        )
