from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import nonet
from helpers import GPU, use_place
from nonet import nn
from nonet.nn import functional as F
from nonet.nn.fusion import fused_steps
from reference.channel_norm import channel_norm


def x_of(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_state_and_text():
    layer = nn.BatchNorm2d(3)
    shapes = {key: value.shape for key, value in layer.state_dict().items()}
    assert shapes == {
        "weight": (3,),
        "bias": (3,),
        "running_mean": (3,),
        "running_var": (3,),
        "num_batches_tracked": (),
    }
    assert layer.num_batches_tracked.dtype == "int64"
    assert (
        repr(layer)
        == "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)"
    )
    assert list(nn.BatchNorm1d(3, bias=False, track_running_stats=False).state_dict()) == ["weight"]
    assert not nn.InstanceNorm2d(3).state_dict()
    assert (
        repr(nn.InstanceNorm1d(3))
        == "InstanceNorm1d(3, eps=1e-05, momentum=0.1, affine=False, bias=False, track_running_stats=False)"
    )
    assert list(nn.GroupNorm(1, 4).state_dict()) == ["weight", "bias"]
    assert repr(nn.GroupNorm(2, 4, affine=False)) == "GroupNorm(2, 4, eps=1e-05, affine=False, bias=False)"
    assert repr(nn.LocalResponseNorm(5)) == "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)"


def test_training_and_eval():
    layer = nn.BatchNorm1d(4)
    batches = [x_of(8, 4, seed=i) + i for i in range(3)]
    mean, var = np.zeros(4), np.ones(4)
    for batch in batches:
        np.testing.assert_allclose(
            layer(batch).detach().numpy(), channel_norm(batch.astype(np.float64)), atol=1e-5
        )
        mean, var = 0.9 * mean + 0.1 * batch.mean(0), 0.9 * var + 0.1 * batch.var(0, ddof=1)
    np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.running_var.numpy(), var, rtol=1e-5)
    assert layer.num_batches_tracked.item() == 3
    layer.eval()
    np.testing.assert_allclose(
        layer(batches[0]).detach().numpy(), channel_norm(batches[0], given=(mean, var)), atol=1e-5
    )
    assert layer.num_batches_tracked.item() == 3
    layer.reset_running_stats()
    assert (layer.running_var.numpy() == 1).all() and layer.num_batches_tracked.item() == 0


def test_the_average_of_all_batches():
    layer = nn.BatchNorm2d(3, momentum=None)
    batches = [x_of(2, 3, 4, 5, seed=i) for i in range(4)]
    for batch in batches:
        layer(batch)
    np.testing.assert_allclose(
        layer.running_mean.numpy(), np.mean([b.mean((0, 2, 3)) for b in batches], 0), atol=1e-6
    )


def test_untracked_statistics():
    x = x_of(6, 4)
    layer = nn.BatchNorm1d(4, track_running_stats=False)
    np.testing.assert_array_equal(layer(x).detach(), layer.eval()(x).detach())
    tracked = nn.BatchNorm1d(4)
    tracked.track_running_stats = False  # in training the buffers stay, in eval they are used
    tracked(x)
    assert (tracked.running_mean.numpy() == 0).all() and tracked.num_batches_tracked.item() == 0


def test_instance_norm_with_and_without_a_batch():
    x = x_of(2, 3, 5)
    layer = nn.InstanceNorm1d(3, affine=True, track_running_stats=True)
    np.testing.assert_allclose(
        layer(x).detach().numpy(), channel_norm(x.astype(np.float64), groups=3), atol=1e-5
    )
    np.testing.assert_array_equal(layer(x[0]).detach(), layer(x)[0].detach())
    layer.eval()
    given = layer.running_mean.numpy().astype(np.float64), layer.running_var.numpy().astype(np.float64)
    np.testing.assert_allclose(layer(x).detach().numpy(), channel_norm(x, given=given), atol=1e-5)


def test_a_state_without_the_count():
    layer = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = layer.state_dict()
    del state["1.num_batches_tracked"]
    assert layer.load_state_dict(state).missing_keys == []
    del state["1.running_mean"]
    with pytest.raises(KeyError, match=r"missing keys \['1.running_mean'\]"):
        layer.load_state_dict(state)


