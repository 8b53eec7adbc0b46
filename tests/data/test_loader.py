"""DataLoader: what it hands out, its order, and resuming at any batch."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.data import ArrayDataset, DataError, DataLoader, random_shift


class Squares:
    """A data set without arrays: sample i is (array [2], i squared)."""

    def __init__(self, n: int):
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int):
        assert type(index) is int
        return np.array([index, -index], np.float32), index**2


def noise(rng, x, *rest):
    return x + rng.standard_normal(x.shape), *rest


def same(left, right) -> bool:
    return len(left) == len(right) and all(
        len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_every_kind_of_dataset(shuffle, drop_last, sizes):
    n = 10
    x = np.stack([np.arange(n), -np.arange(n)], axis=1).astype(np.float32)
    y = np.arange(n) ** 2
    results = []
    for dataset in (ArrayDataset(x, y), (x, y), (np.asfortranarray(x), y), Squares(n)):
        loader = DataLoader(dataset, 4, shuffle, drop_last, seed=3)
        batches = list(loader)
        assert len(loader) == len(batches)
        assert [len(b[0]) for b in batches] == sizes
        assert all(field.flags.c_contiguous for batch in batches for field in batch)
        assert all(batch[0].dtype == np.float32 and batch[1].dtype == np.int64 for batch in batches)
        results.append(batches)
    assert all(same(results[0], other) for other in results)
    seen = np.concatenate([batch[1] for batch in results[0]])
    assert set(seen) <= set(y)
    assert len(set(seen)) == len(seen)
    assert (seen.tolist() == y[: len(seen)].tolist()) is not shuffle


def test_single_array_and_single_field_samples():
    x = np.arange(6.0)
    assert [b[0].tolist() for b in DataLoader(x, 4)] == [[0, 1, 2, 3], [4, 5]]
    assert [b[0].tolist() for b in DataLoader([0.0, 1.0, 2.0], 2)] == [[0, 1], [2]]


def test_batches_are_the_callers_own():
    x = np.zeros((4, 2))
    for (batch,) in DataLoader(x, 2):
        batch += 1
    assert not x.any()


def test_order_is_a_function_of_seed_and_epoch():
    x = np.arange(50)
    loader = DataLoader(x, 7, shuffle=True, seed=5)
    epochs = [np.concatenate([b[0] for b in loader]) for _ in range(3)]
    assert loader.epoch == 3
    assert all(sorted(order) == x.tolist() for order in epochs)
    assert len({order.tobytes() for order in epochs}) == 3
    other_batch_size = DataLoader(x, 13, shuffle=True, seed=5)
    assert np.array_equal(np.concatenate([b[0] for b in other_batch_size]), epochs[0])
    other_seed = DataLoader(x, 7, shuffle=True, seed=6)
    assert not np.array_equal(np.concatenate([b[0] for b in other_seed]), epochs[0])


def test_order_is_pinned():
    (batch,) = next(iter(DataLoader(np.arange(10), 10, shuffle=True, seed=0)))
    assert batch.tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]


def test_transform_is_a_function_of_seed_epoch_and_batch():
    make = lambda seed: DataLoader(np.zeros((6, 3)), 2, seed=seed, transform=noise)  # noqa: E731
    loader = make(1)
    first, second = list(loader), list(loader)
    assert len({batch[0].tobytes() for batch in first + second}) == 6
    assert same(first, list(make(1)))
    assert not same(first, list(make(2)))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 20),
    batch_size=st.integers(1, 8),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    seed=st.integers(0, 2**64 - 1),
    stop=st.integers(0, 40),
)
def test_resume_at_any_batch(n, batch_size, shuffle, drop_last, seed, stop):
    if drop_last and n < batch_size:
        return
    data = (np.arange(n * 2.0).reshape(n, 2), np.arange(n))

    def make(seed: int = seed) -> DataLoader:
        return DataLoader(data, batch_size, shuffle, drop_last, seed, noise)

    def run(loader: DataLoader, epochs: int, states: list | None = None) -> list:
        seen = []
        while loader.epoch < epochs:
            for batch in loader:
                seen.append(batch)
                if states is not None:
                    states.append(loader.state_dict())
            seen.append((np.array(-1),))  # what a trainer does at the end of an epoch happens once per epoch
        return seen

    first = make()
    states = [first.state_dict()]
    whole = run(first, 3, states)
    state = states[min(stop, len(states) - 1)]
    # The state goes to a file in between, and the new process may have been started with another seed.
    resumed = make(seed=1)
    resumed.load_state_dict(json.loads(json.dumps(state)))
    assert resumed.state_dict() == state
    rest = run(resumed, 3)
    assert same(whole[len(whole) - len(rest) :], rest)
    done = state["epoch"] * (len(first) + 1) + state["batch"]
    assert len(rest) == len(whole) - done


def test_position():
    loader = DataLoader(np.arange(5), 2)
    assert (loader.epoch, loader.batch) == (0, 0)
    for i, _ in enumerate(loader):
        assert (loader.epoch, loader.batch) == (0, i + 1)
    assert (loader.epoch, loader.batch) == (1, 0)
    assert loader.state_dict() == {
        "seed": 0,
        "epoch": 1,
        "batch": 0,
        "samples": 5,
        "batch_size": 2,
        "shuffle": 0,
        "drop_last": 0,
    }
    assert all(type(value) is int for value in loader.state_dict().values())


def test_a_loop_left_early_is_over_unless_restored():
    loader = DataLoader(np.arange(6), 2, shuffle=True)
    next(iter(loader))
    assert (loader.epoch, loader.batch) == (0, 1)
    state = loader.state_dict()
    assert len(list(loader)) == 3
    assert (loader.epoch, loader.batch) == (2, 0)
    loader.load_state_dict(state)
    assert len(list(loader)) == 2
    assert (loader.epoch, loader.batch) == (1, 0)


def test_moving_the_position_in_a_loop():
    loader = DataLoader(np.arange(6), 2)
    with pytest.raises(RuntimeError, match="position was moved while a loop was running"):
        for _ in zip(loader, loader, strict=True):
            pass
    loader = DataLoader(np.arange(6), 2)
    start = loader.state_dict()
    with pytest.raises(RuntimeError, match="position was moved while a loop was running"):
        for _ in loader:
            loader.load_state_dict(start)


def test_shift_and_targets_stay_together():
    images = np.zeros((8, 1, 5, 5), np.float32)
    images[:, 0, 2, 2] = np.arange(1, 9)
    data = ArrayDataset(images, np.arange(1, 9))
    for x, y in DataLoader(data, 3, shuffle=True, transform=random_shift(2)):
        assert x.flags.c_contiguous
        assert np.array_equal(x.sum(axis=(1, 2, 3)), y)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "DataLoader: batch_size must be at least 1, got 0", {"batch_size": 0}),
        (TypeError, "DataLoader: batch_size must be an integer, got 2.0", {"batch_size": 2.0}),
        (TypeError, "DataLoader: batch_size must be an integer, got True", {"batch_size": True}),
        (ValueError, "DataLoader: seed must be in [0, 18446744073709551615], got -1", {"seed": -1}),
        (TypeError, "DataLoader: seed must be an integer, got None", {"seed": None}),
        (TypeError, "DataLoader: shuffle must be a bool, got 1", {"shuffle": 1}),
        (TypeError, "DataLoader: drop_last must be a bool, got None", {"drop_last": None}),
        (TypeError, "DataLoader: transform must be callable or None, got 3", {"transform": 3}),
        (TypeError, "DataLoader: dataset must be arrays or have __len__ and", {"dataset": 7}),
        (
            TypeError,
            "DataLoader: dataset[1] must be an array [N, ...], got list",
            {"dataset": (np.ones(2), [1])},
        ),
        (TypeError, "dataset[0] must be an array [N, ...], got a 0-d array", {"dataset": np.array(1)}),
        (ValueError, "arrays of equal length, got lengths [2, 3]", {"dataset": (np.ones(2), np.ones(3))}),
        (ValueError, "arrays of equal length, got lengths []", {"dataset": ()}),
        (ValueError, "dataset must hold at least 1 samples, got 0", {"dataset": np.zeros(0)}),
        (
            ValueError,
            "dataset must hold at least 8 samples (batch_size 8 with drop_last), got 5",
            {"batch_size": 8, "drop_last": True},
        ),
    ],
)
def test_bad_arguments(error, message, arguments):
    with pytest.raises(error, match=re.escape(message)):
        DataLoader(**({"dataset": np.zeros(5)} | arguments))


@pytest.mark.parametrize("result", [np.zeros(2), [np.zeros(2)], (1, 2), None])
def test_bad_transform(result):
    loader = DataLoader(np.zeros(2), transform=lambda rng, x: result)
    with pytest.raises(TypeError, match="transform must return a tuple of arrays, got"):
        next(iter(loader))


def test_samples_of_unequal_shape():
    with pytest.raises(ValueError, match=re.escape("got [(2,)] for sample 0 and [(3,)] for sample 1")):
        list(DataLoader([np.zeros(2), np.zeros(3)], 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 9}, "state was saved with samples 9, this loader has 10"),
        ({"batch_size": 3}, "state was saved with batch_size 3, this loader has 4"),
        ({"shuffle": 1}, "state was saved with shuffle 1, this loader has 0"),
        ({"drop_last": 1}, "state was saved with drop_last 1, this loader has 0"),
        ({"batch": 4}, "batch of the state must be in [0, 3], got 4"),
        ({"batch": -1}, "batch of the state must be at least 0, got -1"),
        ({"epoch": "1"}, "epoch of the state must be an integer, got '1'"),
        ({"seed": 2**64}, "seed of the state must be in [0, "),
        ({"more": 1}, "state must have the keys ['batch', 'batch_size', 'drop_last', 'epoch', 'samples', "),
    ],
)
def test_bad_state(change, message):
    loader = DataLoader(np.zeros(10), 4)
    before = loader.state_dict()
    with pytest.raises(DataError, match=re.escape(f"DataLoader: {message}")):
        loader.load_state_dict(before | change)
    with pytest.raises(DataError, match="DataLoader: state must have the keys"):
        loader.load_state_dict({})
    assert loader.state_dict() == before
