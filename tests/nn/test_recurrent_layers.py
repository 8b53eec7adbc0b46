from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import nonet
from helpers import GPU, each_isa, use_isa, use_place, use_threads
from nonet import nn
from nonet.nn.utils.rnn import (
    PackedSequence,
    invert_permutation,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpad_sequence,
)
from reference.recurrent import Recurrent, Weights

rng = np.random.default_rng(5)
LAYERS = (nn.RNN, nn.LSTM, nn.GRU)
each_layer = pytest.mark.parametrize("cls", LAYERS)


def random(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def states(out):
    return list(out) if isinstance(out, tuple) else [out]


def test_parameter_names_and_shapes():
    layer = nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2)
    want = {}
    for k, inputs in enumerate((3, 4)):
        for end in ("", "_reverse"):
            want[f"weight_ih_l{k}{end}"] = (20, inputs)
            want[f"weight_hh_l{k}{end}"] = (20, 2)
            want[f"bias_ih_l{k}{end}"] = want[f"bias_hh_l{k}{end}"] = (20,)
            want[f"weight_hr_l{k}{end}"] = (2, 5)
    assert {name: p.shape for name, p in layer.named_parameters()} == want
    assert [len(part) for part in layer.all_weights] == [5] * 4
    bound = 1 / np.sqrt(5)
    assert all(np.abs(p.detach().numpy()).max() <= bound for p in layer.parameters())
    assert [*nn.GRU(3, 5, bias=False).state_dict()] == ["weight_ih_l0", "weight_hh_l0"]
    cell = nn.LSTMCell(3, 5)
    assert {n: p.shape for n, p in cell.named_parameters()} == {
        "weight_ih": (20, 3),
        "weight_hh": (20, 5),
        "bias_ih": (20,),
        "bias_hh": (20,),
    }


@each_layer
def test_shapes(cls):
    layer = cls(4, 6, num_layers=2, bidirectional=True, batch_first=True)
    out, state = layer(random(3, 7, 4))
    assert out.shape == (3, 7, 12)
    assert [s.shape for s in states(state)] == [(4, 3, 6)] * len(states(state))
    out, state = layer(random(7, 4))
    assert out.shape == (7, 12)
    assert [s.shape for s in states(state)] == [(4, 6)] * len(states(state))
    again, _ = layer(random(7, 4), state)
    assert again.shape == (7, 12)