def test_bfloat16():
    layer = nn.BatchNorm2d(3)  # float32 parameters and statistics
    x = nonet.randn(4, 3, 5, 5, dtype="bfloat16", requires_grad=True)
    y = layer(x)
    y.backward(nonet.ones(4, 3, 5, 5))
    assert y.dtype == x.grad.dtype == "bfloat16" and layer.running_mean.dtype == "float32"
    with nonet.autocast():
        assert layer(nonet.randn(4, 3, 5, 5)).dtype == "float32"  # as it came
    low = nn.BatchNorm2d(3).bfloat16()
    low(x)
    assert low.running_mean.dtype == "bfloat16" and low.num_batches_tracked.dtype == "int64"


def test_copies_keep_their_own_statistics():
    layer = nn.BatchNorm1d(3)
    other = copy.deepcopy(layer)
    layer(x_of(5, 3))
    assert (other.running_mean.numpy() == 0).all()


def test_bad_input():
    with pytest.raises(ValueError, match=r"BatchNorm1d: input must have shape \[N, C\] or \[N, C, L\]"):
        nn.BatchNorm1d(3)(x_of(2, 3, 4, 5))
    with pytest.raises(ValueError, match=r"BatchNorm2d: input must have shape \[N, C, H, W\], got \[2, 3\]"):
        nn.BatchNorm2d(3)(x_of(2, 3))
    with pytest.raises(ValueError, match=r"BatchNorm2d: batch_norm: weight must have shape \[C\] = \[4\]"):
        nn.BatchNorm2d(3)(x_of(2, 4, 3, 3))
    with pytest.raises(ValueError, match="BatchNorm1d: batch_norm: input must have more than one value"):
        nn.BatchNorm1d(3)(x_of(1, 3))
    with pytest.raises(
        ValueError, match=r"InstanceNorm1d: input must have 3 channels \(num_features\), got 4"
    ):
        nn.InstanceNorm1d(3, affine=True)(x_of(2, 4, 5))
    with pytest.warns(UserWarning, match="num_features has no meaning"):
        nn.InstanceNorm1d(3)(x_of(2, 4, 5))
    with pytest.raises(ValueError, match="InstanceNorm2d: input must have shape"):
        nn.InstanceNorm2d(3)(x_of(2, 3))
    with pytest.raises(ValueError, match="GroupNorm: num_groups must divide num_channels, got 3 groups of 4"):
        nn.GroupNorm(3, 4)
    with pytest.raises(ValueError, match="GroupNorm: group_norm: weight must have shape"):
        nn.GroupNorm(2, 4)(x_of(2, 6, 3))


# ------------------------------------------------------------------------------------------------ fused blocks


def test_sequential_joins_relu():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.BatchNorm2d(5), nn.Tanh())
    assert len(fused_steps(list(model))) == 4
    x = nonet.tensor(x_of(2, 3, 6, 6), requires_grad=True)
    y = model(x)
    y.backward(nonet.ones(*y.shape))
    other = copy.deepcopy(model)
    for layer in other:
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
    z = nonet.tensor(x_of(2, 3, 6, 6), requires_grad=True)
    out = z
    for layer in other:
        out = layer(out)
    out.backward(nonet.ones(*out.shape))
    np.testing.assert_allclose(y.detach().numpy(), out.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), z.grad.numpy(), atol=1e-5)
    np.testing.assert_array_equal(model[1].running_var.numpy(), other[1].running_var.numpy())


def trained(model, *shape):
    """The model in eval mode after some batches, so that every statistic and parameter says something."""
    rng = np.random.default_rng(0)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.affine:
            module.weight.copy_(1 + 0.5 * rng.standard_normal(module.num_features))
            if module.bias is not None:
                module.bias.copy_(rng.standard_normal(module.num_features))
    for i in range(5):
        model(x_of(*shape, seed=i))
    return model.eval()


def check_fused(model, x, folded, *inputs):
    before = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    fused = nn.fuse(model, *inputs)
    norms = [m for m in fused.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    count = sum(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in model.modules())
    assert count - len(norms) == folded
    with nonet.no_grad():
        want, got = model(x), fused(x)
    scale = float(np.abs(want.numpy()).max())
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-5, atol=1e-5 * scale)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])
    return fused


