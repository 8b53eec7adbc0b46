"""Adaptive softmax against the full distribution in NumPy float64."""

from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, check_op
from nonet import nn

F, C, CUTS = 8, 12, [3, 7]


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def log_prob(x, head, *tail, cuts=CUTS):
    scores = log_softmax(x @ head.T)
    parts = [scores[:, : cuts[0]]]
    for i, (project, score) in enumerate(zip(tail[::2], tail[1::2], strict=True)):
        parts.append(log_softmax(x @ project.T @ score.T) + scores[:, cuts[0] + i, None])
    return np.concatenate(parts, 1)


def layer_and_weights(**options):
    layer = nn.AdaptiveLogSoftmaxWithLoss(F, C, CUTS, div_value=2.0, **options)
    rng = np.random.default_rng(0)
    for parameter in layer.parameters():
        parameter.copy_(rng.standard_normal(parameter.shape) * 0.5)
    return layer, [p.numpy().astype(np.float64) for p in layer.parameters()]


def sample(rows):
    rng = np.random.default_rng(rows)
    return rng.standard_normal((rows, F)), rng.integers(0, C, rows)


def test_parameters():
    layer = nn.AdaptiveLogSoftmaxWithLoss(F, C, CUTS, 2.0, head_bias=True)
    assert {k: v.shape for k, v in layer.state_dict().items()} == {
        "head.weight": (5, 8),
        "head.bias": (5,),
        "tail.0.0.weight": (4, 8),
        "tail.0.1.weight": (4, 4),
        "tail.1.0.weight": (2, 8),
        "tail.1.1.weight": (5, 2),
    }
    assert (layer.cutoffs, layer.shortlist_size, layer.n_clusters, layer.head_size) == ([3, 7, 12], 3, 2, 5)
    before = layer.tail[1][1].weight.numpy().copy()
    layer.reset_parameters()
    assert (layer.tail[1][1].weight.numpy() != before).any()


@pytest.mark.parametrize("targets", [range(C), [0, 2, 1], [11, 7, 7, 11, 8], [5], []])
def test_forward_and_gradients(targets):
    layer, weights = layer_and_weights()
    t = np.array(targets, np.int64)
    x, _ = sample(len(t))

    def op(x, *weights):
        places = ["head", "tail.0.0", "tail.0.1", "tail.1.0", "tail.1.1"]
        for place, weight in zip(places, weights, strict=True):
            object.__setattr__(layer.get_submodule(place), "weight", weight)
        return layer(x, t)

    def reference(x, *weights):
        out = log_prob(x, *weights)[np.arange(len(t)), t]
        return out, np.asarray(-out.mean() if len(t) else np.nan)

    used = (
        [0, 1] + ([2, 3] if any(3 <= c < 7 for c in t) else []) + ([4, 5] if any(c >= 7 for c in t) else [])
    )
    # Products of up to 8 terms, twice, and two log-softmaxes of values below 10.
    check_op(op, reference, [x, *weights], rtol=64 * EPS, atol=64 * EPS, grad=used if len(t) else False)


def test_one_row_is_a_batch_of_one():
    layer, _ = layer_and_weights(head_bias=True)
    x, t = sample(4)
    many = layer(x, t)
    for i in range(4):
        one = layer(x[i], t[i])
        assert one.output.shape == one.loss.shape == ()
        np.testing.assert_allclose(one.output, many.output[i], rtol=16 * EPS)
        np.testing.assert_allclose(one.loss, -many.output[i], rtol=16 * EPS)


def test_log_prob_and_predict():
    layer, weights = layer_and_weights()
    x, t = sample(64)
    want = log_prob(x.astype(np.float32).astype(np.float64), *weights)
    got = layer.log_prob(x)
    np.testing.assert_allclose(got, want, rtol=64 * EPS, atol=64 * EPS)
    np.testing.assert_allclose(np.exp(got.numpy()).sum(1), 1, rtol=64 * EPS)
    np.testing.assert_allclose(layer(x, t).output, want[np.arange(64), t], rtol=64 * EPS, atol=64 * EPS)
    best = layer.predict(x)
    assert best.dtype == "int64"
    assert not best.requires_grad
    assert (best.numpy() < 3).any()
    assert (best.numpy() >= 3).any()
    np.testing.assert_array_equal(best, want.argmax(1))
    assert layer.predict(x[:0]).shape == (0,)
    assert layer.log_prob(x[:0]).shape == (0, C)


def test_bfloat16():
    layer = nn.AdaptiveLogSoftmaxWithLoss(F, C, CUTS, dtype="bfloat16")
    x, t = sample(6)
    output, loss = layer(nonet.tensor(x, dtype="bfloat16"), t)
    assert output.dtype == loss.dtype == "bfloat16"
    loss.backward()
    assert layer.head.weight.grad.dtype == "bfloat16"


def test_errors():
    for cutoffs in ([], [0, 3], [3, 3], [5, 3], [12], [2.5]):
        with pytest.raises(
            ValueError, match=r"cutoffs must be integers that rise strictly within .* \[1, 11\]"
        ):
            nn.AdaptiveLogSoftmaxWithLoss(F, C, cutoffs)
    layer, _ = layer_and_weights()
    x, t = sample(4)
    for call, error, text in (
        (
            lambda: layer(x[:, :7], t),
            ValueError,
            r"input must have shape \[N, in_features\] = \[N, 8\], got \[4, 7\]",
        ),
        (lambda: layer(x, 3), ValueError, r"input must have shape \[in_features\] = \[8\], got \[4, 8\]"),
        (lambda: layer(x, t[:3]), ValueError, r"target must have shape \[4\], got \[3\]"),
        (lambda: layer(x, t[:, None]), ValueError, r"target must have shape \[4\], got \[4, 1\]"),
        (lambda: layer(x, t * 1.0), TypeError, "target must hold class indices, got float32"),
        (lambda: layer(x, [0, 1, 12, 2]), IndexError, r"target must lie in \[0, 12\), got 12"),
        (lambda: layer(x, [0, -1, 1, 2]), IndexError, r"target must lie in \[0, 12\), got -1"),
        (lambda: layer.log_prob(x[0]), ValueError, "log_prob: input must have shape"),
        (lambda: layer.predict(x[0]), ValueError, "predict: input must have shape"),
    ):
        with pytest.raises(error, match=text):
            call()
