from __future__ import annotations

import numpy as np
import pytest

import nonet
from nonet import nn
from nonet.nn import functional as F

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
Y = np.random.default_rng(1).uniform(0.1, 0.9, (4, 3)).astype(np.float32)
T = np.array([0, 2, 1, 1])
SIGNS = np.array([1.0, -1, 1, -1], np.float32)
W = np.array([0.5, 1, 2], np.float32)

# layer, its inputs, what the function of the same name gives
CASES = [
    (nn.L1Loss(), (X, Y), F.l1_loss(X, Y)),
    (nn.MSELoss(reduction="sum"), (X, Y), F.mse_loss(X, Y, reduction="sum")),
    (nn.SmoothL1Loss(beta=0.3), (X, Y), F.smooth_l1_loss(X, Y, beta=0.3)),
    (nn.HuberLoss(delta=0.3), (X, Y), F.huber_loss(X, Y, delta=0.3)),
    (nn.KLDivLoss(reduction="batchmean"), (X, Y), F.kl_div(X, Y, reduction="batchmean")),
    (nn.BCELoss(W), (Y, Y), F.binary_cross_entropy(Y, Y, W)),
    (nn.BCEWithLogitsLoss(pos_weight=W), (X, Y), F.binary_cross_entropy_with_logits(X, Y, pos_weight=W)),
    (nn.PoissonNLLLoss(full=True), (X, Y), F.poisson_nll_loss(X, Y, full=True)),
    (nn.GaussianNLLLoss(full=True), (X, Y, Y), F.gaussian_nll_loss(X, Y, Y, full=True)),
    (nn.SoftMarginLoss(), (X[:, 0], SIGNS), F.soft_margin_loss(X[:, 0], SIGNS)),
    (nn.HingeEmbeddingLoss(0.5), (X[:, 0], SIGNS), F.hinge_embedding_loss(X[:, 0], SIGNS, 0.5)),
    (
        nn.MarginRankingLoss(0.5),
        (X[:, 0], X[:, 1], SIGNS),
        F.margin_ranking_loss(X[:, 0], X[:, 1], SIGNS, 0.5),
    ),
    (nn.MultiLabelSoftMarginLoss(W), (X, Y), F.multilabel_soft_margin_loss(X, Y, W)),
    (nn.NLLLoss(W, ignore_index=1), (X, T), F.nll_loss(X, T, W, ignore_index=1)),
    (nn.CrossEntropyLoss(W, label_smoothing=0.1), (X, T), F.cross_entropy(X, T, W, label_smoothing=0.1)),
    (nn.MultiMarginLoss(p=2, weight=W), (X, T), F.multi_margin_loss(X, T, p=2, weight=W)),
    (nn.MultiLabelMarginLoss(), (X[0], T[:3]), F.multilabel_margin_loss(X[0], T[:3])),
    (nn.CosineEmbeddingLoss(0.1), (X, Y, SIGNS), F.cosine_embedding_loss(X, Y, SIGNS, 0.1)),
    (nn.TripletMarginLoss(swap=True), (X, Y, -X), F.triplet_margin_loss(X, Y, -X, swap=True)),
    (
        nn.TripletMarginWithDistanceLoss(distance_function=F.pairwise_distance),
        (X, Y, -X),
        F.triplet_margin_loss(X, Y, -X),
    ),
]


@pytest.mark.parametrize(("layer", "inputs", "want"), CASES, ids=lambda x: type(x).__name__)
def test_layer_is_its_function(layer, inputs, want):
    np.testing.assert_array_equal(layer(*inputs).numpy(), want.numpy())


def test_weight_is_a_buffer():
    layer = nn.BCEWithLogitsLoss(W, pos_weight=W)
    assert set(layer.state_dict()) == {"weight", "pos_weight"}
    assert list(layer.parameters()) == []
    assert nn.CrossEntropyLoss().state_dict() == {}


@pytest.mark.parametrize("outputs", [(), (2, 3)])
def test_linear_cross_entropy(outputs):
    layer = nn.LinearCrossEntropyLoss(3, 5, out_features=outputs, bias=True, ignore_index=0)
    assert {k: v.shape for k, v in layer.state_dict().items()} == {
        "linear.weight": (5 * int(np.prod(outputs)), 3),
        "linear.bias": (5 * int(np.prod(outputs)),),
    }
    t = np.random.default_rng(0).integers(0, 5, (4, *outputs))
    layer(X, t).backward()
    got = [p.grad.numpy().copy() for p in layer.parameters()]
    layer.zero_grad()
    logits = layer.linear(nonet.tensor(X)).reshape(4, 5, *outputs)
    F.cross_entropy(logits, t, ignore_index=0).backward()
    for g, p in zip(got, layer.parameters(), strict=True):
        np.testing.assert_allclose(g, p.grad.numpy(), rtol=1e-5, atol=1e-7)


def test_bad_arguments():
    for call, error, match in (
        (lambda: nn.HuberLoss(delta=1j), TypeError, "delta must be a number, got complex"),
        (
            lambda: nn.NLLLoss(np.ones(3, np.float16)),
            TypeError,
            "weight must be float32 or bfloat16, got float16",
        ),
        (lambda: nn.MultiMarginLoss(p=3), ValueError, "p must be 1 or 2, got 3"),
        (lambda: nn.MultiMarginLoss(weight=np.ones((2, 2))), ValueError, r"weight must have shape \[C\]"),
        (lambda: nn.TripletMarginLoss(margin=0), ValueError, "margin must be positive, got 0"),
        (lambda: nn.TripletMarginWithDistanceLoss(margin=-1), ValueError, "margin must be positive"),
        (
            lambda: nn.LinearCrossEntropyLoss(3, 2, weight=np.ones(3)),
            ValueError,
            r"weight must have shape \[C\] = \[2\]",
        ),
        (
            lambda: nn.LinearCrossEntropyLoss(3, 2, label_smoothing=2),
            ValueError,
            "label_smoothing must be in",
        ),
        (
            lambda: nn.CrossEntropyLoss()(X, T + 2),
            IndexError,
            "CrossEntropyLoss: cross_entropy: target must lie in",
        ),
    ):
        with pytest.raises(error, match=match):
            call()