def test_fuse_neighbours():
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Conv2d(8, 8, 3, groups=4, bias=False),
        nn.BatchNorm2d(8, affine=False),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(8 * 16, 5),
        nn.BatchNorm1d(5, bias=False),
        nn.ReLU(),
        nn.BatchNorm1d(5),
    )
    x = x_of(4, 3, 6, 6)
    fused = check_fused(trained(model, 4, 3, 6, 6), x, 3)
    assert len(fused_steps(list(fused[0]))) == 1 and not fused.training
    assert set(fused.state_dict()) < set(model.state_dict()) | {"1.bias"}
    sequence = nn.Sequential(nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6))
    check_fused(trained(sequence, 4, 3, 9), x_of(4, 3, 9), 1)


def test_fuse_transposed_convolutions():
    model = nn.Sequential(
        nn.ConvTranspose2d(4, 6, 4, stride=2, groups=2, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(2),
        nn.ConvTranspose1d(6, 3, 3), nn.BatchNorm1d(3),
    )  # fmt: skip
    check_fused(trained(model, 3, 4, 5, 5), x_of(3, 4, 5, 5), 2)


def test_fuse_leaves_alone_what_is_no_pair():
    shared = nn.Conv2d(3, 3, 1)
    model = nn.Sequential(shared, nn.BatchNorm2d(3), shared, nn.BatchNorm2d(3))
    check_fused(trained(model, 2, 3, 4, 4), x_of(2, 3, 4, 4), 0)

    class Doubled(nn.Conv2d):
        def forward(self, input):
            return super().forward(input) * 2

    model = nn.Sequential(Doubled(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False))
    check_fused(trained(model, 2, 3, 4, 4), x_of(2, 3, 4, 4), 0)


class Block(nn.Module):
    def __init__(self, channels):
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + x)


class Named(Block):
    fold_pairs = (("conv1", "bn1"), ("conv2", "bn2"))


class Shortcut(Block):
    """The first convolution's result is read twice."""

    def forward(self, x):
        y = self.conv1(x)
        return self.bn2(self.conv2(F.relu(self.bn1(y)))) + y


def test_fuse_by_name_and_by_a_run():
    x = x_of(2, 4, 5, 5)
    check_fused(trained(Block(4), 2, 4, 5, 5), x, 0)
    check_fused(trained(Named(4), 2, 4, 5, 5), x, 2)
    check_fused(trained(Block(4), 2, 4, 5, 5), x, 2, x)
    check_fused(trained(Shortcut(4), 2, 4, 5, 5), x, 1, x)
    check_fused(trained(nn.Sequential(Block(4), Shortcut(4)), 2, 4, 5, 5), x, 3, x)


def test_a_guard_where_another_rank_means_another_axis():
    fused = nn.fuse(trained(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU()), 5, 3))
    assert len(fused_steps(list(fused))) == 2
    with pytest.raises(ValueError, match="Folded: input must have 2 axes"):
        fused(x_of(2, 4, 3))


def test_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.InstanceNorm2d(3)(x_of(2, 3, 4, 4))


def test_layers_on_a_device():
    layers = [
        (nn.BatchNorm2d(6, momentum=None), (3, 6, 4, 5)),
        (nn.BatchNorm1d(70).bfloat16(), (40, 70)),
        (nn.InstanceNorm2d(6, affine=True, track_running_stats=True), (3, 6, 4, 5)),
        (nn.GroupNorm(2, 6), (3, 6, 9)),
        (nn.LocalResponseNorm(3, alpha=0.5), (2, 6, 9)),
    ]
    with use_place(GPU) as device:
        for layer, shape in layers:
            other = copy.deepcopy(layer).to(device=device)
            for module, place in ((layer, "cpu"), (other, device)):
                for seed in range(2):
                    x = nonet.tensor(x_of(*shape, seed=seed), device=place, requires_grad=True)
                    y = module(x)
                    y.backward(nonet.tensor(x_of(*shape, seed=9), dtype=y.dtype, device=place))
                module.eval()
                module.result = [module(x), x.grad, *(p.grad for p in module.parameters()), *module.buffers()]
            for want, got in zip(layer.result, other.result, strict=True):
                error = 2e-2 if "bfloat16" in (layer.result[0].dtype, want.dtype) else 1e-5
                assert got.device == device and got.dtype == want.dtype
                np.testing.assert_allclose(
                    got.detach().cpu().float().numpy(),
                    want.detach().float().numpy(),
                    rtol=error,
                    atol=error,
                )
