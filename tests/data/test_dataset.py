"""ArrayDataset and the validation part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonet.data import ArrayDataset, holdout


def dataset(n: int, classes: int | None = None) -> ArrayDataset:
    rng = np.random.default_rng(n)
    targets = rng.standard_normal((n, 2)) if classes is None else rng.integers(0, classes, n)
    return ArrayDataset(np.arange(n * 3).reshape(n, 3), targets)


def test_indexing():
    data = dataset(5, 2)
    assert len(data) == 5
    inputs, target = data[3]
    assert inputs.tolist() == [9, 10, 11]
    assert target == data.targets[3]
    assert data[1:3][0].shape == (2, 3)
    assert data[np.array([4, 0])][0][:, 0].tolist() == [12, 0]
    assert len(data.subset(slice(2, None))) == 3
    with pytest.raises(IndexError):
        data[5]


def test_bad_arguments():
    with pytest.raises(TypeError, match="ArrayDataset: targets must be a NumPy array, got list"):
        ArrayDataset(np.zeros(2), [1, 2])
    with pytest.raises(ValueError, match=r"ArrayDataset: inputs must have shape \[N, \.\.\.\], got \[\]"):
        ArrayDataset(np.array(1.0), np.zeros(1))
    with pytest.raises(ValueError, match="must have the same length, got 3 and 2"):
        ArrayDataset(np.zeros((3, 1)), np.zeros(2))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 2**64 - 1), st.sampled_from([None, 1, 4, 10])
)
def test_holdout_is_a_stratified_partition(n, fraction, seed, classes):
    data = dataset(n, classes)
    size = round(n * fraction)
    if not 0 < size < n:
        with pytest.raises(ValueError, match="leaves one part empty"):
            holdout(data, fraction, seed)
        return
    train, validation = holdout(data, fraction, seed)
    assert len(validation) == size
    rows = [part.inputs[:, 0] // 3 for part in (train, validation)]
    assert sorted(np.concatenate(rows)) == list(range(n))
    assert all((np.diff(row) > 0).all() for row in rows)
    assert np.array_equal(validation.targets, data.targets[rows[1]])
    if classes:
        counts = np.bincount(data.targets, minlength=classes)
        share = np.bincount(validation.targets, minlength=classes)
        assert (abs(share - counts * size / n) < 1).all()


def test_holdout_depends_on_the_seed_alone():
    data = dataset(100, 10)
    first, again, other = (holdout(data, 0.2, seed)[1].inputs for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("fraction", [0, 1, -0.5, float("nan")])
def test_holdout_bad_fraction(fraction):
    with pytest.raises(ValueError, match="holdout: fraction must be between 0 and 1, got"):
        holdout(dataset(10), fraction)


def test_holdout_bad_seed():
    with pytest.raises(ValueError, match=r"holdout: seed must be in \[0, 18446744073709551615\], got -1"):
        holdout(dataset(10), 0.5, -1)
