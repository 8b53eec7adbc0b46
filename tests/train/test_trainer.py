from __future__ import annotations

import json

import numpy as np
import pytest

import nonet
from nonet import data, io, models, nn, optim
from nonet.train import Accuracy, Trainer, load_state
from train.small import clouds, make, parameters


def test_it_learns_and_reports(tmp_path):
    trainer = make(tmp_path / "run", epochs=12, lr=0.05)
    result = trainer.fit()
    assert (result.steps, result.epochs) == (48, 12)
    assert not result.interrupted and not result.stopped_early
    assert result.seconds > 0 and result.samples_per_second > 0
    assert [record["epoch"] for record in result.history] == list(range(1, 13))
    assert result.history[-1]["loss"] < 0.8 * result.history[0]["loss"]
    assert result.best == max(record["validation_accuracy"] for record in result.history) > 0.7
    assert not trainer.model.training
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [
        {k: v for k, v in line.items() if k not in ("event", "seconds", "gradient_norms")} for line in lines
    ] == result.history


def test_files_of_a_run(tmp_path):
    trainer = make(
        tmp_path / "run", epochs=1, keep="last", metadata={"classes": "abc"}, run_metadata={"own": "1"}
    )
    trainer.fit()
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "log.jsonl",
        "last.safetensors",
        "model.safetensors",
    }
    model = models.load_model(tmp_path / "run" / "model.safetensors")
    metadata = io.load_metadata(tmp_path / "run" / "model.safetensors")
    assert metadata == {
        "architecture": "MLP",
        "arguments": '{"sizes": [4, 8, 3], "activation": "relu", "dropout": 0.2}',
        "classes": "abc",
    }
    assert {name: t.numpy().tobytes() for name, t in model.state_dict().items()} == parameters(trainer)
    assert io.load_metadata(tmp_path / "run" / "last.safetensors")["own"] == "1"
    again = models.load_model(tmp_path / "run" / "last.safetensors")
    assert {name: t.numpy().tobytes() for name, t in again.state_dict().items()} == parameters(trainer)
    state = load_state(tmp_path / "run" / "last.safetensors")
    assert set(state) == {
        "model",
        "optimizer",
        "scheduler",
        "average",
        "generator",
        "loader",
        "carried",
        "best",
        "position",
    }
    assert state["position"]["step"] == 4 and state["position"]["epoch"] == 1


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(epochs=1, checkpoint_every=1).fit()
    assert not list(tmp_path.iterdir())


def test_the_same_seed_gives_the_same_bytes():
    runs = []
    for seed in (1, 1, 2):
        trainer = make(seed=seed, epochs=2)
        trainer.fit()
        runs.append(parameters(trainer))
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("steps", [3, 4, 6])
def test_steps_end_a_run_anywhere(steps):
    trainer = make(epochs=None, steps=steps)
    result = trainer.fit()
    assert result.steps == steps and result.epochs == steps // 4
    assert result.history[-1]["step"] == steps
    assert trainer.position.samples == {3: 48, 4: 60, 6: 92}[steps]


def test_epochs_end_a_run_before_the_steps():
    assert make(epochs=1, steps=100).fit().steps == 4


def test_a_second_fit_goes_on(tmp_path):
    whole = make(tmp_path / "a", epochs=3, keep="last")
    whole.fit()
    parts = make(tmp_path / "b", epochs=None, steps=5, keep="last")
    parts.fit()
    parts.epochs, parts.steps = 3, None
    assert parts.fit().steps == 12
    assert parameters(whole) == parameters(parts)


def test_accumulated_batches_equal_one_large_batch():
    """Up to rounding, also for the last group of an epoch, whose batches differ in size."""
    moved = []
    for options in ({"batch_size": 32}, {"batch_size": 8, "accumulate": 4}):
        nonet.manual_seed(0)
        trainer = make(model=models.MLP([4, 8, 3]), epochs=1, transform=None, keep="last", **options)
        assert trainer.fit().steps == 2
        moved.append(list(trainer.model.parameters()))
    for a, b in zip(*moved, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-6)


