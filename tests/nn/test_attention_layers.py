"""What torch's own samples leave out: every way of handing over inputs and masks, against the definition."""

from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import each_isa, use_isa
from nonet import nn
from reference.attention import attention, probabilities


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def reference(layer, q, k, v, seen=None, bias=None):
    """(output, probabilities) of [N, L, E] inputs; layer has one in_proj_weight."""
    w, b = layer.in_proj_weight.numpy().astype(np.float64), layer.in_proj_bias.numpy()
    n, h = layer.embed_dim, layer.num_heads
    parts = [x @ w[i * n : i * n + n].T + b[i * n : i * n + n] for i, x in enumerate((q, k, v))]
    parts = [x.reshape(*x.shape[:2], h, n // h).transpose(0, 2, 1, 3) for x in parts]
    out = attention(*parts, bias=bias, seen=seen).transpose(0, 2, 1, 3)
    y = out.reshape(*out.shape[:2], n) @ layer.out_proj.weight.numpy().astype(np.float64).T
    return y + layer.out_proj.bias.numpy(), probabilities(*parts[:2], bias=bias, seen=seen)


def layer_of(**kwargs):
    nonet.manual_seed(0)
    layer = nn.MultiheadAttention(24, 3, batch_first=True, **kwargs)
    layer.in_proj_bias.copy_(draw(72))
    return layer.eval()


@each_isa
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("inputs", [1, 2, 3])
@pytest.mark.parametrize("mask", ["none", "padding", "floats", "both", "each head", "causal"])
def test_masks(isa, need_weights, inputs, mask):
    layer = layer_of()
    q = draw(2, 40, 24)
    k = q if inputs == 1 else draw(2, 70, 24, seed=1)
    v = k if inputs < 3 else draw(2, 70, 24, seed=2)
    queries, keys = q.shape[1], k.shape[1]
    padding = np.random.default_rng(3).random((2, keys)) > 0.6
    pairs = np.random.default_rng(4).random((queries, keys)) > 0.7
    floats = draw(queries, keys, seed=5)
    each = np.random.default_rng(6).random((2, 3, queries, keys)) > 0.7
    given, want = {
        "none": ({}, {}),
        "padding": ({"key_padding_mask": padding}, {"seen": ~padding[:, None, None]}),
        "floats": (
            {"attn_mask": floats, "key_padding_mask": np.where(padding, -np.inf, 0)},
            {"bias": floats + np.where(padding, -np.inf, 0)[:, None, None]},
        ),
        "both": (
            {"attn_mask": pairs, "key_padding_mask": padding},
            {"seen": ~padding[:, None, None] & ~pairs},
        ),
        "each head": ({"attn_mask": each.reshape(6, queries, keys)}, {"seen": ~each}),
        "causal": ({"is_causal": True}, {"seen": np.tri(queries, keys, dtype=bool)}),
    }[mask]
    q_, k_, v_ = (x.astype(np.float64) for x in (q, k, v))
    y, p = reference(layer, q_, k_, v_, **want)
    tensors = [nonet.tensor(q), None, None]
    tensors[1] = tensors[0] if inputs == 1 else nonet.tensor(k)
    tensors[2] = tensors[1] if inputs < 3 else nonet.tensor(v)
    with use_isa(isa):
        out, weights = layer(*tensors, need_weights=need_weights, **given)
        np.testing.assert_allclose(out.detach().numpy(), y, atol=2e-5)
        if need_weights:
            np.testing.assert_allclose(weights.detach().numpy(), p.mean(1), atol=1e-6)
            weights = layer(*tensors, average_attn_weights=False, **given)[1]
            np.testing.assert_allclose(weights.detach().numpy(), p, atol=1e-6)
        else:
            assert weights is None


@pytest.mark.parametrize("need_weights", [True, False])
def test_queries_that_see_nothing_give_the_bias(need_weights):
    layer = layer_of()
    x = nonet.tensor(draw(2, 5, 24), requires_grad=True)
    padding = np.array([[False] * 5, [True] * 5])
    for mask in (padding, np.where(padding, -np.inf, 0.0)):
        out, _ = layer(x, x, x, key_padding_mask=mask, need_weights=need_weights)
        np.testing.assert_array_equal(
            out.detach().numpy()[1], np.broadcast_to(layer.out_proj.bias.numpy(), (5, 24))
        )
        out.backward(np.ones(out.shape))
        assert np.isfinite(x.grad.numpy()).all()


def test_appended_keys():
    for options in (
        {"add_bias_kv": True},
        {"add_zero_attn": True},
        {"add_bias_kv": True, "add_zero_attn": True},
    ):
        layer = layer_of(**options)
        x, mask = draw(2, 6, 24), np.random.default_rng(1).random((6, 6)) > 0.5
        a, weights = layer(x, x, x, attn_mask=mask)
        b, _ = layer(x, x, x, attn_mask=mask, need_weights=False)
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-6)
        assert weights.shape == (2, 6, 6 + len(options))
        causal = layer(x, x, x, is_causal=True, need_weights=False)[0]
        want = layer(x, x, x, attn_mask=~np.tri(6, dtype=bool), need_weights=False)[0]
        np.testing.assert_allclose(causal.detach().numpy(), want.detach().numpy(), atol=1e-6)


def test_dropout_and_layouts():
    nonet.manual_seed(1)
    layer = nn.MultiheadAttention(16, 2, dropout=0.5)
    x = draw(7, 3, 16)
    assert (
        layer(x, x, x, need_weights=False)[0].numpy() != layer(x, x, x, need_weights=False)[0].numpy()
    ).any()
    layer.eval()
    y = layer(x, x, x, need_weights=False)[0].detach().numpy()
    for one in range(3):
        single = layer(x[:, one], x[:, one], x[:, one])[0].detach().numpy()
        np.testing.assert_allclose(single, y[:, one], atol=1e-6)


def test_keys_and_start():
    layer = nn.MultiheadAttention(8, 2)
    assert [*layer.state_dict()] == ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    assert abs(layer.in_proj_weight.numpy()).max() <= np.sqrt(6 / 32)
    assert not layer.in_proj_bias.numpy().any() and not layer.out_proj.bias.numpy().any()
    layer = nn.MultiheadAttention(8, 2, kdim=3, vdim=5, bias=False)
    assert {k: v.shape for k, v in layer.state_dict().items()} == {
        "q_proj_weight": (8, 8),
        "k_proj_weight": (8, 3),
        "v_proj_weight": (8, 5),
        "out_proj.weight": (8, 8),
    }


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_learns_to_copy(norm_first):
    nonet.manual_seed(0)
    model = nn.Transformer(16, 2, 1, 1, 32, dropout=0.0, batch_first=True, norm_first=norm_first)
    table, head = nn.Embedding(10, 16), nn.Linear(16, 10)
    place = nn.Parameter(draw(8, 16) * 0.1)
    parameters = [*model.parameters(), *table.parameters(), *head.parameters(), place]
    optimizer = nonet.optim.Adam(parameters, lr=3e-3)
    rng = np.random.default_rng(0)
    for _ in range(300):
        source = rng.integers(1, 10, (16, 8))
        shifted = np.concatenate([np.zeros((16, 1), int), source[:, :-1]], axis=1)
        out = model(table(source) + place, table(shifted) + place, tgt_is_causal=True)
        loss = nn.functional.cross_entropy(head(out).reshape(-1, 10), source.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1.0, loss.item()


@pytest.mark.parametrize("norm_first", [False, True])
def test_norms_and_layers_of_others(norm_first):
    """What a user puts in the place of a norm or a linear layer is called with one argument."""

    class Plain(nn.Module):
        def __init__(self, inner):
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

    nonet.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=norm_first).eval()
    wanted = layer(x).detach().numpy()
    layer.norm1, layer.norm2, layer.linear1 = Plain(layer.norm1), Plain(layer.norm2), Plain(layer.linear1)
    np.testing.assert_allclose(layer(x).detach().numpy(), wanted, atol=1e-6)
    layer.norm2 = nn.RMSNorm(8)
    assert layer(x).shape == x.shape


def test_mask_of_later_positions():
    mask = nn.Transformer.generate_square_subsequent_mask(4).numpy()
    np.testing.assert_array_equal(mask, np.where(np.tri(4) > 0, 0, -np.inf))
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).eval()
    x = draw(2, 4, 8)
    np.testing.assert_allclose(
        layer(x, mask).detach().numpy(), layer(x, is_causal=True).detach().numpy(), atol=1e-6
    )
    gelu = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True).eval()
    other = nn.TransformerEncoderLayer(8, 2, 16, activation=nn.functional.gelu, batch_first=True).eval()
    third = nn.TransformerEncoderLayer(8, 2, 16, activation=lambda x: nn.functional.gelu(x), batch_first=True)
    for copy in (other, third.eval()):
        copy.load_state_dict(gelu.state_dict())
        np.testing.assert_allclose(gelu(x).detach().numpy(), copy(x).detach().numpy(), atol=1e-6)


