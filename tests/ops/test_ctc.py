from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import EPS, GPU, check_op, each_isa, each_place, use_isa, use_place, use_threads
from nonet import nn
from nonet.nn import functional as F
from nonet.ops.ctc import ctc_beam_decode, ctc_greedy_decode
from reference import ctc as ref
from reference.loss import log_softmax


def sample(steps: int, batch: int, classes: int, blank: int, most: int, seed: int = 0, scale: float = 1.0):
    """Log-probabilities and padded labels with repetitions, of a skewed distribution."""
    rng = np.random.default_rng(seed)
    x = log_softmax(rng.standard_normal((steps, batch, classes)) * scale, 2)
    labels = (rng.integers(1, classes, (batch, most)) + blank) % classes
    repeated = rng.random((batch, most)) < 0.3
    for k in range(1, most):
        labels[:, k] = np.where(repeated[:, k], labels[:, k - 1], labels[:, k])
    return x.astype(np.float32).astype(np.float64), labels


def check(x, targets, lengths, counts, steps_matter: int = 1, **attrs):
    """Losses add up over the steps; each step's share of a class is as exact as the logarithms it comes from."""
    attrs = {"targets": targets, "input_lengths": lengths, "target_lengths": counts, **attrs}
    check_op(
        F.ctc_loss,
        ref.ctc_loss,
        [x],
        attrs=attrs,
        rtol=16 * EPS,
        atol=16 * EPS,
        reference_gradient=ref.gradient,
        grad_rtol=1e-4,
        grad_atol=16 * EPS * steps_matter,
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("blank", [0, 3])
@pytest.mark.parametrize("rows", [False, True])
def test_lengths_of_all_kinds(reduction, blank, rows):
    x, labels = sample(12, 7, 5, blank, 6)
    lengths = np.array([12, 9, 12, 5, 1, 0, 7])
    counts = np.array([6, 4, 0, 2, 1, 0, 0])
    targets = np.concatenate([row[:n] for row, n in zip(labels, counts, strict=True)]) if rows else labels
    check(x, targets, lengths, counts, reduction=reduction, blank=blank)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_no_path(zero, reduction):
    # Too few steps: for two labels, for a repeated one (which needs a blank between), for one label without steps.
    x, labels = sample(4, 4, 4, 0, 3)
    labels[1] = 2
    lengths, counts = np.array([1, 4, 0, 4]), np.array([2, 3, 1, 3])
    labels[3] = [1, 2, 3]
    check(x, labels, lengths, counts, reduction=reduction, zero_infinity=zero)


@pytest.mark.parametrize(
    ("steps", "batch", "classes", "most"), [(1, 1, 1, 0), (40, 3, 37, 15), (70, 2, 3, 16), (90, 1, 300, 33)]
)
def test_sizes(steps, batch, classes, most):
    x, labels = sample(steps, batch, classes, 0, most, seed=steps)
    counts = np.maximum(most - np.arange(batch), 0)
    check(x, labels, np.full(batch, steps), counts, reduction="sum")


def test_one_sequence():
    x, labels = sample(9, 1, 6, 0, 4)
    for reduction in ("mean", "none"):
        check(x[:, 0], labels[0], 9, 4, reduction=reduction)


def test_empty_batch():
    x, labels = np.zeros((5, 0, 4)), np.zeros((0, 3), np.int64)
    none = np.zeros(0, np.int64)
    check(x, labels, none, none, reduction="sum")
    check(x, labels, none, none, reduction="none")
    assert np.isnan(F.ctc_loss(x, labels, none, none).numpy())


def test_long_sequences_keep_their_accuracy():
    # A thousand nats of loss, of which the shares of a step must not lose the digits.
    x, labels = sample(2000, 1, 12, 0, 30, seed=1, scale=3.0)
    check(x, labels, np.array([2000]), np.array([30]), reduction="sum", steps_matter=40)


def test_extreme_probabilities():
    x, labels = sample(8, 2, 4, 0, 3)
    labels[:] = [1, 2, 3]
    x[2, 0, 1] = x[5, 0, 0] = -np.inf  # impossible classes
    x[:, 1] = log_softmax(x[:, 1] * 1e4, 1)  # nearly certain ones, of a path that is not the target
    lengths, counts = np.array([8, 8]), np.array([3, 3])
    check(x, labels, lengths, counts, reduction="none")
    x[:, 0, 2] = -np.inf
    check(x, labels, lengths, counts, reduction="none", zero_infinity=True)
    x[3, 1, 2] = np.nan
    loss = F.ctc_loss(x, labels, lengths, counts, reduction="none", zero_infinity=True).numpy()
    assert loss[0] == 0 and np.isnan(loss[1])


def test_gradient_through_log_softmax():
    x, labels = sample(6, 2, 4, 0, 2)

    def op(z, **attrs):
        return F.ctc_loss(F.log_softmax(z, dim=2), labels, [6, 4], [2, 1])

    def reference(z, **attrs):
        return ref.ctc_loss(log_softmax(z, 2), labels, [6, 4], [2, 1])

    check_op(op, reference, [x], rtol=16 * EPS, atol=16 * EPS)


@each_place
def test_bfloat16(place):
    x, labels = sample(6, 2, 4, 0, 2)
    with use_place(place) as device:
        given = nonet.tensor(x.astype(np.float32), dtype="bfloat16", requires_grad=True, device=device)
        loss = F.ctc_loss(given, nonet.tensor(labels, device=device), [6, 6], [2, 2])
        loss.backward()
        assert loss.dtype == given.grad.dtype == "bfloat16"
        exact = given.detach().cpu().numpy().astype(np.float64)
        assert abs(float(loss.cpu().numpy()) / ref.ctc_loss(exact, labels, [6, 6], [2, 2]) - 1) < 2**-8


@each_place
def test_threads_and_calls_give_the_same_bytes(place):
    x, labels = sample(50, 5, 20, 0, 9)
    results = []
    with use_place(place) as device:
        for threads in (1, 2, 3):
            with use_threads(threads):
                given = nonet.tensor(x.astype(np.float32), requires_grad=True, device=device)
                loss = F.ctc_loss(given, nonet.tensor(labels, device=device), [50] * 5, [9, 8, 7, 6, 5])
                loss.backward()
                results.append((loss.cpu().numpy().tobytes(), given.grad.cpu().numpy().tobytes()))
    assert len(set(results)) == 1


def test_layer_and_kinds_of_lengths():
    x, labels = sample(10, 3, 5, 4, 3)
    want = ref.ctc_loss(x, labels, [10, 9, 8], [3, 2, 1], blank=4, reduction="sum")
    layer = nn.CTCLoss(blank=4, reduction="sum")
    for kind in (list, tuple, np.array, lambda v: np.array(v, np.int32), lambda v: nonet.tensor(np.array(v))):
        loss = layer(x.astype(np.float32), labels.astype(np.int32), kind([10, 9, 8]), kind([3, 2, 1]))
        np.testing.assert_allclose(loss.numpy(), want, rtol=1e-6)


def test_errors():
    x, labels = sample(4, 2, 3, 0, 2)
    x = x.astype(np.float32)

    def call(x=x, targets=labels, lengths=(4, 4), counts=(2, 2), **kw):
        return lambda: F.ctc_loss(x, targets, lengths, counts, **kw)

    for run, error, match in (
        (
            call(x[0, 0]),
            ValueError,
            r"ctc_loss: log_probs must have shape \[T, N, C\] or \[T, C\], got \[3\]",
        ),
        (call(x.astype(np.int64)), TypeError, "ctc_loss: log_probs must be float32 or bfloat16, got int64"),
        (call(targets=labels * 1.0), TypeError, r"targets must hold class indices \(integers\), got float"),
        (call(blank=3), ValueError, r"blank must lie in \[0, 3\), got 3"),
        (call(targets=labels[:1]), ValueError, r"targets must have shape \[N, S\] or \[labels\] with N = 2"),
        (call(targets=labels[None]), ValueError, r"targets must have shape .*, got \[1, 2, 2\]"),
        (
            call(targets=labels[0]),
            ValueError,
            r"as many labels as target_lengths add up to, 4, got shape \[2\]",
        ),
        (call(lengths=(4,)), ValueError, r"input_lengths must have shape \[N\] = \[2\], got \[1\]"),
        (call(lengths=(4, 5)), ValueError, r"input_lengths must lie in \[0, 4\], got 5"),
        (call(counts=(3, 2)), ValueError, r"target_lengths must lie in \[0, 2\], got 3"),
        (call(counts=(-1, 2)), ValueError, r"target_lengths must lie in \[0, 2\], got -1"),
        (call(counts=(1.0, 2.0)), TypeError, "lengths must be integers, got float32"),
        (call(targets=labels + 2), IndexError, r"targets must lie in \[0, 3\), got [34]"),
        (call(targets=labels * 0), ValueError, "targets must not be the blank, 0"),
        (call(reduction="all"), ValueError, "reduction must be none, mean or sum"),
        (lambda: ctc_greedy_decode(x, [4, 9]), ValueError, r"input_lengths must lie in \[0, 4\], got 9"),
        (lambda: ctc_greedy_decode(x, blank=7), ValueError, r"blank must lie in \[0, 3\), got 7"),
        (lambda: ctc_greedy_decode(x[0, 0]), ValueError, r"log_probs must have shape \[T, N, C\], got \[3\]"),
        (lambda: ctc_beam_decode(x, beam=0), ValueError, "beam must be positive, got 0"),
        (lambda: ctc_beam_decode(x, beam=2, top=3), ValueError, r"top must lie in \[1, beam\] = \[1, 2\]"),
    ):
        with pytest.raises(error, match=match):
            run()


def test_greedy_decoding():
    best = np.array([[0, 2, 2, 0, 2, 1, 1], [1, 1, 0, 0, 0, 0, 0]])
    x = np.log(np.full((7, 2, 3), 0.1))
    for n in range(2):
        x[np.arange(7), n, best[n]] = np.log(0.8)
    got = ctc_greedy_decode(x, [7, 3])
    assert [labels for labels, _ in got] == [[2, 2, 1], [1]]
    np.testing.assert_allclose([score for _, score in got], np.log(0.8) * np.array([7, 3]), rtol=1e-6)
    assert ctc_greedy_decode(x[:, 0], blank=2)[0][0] == [0, 0, 1]
    assert ctc_greedy_decode(x, [0, 0]) == [([], 0.0)] * 2


@pytest.mark.parametrize("blank", [0, 2])
def test_a_wide_beam_finds_all_results(blank):
    x, _ = sample(5, 2, 3, blank, 1, seed=4, scale=2.0)
    found = ctc_beam_decode(x, [5, 4], blank=blank, beam=500, top=500)
    for n, steps in enumerate((5, 4)):
        want = ref.best_labels(x[:steps, n], blank)
        assert [labels for labels, _ in found[n]] == [labels for labels, _ in want]
        np.testing.assert_allclose([p for _, p in found[n]], [p for _, p in want], rtol=1e-5)
        loss = F.ctc_loss(
            x[:steps, n].astype(np.float32), np.array(want[0][0]), steps, len(want[0][0]), blank, "sum"
        )
        np.testing.assert_allclose(-found[n][0][1], loss.numpy(), rtol=1e-5)


def test_a_narrow_beam_beats_the_best_path():
    # Graves et al., figure 2: the most probable path is all blanks, the most probable result is not.
    x = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert ctc_greedy_decode(x)[0][0] == []
    (labels, score), *rest = ctc_beam_decode(x, beam=2, top=2)[0]
    assert labels == [1] and rest[0][0] == []
    np.testing.assert_allclose(np.exp(score), 0.64, rtol=1e-6)


def test_beam_of_long_and_impossible_sequences():
    x, _ = sample(400, 1, 30, 0, 1, scale=3.0)
    (labels, score) = ctc_beam_decode(x, beam=8)[0][0]
    greedy = ctc_greedy_decode(x)[0]
    assert np.isfinite(score) and score > greedy[1] and len(labels) > 100
    x[7] = -np.inf
    assert ctc_beam_decode(x, beam=8)[0][0][1] == -np.inf


def test_a_label_that_is_no_class_gives_nan_on_a_device():
    x, labels = sample(6, 2, 4, 0, 2)
    labels[1, 0] = 7
    with use_place(GPU) as device:
        given = nonet.tensor(x.astype(np.float32), requires_grad=True, device=device)
        loss = F.ctc_loss(given, nonet.tensor(labels, device=device), [6, 6], [2, 2], reduction="none")
        nonet.sum(loss).backward()
        assert list(np.isnan(loss.detach().cpu().numpy())) == [False, True]
        assert np.isfinite(given.grad.cpu().numpy()[:, 0]).all()
        assert np.isnan(given.grad.cpu().numpy()[:, 1]).all()


@each_isa
def test_same_result_on_every_instruction_set(isa):
    x, labels = sample(100, 2, 30, 0, 40)
    with use_isa(isa):
        loss = F.ctc_loss(x.astype(np.float32), labels, [100, 90], [40, 30], reduction="none").numpy()
    want = ref.ctc_loss(x, labels, [100, 90], [40, 30], reduction="none")
    np.testing.assert_allclose(loss, want, rtol=4 * EPS)