@each_layer
@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths_and_packed_sequences_agree(cls, batch_first):
    layer = cls(4, 6, num_layers=2, bidirectional=True, batch_first=batch_first)
    lengths = [3, 7, 1, 5]
    values = random(4, 7, 4) if batch_first else random(7, 4, 4)
    h0 = random(4, 4, 6)
    hx = (h0, random(4, 4, 6)) if cls is nn.LSTM else h0
    results = []
    for packed in (False, True):
        layer.zero_grad()
        x = nonet.tensor(values, requires_grad=True)
        if packed:
            out, state = layer(pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False), hx)
            assert isinstance(out, PackedSequence)
            out, sizes = pad_packed_sequence(out, batch_first)
            assert sizes.tolist() == lengths
        else:
            out, state = layer(x, hx, lengths=lengths)
        weights = np.random.default_rng(0).standard_normal(out.shape).astype(np.float32)
        (nonet.sum(out * weights) + sum(nonet.sum(s * s) for s in states(state))).backward()
        results.append(
            [out.detach().numpy(), *(s.detach().numpy() for s in states(state)), x.grad.numpy()]
            + [p.grad.numpy() for p in layer.parameters()]
        )
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cls", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
@pytest.mark.parametrize("lead", [(), (3,), (20,)])
def test_cells_are_steps_of_layers(cls, lead):
    names = {nn.RNNCell: nn.RNN, nn.LSTMCell: nn.LSTM, nn.GRUCell: nn.GRU}
    cell, layer = cls(4, 6), names[cls](4, 6)
    layer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    values = random(5, *lead, 4)
    x = nonet.tensor(values, requires_grad=True)
    state, outs = None, []
    for t in range(5):
        state = cell(x[t], state)
        outs.append(state[0] if cls is nn.LSTMCell else state)
        assert outs[-1].shape == (*lead, 6)
    y = nonet.stack(outs)
    g = random(5, *lead, 6)
    y.backward(g)
    x2 = nonet.tensor(values, requires_grad=True)
    want, _ = layer(x2)
    want.backward(g)
    np.testing.assert_allclose(y.detach().numpy(), want.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), x2.grad.numpy(), rtol=1e-4, atol=1e-5)
    for a, b in zip(cell.parameters(), layer.parameters(), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_cell_functions():
    x, h, c = random(3, 4), random(3, 5), random(3, 5)
    for kind, gates, call in (
        ("tanh", 1, nonet.rnn_tanh_cell),
        ("relu", 1, nonet.rnn_relu_cell),
        ("gru", 3, nonet.gru_cell),
        ("lstm", 4, nonet.lstm_cell),
    ):
        w = [random(gates * 5, 4), random(gates * 5, 5), random(gates * 5), random(gates * 5)]
        model = Recurrent(kind, [Weights(*(a.astype(np.float64) for a in w))])
        _, hn, cn = model.forward(x[None].astype(np.float64), None, h[None], c[None])
        if kind == "lstm":
            got = call(x, (h, c), *w)
            np.testing.assert_allclose(got[1].numpy(), cn[0], rtol=1e-5, atol=1e-6)
            got = got[0]
        else:
            got = call(x, h, *w)
        np.testing.assert_allclose(got.numpy(), hn[0], rtol=1e-5, atol=1e-6)


@each_layer
def test_dropout_between_layers(cls):
    layer = cls(4, 30, num_layers=3, dropout=0.5)
    x = random(6, 2, 4)
    nonet.manual_seed(1)
    first, _ = layer(x)
    nonet.manual_seed(1)
    same, _ = layer(x)
    other, _ = layer(x)
    np.testing.assert_array_equal(first.detach().numpy(), same.detach().numpy())
    assert (first.detach().numpy() != other.detach().numpy()).any()
    layer.eval()
    plain = cls(4, 30, num_layers=3)
    plain.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(layer(x)[0].detach().numpy(), plain(x)[0].detach().numpy())


def test_dropout_drops_what_the_next_layer_reads():
    """With the identity as second layer, its output is the first one's with zeros; the gradient has the same zeros."""
    layer = nn.RNN(3, 40, num_layers=2, nonlinearity="relu", bias=False, dropout=0.25)
    layer.weight_ih_l1.copy_(np.eye(40, dtype=np.float32))
    layer.weight_hh_l1.fill_(0)
    first = nn.RNN(3, 40, nonlinearity="relu", bias=False)
    first.load_state_dict({k: v for k, v in layer.state_dict().items() if "l0" in k})
    x = random(30, 4, 3)
    want = first(x)[0].detach().numpy()
    got = layer(x)[0]
    kept = got.detach().numpy() != 0
    np.testing.assert_allclose(got.detach().numpy(), np.where(kept, want / 0.75, 0), rtol=1e-5)
    assert 0.7 < kept.sum() / (want != 0).sum() < 0.8
    layer.zero_grad()
    got.backward(np.ones(got.shape, np.float32))
    h = want.reshape(-1, 40)
    dropped = np.where(kept, want / 0.75, 0).reshape(-1, 40)
    np.testing.assert_allclose(
        layer.weight_ih_l1.grad.numpy(), (dropped > 0).astype(np.float32).T @ dropped, rtol=1e-4, atol=1e-3
    )
    assert h.shape == dropped.shape


@each_layer
def test_training_moves_the_loss(cls):
    """The sign of the sum of a sequence; slots of an optimizer and changed weights are used."""
    nonet.manual_seed(3)
    layer, head = cls(1, 16), nn.Linear(16, 2)
    optimizer = nonet.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.02)
    data = np.random.default_rng(0)
    for _ in range(120):
        x = data.standard_normal((8, 32, 1)).astype(np.float32)
        loss = nn.functional.cross_entropy(head(layer(x)[0][-1]), (x.sum((0, 2)) > 0).astype(np.int64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.35


def test_changed_weights_are_packed_again():
    layer = nn.GRU(3, 40)
    x = random(4, 5, 3)
    before = layer(x)[0].detach().numpy().copy()
    layer.weight_hh_l0.fill_(0)
    changed = layer(x)[0].detach().numpy()
    assert (before[1:] != changed[1:]).any()
    other = nn.GRU(3, 40)
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other(x)[0].detach().numpy(), changed)


@each_layer
def test_copies(cls):
    layer = cls(3, 4, num_layers=2, bidirectional=True)
    x = random(5, 2, 3)
    want = layer(x)[0].detach().numpy()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(other(x)[0].detach().numpy(), want)


def test_bfloat16_layer():
    layer = nn.LSTM(5, 20).bfloat16()
    exact = nn.LSTM(5, 20)
    exact.load_state_dict(layer.state_dict())
    x = nonet.tensor(random(6, 3, 5), dtype="bfloat16")
    y, (hn, cn) = layer(x)
    assert y.dtype == hn.dtype == cn.dtype == "bfloat16"
    want = exact(x.to("float32"))[0].detach().numpy()
    np.testing.assert_allclose(y.detach().to("float32").numpy(), want, rtol=2e-2, atol=2e-2)
    y.backward(nonet.ones(6, 3, 20, dtype="bfloat16"))
    assert all(p.grad.dtype == "bfloat16" for p in layer.parameters())


# ------------------------------------------------------------------------------------------------ streaming

STREAMED = (
    lambda: nn.RNN(5, 24, num_layers=2),
    lambda: nn.RNN(5, 24, nonlinearity="relu", bias=False),
    lambda: nn.LSTM(5, 70, num_layers=3, dropout=0.5),
    lambda: nn.LSTM(5, 40, num_layers=2, proj_size=9),
    lambda: nn.GRU(5, 300),
    lambda: nn.GRU(5, 24, num_layers=2, reset_after=False),
)


@pytest.mark.parametrize("make", STREAMED)
def test_layers_on_a_device(make):
    """Lengths, packing, dropout between layers and steps, all against the CPU."""
    with use_place(GPU) as device:
        layer, x, lengths = make(), random(4, 3, 5), np.array([2, 4, 0])
        results = []
        for place in ("cpu", device):
            nonet.manual_seed(3)
            own = copy.deepcopy(layer).to(device=place)
            given = nonet.tensor(x, requires_grad=True, device=place)
            y, last = own(given, lengths=lengths)
            packed, packed_last = own(pack_padded_sequence(given, [1, 4, 2], enforce_sorted=False))
            outputs = [y, packed.data, *states(last), *states(packed_last)]
            nonet.backward(outputs, [nonet.ones_like(out) for out in outputs])
            got = [*outputs, given.grad, *(p.grad for p in own.parameters())]
            state = None
            for t in range(2):
                step, state = own.step(x[t], state)
                got.append(nonet.tensor(step.cpu().numpy()))
            assert all(out.device == place for out in outputs)
            results.append([t.detach().cpu().numpy() for t in got])
    for want, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4 * max(1, np.abs(want).max()))


