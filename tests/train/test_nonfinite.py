"""A NaN never reaches the parameters or a file, and the message says where it came from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nonet import data, models, nn
from nonet.tensor import as_tensor
from nonet.train import NonFiniteError
from nonet.train.diagnose import bad_value
from train.small import arrays, clouds, jitter, make, parameters


class Poison(nn.Module):
    """Passes its input on; at call `at` (from 1, training only) one element becomes `value`."""

    def __init__(self, at, value=np.nan):
        self.at, self.value, self.calls = at, value, 0
        self.repeat = False

    def forward(self, x):
        if self.training:
            self.calls += 1
        if self.training and (self.calls == self.at or self.repeat):
            self.repeat = True
            factor = np.ones(x.shape, np.float32)
            factor[0, 0] = self.value
            return x * as_tensor(factor)
        return x


class Net(nn.Module):
    def __init__(self, poison):
        self.first = nn.Linear(4, 8)
        self.poison = poison
        self.relu = nn.ReLU()
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.poison(self.relu(self.first(x))))


def _poisoned_data(step, value=np.nan):
    """Batch `step` (from 0, counted over the epochs) holds a bad number."""

    def transform(rng, points, labels):
        points, labels = jitter(rng, points, labels)
        if transform.count == step and transform.live:
            points[0, 0] = value
        return points, labels

    transform.count, transform.live = -1, True

    class Loader(data.DataLoader):
        def _load(self, index, epoch):
            transform.count = (
                self._epoch * 4 + self._batch
            )  # a function of the position, as a transform must be
            return super()._load(index, epoch)

    return Loader(clouds(), 16, shuffle=True, transform=transform)


def _stop_at(trainer):
    with pytest.raises(NonFiniteError) as caught:
        trainer.fit()
    return caught.value


def test_bad_value():
    fine = [np.full(3, 3e38, np.float32), {"a": np.arange(3), "b": as_tensor([1.0])}, "text", None]
    assert bad_value(fine) is None
    assert bad_value([np.array([1, np.inf, 2], np.float32)]) == "inf"
    assert bad_value([np.array([np.inf, -np.inf])]) == "inf"
    assert bad_value([np.array([np.inf]), {"a": as_tensor([np.nan])}]) == "nan"
    assert bad_value(as_tensor(np.array([np.nan], np.float32), "bfloat16")) == "nan"
    assert bad_value(np.array([2**62])) is None


@pytest.mark.parametrize("step", [0, 3, 6, 9])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_data(tmp_path, step, value):
    trainer = make(tmp_path, train=_poisoned_data(step, value))
    error = _stop_at(trainer)
    word = "nan" if np.isnan(value) else "inf"
    assert error.step == step + 1 and error.where == f"the batch itself holds {word}" and error.layer is None
    assert f"before the update of step {step + 1}" in str(error)
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert line["event"] == "stopped" and line["step"] == step + 1
    good = make(epochs=None, steps=step, keep="last") if step else make()
    if step:
        good.fit()
    assert parameters(trainer) == parameters(good)  # the state before the bad update, bit by bit


def test_the_last_good_checkpoint_stays(tmp_path):
    error = _stop_at(make(tmp_path, train=_poisoned_data(6), checkpoint_every=1))
    assert error.step == 7
    good = make(tmp_path / "good", epochs=None, steps=5, checkpoint_every=1)
    good.fit()
    for name, value in arrays(tmp_path / "last.safetensors").items():
        assert bad_value(np.frombuffer(value, np.float32)) is None or "generator" in name


def test_no_nan_reaches_a_checkpoint(tmp_path):
    """Also when the loss is fine and only the gradient is not, right before a checkpoint."""

    trainer = make(tmp_path, checkpoint_every=2)
    real = trainer.engine.update
    steps = []

    def update():
        steps.append(1)
        if trainer.position.step == 3:
            next(iter(trainer.model.parameters())).grad.fill_(np.nan)
        real()

    trainer.engine.update = update
    _stop_at(trainer)
    state = arrays(tmp_path / "last.safetensors")
    assert all(
        np.isfinite(np.frombuffer(v, np.float32)).all() for k, v in state.items() if k.startswith("model")
    )


def test_a_bad_layer_is_named():
    nets = Net(Poison(at=6))
    error = _stop_at(make(model=nets))
    assert error.layer == "poison" and error.where == "layer poison (Poison) put out nan"


def test_an_exploding_run_names_layer_or_update(tmp_path):
    error = _stop_at(make(tmp_path, lr=1e30, epochs=50, scheduler=None))
    assert error.step >= 2 and ("linear" in error.where or "update" in error.where or "loss" in error.where)
    assert (
        bad_value(
            [
                np.frombuffer(v, np.float32)
                for k, v in arrays(tmp_path / "last.safetensors").items()
                if k.startswith("model")
            ]
        )
        is None
    )


def test_an_overflowing_update_names_the_parameter():
    """Finite gradients whose squares are not."""
    trainer = make(scheduler=None)
    real = trainer.engine.loss
    trainer.engine.loss = lambda output, labels: real(output, labels) * 1e30
    error = _stop_at(trainer)
    assert error.step == 1 and error.layer == "linear1"
    assert error.where == "the update makes linear1.weight or its moments inf (learning rate 0.02)"


def test_a_bad_parameter_is_named():
    model = models.MLP([4, 8, 3])
    with model.linear2.weight.mutable() as weight:
        weight[0, 0] = np.inf
    error = _stop_at(make(model=model))
    assert error.step == 1 and error.where == "linear2.weight holds inf" and error.layer == "linear2"


def test_a_bad_loss_is_named():
    trainer = make()
    real = trainer.engine.loss
    trainer.engine.loss = lambda output, labels: real(output, labels) / 0.0
    error = _stop_at(trainer)
    assert error.step == 1 and error.where == "the loss is inf, while every layer's output is finite"


def test_a_bad_gradient_is_named():
    """sqrt(0) is fine, its gradient is not."""
    model = models.MLP([4, 8, 3])
    trainer = make(model=model)
    real = trainer.engine.loss
    trainer.engine.loss = lambda output, labels: real(output, labels) + (output * 0.0).sqrt().sum()
    error = _stop_at(trainer)
    assert (
        error.where == "the gradient of linear2.bias is nan, while the loss is finite"
        and error.layer == "linear2"
    )


def test_what_cannot_be_repeated_is_said():
    trainer = make()
    real, count = trainer.engine.loss, []

    def loss(output, labels):
        count.append(1)
        return real(output, labels) * (np.nan if len(count) == 3 else 1.0)

    trainer.engine.loss = loss
    assert _stop_at(trainer).where == "not reproduced"


def test_training_can_go_on_after_the_cause_is_removed():
    loader = _poisoned_data(6)
    trainer = make(train=loader, keep="last")
    assert _stop_at(trainer).step == 7
    loader.transform.live = False
    assert trainer.fit().steps == 12
    straight = make(keep="last")
    straight.fit()
    assert parameters(trainer) == parameters(straight)
