"""load_pth on files that torch itself wrote, in both formats."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from nonet import io

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("zipped", [True, False])
def test_state_of_a_model(tmp_path, zipped):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.LSTM(4, 5))
    path = tmp_path / "m.pth"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=zipped)
    got, want = io.load_pth(path), model.state_dict()
    assert list(got) == list(want)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value.numpy())
        assert got[name].shape == tuple(value.shape) and got[name].dtype == value.numpy().dtype


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint_of_a_training(tmp_path, zipped):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.8, 0.9))
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))]})
    everything = {
        "epoch": 3,
        "model": model.state_dict(),
        "parameter": model.weight,
        "optimizer": optimizer.state_dict(),
    }
    torch.save(everything, tmp_path / "m", _use_new_zipfile_serialization=zipped)
    got = io.load_pth(tmp_path / "m")
    assert {"model.weight", "model.bias", "parameter", "optimizer.state.0.exp_avg"} <= set(got)
    np.testing.assert_array_equal(got["parameter"], model.weight.detach().numpy())


@pytest.mark.parametrize("zipped", [True, False])
def test_views_and_dtypes(tmp_path, zipped):
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    state = collections.OrderedDict(
        view=base[1, 1:, ::2],
        transposed=base.permute(2, 0, 1),
        last=base.contiguous(memory_format=torch.contiguous_format),
        channels_last=base.unsqueeze(0).contiguous(memory_format=torch.channels_last),
        half=base.half(),
        double=base.double(),
        bfloat16=base.bfloat16(),
        long=base.long(),
        flags=base > 3,
        scalar=torch.tensor(5),
        empty=torch.empty(0, 3),
    )
    torch.save(state, tmp_path / "m", _use_new_zipfile_serialization=zipped)
    got = io.load_pth(tmp_path / "m")
    for name, value in state.items():
        assert got[name].shape == tuple(value.shape)
        np.testing.assert_array_equal(got[name].astype(np.float64), value.double().numpy())


def test_a_whole_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "m")
    with pytest.raises(io.FileError, match=r"torch\.nn\.modules\.linear\.Linear, which is not read"):
        io.load_pth(tmp_path / "m")