def test_cells_on_a_device():
    with use_place(GPU) as device:
        for cell in (nn.RNNCell(5, 7), nn.LSTMCell(5, 7), nn.GRUCell(5, 7)):
            x = random(3, 5)
            want = states(cell(x))
            for a, b in zip(want, states(copy.deepcopy(cell).to(device=device)(x)), strict=True):
                assert b.device == device
                np.testing.assert_allclose(b.detach().cpu().numpy(), a.detach().numpy(), atol=1e-5)


@each_isa
@pytest.mark.parametrize("make", STREAMED)
@pytest.mark.parametrize("lead", [(), (1,), (3,), (7,)])
def test_steps_are_the_sequence(isa, make, lead):
    with use_isa(isa):
        layer = make().eval()
        x = random(9, *lead, 5)
        want, last = layer(x)
        state = None
        for t in range(9):
            y, state = layer.step(x[t], state)
            assert y.shape == want.shape[1:]
            np.testing.assert_allclose(y.numpy(), want[t].detach().numpy(), rtol=0, atol=2e-5)
        for name, value in zip("hc", states(last), strict=False):
            np.testing.assert_allclose(
                getattr(state, name).numpy(), value.detach().numpy(), rtol=0, atol=2e-5
            )


@each_isa
@pytest.mark.parametrize("make", STREAMED)
@pytest.mark.parametrize("batch", [1, 40])
def test_steps_do_not_depend_on_threads(isa, make, batch):
    layer, x = make(), random(4, batch, 5)
    results = []
    with use_isa(isa):
        for threads in (1, 2, 5):
            with use_threads(threads):
                state, out = None, []
                for t in range(4):
                    y, state = layer.step(x[t], state)
                    out.append(y.numpy().tobytes())
                results.append(out)
    assert results[0] == results[1] == results[2]


