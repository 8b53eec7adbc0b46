"""Networks beside the same ones written in torch, with the same parameters: outputs, gradients, statistics."""

from __future__ import annotations

import json

import numpy as np
import pytest

import nonet
from nonet import models
from nonet.cli import main

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  behind the line that skips


class AlexNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        layers, channels = [], 3
        for out, kernel, options, pool in (
            (64, 11, {"stride": 4, "padding": 2}, True),
            (192, 5, {"padding": 2}, True),
            (384, 3, {"padding": 1}, False),
            (256, 3, {"padding": 1}, False),
            (256, 3, {"padding": 1}, True),
        ):
            layers += [nn.Conv2d(channels, out, kernel, **options), nn.ReLU()]
            layers += [nn.MaxPool2d(3, 2)] if pool else []
            channels = out
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, num_classes)),
        )

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class VGG(nn.Module):
    def __init__(self, layers, num_classes, batch_norm):
        super().__init__()
        parts, channels = [], 3
        for entry in layers:
            if entry == "M":
                parts.append(nn.MaxPool2d(2, 2))
                continue
            parts.append(nn.Conv2d(channels, entry, 3, padding=1))
            parts += [nn.BatchNorm2d(entry)] if batch_norm else []
            parts.append(nn.ReLU())
            channels = entry
        self.features = nn.Sequential(*parts)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            *(nn.Linear(25088, 4096), nn.ReLU(), nn.Dropout()),
            *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, num_classes)),
        )

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class Block(nn.Module):
    def __init__(self, before, planes, stride, deep):
        super().__init__()
        after = planes * (4 if deep else 1)
        self.deep = deep
        if deep:
            self.conv1, self.bn1 = nn.Conv2d(before, planes, 1, bias=False), nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
            self.conv3, self.bn3 = nn.Conv2d(planes, after, 1, bias=False), nn.BatchNorm2d(after)
        else:
            self.conv1 = nn.Conv2d(before, planes, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False), nn.BatchNorm2d(planes)
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.deep:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self, layers, num_classes, deep, small):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False) if small else nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        before = 64
        for stage, count in enumerate(layers):
            planes = 64 * 2**stage
            blocks = []
            for i in range(count):
                blocks.append(Block(before, planes, 2 if stage and not i else 1, deep))
                before = planes * (4 if deep else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(before, num_classes)

    def forward(self, x):
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(x.mean((2, 3)))


VGG11 = models.vgg.CONFIGURATIONS["vgg11"]
CASES = {
    "alexnet": (lambda: models.alexnet(num_classes=5), lambda: AlexNet(5), 70),
    "vgg11": (lambda: models.vgg11(num_classes=5), lambda: VGG(VGG11, 5, False), 40),
    "vgg11_bn": (lambda: models.vgg11_bn(num_classes=5), lambda: VGG(VGG11, 5, True), 40),
    "resnet18": (lambda: models.resnet18(num_classes=5), lambda: ResNet([2, 2, 2, 2], 5, False, False), 64),
    "resnet18, small": (
        lambda: models.resnet18(num_classes=5, cifar_stem=True),
        lambda: ResNet([2, 2, 2, 2], 5, False, True),
        32,
    ),
    "resnet50": (lambda: models.resnet50(num_classes=5), lambda: ResNet([3, 4, 6, 3], 5, True, False), 64),
}


@pytest.fixture(params=CASES)
def pair(request):
    """Ours, torch's with the same parameters, and images."""
    own, theirs, side = CASES[request.param]
    nonet.manual_seed(0)
    ours, other = own(), theirs()
    state = {k: torch.tensor(np.array(v)) for k, v in ours.state_dict().items()}
    other.load_state_dict(state, strict=True)
    x = np.random.default_rng(0).standard_normal((4, 3, side, side)).astype(np.float32)
    return ours, other, x


def close(got, want, share, floor=0.0):
    """Within `share` of the largest value, and `floor`: what rounding makes of a deep network."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= share * np.abs(want).max() + floor


def test_inference(pair):
    ours, other, x = pair
    with torch.no_grad():
        close(ours.eval()(x).numpy(), other.eval()(torch.tensor(x)).numpy(), 1e-4)


def test_training_step(pair):
    ours, other, x = pair
    for model in (ours, other):
        for module in model.modules():
            if "Dropout" in type(module).__name__:
                module.p = 0.0
    labels = np.array([0, 3, 1, 4])
    # As torch sums: where rounding decides about a ReLU, gradients of float32 (torch's own too) are hundredths off
    # those of float64, and another order of sums decides otherwise.
    with nonet.set_matmul_precision("ieee"):
        loss = nonet.nn.functional.cross_entropy(ours(x), labels)
        loss.backward()
    theirs = torch.nn.functional.cross_entropy(other(torch.tensor(x)), torch.tensor(labels))
    theirs.backward()
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-4)
    wanted = {name: parameter.grad.numpy() for name, parameter in other.named_parameters()}
    # A bias in front of a normalisation has no gradient but what rounding leaves.
    floor = 1e-5 * max(np.abs(gradient).max() for gradient in wanted.values())
    for name, parameter in ours.named_parameters():
        close(parameter.grad.numpy(), wanted[name], 5e-3, floor)
    buffers = dict(other.named_buffers())
    for name, value in ours.named_buffers():
        close(np.array(value), buffers[name].numpy(), 1e-4)


@pytest.mark.parametrize("zipped", [True, False])
def test_convert(tmp_path, capsys, zipped):
    other = ResNet([2, 2, 2, 2], 5, False, False)
    x = torch.randn(2, 3, 64, 64)
    other(x)
    torch.save(
        {"epoch": 3, "state_dict": {"module." + k: v for k, v in other.state_dict().items()}},
        tmp_path / "r.pth",
        _use_new_zipfile_serialization=zipped,
    )
    out = str(tmp_path / "r.safetensors")
    assert main(["convert", str(tmp_path / "r.pth"), out, "--arch", "resnet18", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["prefix"] == "state_dict.module." and record["tensors"] == 122
    with torch.no_grad():
        close(models.load_model(out)(x.numpy()).numpy(), other.eval()(x).numpy(), 1e-4)