def test_bad_input():
    with pytest.raises(
        ValueError, match="MultiheadAttention: embed_dim must be a multiple of num_heads, got 7 and 2"
    ):
        nn.MultiheadAttention(7, 2)
    with pytest.raises(ValueError, match="embed_dim and num_heads must be > 0, got 0 and 2"):
        nn.MultiheadAttention(0, 2)
    layer = layer_of()
    x = draw(2, 5, 24)
    with pytest.raises(
        ValueError, match=r"MultiheadAttention: key must have 3 axes, the last of size 24, got"
    ):
        layer(x, draw(2, 5, 23), x)
    with pytest.raises(ValueError, match=r"key and value must have one length"):
        layer(x, x, draw(2, 6, 24))
    with pytest.raises(
        ValueError, match=r"key_padding_mask must have shape \[N, S\] = \[2, 5\], got \[5, 2\]"
    ):
        layer(x, x, x, key_padding_mask=np.zeros((5, 2), bool))
    with pytest.raises(
        ValueError, match=r"attn_mask must have shape \[L, S\] = \[5, 5\] or .* = \[6, 5, 5\], got"
    ):
        layer(x, x, x, attn_mask=np.zeros((2, 5, 5), bool))
    with pytest.raises(TypeError, match="masks must be bool or floating, got int64"):
        layer(x, x, x, attn_mask=np.zeros((5, 5), int))
    with pytest.raises(ValueError, match="activation must be relu, gelu or a function, got 'selu'"):
        nn.TransformerEncoderLayer(8, 2, activation="selu")
    model = nn.Transformer(8, 2, 1, 1, 8)
    with pytest.raises(ValueError, match="Transformer: src and tgt must have one batch size"):
        model(draw(3, 2, 8), draw(3, 1, 8))
    with pytest.raises(ValueError, match="must be of size d_model = 8"):
        model(draw(3, 2, 7), draw(3, 2, 8))