class _Recorder:
    """An optimizer that keeps the gradients instead of using them."""

    def __init__(self, model):
        self.model = model
        self.param_groups = [{"lr": 0.0}]
        self.seen = []

    def zero_grad(self):
        self.model.zero_grad()

    def step(self):
        self.seen.append([np.array(p.grad.numpy()) for p in self.model.parameters()])

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def _gradients(**options):
    nonet.manual_seed(0)
    model = models.MLP([4, 8, 3])
    recorder = _Recorder(model)
    make(model=model, optimizer=recorder, scheduler=None, epochs=1, transform=None, **options).fit()
    return recorder.seen


def test_clipping():
    def norm(gradients):
        return np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in gradients))

    free, by_norm, by_value = _gradients(), _gradients(clip_norm=0.1), _gradients(clip_value=0.01)
    for a, b, c in zip(free, by_norm, by_value, strict=True):
        assert norm(a) > 0.1
        np.testing.assert_allclose(norm(b), 0.1, rtol=1e-4)
        for x, y, z in zip(a, b, c, strict=True):
            np.testing.assert_allclose(y, x * 0.1 / norm(a), rtol=1e-4, atol=1e-8)
            np.testing.assert_array_equal(z, np.clip(x, np.float32(-0.01), np.float32(0.01)))


def test_weight_noise():
    """Gradients are those of noisy matrices, which are themselves again afterwards; vectors have none."""

    class Watched(nn.Linear):
        seen: list

        def forward(self, x):
            self.seen.append((self.weight.numpy().copy(), self.bias.numpy().copy()))
            return super().forward(x)

    nonet.manual_seed(0)
    model = Watched(4, 3)
    model.seen = []
    before = model.weight.numpy().copy(), model.bias.numpy().copy()
    recorder = _Recorder(model)
    make(
        model=model,
        optimizer=recorder,
        scheduler=None,
        epochs=40,
        transform=None,
        validation=None,
        weight_noise=0.1,
        metrics=(),
    ).fit()
    weights = np.stack([w for w, _ in model.seen])
    assert len(weights) > 100
    np.testing.assert_array_equal(model.weight.numpy(), before[0])
    assert all((b == before[1]).all() for _, b in model.seen)
    noise = weights - before[0]
    assert abs(noise.mean()) < 0.02 and noise.std() == pytest.approx(0.1, rel=0.1)
    still = _gradients()
    assert any((a != b).any() for a, b in zip(_gradients(weight_noise=0.1)[0], still[0], strict=True))
    for a, b in zip(_gradients(weight_noise=0.0)[0], still[0], strict=True):
        np.testing.assert_array_equal(a, b)


def test_schedules():
    trainer = make(epochs=2)
    assert trainer.fit().history[-1]["lr"] == pytest.approx(0.02 / 1.8)
    trainer = make(epochs=2, schedule="epoch")
    rates = [record["lr"] for record in trainer.fit().history]
    assert rates == pytest.approx([0.02, 0.02 / 1.1])


def test_plateau_gets_the_monitored_value():
    model = models.MLP([4, 8, 3])
    optimizer = optim.AdamW(model.parameters(), lr=1e-12)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=0, factor=0.5)
    trainer = make(model=model, optimizer=optimizer, scheduler=plateau, schedule="epoch", epochs=4)
    rates = [record["lr"] for record in trainer.fit().history]
    assert rates == pytest.approx([1e-12, 1e-12, 5e-13, 2.5e-13])
    with pytest.raises(ValueError, match="schedule must be 'epoch' for ReduceLROnPlateau"):
        make(model=model, optimizer=optimizer, scheduler=plateau)


def _scripted(values, **options):
    """A trainer whose validation accuracy is given, epoch by epoch; the model's first weight tells the epoch."""

    class Scripted(Accuracy):
        def reset(self):
            self.left = getattr(self, "left", list(values))

        def value(self):
            return self.left.pop(0)

    return make(epochs=len(values), metrics=[Scripted()], **options)


def test_patience_and_the_best_parameters():
    kept = []
    trainer = _scripted(
        [0.5, 0.7, 0.7, 0.6, 0.9], patience=2, callbacks=[lambda t, record: kept.append(parameters(t))]
    )
    result = trainer.fit()
    assert result.stopped_early and result.epochs == 4
    assert (result.best, result.best_epoch) == (0.7, 2)
    assert parameters(trainer) == kept[1] != kept[3]


def test_a_first_value_of_nan_is_not_the_best():
    result = _scripted([float("nan"), 0.2, float("nan"), 0.1]).fit()
    assert (result.best, result.best_epoch) == (0.2, 2)
    assert _scripted([float("nan")] * 4, patience=2).fit().epochs == 3


