"""Random models written by transformers give the same numbers here, and those written here the same there."""

from __future__ import annotations

import numpy as np
import pytest

from nonet import models

pytest.importorskip("torch")
pytest.importorskip("transformers")
import transformers_models as there

from pretrained_models import results


def padded(a, width):
    return np.pad(a, [(0, 0), (0, width - a.shape[1])])


@pytest.mark.parametrize("name", there.MODELS)
@pytest.mark.parametrize("seed", [0, 1])
def test_same_numbers(tmp_path, name, seed):
    model = there.build(name, seed)
    model.save_pretrained(tmp_path / "theirs")
    x = there.inputs(seed)
    want = there.expected(name, model, x)
    own = models.from_pretrained(tmp_path / "theirs")
    got = results(own, x, want)
    for key, value in want.items():
        if key == "logits":
            np.testing.assert_allclose(got[key], value, atol=1e-4, rtol=0)
        else:
            width = max(got[key].shape[1], value.shape[1])
            np.testing.assert_array_equal(padded(got[key], width), padded(value, width), err_msg=key)

    own.save_pretrained(tmp_path / "ours")
    again = type(model).from_pretrained(tmp_path / "ours").eval()
    np.testing.assert_array_equal(there.expected(name, again, x)["logits"], want["logits"])
