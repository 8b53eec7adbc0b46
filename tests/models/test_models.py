from __future__ import annotations

import copy

import numpy as np
import pytest

import nonet
from nonet import io, models, nn


def test_mlp():
    model = models.MLP([5, 7, 6, 3], activation="tanh", dropout=0.5).eval()
    shapes = {name: t.shape for name, t in model.state_dict().items()}
    assert shapes == {
        "linear1.weight": (7, 5),
        "linear1.bias": (7,),
        "linear2.weight": (6, 7),
        "linear2.bias": (6,),
        "linear3.weight": (3, 6),
        "linear3.bias": (3,),
    }
    x = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    p = {name: t.numpy().astype(np.float64) for name, t in model.state_dict().items()}
    h = x.astype(np.float64)
    for i in (1, 2):
        h = np.tanh(h @ p[f"linear{i}.weight"].T + p[f"linear{i}.bias"])
    np.testing.assert_allclose(
        model(x).numpy(), h @ p["linear3.weight"].T + p["linear3.bias"], rtol=1e-5, atol=1e-6
    )
    assert model(x[0]).shape == (3,)


def test_mlp_keys_do_not_depend_on_dropout():
    assert models.MLP([4, 5, 2]).state_dict().keys() == models.MLP([4, 5, 2], dropout=0.1).state_dict().keys()


def test_mlp_drops_out_in_training_only():
    model = models.MLP([4, 100, 2], dropout=0.5)
    x = np.ones((1, 4), np.float32)
    assert not np.array_equal(model(x).numpy(), model(x).numpy())
    model.eval()
    np.testing.assert_array_equal(model(x).numpy(), model(x).numpy())


def test_defaults_are_those_of_mnist():
    assert models.MLP().arguments == {"sizes": [784, 512, 512, 10], "activation": "relu", "dropout": 0.0}
    assert sum(p.numel() for p in models.MLP().parameters()) == 669_706
    assert sum(p.numel() for p in models.LeNet5().parameters()) == 61_706


def test_lenet5():
    model = models.LeNet5()
    assert {name: t.shape for name, t in model.state_dict().items() if name.endswith("weight")} == {
        "conv1.weight": (6, 1, 5, 5),
        "conv2.weight": (16, 6, 5, 5),
        "fc1.weight": (120, 400),
        "fc2.weight": (84, 120),
        "fc3.weight": (10, 84),
    }
    assert model(np.zeros((3, 1, 28, 28), np.float32)).shape == (3, 10)
    assert models.LeNet5(classes=4)(np.zeros((2, 1, 28, 28), np.float32)).shape == (2, 4)
    with pytest.raises(ValueError, match=r"conv1 \(Conv2d\)"):
        model(np.zeros((3, 2, 28, 28), np.float32))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("MLP", {"sizes": [3]}, "sizes must be two or more"),
        ("MLP", {"sizes": [3, 0]}, "sizes must be two or more"),
        ("MLP", {"sizes": [3, 2], "activation": "step"}, "activation must be one of relu"),
        ("LeNet5", {"classes": 0}, "classes must be at least 1, got 0"),
        ("GoogLeNet", {}, "name must be one of AlexNet, .*, resnet152, got 'GoogLeNet'"),
    ],
)
def test_errors(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments"), [("MLP", {"sizes": [4, 5, 2], "dropout": 0.25}), ("LeNet5", {"classes": 3})]
)
def test_saved_and_loaded(tmp_path, name, arguments):
    model = models.build(name, **arguments)
    models.save_model(model, tmp_path / "m.safetensors", {"note": "x"})
    again = models.load_model(tmp_path / "m.safetensors")
    assert type(again) is type(model) and again.arguments == model.arguments and not again.training
    for (key, a), (other, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert key == other
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert io.load_metadata(tmp_path / "m.safetensors")["note"] == "x"


def test_models_of_other_classes_are_saved_without_an_architecture(tmp_path):
    class Mine(models.MLP):
        pass

    models.save_model(Mine([2, 3]), tmp_path / "m")
    with pytest.raises(
        io.FileError, match=r"m: expected metadata with an architecture \(AlexNet, .*, VGG\), found none"
    ):
        models.load_model(tmp_path / "m")


def test_files_that_do_not_fit(tmp_path):
    model = models.MLP([2, 3])
    models.save_model(model, tmp_path / "m", {"arguments": '{"sizes": [2, 4]}'})
    with pytest.raises(io.FileError, match=r"m: expected the tensors of MLP, found others"):
        models.load_model(tmp_path / "m")
    models.save_model(model, tmp_path / "n", {"arguments": '{"width": 4}'})
    with pytest.raises(io.FileError, match=r"n: expected arguments of MLP, found others"):
        models.load_model(tmp_path / "n")
    with pytest.raises(io.MissingFileError):
        models.load_model(tmp_path / "nope")


def test_copies():
    model = models.MLP([3, 4, 2])
    other = copy.deepcopy(model)
    x = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(model(x).numpy(), other(x).numpy())


def test_summary_restores_modes_and_counts_shared_parameters_once():
    class Twice(nn.Module):
        def __init__(self):
            self.a = nn.Linear(3, 3)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return self.a(self.drop(self.a(x)))

    model = Twice()
    model.drop.eval()
    before = nonet.get_rng_state()
    rows = models.summary(model, (2, 3))
    assert [(r.path, r.kind, r.output, r.parameters, r.macs) for r in rows] == [
        ("a", "Linear", (2, 3), 12, 18),
        ("drop", "Dropout", (2, 3), 0, 0),
        ("a", "Linear", (2, 3), 0, 18),
    ]
    assert model.training and model.a.training and not model.drop.training
    np.testing.assert_array_equal(nonet.get_rng_state(), before)


def test_macs_of_transformers():
    width, inner, length = 8, 20, 5
    layer = 2 * length * (4 * width * width + 2 * width * inner) + 2 * 2 * length * length * width
    encoder = nn.TransformerEncoderLayer(width, 2, inner, batch_first=True)
    rows = models.summary(encoder, (2, length, width))
    assert sum(r.macs for r in rows) == layer
    assert sum(r.parameters for r in rows) == sum(p.numel() for p in encoder.parameters())
    sizes = {"vocabulary": 11, "positions": 16, "width": width, "heads": 2, "layers": 3, "inner": inner}
    for model, head in (
        (models.GPT(**sizes), 2 * length * width * 11),
        (models.GPT(**sizes, tied=False), 2 * length * width * 11),
        (models.BERT(**sizes, head="tokens", classes=4), 2 * length * width * 4),
        (models.BERT(**sizes), 2 * length * width * (width + 11)),
    ):
        rows = models.summary(model, (2, length))
        assert sum(r.macs for r in rows) == 3 * layer + head
        assert sum(r.parameters for r in rows) == sum(p.numel() for p in model.parameters())
    model = models.T5(11, width, 3, inner, 1, None, 2)
    attention = 2 * length * 4 * width * 6 + 2 * 2 * length * length * 6
    rows = models.summary(model, (2, length))
    assert (
        sum(r.macs for r in rows)
        == 3 * attention + 2 * 2 * length * 2 * width * inner + 2 * length * width * 11
    )


def test_macs_of_convolutions():
    rows = models.summary(nn.Conv2d(4, 6, 3, groups=2), (1, 4, 8, 8))
    assert rows[0].macs == 6 * 36 * 2 * 9
    assert rows[0].path == ""