def test_steps_start_from_given_states():
    layer, x = nn.LSTM(4, 6, num_layers=2), random(5, 3, 4)
    h0, c0 = random(2, 3, 6), random(2, 3, 6)
    want = layer(x, (h0, c0))[0].detach().numpy()
    state = (h0, c0)
    for t in range(5):
        y, state = layer.step(x[t], state)
        np.testing.assert_allclose(y.numpy(), want[t], rtol=1e-5, atol=1e-6)
    gru = nn.GRU(4, 4)
    y, state = gru.step(x[0], random(1, 3, 4))
    with pytest.raises(AttributeError, match="only an LSTM has a second state"):
        _ = state.c
    fed = []
    for _ in range(4):  # its own output as input
        y, state = gru.step(y, state)
        fed.append(y.numpy().copy())
    assert np.isfinite(fed).all() and (fed[0] != fed[1]).any()


def test_steps_see_changed_weights():
    layer, x = nn.GRU(4, 8), random(3, 2, 4)
    _, state = layer.step(x[0])
    optimizer = nonet.optim.SGD(layer.parameters(), lr=0.1)
    nonet.sum(layer(x)[0]).backward()
    optimizer.step()
    h = state.h.numpy().copy()
    y, _ = layer.step(x[1], state)
    np.testing.assert_allclose(y.numpy(), layer(x[1:2], h)[0][0].detach().numpy(), rtol=1e-5, atol=1e-6)


def test_long_streams_keep_memory_flat():
    layer, x = nn.LSTM(16, 32, num_layers=2), random(1, 16)
    _, state = layer.step(x)
    before = nonet.memory_stats()
    nonet.reset_peak_memory()
    for _ in range(2000):
        y, state = layer.step(x, state)
    after = nonet.memory_stats()
    assert after["peak"] <= before["in_use"] + 4096, "a step allocates"
    assert np.isfinite(y.numpy()).all()


def test_errors_of_steps():
    layer = nn.GRU(4, 6)
    _, state = layer.step(random(3, 4))
    with pytest.raises(
        ValueError, match=r"gru: input must have shape \[like the first step\] = \[3, 4\], got \[2, 4\]"
    ):
        layer.step(random(2, 4), state)
    with pytest.raises(ValueError, match=r"gru: input must have shape \[..., I\] = \[..., 4\], got \[3, 5\]"):
        layer.step(random(3, 5), state)
    with pytest.raises(ValueError, match="a stream has one direction"):
        nn.GRU(4, 6, bidirectional=True).step(random(3, 4))
    with pytest.raises(ValueError, match=r"lstm: c0 must have shape .* = \[1, 3, 6\], got \[1, 2, 6\]"):
        nn.LSTM(4, 6).step(random(3, 4), (random(1, 3, 6), random(1, 2, 6)))


# ------------------------------------------------------------------------------------------------ packing