@pytest.mark.parametrize(
    ("options", "total"),
    [
        ({"epochs": 3}, 180),
        ({"epochs": 3, "steps": 5}, 60 + 16),
        ({"steps": 8}, 120),
        ({"steps": 3, "accumulate": 3}, 60 + 48),
        ({"steps": 2, "batch_size": 10**9}, 120),
    ],
)
def test_the_bar_knows_its_end(options, total):
    trainer = make(**{"epochs": None, **options})
    assert trainer._total_samples() == total
    trainer.fit()
    assert trainer.position.samples == total


def test_the_last_parameters():
    kept = []
    trainer = _scripted(
        [0.5, 0.7, 0.6], keep="last", callbacks=[lambda t, record: kept.append(parameters(t))]
    )
    result = trainer.fit()
    assert not result.stopped_early and (result.best, result.best_epoch) == (0.7, 2)
    assert parameters(trainer) == kept[2]


def test_a_lower_loss_is_better():
    trainer = make(epochs=3, monitor="loss")
    result = trainer.fit()
    assert result.best == min(record["validation_loss"] for record in result.history)


def test_log_lines_between_epochs_and_from_callbacks(tmp_path):
    trainer = make(
        tmp_path,
        epochs=1,
        log_every=3,
        callbacks=[lambda t, record: t.log({"event": "mine", "step": record["step"]})],
    )
    trainer.fit()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["event"], line["step"]) for line in lines] == [("step", 3), ("epoch", 4), ("mine", 4)]
    assert np.isfinite(lines[0]["loss"])


def test_evaluation_changes_nothing():
    trainer = make()
    trainer.model.train()
    generator, before = nonet.get_rng_state(), parameters(trainer)
    values = trainer.evaluate(data.DataLoader(clouds(30), 7))
    assert parameters(trainer) == before and trainer.model.training
    np.testing.assert_array_equal(nonet.get_rng_state(), generator)
    whole = trainer.evaluate(data.DataLoader(clouds(30), 30))
    assert values["accuracy"] == whole["accuracy"]
    assert values["loss"] == pytest.approx(whole["loss"], rel=1e-5)


def test_context_surrounds_every_forward_pass():
    entered = []

    class Context:
        def __enter__(self):
            entered.append(True)

        def __exit__(self, *_):
            entered.append(False)

    make(epochs=1, context=Context).fit()
    assert entered == [True, False] * (4 + 2)


def test_several_inputs():
    class Both(nn.Module):
        def __init__(self):
            self.net = models.MLP([4, 3])

        def forward(self, points, weights):
            return self.net(points) * weights

    x = clouds()
    train = data.DataLoader((x.inputs, np.ones((60, 1), np.float32), x.targets), 16)
    trainer = make(model=Both(), train=train, validation=train, inputs=2, epochs=1)
    assert trainer.fit().steps == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": None}, "epochs or steps must be given"),
        ({"epochs": 0}, "epochs must be an integer of at least 1, got 0"),
        ({"steps": 2.5}, "steps must be an integer"),
        ({"accumulate": True}, "accumulate must be an integer"),
        ({"checkpoint_every": -1}, "checkpoint_every must be an integer of at least 1"),
        ({"schedule": "week"}, "schedule must be one of epoch, step, got 'week'"),
        ({"keep": "all"}, "keep must be one of best, last"),
        ({"monitor": "f1"}, "monitor must be one of loss, accuracy, got 'f1'"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
        ({"clip_value": float("nan")}, "clip_value must be above 0"),
        ({"weight_noise": -0.1}, "weight_noise must be at least 0"),
        ({"averaging": 1.0}, r"averaging must be in \[0, 1\), got 1.0"),
        ({"patience": 1, "validation": None}, "patience needs validation data"),
        ({"patience": 1, "keep": "last"}, "patience needs"),
    ],
)
def test_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_unknown_device():
    with pytest.raises(RuntimeError, match="cuda"):
        make(device="cuda")


def test_errors_leave_the_layer_named():
    model = models.MLP([5, 3])
    with pytest.raises(ValueError, match=r"linear1 \(Linear\)"):
        make(model=model).fit()
    assert isinstance(make(), Trainer)
