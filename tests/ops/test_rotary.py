from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import check_op
from nonet.ops.rotary import rotary


def reference(x, heads=1, first=0, base=10000.0, size=None, interleaved=False):
    """As a product with e^(i angle)."""
    h = x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)
    size = h.shape[-1] if size is None else size
    angles = np.arange(first, first + x.shape[-2])[:, None] / base ** (np.arange(0, size, 2) / max(size, 1))
    turn = np.exp(1j * angles)[:, None]
    t, rest = h[..., :size], h[..., size:]
    if interleaved:
        z = (t[..., 0::2] + 1j * t[..., 1::2]) * turn
        t = np.stack([z.real, z.imag], axis=-1).reshape(t.shape)
    else:
        z = (t[..., : size // 2] + 1j * t[..., size // 2 :]) * turn
        t = np.concatenate([z.real, z.imag], axis=-1)
    return np.concatenate([t, rest], axis=-1).reshape(x.shape)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(
    ("shape", "attrs"),
    [
        ((5, 4), {}),
        ((2, 3, 7, 34), {"first": 11}),
        ((2, 9, 3 * 10), {"heads": 3, "size": 6, "base": 100.0}),
        ((1, 2, 2 * 5), {"heads": 2, "size": 4}),
        ((3, 2, 6), {"size": 0}),
        ((0, 4, 6), {}),
        ((2, 0, 6), {}),
    ],
)
def test_rotary(shape, attrs, interleaved):
    x = np.random.default_rng(0).standard_normal(shape)
    check_op(
        rotary, reference, [x], attrs={**attrs, "interleaved": interleaved},
        rtol=1e-6, atol=1e-6, dtypes=("float32", "bfloat16"),
    )  # fmt: skip


def test_scores_depend_on_distances_only():
    q, k = np.random.default_rng(0).standard_normal((2, 16))
    a = [
        float(rotary(q[None], first=i).numpy()[0] @ rotary(k[None], first=i + 3).numpy()[0])
        for i in (0, 50, 1000)
    ]
    np.testing.assert_allclose(a, a[0], rtol=1e-4)


def test_bad_input():
    with pytest.raises(
        ValueError, match=r"rotary: input must have shape \[..., T, heads \* E\] with 3 heads, got"
    ):
        rotary(np.zeros((2, 4)), 3)
    with pytest.raises(ValueError, match="rotary: size must be even and at most 4, got 3"):
        rotary(np.zeros((2, 4)), size=3)
    with pytest.raises(TypeError, match="rotary: input must be float32 or bfloat16, got int64"):
        rotary(nonet.tensor(np.zeros((2, 4), int)))