def test_packing_round_trip():
    sequences = [random(n, 2) for n in (3, 5, 1, 5)]
    padded = pad_sequence(sequences)
    assert padded.shape == (5, 4, 2)
    for packed in (
        pack_sequence(sequences, enforce_sorted=False),
        pack_padded_sequence(padded, [3, 5, 1, 5], enforce_sorted=False),
        pack_padded_sequence(
            pad_sequence(sequences, batch_first=True), nonet.tensor([3, 5, 1, 5]), True, enforce_sorted=False
        ),
    ):
        assert packed.batch_sizes.tolist() == [4, 3, 3, 2, 2]
        assert packed.sorted_indices.tolist() == [1, 3, 0, 2]
        assert packed.unsorted_indices.tolist() == invert_permutation(packed.sorted_indices).tolist()
        assert packed.data.shape == (14, 2)
        np.testing.assert_array_equal(packed.data.numpy()[:2], [sequences[1][0], sequences[3][0]])
        again, lengths = pad_packed_sequence(packed)
        np.testing.assert_array_equal(again.numpy(), padded.numpy())
        assert lengths.tolist() == [3, 5, 1, 5]
        wide, _ = pad_packed_sequence(packed, batch_first=True, padding_value=-1.0, total_length=6)
        assert wide.shape == (4, 6, 2) and (wide.numpy()[:, 5] == -1).all()
    for back, sequence in zip(unpad_sequence(padded, [3, 5, 1, 5]), sequences, strict=True):
        np.testing.assert_array_equal(back.numpy(), sequence)
    left = pad_sequence(sequences, batch_first=True, padding_value=9.0, padding_side="left")
    np.testing.assert_array_equal(left.numpy()[0, 2:], sequences[0])
    assert (left.numpy()[0, :2] == 9).all()
    assert pad_packed_sequence(pack_sequence([random(2, 3)] * 2))[0].shape == (2, 2, 3)


def test_packing_has_gradients():
    x = nonet.tensor(random(4, 3, 2), requires_grad=True)
    packed = pack_padded_sequence(x, [4, 2, 1])
    back, _ = pad_packed_sequence(packed)
    nonet.sum(back * 2.0).backward()
    want = 2.0 * (np.arange(4)[:, None] < np.array([4, 2, 1]))
    np.testing.assert_array_equal(x.grad.numpy(), np.repeat(want[..., None], 2, -1).astype(np.float32))


# ------------------------------------------------------------------------------------------------ errors


def test_errors_of_packing():
    x = random(4, 3, 2)
    with pytest.raises(ValueError, match="with enforce_sorted=True lengths must not increase"):
        pack_padded_sequence(x, [1, 2, 3])
    with pytest.raises(ValueError, match="every sequence must have at least one step"):
        pack_padded_sequence(x, [3, 2, 0])
    with pytest.raises(ValueError, match="lengths must be at most 4"):
        pack_padded_sequence(x, [5, 2, 1])
    with pytest.raises(ValueError, match="lengths must be 3 integers, one per sequence"):
        pack_padded_sequence(x, [5, 2])
    with pytest.raises(ValueError, match="total_length must be at least 4"):
        pad_packed_sequence(pack_padded_sequence(x, [4, 2, 1]), total_length=3)
    with pytest.raises(ValueError, match="padding_side must be left or right"):
        pad_sequence([random(2)], padding_side="up")
    with pytest.raises(ValueError, match="expected at least one sequence"):
        pad_sequence([])
    with pytest.raises(ValueError, match=r"lengths must be in \[0, 4\]"):
        unpad_sequence(x, [5, 2, 1])


