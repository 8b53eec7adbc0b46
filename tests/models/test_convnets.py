"""AlexNet, VGG and ResNet: torchvision's names and shapes, forward passes, arguments, files."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import nonet
from nonet import models, nn
from nonet.models.convert import _guess
from nonet.models.resnet import BasicBlock, Bottleneck, ResNet

# Number of entries in torchvision's state_dict, and the SHA-256 of its lines "name [shape]", in order.
KEYS = {
    "alexnet": (16, "8119ea5294a9c8c7fada0789320819aa"),
    "vgg11": (22, "1373d2f6ee3af54d14ebb64dbbb5f1d1"),
    "vgg13": (26, "7c37c33088c92533fa93915937df49e1"),
    "vgg16": (32, "e0f24b3678fcfb4fb6d98d4c07950370"),
    "vgg19": (38, "ba440b05e9aebbcc1d55fed1893bdadf"),
    "vgg11_bn": (62, "95fe7e52ce3f0292da61a717645b2af5"),
    "vgg13_bn": (76, "0c100fd373b8d044dfdc0b1a2c01f447"),
    "vgg16_bn": (97, "11ff9ae742d7a8eb4d1d5f4f6a20edc3"),
    "vgg19_bn": (118, "8dc4cc2ec562d349f163d86e6a7848ef"),
    "resnet18": (122, "02568eab318c210f0d857b7e345cc37b"),
    "resnet34": (218, "bf4f10c2aed3801430de878dec76694c"),
    "resnet50": (320, "45c8e0b2d327f1cd29b3d1181bb5f512"),
    "resnet101": (626, "b10771e22bd494ebcfaed03f8575a8a0"),
    "resnet152": (932, "07011cff596aabda1096e8c7bcdb0ef2"),
}


@pytest.mark.parametrize("name", KEYS)
def test_names_and_shapes_are_torchvisions(name):
    model = models.build(name)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    text = "".join(f"{key} {list(shape)}\n" for key, shape in shapes.items())
    assert (len(shapes), hashlib.sha256(text.encode()).hexdigest()[:32]) == KEYS[name]
    # And they tell which architecture it is.
    kind, arguments = _guess(shapes)
    if kind == "alexnet":
        assert arguments == {"num_classes": 1000}
    else:
        assert kind == type(model).__name__
        assert arguments.items() <= {**model.arguments, "batch_norm": name.endswith("_bn")}.items()


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_alexnet():
    model = models.alexnet(num_classes=5, dropout=0.2).eval()
    assert model.arguments == {"num_classes": 5, "dropout": 0.2}
    assert model(images(2, 3, 70, 63)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"AlexNet: features.0 \(Conv2d\)|features.0"):
        model(images(2, 1, 70, 63))


def test_vgg():
    model = models.VGG([4, "M", 8, 512, "M"], num_classes=3, batch_norm=True, init_weights=False).eval()
    assert [type(layer).__name__ for layer in model.features] == [
        *("Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"),
        *("Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"),
    ]
    assert model(images(1, 3, 9, 14)).shape == (1, 3)
    own = models.VGG(nn.Sequential(nn.Conv2d(3, 512, 1)), num_classes=2, init_weights=False)
    assert own.arguments is None and models.architecture_of(own) == {}
    assert own.eval()(images(1, 3, 8, 8)).shape == (1, 2)


def test_vgg_initialisation():
    nonet.manual_seed(0)
    model = models.VGG([64, 512], num_classes=10)
    weight = model.features[2].weight.numpy()
    assert weight.std() == pytest.approx(np.sqrt(2 / (512 * 9)), rel=0.02)
    assert model.classifier[6].weight.numpy().std() == pytest.approx(0.01, rel=0.02)
    assert not model.features[0].bias.numpy().any() and not model.classifier[0].bias.numpy().any()


SMALL = {"block": "Bottleneck", "layers": [1, 2, 1, 1], "num_classes": 7}


@pytest.mark.parametrize("block", ["BasicBlock", "Bottleneck"])
@pytest.mark.parametrize("stem", [False, True])
def test_resnet(block, stem):
    model = ResNet(block, [1, 2, 1, 1], num_classes=7, cifar_stem=stem).eval()
    x = images(2, 3, 40, 33)
    out = model(x)
    assert out.shape == (2, 7)
    sizes = {layer.path: layer.output for layer in models.summary(model, (1, 3, 64, 64))}
    side = 64 if stem else 16
    assert sizes["layer1.0.conv1"][2:] == (side, side)
    assert sizes["layer4.0.conv2"][2:] == (side // 8, side // 8)
    assert type(model.maxpool) is (nn.Identity if stem else nn.MaxPool2d)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_fused_passes_are_those_of_the_layers(block):
    """Joined, watched (every layer by itself), and with the normalisations folded into the convolutions."""
    nonet.manual_seed(3)
    model = ResNet(block, [1, 1, 1, 2], num_classes=4, cifar_stem=True)
    x = images(4, 3, 16, 16)
    for _ in range(3):  # running statistics of their own
        model(x)
    model.eval()
    joined = model(x).numpy()
    seen = []
    with models.observing(lambda module, args, output: seen.append(type(module).__name__)):
        watched = model(x).numpy()
    assert seen.count("BatchNorm2d") == sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert seen.count("ReLU") >= 11
    np.testing.assert_allclose(joined, watched, rtol=1e-4, atol=1e-5)
    folded = nn.fuse(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    np.testing.assert_allclose(folded(x).numpy(), watched, rtol=1e-3, atol=1e-4)


def test_block_by_hand():
    """relu(F(x) + x) from the functions of its parts."""
    model = BasicBlock(8, 8)
    for norm in (model.bn1, model.bn2):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -1, 1)
    x = images(3, 8, 6, 5)
    out = model(x).numpy()

    def norm(y, layer):
        mean, var = y.mean(axis=(0, 2, 3), keepdims=True), y.var(axis=(0, 2, 3), keepdims=True)
        w, b = (np.asarray(p.detach()).reshape(1, -1, 1, 1) for p in (layer.weight, layer.bias))
        return (y - mean) / np.sqrt(var + 1e-5) * w + b

    h = np.maximum(norm(np.asarray(model.conv1(x).detach()), model.bn1), 0)
    h = norm(np.asarray(model.conv2(h).detach()), model.bn2)
    np.testing.assert_allclose(out, np.maximum(h + x, 0), rtol=1e-4, atol=1e-5)


def test_zero_init_residual_makes_blocks_the_identity():
    model = ResNet("Bottleneck", [1, 1, 1, 2], zero_init_residual=True).eval()
    x = np.abs(images(1, 2048, 3, 3))
    np.testing.assert_array_equal(model.layer4[1](nonet.tensor(x)).numpy(), x)


def test_dilation_in_place_of_strides():
    model = ResNet("Bottleneck", [1, 1, 1, 2], replace_stride_with_dilation=[False, True, True])
    sizes = {layer.path: layer.output for layer in models.summary(model, (1, 3, 64, 64))}
    assert sizes["layer4.1.conv3"][2:] == sizes["layer2.0.conv3"][2:] == (8, 8)
    assert model.layer4[1].conv2.dilation == (4, 4) and model.layer4[0].conv2.dilation == (2, 2)
    plain = ResNet("Bottleneck", [1, 1, 1, 2])
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_groups_and_width():
    model = ResNet("Bottleneck", [1, 1, 1, 1], groups=32, width_per_group=4)
    assert model.layer1[0].conv2.weight.shape == (128, 4, 3, 3)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    assert _guess(shapes)[1].items() <= model.arguments.items()


def test_other_normalisations():
    model = ResNet("BasicBlock", [1, 1, 1, 1], num_classes=3, norm_layer=lambda n: nn.GroupNorm(8, n))
    assert model.arguments is None and models.architecture_of(model) == {}
    assert model(images(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize("name", ["AlexNet", "VGG", "ResNet"])
def test_a_training_step_reaches_every_parameter(name):
    arguments = {
        "AlexNet": {"num_classes": 3, "dropout": 0.0},
        "VGG": {"features": [8, "M", 512], "num_classes": 3, "batch_norm": True, "dropout": 0.0},
        "ResNet": {**SMALL, "cifar_stem": True},
    }[name]
    model = models.build(name, **arguments)
    nn.functional.cross_entropy(model(images(2, 3, 64, 64)), np.array([0, 1])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert np.isfinite(parameter.grad.numpy()).all(), key


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("AlexNet", {"num_classes": 0}, "AlexNet: num_classes must be at least 1, got 0"),
        ("VGG", {"features": [3, "N"]}, "VGG: layers must be numbers of channels or 'M', got 'N'"),
        ("VGG", {"features": [0]}, "VGG: layers must be numbers of channels or 'M', got 0"),
        ("VGG", {"features": [8], "num_classes": 0}, "VGG: num_classes must be at least 1, got 0"),
        ("ResNet", {**SMALL, "num_classes": 0}, "ResNet: num_classes must be at least 1, got 0"),
        ("ResNet", {**SMALL, "block": "Block"}, "block must be one of BasicBlock, Bottleneck, got 'Block'"),
        (
            "ResNet",
            {**SMALL, "layers": [1, 2, 3]},
            r"layers must be four numbers of at least 1, got \[1, 2, 3\]",
        ),
        ("ResNet", {**SMALL, "layers": [1, 0, 1, 1]}, "layers must be four numbers"),
        ("ResNet", {**SMALL, "replace_stride_with_dilation": [True]}, "must be None or three flags"),
        (
            "ResNet",
            {**SMALL, "block": "BasicBlock", "groups": 2},
            "BasicBlock: groups, base_width and dilation must be 1, 64 and 1, got 2, 64 and 1",
        ),
    ],
)
def test_errors(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, **arguments)


@pytest.mark.parametrize(("name", "arguments"), [("ResNet", {**SMALL, "cifar_stem": True})])
def test_saved_and_loaded(tmp_path, name, arguments):
    model = models.build(name, **arguments)
    model(images(4, 3, 16, 16))  # statistics of its own
    models.save_model(model, tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors")
    assert again.arguments == model.arguments
    x = images(2, 3, 20, 20, seed=1)
    np.testing.assert_array_equal(again(x).numpy(), model.eval()(x).numpy())
