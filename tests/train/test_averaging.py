"""A moving average of the parameters: what it is, where it is measured, and that a resumed run has the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from nonet import data, io, models, nn, optim
from nonet.train import Trainer, load_state
from train.small import Crash, arrays, crash_at, make, parameters

OPTIONS = {"epochs": 3, "checkpoint_every": 3, "averaging": 0.8}


def _kept(trajectory, averaging):
    """The weighted mean of all states behind an update, in float64."""
    weights = averaging ** np.arange(len(trajectory))[::-1]
    return {
        name: np.tensordot(
            weights / weights.sum(), [state[name].astype(np.float64) for state in trajectory], 1
        )
        for name in trajectory[0]
    }


def _copy(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def test_the_last_average_is_left():
    states = []
    trainer = make(keep="last", after_update=lambda model: states.append(_copy(model)), averaging=0.8)
    result = trainer.fit()
    assert len(states) == 12
    for name, value in _kept(states, 0.8).items():
        np.testing.assert_allclose(trainer.model.state_dict()[name].numpy(), value, rtol=2e-6, atol=1e-6)
    assert trainer.evaluate(trainer.validation)["loss"] == result.history[-1]["validation_loss"]
    plain = make(keep="last")
    plain.fit()
    for name, value in plain.model.state_dict().items():  # an average changes no step
        np.testing.assert_array_equal(states[-1][name], value.numpy())


def test_the_best_average_is_left():
    states, measured = [], []

    def look(trainer, record):
        measured.append(record["validation_loss"])

    trainer = make(
        monitor="loss",
        lr=0.3,
        epochs=8,
        averaging=0.5,
        callbacks=[look],
        after_update=lambda model: states.append(_copy(model)),
    )
    result = trainer.fit()
    best = int(np.argmin(measured))
    assert result.best == measured[best] and result.best_epoch == best + 1
    for name, value in _kept(states[: 4 * (best + 1)], 0.5).items():
        np.testing.assert_allclose(trainer.model.state_dict()[name].numpy(), value, rtol=1e-5, atol=1e-5)


def test_buffers_are_averaged_and_counts_are_not():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    states = []
    trainer = make(
        model=model,
        optimizer=optim.SGD(model.parameters(), lr=0.1),
        scheduler=None,
        keep="last",
        averaging=0.9,
        after_update=lambda m: states.append(_copy(m)),
    )
    trainer.fit()
    kept = _kept(states, 0.9)
    left = _copy(model)
    np.testing.assert_allclose(left["1.running_mean"], kept["1.running_mean"], rtol=1e-5, atol=1e-6)
    assert left["1.num_batches_tracked"] == len(states)


def _same(path, whole):
    assert (path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert arrays(path / "last.safetensors") == arrays(whole / "last.safetensors")


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("place", ["update", "evaluate"])
def test_a_resumed_run_has_the_same_bits(tmp_path, keep, place):
    whole = make(tmp_path / "whole", keep=keep, **OPTIONS)
    whole.fit()
    trainer = make(tmp_path / "part", keep=keep, **OPTIONS)
    crash_at(*((trainer.engine, "update", 7) if place == "update" else (trainer, "evaluate", 1)))
    with pytest.raises(Crash):
        trainer.fit()
    make(tmp_path / "part", resume=True, keep=keep, **OPTIONS).fit()
    _same(tmp_path / "part", tmp_path / "whole")


def test_a_second_call_goes_on_from_the_parameters_themselves(tmp_path):
    whole = make(tmp_path / "a", keep="last", averaging=0.8)
    whole.fit()
    parts = make(tmp_path / "b", keep="last", averaging=0.8, epochs=None, steps=5)
    parts.fit()
    parts.steps, parts.epochs = None, 3
    parts.fit()
    assert parameters(parts) == parameters(whole)
    state = load_state(tmp_path / "a" / "last.safetensors")
    assert state["average"]["updates"] == 12
    for name, value in state["average"]["values"].items():
        assert value.numpy().tobytes() == parameters(whole)[name]


def test_a_run_without_an_average_does_not_fit(tmp_path):
    make(tmp_path, epochs=1).fit()
    with pytest.raises(io.FileError, match="no average of this model"):
        make(tmp_path, resume=True, epochs=2, averaging=0.9).fit()


def test_players_have_none():
    model = models.GAN((4,), latent=2, hidden=(4,))
    optimizers = [optim.SGD(p.parameters(), lr=0.1) for p in (model.discriminator, model.generator)]
    with pytest.raises(ValueError, match="averaging is for one loss and one optimizer"):
        Trainer(
            model,
            model.losses(),
            optimizers,
            data.DataLoader(np.zeros((8, 4), np.float32), 4),
            epochs=1,
            averaging=0.9,
        )
