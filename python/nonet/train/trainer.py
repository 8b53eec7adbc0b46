"""The training loop: validation, schedules, clipping, accumulation, early stopping, checkpoints, exact resume."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nonet import io
from nonet.models import architecture_of, save_model
from nonet.nn import Module
from nonet.optim.lr_scheduler import ReduceLROnPlateau
from nonet.tensor import Tensor, no_grad
from nonet.train.engine import Engine
from nonet.train.metrics import Metric
from nonet.train.output import Clock, Output, interruptible
from nonet.train.players import PlayersEngine
from nonet.train.position import Position, Result
from nonet.train.progress import Progress
from nonet.train.run import PathLike, RunFolder, load_state, save_state

_CHECK_STEPS = 100  # steps between two looks at all numbers
_SHOW_SECONDS = 0.5  # between two looks at the losses, for the bar


class Trainer:
    """Trains `model` until `epochs` or `steps`, whichever ends first.

    model, loss, optimizer   output = model(*inputs), loss(output, *targets) -> mean over the batch, a tensor [];
                             or sequences of as many losses and optimizers, which take turns in every step (the two
                             networks of a GAN): loss(model, *batch), see `PlayersEngine`; `scheduler` is then a
                             sequence too, validation measures the sum of the losses, and there are no metrics
    after_update             called with the model after every update, for example to clip weights
    train, validation        `nonet.data.DataLoader`s of NumPy batches: the first `inputs` fields go to the model, the
                             others to the loss and the metrics
    metrics                  evaluated on the validation part after every epoch; see `Metric`
    scheduler                stepped every "epoch" or "step" (`schedule`); ReduceLROnPlateau gets the monitored value
    clip_norm, clip_value    limit of the gradients' norm, of their elements
    weight_noise             standard deviation of the noise that all matrices of weights have in every step of training
                             (Graves, "Practical variational inference for neural networks", NIPS 2011); not with
                             several optimizers
    averaging                what a moving average of the parameters keeps of itself at each step (see `Average`); it is
                             what validation measures and `fit` leaves; 0: without; not with several optimizers
    accumulate               batches per step; gradients are weighted by samples, so that k batches of b samples move
                             the parameters as one batch of k * b does
    monitor, patience, keep  the validation quantity to judge by ("loss", or a metric's name: the default is the first
                             metric), the epochs to wait for a better one before the run ends, and whether `fit` leaves
                             the "best" parameters or the "last"; patience needs keep="best"
    out, resume              folder of the run (see `RunFolder`) and whether to continue what is in it
    checkpoint_every         steps between checkpoints, besides one per epoch
    log_every                steps between lines of the log with the epoch's loss so far, besides one per epoch
    context                  called for a context manager around every forward pass (precision, autocast)
    callbacks                callback(trainer, record) after every epoch, with the record that is logged
    metadata, run_metadata   text for both safetensors files, for last.safetensors alone
    progress, tensorboard    show progress on stderr; write TensorBoard's log too (extra `tensorboard`)

    A resumed run continues bit by bit: a checkpoint holds parameters, buffers, moments, schedule, the random generator,
    the loader's position and this trainer's own, and the log is cut to the length it had then. Ctrl-C ends `fit` after
    the step in hand, with everything saved; a second one ends the process as usual.

    The loop reads no number back per step. Losses are looked at every 100 steps and every half second; all of the state
    every 100 steps and before every checkpoint, so that no NaN or infinity reaches a file. When there is one, the
    trainer goes back to the last state it looked at (kept in memory: one more copy of parameters and moments), repeats
    the steps with a look at every number, stops before the first bad update and raises `NonFiniteError`, which names
    the layer. The last checkpoint stays as it is.

    Errors: ValueError and TypeError for the arguments, RunFolderError, io.FileError for a checkpoint that does not fit.
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Tensor] | Sequence[Callable[..., Tensor]],
        optimizer: Any,
        train: Any,
        *,
        validation: Any = None,
        metrics: Sequence[Metric] = (),
        epochs: int | None = None,
        steps: int | None = None,
        inputs: int = 1,
        scheduler: Any = None,
        schedule: str = "epoch",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        weight_noise: float = 0.0,
        averaging: float = 0.0,
        accumulate: int = 1,
        monitor: str | None = None,
        patience: int | None = None,
        keep: str = "best",
        out: PathLike | RunFolder | None = None,
        resume: bool = False,
        checkpoint_every: int | None = None,
        log_every: int | None = None,
        device: str | None = None,
        context: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
        after_update: Callable[[Module], None] | None = None,
        callbacks: Sequence[Callable[[Trainer, dict[str, Any]], None]] = (),
        metadata: Mapping[str, str] | None = None,
        run_metadata: Mapping[str, str] | None = None,
        progress: bool = True,
        tensorboard: bool = False,
    ) -> None:
        self.model = model if device is None else model.to(device=device)
        self.train, self.validation, self.metrics = train, validation, tuple(metrics)
        self.epochs, self.steps, self.schedule = epochs, steps, schedule
        self.monitor = monitor or (self.metrics[0].name if self.metrics else "loss")
        self.patience, self.keep = patience, keep
        self.checkpoint_every, self.log_every = checkpoint_every, log_every
        self.callbacks = tuple(callbacks)
        self.metadata = {**architecture_of(model), **(metadata or {})}
        self.run_metadata = dict(run_metadata or {})
        self.progress, self.tensorboard = progress, tensorboard
        self.position = Position()
        self._check_arguments(
            {"accumulate": accumulate, "inputs": inputs},
            clip_norm,
            clip_value,
            weight_noise,
            averaging,
            not callable(loss),
        )
        settings: dict[str, Any] = {
            "inputs": inputs,
            "scheduler": scheduler,
            "per_step": schedule == "step",
            "clip_norm": clip_norm,
            "clip_value": clip_value,
            "accumulate": accumulate,
            "context": context,
            "after": after_update,
            "weight_noise": weight_noise,
            "averaging": averaging,
        }
        self.engine = (
            Engine(model, loss, optimizer, train, **settings)
            if callable(loss)
            else PlayersEngine(model, loss, optimizer, train, **settings)
        )
        if schedule == "step" and isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError("Trainer: schedule must be 'epoch' for ReduceLROnPlateau, got 'step'")
        self._best: dict[str, np.ndarray] | None = None
        self._last: dict[str, np.ndarray] | None = None  # while the model holds those to report
        self._pending: list[tuple[Tensor, int]] = []  # losses not looked at yet
        self._out, self._resume = out, resume
        self._folder: RunFolder | None = None
        self._output = Output(None, 0, 0, False, Progress(0, 0, enabled=False))
        self._clock = Clock(0.0)
        self._snapshot: tuple[int, Any] = (0, None)

    def _check_arguments(
        self,
        counts: dict[str, Any],
        clip_norm: float | None,
        clip_value: float | None,
        weight_noise: float,
        averaging: float,
        players: bool,
    ) -> None:
        for name in ("epochs", "steps", "patience", "checkpoint_every", "log_every"):
            counts[name] = getattr(self, name)
        for name, value in counts.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"Trainer: {name} must be an integer of at least 1, got {value!r}")
        if self.epochs is None and self.steps is None:
            raise ValueError("Trainer: epochs or steps must be given, got neither")
        known = ("loss", *(metric.name for metric in self.metrics))
        for name, allowed in (
            ("schedule", ("epoch", "step")),
            ("keep", ("best", "last")),
            ("monitor", known),
        ):
            if getattr(self, name) not in allowed:
                got = getattr(self, name)
                raise ValueError(f"Trainer: {name} must be one of {', '.join(allowed)}, got {got!r}")
        for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            if limit is not None and not limit > 0:
                raise ValueError(f"Trainer: {name} must be above 0, got {limit!r}")
        if not (0 <= weight_noise < math.inf):
            raise ValueError(f"Trainer: weight_noise must be at least 0, got {weight_noise!r}")
        if not 0 <= averaging < 1:
            raise ValueError(f"Trainer: averaging must be in [0, 1), got {averaging!r}")
        for name, value in (("weight_noise", weight_noise), ("averaging", averaging)):
            if value and players:
                raise ValueError(f"Trainer: {name} is for one loss and one optimizer")
        if self.patience is not None and (self.validation is None or self.keep != "best"):
            raise ValueError("Trainer: patience needs validation data and keep='best'")

    # ---- the run
    def fit(self) -> Result:
        """Trains to the end, or on from where the last call or the resumed run stopped; see `Trainer`.

        Leaves the model in evaluation mode, with the best parameters or the last (`keep`); a further call goes on from
        the last ones.
        """
        try:
            self._open()
            first, stopped = self.position.samples, False
            with interruptible() as interrupted:
                if self._folder is not None and not self._folder.last.exists():
                    self.save()
                while not stopped and (self.position.validated != self.position.step or not self._finished()):
                    if not self._finished():
                        self._run_epoch(interrupted)
                    if interrupted():
                        self.save()
                        stopped = True
                    else:
                        self._end_epoch()
            seconds, total = self._clock.session(), self._clock.total()
            reported: Any = self._best if self.keep == "best" else None
            if reported is None and self.engine.average is not None:
                reported = self.engine.average.values
            if reported is not None:
                self._last = self._copy_of_model()
                self.model.load_state_dict(reported)
            if self._folder is not None:
                save_model(self.model, self._folder.model, self.metadata)
        finally:
            self.model.eval()
            if self._folder is not None:
                self._folder.close()
            self._output.close()
        p = self.position
        rate = (p.samples - first) / seconds
        return Result(p.step, p.epoch, total, rate, p.best, p.best_epoch, p.stopped, stopped, p.history)

    def evaluate(self, loader: Any) -> dict[str, float]:
        """Loss (mean over the samples) and metrics of the model as it is, over one epoch of `loader`."""
        total, weight = 0.0, 0
        for metric in self.metrics:
            metric.reset()
        before = self.model.training
        self.model.eval()
        try:
            with no_grad():
                for batch in loader:
                    output, loss = self.engine.forward(self.engine.tensors(batch))
                    total += loss.item() * len(batch[0])
                    weight += len(batch[0])
                    for metric in self.metrics:
                        metric.update(np.asarray(output.cpu()), *batch[self.engine.inputs :])
        finally:
            self.model.train(before)
        return {"loss": total / weight, **{metric.name: metric.value() for metric in self.metrics}}

    def log(self, record: dict[str, Any]) -> None:
        """Appends a line to the run's log; for callbacks."""
        self._output.write(record)

    def _finished(self) -> bool:
        p = self.position
        return (
            p.stopped
            or (self.epochs is not None and p.epoch >= self.epochs)
            or (self.steps is not None and p.step >= self.steps)
        )

    def _run_epoch(self, interrupted: Callable[[], bool]) -> None:
        """The rest of the loader's epoch, or up to the last step."""
        p = self.position
        self.model.train()
        self._keep_snapshot()
        shown = time.perf_counter()
        groups = self.engine.groups()
        for group in groups:
            losses = self.engine.gradients(group)
            self.engine.update()
            self._pending += losses
            p.step += 1
            samples = sum(count for _, count in losses)
            p.samples += samples
            self._output.progress.step(samples)
            if p.step % _CHECK_STEPS == 0:
                self._verify()
                self._keep_snapshot()
            elif time.perf_counter() - shown > _SHOW_SECONDS:
                self._read_losses()
                shown = time.perf_counter()
            if self.log_every is not None and p.step % self.log_every == 0:
                self._read_losses()
                self.log({"event": "step", "step": p.step, "loss": p.loss_sum / p.loss_weight})
            # After the line above, because a resumed run writes only those of later steps.
            if self.checkpoint_every is not None and p.step % self.checkpoint_every == 0:
                self.save()
            if interrupted() or self._finished():
                break
        self._verify()

    def _end_epoch(self) -> None:
        """Validation, schedule, record and checkpoint, after an epoch or after the last step inside one."""
        p = self.position
        complete = self.engine.epoch_is_over()
        p.epoch += complete
        values: dict[str, float] = {"loss": p.loss_sum / max(p.loss_weight, 1)}
        if self.validation is not None:
            with self.engine.averaged():
                measured = self.evaluate(self.validation)
                self._judge(measured[self.monitor])
            values.update({f"validation_{name}": value for name, value in measured.items()})
        rate = float(self.engine.optimizer.param_groups[0]["lr"])
        if complete:
            p.loss_sum, p.loss_weight = 0.0, 0
            self._step_schedule(values.get(f"validation_{self.monitor}", values["loss"]))
        p.validated = p.step
        record = {"epoch": p.epoch, "step": p.step, **values, "lr": rate}
        p.history.append(record)
        name = self._epoch_name(p.epoch if complete else p.epoch + 1)
        if (judged := values.get(f"validation_{self.monitor}")) is not None:
            self._output.progress.show(
                name, **{"validation" if self.monitor == "loss" else self.monitor: judged}
            )
        self._output.progress.line(name, values)
        self._keep_gradient_norms()
        seconds = round(self._clock.total(), 3)
        self.log({"event": "epoch", **record, "seconds": seconds, "gradient_norms": p.gradient_norms})
        for callback in self.callbacks:
            callback(self, record)
        self.save()

    def _keep_gradient_norms(self) -> None:
        """Per parameter, so that gradients that vanish or explode on their way through the layers can be seen."""
        norms = self.engine.gradient_norms()
        if norms:  # a resumed run has made no step yet
            self.position.gradient_norms = {path: float(f"{norm:.6g}") for path, norm in norms.items()}

    def _step_schedule(self, value: float) -> None:
        scheduler: Any = self.engine.scheduler
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(value)
        elif scheduler is not None and self.schedule == "epoch":
            scheduler.step()

    def _judge(self, value: float) -> None:
        p = self.position
        higher = any(metric.name == self.monitor and metric.higher_is_better for metric in self.metrics)
        if (
            p.best is None
            or math.isnan(p.best) > math.isnan(value)  # any number is better than NaN
            or (value > p.best if higher else value < p.best)
        ):
            p.best, p.best_epoch, p.waited = value, p.epoch, 0
            if self.keep == "best":
                self._best = self._copy_of_model()
        else:
            p.waited += 1
            p.stopped = self.patience is not None and p.waited >= self.patience

    def _copy_of_model(self) -> dict[str, np.ndarray]:
        return {name: np.array(t.cpu().numpy()) for name, t in self.model.state_dict().items()}

    # ---- numbers that are not finite
    def _read_losses(self) -> None:
        p = self.position
        for loss, samples in self._pending:
            p.loss_sum += loss.item() * samples
            p.loss_weight += samples
        self._pending.clear()
        if not math.isfinite(p.loss_sum):
            self._stop()
        if p.loss_weight:
            self._output.progress.show(self._epoch_name(p.epoch + 1), loss=p.loss_sum / p.loss_weight)

    def _verify(self) -> None:
        self._read_losses()
        if self.engine.bad_state() is not None:
            self._stop()

    def _keep_snapshot(self) -> None:
        self._snapshot = self.position.step, self.engine.snapshot()

    def _stop(self) -> None:
        step, snapshot = self._snapshot
        error = self.engine.stop(snapshot, step, self.position.step)
        self._pending.clear()
        self.position.step, self.position.loss_sum, self.position.loss_weight = error.step - 1, 0.0, 0
        self.log({"event": "stopped", "step": error.step, "reason": error.where, "layer": error.layer})
        raise error

    # ---- state
    def state_dict(self) -> dict[str, Any]:
        """The complete state, sharing memory with the model and the optimizer."""
        return {**self.engine.state_dict(), "best": self._best, "position": asdict(self.position)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state`. Errors of the parts if it does not fit them."""
        self.position = Position(**state["position"])
        best = state["best"]
        self._best = None if best is None else {name: np.array(value) for name, value in best.items()}
        self._pending.clear()
        self.engine.load_state_dict(state)

    def save(self) -> None:
        """Writes last.safetensors, unless the run has no folder. NonFiniteError if a number is not finite."""
        if self._folder is None:
            return
        self._verify()
        self._keep_gradient_norms()
        self.position.seconds = self._clock.total()
        self.position.log_bytes = self._output.log_bytes()
        save_state(self._folder.last, self.state_dict(), {**self.metadata, **self.run_metadata})

    def _open(self) -> None:
        if self._folder is not None:  # a second call goes on in the same folder
            self._folder = RunFolder(self._folder.path, resume=True)
        elif self._out is not None:
            self._folder = (
                self._out if isinstance(self._out, RunFolder) else RunFolder(self._out, self._resume)
            )
            if self._folder.resume and self._folder.last.exists():
                self._load(self._folder.last)
        if self._last is not None:
            self.model.load_state_dict(self._last)
            self._last = None
        p = self.position
        progress = Progress(self._total_samples(), p.samples, self.progress)
        self._output = Output(self._folder, p.log_bytes, p.step, self.tensorboard, progress)
        self._clock = Clock(p.seconds)
        self._keep_snapshot()
        self.engine.continue_epoch()

    def _load(self, path: Path) -> None:
        try:
            self.load_state_dict(load_state(path))
        except io.FileError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise io.FileError(f"{path}: expected the state of this run, found: {error.args[0]}") from error

    def _total_samples(self) -> int:
        """Samples of the whole run, as far as it is known before its end."""
        batch = self.train.batch_size
        epoch = len(self.train) * batch if self.train.drop_last else self.train.state_dict()["samples"]
        limits = [] if self.epochs is None else [self.epochs * epoch]
        if self.steps is not None:
            whole, rest = divmod(self.steps, -(-len(self.train) // self.engine.accumulate))
            limits.append(whole * epoch + min(rest * self.engine.accumulate * batch, epoch))
        return min(limits)

    def _epoch_name(self, epoch: int) -> str:
        return f"epoch {epoch}/{self.epochs}" if self.epochs is not None else f"epoch {epoch}"