def test_errors_of_layers():
    with pytest.raises(TypeError, match="GRU: input_size must be an int, got float"):
        nn.GRU(3.0, 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="LSTM: hidden_size must be at least 1, got 0"):
        nn.LSTM(3, 0)
    with pytest.raises(TypeError, match="RNN: bias must be a bool, got int"):
        nn.RNN(3, 5, bias=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="RNN: nonlinearity must be tanh or relu, got 'gelu'"):
        nn.RNN(3, 5, nonlinearity="gelu")
    with pytest.raises(ValueError, match=r"LSTM: proj_size must be smaller than hidden_size = 5, got 5"):
        nn.LSTM(3, 5, proj_size=5)
    with pytest.raises(ValueError, match=r"GRU: dropout must be a number in \[0, 1\]"):
        nn.GRU(3, 5, dropout=1.5)
    with pytest.warns(UserWarning, match="has no effect"):
        nn.GRU(3, 5, dropout=0.5)
    layer = nn.LSTM(3, 5, num_layers=2)
    with pytest.raises(
        ValueError, match=r"LSTM: lstm: input must have shape \[T, B, I\] or \[T, I\], got \[2\]"
    ):
        layer(random(2))
    with pytest.raises(ValueError, match=r"input must have shape \[..., I\] = \[..., 3\], got \[4, 2, 4\]"):
        layer(random(4, 2, 4))
    with pytest.raises(ValueError, match=r"lstm: h0 must have shape .* = \[2, 2, 5\], got \[1, 2, 5\]"):
        layer(random(4, 2, 3), (random(1, 2, 5), random(2, 2, 5)))
    with pytest.raises(ValueError, match=r"lstm: c0 must have shape .* = \[2, 5\], got \[2, 2, 5\]"):
        layer(random(4, 3), (random(2, 5), random(2, 2, 5)))
    with pytest.raises(ValueError, match=r"LSTM: hx must be a pair \(h, c\), got ndarray"):
        layer(random(4, 2, 3), random(2, 2, 5))
    with pytest.raises(ValueError, match=r"input must have at least one step, got \[0, 2, 3\]"):
        layer(random(0, 2, 3))
    with pytest.raises(ValueError, match=r"lengths must be in \[0, 4\], got 5 for sequence 1"):
        layer(random(4, 2, 3), lengths=[4, 5])
    with pytest.raises(ValueError, match=r"lengths must have shape \[B\] = \[2\], got \[3\]"):
        layer(random(4, 2, 3), lengths=[4, 4, 4])
    with pytest.raises(ValueError, match="lengths are for a batch"):
        layer(random(4, 3), lengths=[4])
    with pytest.raises(ValueError, match="a packed input has its lengths in it"):
        layer(pack_sequence([random(4, 3)]), lengths=[4])
    with pytest.raises(TypeError, match="lstm: weights must be bfloat16 like input, got float32"):
        layer(nonet.tensor(random(4, 2, 3), dtype="bfloat16"))
    with pytest.raises(TypeError, match="lstm: input must be float32 or bfloat16, got int64"):
        layer(np.zeros((4, 2, 3), np.int64))
    with pytest.raises(ValueError, match="batch_sizes must be positive and not increase"):
        layer(PackedSequence(random(5, 3), [2, 3]))
    with pytest.raises(ValueError, match=r"packed input must have one row per step, 5, got \[4, 3\]"):
        layer(PackedSequence(random(4, 3), [3, 2]))
    with pytest.raises(ValueError, match="sorted_indices must be a permutation of the batch"):
        layer(PackedSequence(random(5, 3), [3, 2], [0, 0, 1], [0, 1, 2]))


def test_errors_of_cells():
    cell = nn.GRUCell(3, 5)
    with pytest.raises(
        ValueError, match=r"gru_cell: input must have shape \[B, I\] or \[I\], got \[2, 2, 3\]"
    ):
        cell(random(2, 2, 3))
    with pytest.raises(ValueError, match=r"gru_cell: h0 must have shape .* = \[2, 5\], got \[3, 5\]"):
        cell(random(2, 3), random(3, 5))
    with pytest.raises(ValueError, match=r"LSTMCell: hx must be a pair"):
        nn.LSTMCell(3, 5)(random(2, 3), random(2, 5))
    with pytest.raises(ValueError, match="RNNCell: nonlinearity must be tanh or relu"):
        nn.RNNCell(3, 5, nonlinearity="gelu")
    with pytest.raises(ValueError, match=r"bias_hh_l0 must have shape .* = \[15\], got \[14\]"):
        nonet.gru_cell(random(2, 3), None, random(15, 3), random(15, 5), random(15), random(14))
