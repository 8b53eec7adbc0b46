"""Files of other programs: which tensor is which, what is missing, which architecture it is."""

from __future__ import annotations

import numpy as np
import pytest

import nonet
from nonet import io, models
from nonet.models import MLP, LeNet5, convert, load_weights, match_weights, read_weights
from nonet.models.resnet import ResNet


def arrays_of(model):
    return {name: np.array(value) for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def resnet():
    nonet.manual_seed(0)
    return ResNet("BasicBlock", [1, 1, 1, 1], num_classes=3)


def test_match(resnet):
    arrays = arrays_of(resnet)
    for prefix in ("", "module.", "state_dict.", "model.module."):
        named = {prefix + name: value for name, value in arrays.items()}
        found = match_weights(
            resnet, {**named, **({"optimizer.state.0.step": np.zeros(())} if prefix else {})}, "f"
        )
        assert found.prefix == prefix and found.filled == ()
        assert found.left_out == (("optimizer.state.0.step",) if prefix else ())
        assert list(found.tensors) == list(arrays)


def test_counters_may_be_missing(resnet):
    arrays = {name: value for name, value in arrays_of(resnet).items() if "num_batches" not in name}
    found = match_weights(resnet, arrays, "f")
    assert len(found.filled) == 12 and all(name.endswith("num_batches_tracked") for name in found.filled)
    assert found.tensors["bn1.num_batches_tracked"] == 0


def test_faults_list_the_keys(resnet):
    arrays = arrays_of(resnet)
    del arrays["layer1.0.conv1.weight"]
    arrays["layer9.weight"] = np.zeros(2)
    arrays["fc.weight"] = np.zeros((4, 512))
    message = (
        r"f: expected the tensors of ResNet, found others: 1 missing \(layer1\.0\.conv1\.weight\); "
        r"1 unmapped \(layer9\.weight\); 1 misshapen \(fc\.weight \[4, 512\] for \[3, 512\]\)"
    )
    with pytest.raises(io.FileError, match=message):
        match_weights(resnet, arrays, "f")
    with pytest.raises(io.FileError, match=r"62 missing \(conv1.weight, .*, … 54 more\)"):
        match_weights(resnet, {}, "f")


def test_load_weights(tmp_path, resnet):
    arrays = {"module." + name: value.astype(np.float64) for name, value in arrays_of(resnet).items()}
    io.save_tensors(tmp_path / "w.safetensors", arrays)
    other = load_weights(ResNet("BasicBlock", [1, 1, 1, 1], num_classes=3), tmp_path / "w.safetensors")
    for name, value in resnet.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name].numpy(), value.numpy())
        assert other.state_dict()[name].dtype == value.dtype
    assert load_weights(resnet, None) is resnet
    with pytest.raises(io.FileError, match="w.safetensors: expected the tensors of ResNet"):
        models.resnet18(weights=tmp_path / "w.safetensors")


def test_read_weights_goes_by_the_contents(tmp_path):
    with pytest.raises(io.MissingFileError):
        read_weights(tmp_path / "no")
    (tmp_path / "zip").write_bytes(b"PK\3\4" + b"x" * 40)
    with pytest.raises(io.FileError, match="expected tensors in dicts, as torch.save writes them"):
        read_weights(tmp_path / "zip")
    (tmp_path / "other").write_bytes(b"x" * 40)
    with pytest.raises(io.FileError, match="expected a safetensors"):
        read_weights(tmp_path / "other")
    # A header of 640 bytes begins like a pickle.
    name = "x"
    while True:
        io.save_tensors(tmp_path / "s", {name: np.zeros(3, np.float32)})
        if (tmp_path / "s").read_bytes()[:2] == b"\x80\x02":
            break
        name += "x"
    assert list(read_weights(tmp_path / "s")) == [name]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (lambda: LeNet5(4), "LeNet5"),
        (lambda: MLP([5, 6, 7, 2]), "MLP"),
        (lambda: ResNet("BasicBlock", [2, 2, 2, 2], num_classes=3, cifar_stem=True), "resnet18"),
        (lambda: ResNet("Bottleneck", [1, 2, 1, 1], num_classes=3, groups=2, width_per_group=16), None),
    ],
)
def test_convert(model, name):
    original = model().eval()
    arrays = {"module." + key: value for key, value in arrays_of(original).items()}
    for asked in (None, *([name] if name else [])):
        got, matching = convert(arrays, "f", asked)
        assert type(got) is type(original) and not got.training and matching.prefix == "module."
        if name != "MLP":
            assert (
                got.arguments.items()
                >= {
                    **original.arguments,
                    **({} if name == "LeNet5" else {"replace_stride_with_dilation": [False] * 3}),
                }.items()
            )
        for key, value in original.state_dict().items():
            np.testing.assert_array_equal(got.state_dict()[key].numpy(), value.numpy())


def test_convert_faults(resnet):
    arrays = arrays_of(resnet)
    with pytest.raises(ValueError, match="convert: name must be one of alexnet, .*, got 'resnet19'"):
        convert(arrays, "f", "resnet19")
    with pytest.raises(io.FileError, match="f: expected the tensors of ResNet, found others: .* missing"):
        convert(arrays, "f", "resnet18")
    with pytest.raises(io.FileError, match="f: expected the tensors of vgg11, found conv1.weight"):
        convert(arrays, "f", "vgg11")
    with pytest.raises(io.FileError, match="f: expected the tensors of one of alexnet, .*, found a, b"):
        convert({"a": np.zeros(3), "b": np.zeros(2)}, "f")
    with pytest.raises(io.FileError, match="f: expected the tensors of one of"):
        convert({"features.0.weight": np.zeros((4, 3, 3, 3)), "x": np.zeros(2)}, "f")
