from __future__ import annotations

import math

import numpy as np
import pytest

import nonet
from nonet import io

TREE = {
    "state": {
        0: {"step": np.array(3, np.int64), "betas": (0.9, 0.999)},
        7: {"step": np.zeros(2, np.float32)},
    },
    "groups": [{"lr": 0.1 + 0.2, "params": [0, 7], "name": None, "on": True}],
    "best": -math.inf,
    "$odd": "text",
    "empty": {},
}


def test_round_trip():
    tensors, skeleton = io.pack(TREE)
    assert set(tensors) == {"state.0.step", "state.7.step"}
    assert "\n" not in skeleton
    out = io.unpack(tensors, skeleton)
    assert out == TREE
    assert isinstance(out["state"][0]["betas"], tuple)
    assert isinstance(out["groups"][0]["on"], bool)


def test_numpy_numbers_become_plain():
    assert io.unpack({}, io.pack({"a": np.float64(0.1), "b": np.int32(4)})[1]) == {"a": 0.1, "b": 4}


def test_nan_survives():
    assert math.isnan(io.unpack({}, io.pack([math.nan])[1])[0])


def test_other_objects_are_refused():
    with pytest.raises(TypeError, match=r"pack: a\.1 must be"):
        io.pack({"a": [1, object()]})
    with pytest.raises(TypeError, match="must be"):
        io.pack({(1, 2): 3})


def test_missing_tensor():
    with pytest.raises(KeyError):
        io.unpack({}, io.pack({"a": np.zeros(2)})[1])


def test_leaves_and_map():
    tree = {"a": [nonet.tensor([1.0]), 5], "b": (np.zeros(2),)}
    assert [path for path, _ in io.leaves(tree)] == ["a.0", "b.0"]
    mapped = io.map_tensors(tree, lambda t: "leaf")
    assert mapped == {"a": ["leaf", 5], "b": ("leaf",)}
