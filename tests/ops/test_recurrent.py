from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import nonet
from helpers import EPS, check_op, each_isa, use_isa, use_threads
from nonet.ops.isa import available_isas
from nonet.ops.recurrent import layer_of, sequence
from reference.recurrent import GATES, Recurrent, Weights

CELLS = [*GATES]


class Case:
    """A layer's weights and inputs in float32, its reference, and the op over a flat list of tensors."""

    def __init__(
        self,
        kind: str,
        steps: int,
        batch: int,
        inputs: int,
        hidden: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        bias: bool = True,
        projection: int = 0,
        lengths: Any = None,
        batch_first: bool = False,
        scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.kind, self.batch_first, self.lengths = kind, batch_first, lengths
        self.bidirectional, self.bias, self.projection, self.layers = bidirectional, bias, projection, layers
        directions, state, rows = 2 if bidirectional else 1, projection or hidden, GATES[kind] * hidden
        bound = scale / np.sqrt(hidden)

        def draw(*shape: int) -> np.ndarray:
            return rng.uniform(-bound, bound, shape).astype(np.float32)

        self.weights: list[np.ndarray] = []
        for layer in range(layers):
            for _ in range(directions):
                self.weights += [draw(rows, inputs if layer == 0 else directions * state), draw(rows, state)]
                self.weights += [draw(rows), draw(rows)] if bias else []
                self.weights += [draw(state, hidden)] if projection else []
        x = rng.standard_normal((steps, batch, inputs)).astype(np.float32)
        self.x = x.swapaxes(0, 1).copy() if batch_first else x
        self.h0 = rng.standard_normal((layers * directions, batch, state)).astype(np.float32)
        self.c0 = rng.standard_normal((layers * directions, batch, hidden)).astype(np.float32)

    @property
    def inputs(self) -> list[np.ndarray]:
        states = [self.h0, self.c0] if self.kind == "lstm" else [self.h0]
        return [self.x, *states, *self.weights]

    def op(self, x: Any, *rest: Any) -> Any:
        h0, c0, weights = (rest[0], rest[1], rest[2:]) if self.kind == "lstm" else (rest[0], None, rest[1:])
        layer = layer_of(
            self.kind, self.layers, self.bidirectional, self.bias, self.projection > 0, self.batch_first, 0.0
        )
        return sequence(layer, x, h0, c0, weights, False, self.lengths)

    def _reference(self, arrays: Any) -> tuple[Recurrent, Any]:
        count = 2 + 2 * self.bias + (self.projection > 0)
        flat = arrays[3 if self.kind == "lstm" else 2 :]
        weights = []
        for i in range(0, len(flat), count):
            part = flat[i : i + count]
            weights.append(
                Weights(
                    part[0],
                    part[1],
                    part[2] if self.bias else None,
                    part[3] if self.bias else None,
                    part[-1] if self.projection else None,
                )
            )
        model = Recurrent(self.kind, weights, self.bidirectional)
        x = arrays[0].swapaxes(0, 1) if self.batch_first else arrays[0]
        c0 = arrays[2] if self.kind == "lstm" else None
        return model, model.forward(x, self.lengths, arrays[1], c0)

    def reference(self, *arrays: Any) -> Any:
        y, hn, cn = self._reference(arrays)[1]
        y = y.swapaxes(0, 1) if self.batch_first else y
        return (y, hn, cn) if self.kind == "lstm" else (y, hn)

    def gradient(self, cotangents: Any, *arrays: Any) -> list[Any]:
        model, _ = self._reference(arrays)
        dy = cotangents[0].swapaxes(0, 1) if self.batch_first else cotangents[0]
        dx, dh0, dc0 = model.backward(dy, *cotangents[1:])
        out = [dx.swapaxes(0, 1) if self.batch_first else dx, dh0]
        out += [dc0] if self.kind == "lstm" else []
        for w in model.weights:
            out += [w.d["w_ih"], w.d["w_hh"]]
            out += [w.d["b_ih"], w.d["b_hh"]] if self.bias else []
            out += [w.d["w_hr"]] if self.projection else []
        return out

    def check(
        self, dtypes: Any = ("float32",), tol: float = 2e-5, grad: bool = True, isas: Any = None
    ) -> None:
        """Sums of hundreds of terms in float32: tolerances are shares of the largest gradient."""
        want = self.gradient(self._cotangents(), *[a.astype(np.float64) for a in self.inputs])
        largest = max(float(np.abs(g).max(initial=0)) for g in want)
        check_op(
            self.op,
            self.reference,
            self.inputs,
            reference_gradient=self.gradient,
            rtol=tol,
            atol=tol,
            grad_rtol=tol,
            grad_atol=tol * max(1.0, largest),
            grad=grad,
            dtypes=dtypes,
            isas=isas,
        )

    def _cotangents(self) -> list[np.ndarray]:
        """Those of check_op."""
        rng = np.random.default_rng(0)
        outs = self.reference(*[a.astype(np.float64) for a in self.inputs])
        return [rng.standard_normal(out.shape).astype(np.float32).astype(np.float64) for out in outs]


@pytest.mark.parametrize("kind", CELLS)
def test_reference_gradients(kind):
    """The reference itself, against central differences."""
    case = Case(
        kind, 4, 3, 2, 3, lengths=[4, 0, 2], bidirectional=True, layers=2, projection=2 * (kind == "lstm")
    )
    arrays = [a.astype(np.float64) for a in case.inputs]
    cotangents = case._cotangents()
    got = case.gradient(cotangents, *arrays)
    rng = np.random.default_rng(3)
    for array, gradient in zip(arrays, got, strict=True):
        for _ in range(6):
            at = tuple(rng.integers(0, n) for n in array.shape)
            keep, values = array[at], []
            for h in (1e-6, -1e-6):
                array[at] = keep + h
                values.append(
                    sum(
                        float((c * o).sum()) for c, o in zip(cotangents, case.reference(*arrays), strict=True)
                    )
                )
            array[at] = keep
            assert abs((values[0] - values[1]) / 2e-6 - gradient[at]) < 1e-5 * max(1, abs(gradient[at]))


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(
    ("steps", "batch", "inputs", "hidden"),
    [
        (1, 1, 1, 1),
        (5, 1, 3, 7),
        (7, 2, 5, 16),
        (4, 3, 4, 33),
        (6, 4, 3, 17),
        (3, 15, 9, 40),
        (9, 5, 8, 64),
        (2, 29, 7, 31),
    ],
)
def test_sequence(kind, steps, batch, inputs, hidden):
    Case(kind, steps, batch, inputs, hidden).check()


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_layers_and_directions(kind, batch_first):
    Case(kind, 6, 5, 4, 9, layers=3, bidirectional=True, batch_first=batch_first).check()
    Case(kind, 5, 2, 4, 6, layers=2, bias=False, batch_first=batch_first).check()


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_projection(layers, bidirectional):
    Case("lstm", 5, 3, 4, 11, projection=5, layers=layers, bidirectional=bidirectional).check()
    Case("lstm", 3, 6, 4, 70, projection=37, layers=layers, bidirectional=bidirectional).check()


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("lengths", [[3, 7, 0, 1, 7], [0, 0, 2, 0, 0], [7, 6, 5, 4, 3], [7] * 5, [0] * 5])
@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths(kind, lengths, batch_first):
    Case(kind, 7, 5, 3, 10, layers=2, bidirectional=True, lengths=lengths, batch_first=batch_first).check()


@pytest.mark.parametrize("kind", CELLS)
def test_padding_is_not_read(kind):
    case = Case(kind, 4, 3, 2, 5, lengths=[2, 4, 1], bidirectional=True)
    with_nan = case.x.copy()
    with_nan[2:, 0] = with_nan[1:, 2] = np.nan
    outs = []
    for values in (case.x, with_nan):
        tensors = [nonet.tensor(a, requires_grad=True) for a in (values, *case.inputs[1:])]
        y, *states = case.op(*tensors)
        nonet.backward([y, *states], [np.ones(t.shape, np.float32) for t in (y, *states)])
        outs.append([t.detach().numpy() for t in (y, *states)] + [t.grad.numpy() for t in tensors])
    for clean, dirty in zip(*outs, strict=True):
        np.testing.assert_array_equal(clean, dirty)


MIXED = [40, 0, 3, *range(20, 38)]  # lengths of 21 sequences


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(
    ("steps", "batch", "inputs", "hidden", "lengths", "layers"),
    [
        (40, 21, 19, 97, MIXED, 1),
        (17, 140, 6, 33, None, 1),
        (40, 21, 19, 64, MIXED, 2),
        (20, 32, 300, 40, None, 3),
    ],
)
def test_input_part_by_steps(kind, steps, batch, inputs, hidden, lengths, layers):
    """Sizes whose x-part the threads of the steps make, a few steps at a time; more rows than they take at once; layers
    behind the first one, whose inputs are more or fewer."""
    options = {"lengths": lengths, "layers": layers, "bidirectional": True, "batch_first": True}
    case = Case(kind, steps, batch, inputs, hidden, **options)
    case.check(tol=5e-5)
    with nonet.set_matmul_precision("medium"):
        case.check(tol=3e-2, grad=False)


@pytest.mark.parametrize("kind", CELLS)
def test_bfloat16(kind):
    case = Case(kind, 5, 4, 3, 24, projection=7 * (kind == "lstm"))
    case.check(dtypes=("bfloat16",), tol=2e-2)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(
    ("steps", "batch", "hidden"), [(4, 1, 7), (3, 2, 33), (3, 3, 64), (4, 12, 31), (3, 37, 65), (2, 40, 260)]
)
def test_medium(kind, steps, batch, hidden):
    """Operands of products rounded to bfloat16: odd sizes too, whose last pair has one value."""
    projection = hidden // 2 if kind == "lstm" and batch == 12 else 0
    lengths = [*range(steps), *[steps] * (batch - steps)] if batch == 37 else None
    case = Case(kind, steps, batch, 5, hidden, projection=projection, lengths=lengths)
    with nonet.set_matmul_precision("medium"):
        case.check(tol=3e-2, grad=kind != "relu")


@each_isa
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(("batch", "hidden"), [(1, 300), (3, 260), (29, 70)])
def test_medium_does_not_depend_on_threads(isa, kind, batch, hidden):
    case, results = Case(kind, 4, batch, 6, hidden), []
    with use_isa(isa), nonet.set_matmul_precision("medium"):
        for threads in (1, 2, 5):
            with use_threads(threads):
                tensors = [nonet.tensor(a, requires_grad=True) for a in case.inputs]
                y, *_ = case.op(*tensors)
                y.backward(np.ones(y.shape, np.float32))
                results.append([t.grad.numpy().tobytes() for t in tensors] + [y.detach().numpy().tobytes()])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("kind", CELLS)
def test_autocast(kind):
    case = Case(kind, 6, 4, 5, 24)
    tensors = [nonet.tensor(a, requires_grad=True) for a in case.inputs]
    with nonet.autocast("bfloat16"):
        outs = case.op(*tensors)
    want = case.reference(*[a.astype(np.float64) for a in case.inputs])
    for got, w in zip(outs, want, strict=True):
        assert got.dtype == "bfloat16"
        np.testing.assert_allclose(got.detach().to("float32").numpy(), w, rtol=2e-2, atol=2e-2)
    cotangents = case._cotangents()
    nonet.backward(list(outs), [nonet.tensor(c, dtype="bfloat16") for c in cotangents])
    gradients = case.gradient(cotangents, *[a.astype(np.float64) for a in case.inputs])
    for t, w in zip(tensors, gradients, strict=True):
        assert t.grad is not None and t.grad.dtype == "float32"
        np.testing.assert_allclose(t.grad.numpy(), w, rtol=3e-2, atol=3e-2 * np.abs(w).max())


# ------------------------------------------------------------------------------------------------ sizes, extremes


def _sampled(count: int, work: float) -> Iterator[tuple[int, int, int, int, int]]:
    rng = np.random.default_rng(7)
    for number in range(count):
        hidden = int(np.exp(rng.uniform(0, np.log(513))))
        batch = int(np.exp(rng.uniform(0, np.log(67))))
        steps = int(min(2000, work / (hidden * hidden * batch + 2000)))
        yield number, max(1, steps), batch, int(rng.integers(1, 40)), hidden


def _check_sample(kind: str, number: int, sizes: tuple[int, ...], isas: Any) -> None:
    steps, batch, inputs, hidden = sizes
    rng = np.random.default_rng(number)
    lengths = rng.integers(0, steps + 1, batch) if number % 2 else None
    case = Case(
        kind,
        steps,
        batch,
        inputs,
        hidden,
        lengths=lengths,
        layers=2 if number % 5 == 2 else 1,
        bidirectional=number % 3 == 0,
        batch_first=number % 4 == 1,
        seed=number,
    )
    # Among many steps of relu one is so close to 0 that float32 falls on the other side.
    case.check(tol=5e-5, grad=kind != "relu", isas=isas)


LONG = [(14, 2000, 1, 5, 8), (15, 2, 67, 3, 513), (16, 3, 1, 7, 513), (17, 40, 67, 5, 65)]


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(("number", "steps", "batch", "inputs", "hidden"), [*_sampled(14, 3e7), *LONG])
def test_sampled_sizes(kind, number, steps, batch, inputs, hidden):
    _check_sample(kind, number, (steps, batch, inputs, hidden), available_isas())


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(
    ("number", "steps", "batch", "inputs", "hidden"),
    [*_sampled(8, 3e5), (8, 150, 2, 3, 5), (9, 2, 21, 3, 130), (10, 2, 40, 3, 161)],
)
def test_sampled_sizes_on_devices(kind, number, steps, batch, inputs, hidden):
    """Fewer numbers, for the emulator's sake."""
    _check_sample(kind, number, (steps, batch, inputs, hidden), None)


@pytest.mark.parametrize("kind", ["tanh", "lstm", "gru", "gru_reset_before"])
def test_saturating_inputs(kind):
    """Gates at 0 and 1 to the last digit: outputs stay in range, and gradients are 0 rather than no number."""
    case = Case(kind, 12, 5, 6, 20)
    case.x *= 30
    case.check(tol=2e-4)
    for scale in (1e4, 1e30):
        case.x *= np.float32(scale)
        tensors = [nonet.tensor(a, requires_grad=True) for a in case.inputs]
        y, *_ = case.op(*tensors)
        y.backward(np.ones(y.shape, np.float32))
        assert np.abs(y.detach().numpy()).max() <= max(1, np.abs(case.h0).max()) + 4 * EPS
        for t in tensors[:-4]:
            assert t.grad is not None and np.isfinite(t.grad.numpy()).all()


@pytest.mark.parametrize("kind", CELLS)
def test_nan_stays_in_its_sequence(kind):
    case = Case(kind, 6, 5, 4, 18)
    case.x[3, 2, 1] = np.nan
    y = case.op(*[nonet.tensor(a) for a in case.inputs])[0].numpy()
    assert np.isnan(y[3:, 2]).all()
    assert np.isfinite(np.delete(y, 2, axis=1)).all() and np.isfinite(y[:3]).all()


# ------------------------------------------------------------------------------------------------ threads


@each_isa
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(
    ("steps", "batch", "hidden", "lengths"),
    [
        (4, 1, 300, None),
        (3, 3, 260, None),
        (5, 40, 100, None),
        (30, 21, 64, "some"),
        (3, 7, 290, None),
        (12, 17, 170, None),
    ],
)
def test_numbers_do_not_depend_on_threads(isa, kind, steps, batch, hidden, lengths):
    rng = np.random.default_rng(0)
    sizes = rng.integers(0, steps + 1, batch) if lengths else None
    case = Case(kind, steps, batch, 6, hidden, lengths=sizes, bidirectional=batch == 21)
    results = []
    with use_isa(isa):
        for threads in (1, 2, 3, 5):
            with use_threads(threads):
                tensors = [nonet.tensor(a, requires_grad=True) for a in case.inputs]
                y, *states = case.op(*tensors)
                gradient = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
                y.backward(gradient)
                results.append(
                    [t.detach().numpy().tobytes() for t in (y, *states)]
                    + [t.grad.numpy().tobytes() for t in tensors]
                )
    assert all(result == results[0] for result in results)


# ------------------------------------------------------------------------------------------------ gradients


def test_only_some_gradients():
    case = Case("gru", 4, 3, 2, 5, layers=2)
    want = case.gradient(
        [g if i == 0 else np.zeros_like(g) for i, g in enumerate(case._cotangents())],
        *[a.astype(np.float64) for a in case.inputs],
    )
    for wanted in ([0], [1], [2], [3], [5, 6], [7, 9]):
        tensors = [nonet.tensor(a, requires_grad=i in wanted) for i, a in enumerate(case.inputs)]
        case.op(*tensors)[0].backward(case._cotangents()[0])
        for i, t in enumerate(tensors):
            if i not in wanted:
                assert t.grad is None
            else:
                np.testing.assert_allclose(t.grad.numpy(), want[i], rtol=2e-5, atol=2e-5)


def test_only_the_last_state_has_a_gradient():
    case = Case("lstm", 5, 3, 2, 6, bidirectional=True, lengths=[5, 0, 2])
    cotangents = case._cotangents()
    want = case.gradient([0 * cotangents[0], *cotangents[1:]], *[a.astype(np.float64) for a in case.inputs])
    tensors = [nonet.tensor(a, requires_grad=True) for a in case.inputs]
    _, hn, cn = case.op(*tensors)
    nonet.backward([hn, cn], [nonet.tensor(c) for c in cotangents[1:]])
    for t, w in zip(tensors, want, strict=True):
        np.testing.assert_allclose(t.grad.numpy(), w, rtol=2e-5, atol=2e-5)


def test_states_are_zero_by_default():
    case = Case("lstm", 3, 2, 4, 5)
    case.h0[:], case.c0[:] = 0, 0
    given = case.op(*[nonet.tensor(a) for a in case.inputs])
    layer = layer_of("lstm", 1, False, True, False, False, 0.0)
    weights = [nonet.tensor(w) for w in case.weights]
    for got, want in zip(sequence(layer, case.x, None, None, weights, False), given, strict=True):
        np.testing.assert_array_equal(got.numpy(), want.numpy())
    alone = sequence(layer, case.x[:, 0], None, None, weights, False)
    assert [t.shape for t in alone] == [(3, 5), (1, 5), (1, 5)]
    np.testing.assert_allclose(alone[0].numpy(), given[0].numpy()[:, 0], rtol=1e-5, atol=1e-6)
