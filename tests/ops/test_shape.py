from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import check_op, use_threads

DTYPES = ("float32", "bfloat16")
MOVES = [
    ("reshape", (4, -1), (3, 4, 2), lambda x: x.reshape(4, 6)),
    ("reshape", (0, 3), (3, 0), lambda x: x.reshape(0, 3)),
    ("flatten", (1,), (2, 3, 4), lambda x: x.reshape(2, 12)),
    ("flatten", (), (), lambda x: x.reshape(1)),
    ("unflatten", (1, (2, -1)), (2, 6, 3), lambda x: x.reshape(2, 2, 3, 3)),
    ("squeeze", (), (1, 3, 1), lambda x: x.reshape(3)),
    ("squeeze", (0,), (1, 3, 1), lambda x: x.reshape(3, 1)),
    ("squeeze", (1,), (1, 3, 1), lambda x: x),
    ("unsqueeze", (-1,), (2, 3), lambda x: x[..., None]),
    ("permute", (2, 0, -2), (2, 3, 4), lambda x: x.transpose(2, 0, 1)),
    ("permute", (), (), lambda x: x),
    ("transpose", (0, 1), (67, 35), lambda x: x.T),
    ("transpose", (-1, 1), (2, 33, 3, 40), lambda x: x.swapaxes(-1, 1)),
    ("swapaxes", (0, 2), (1, 5, 4), lambda x: x.swapaxes(0, 2)),
    ("movedim", (0, -1), (2, 3, 4), lambda x: np.moveaxis(x, 0, -1)),
    ("movedim", ((0, 1), (2, 0)), (2, 3, 4), lambda x: np.moveaxis(x, (0, 1), (2, 0))),
    ("narrow", (1, 1, 2), (2, 4, 3), lambda x: x[:, 1:3]),
    ("narrow", (0, -1, 1), (3, 2), lambda x: x[-1:]),
    ("select", (1, -1), (2, 4, 3), lambda x: x[:, -1]),
    ("flip", (0, 2), (2, 3, 5), lambda x: x[::-1, :, ::-1]),
    ("flip", (0,), (0, 2), lambda x: x),
    ("roll", (4,), (2, 3), lambda x: np.roll(x, 4)),
    ("roll", ((1, -2), (0, 1)), (2, 3), lambda x: np.roll(x, (1, -2), (0, 1))),
    ("tril", (1,), (2, 3, 4), lambda x: np.tril(x, 1)),
    ("tril", (-2,), (4, 3), lambda x: np.tril(x, -2)),
    ("triu", (-1,), (4, 3), lambda x: np.triu(x, -1)),
    ("triu", (9,), (2, 3), lambda x: np.triu(x, 9)),
    ("diagonal", (1,), (3, 4), lambda x: np.diagonal(x, 1)),
    ("diagonal", (-1, 0, 2), (3, 2, 4), lambda x: np.diagonal(x, -1, 0, 2)),
    ("diagonal", (7,), (3, 4), lambda x: np.diagonal(x, 7)),
    ("diag", (-1,), (3,), lambda x: np.diag(x, -1)),
    ("diag", (1,), (3, 3), lambda x: np.diag(x, 1)),
]
REPEATS = [
    ("expand", (3, -1, 4), (2, 1), lambda x: np.broadcast_to(x, (3, 2, 4))),
    ("expand", (2, 3), (2, 3), lambda x: x),
    ("expand", (0, 3), (1, 3), lambda x: np.broadcast_to(x, (0, 3))),
    ("broadcast_to", ((2, 5),), (), lambda x: np.broadcast_to(x, (2, 5))),
    ("repeat", (2, 1, 3), (2, 2), lambda x: np.tile(x, (2, 1, 3))),
    ("repeat", (0, 2), (3, 2), lambda x: np.tile(x, (0, 2))),
    ("tile", (2,), (2, 3), lambda x: np.tile(x, (2,))),
]


@pytest.mark.parametrize(("name", "args", "shape", "reference"), MOVES + REPEATS)
def test_moves(name, args, shape, reference):
    x = np.random.default_rng(0).standard_normal(shape)
    check_op(lambda x: getattr(nonet, name)(x, *args), reference, [x], rtol=0, atol=0, dtypes=DTYPES)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
def test_moves_of_other_dtypes(dtype):
    x = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for name, args, shape, reference in MOVES + REPEATS:
        if np.prod(shape) == 24:
            got = getattr(nonet.tensor(x.reshape(shape)), name)(*args)
            assert got.dtype == dtype
            np.testing.assert_array_equal(got.numpy(), reference(x.reshape(shape)), err_msg=name)


@pytest.mark.parametrize("shape", [(3, 50, 70), (70, 3, 50), (129, 1, 65), (5, 4, 3, 2, 31)])
def test_large_permutations(shape):
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    for seed in range(6):
        dims = np.random.default_rng(seed).permutation(len(shape)).tolist()
        results = []
        for threads in (1, 2, 3):
            with use_threads(threads):
                results.append(nonet.permute(x, dims).numpy())
        for got in results:
            np.testing.assert_array_equal(got, x.transpose(dims))


def test_memory_is_shared_where_it_can_be():
    x = nonet.tensor(np.arange(12.0).reshape(3, 4))
    for y in (
        x.reshape(4, 3),
        x[1:],
        x[2],
        x[None],
        x[:, None, :],
        x.flatten(),
        x.contiguous(),
        x.split(2)[1],
    ):
        assert y.array.shares_memory(x.array)
    assert not x[:, 1].array.shares_memory(x.array)
    assert +x is x


def test_clone():
    x = nonet.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    y = x.clone()
    assert not y.array.shares_memory(x.array)
    (y * y).backward(np.ones((2, 3)))
    np.testing.assert_array_equal(x.grad, 2 * x.numpy())
    assert nonet.clone(nonet.tensor([1], dtype="uint8")).dtype == "uint8"


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_joining(dim):
    rng = np.random.default_rng(0)
    shapes = [(2, 3, 4), (2, 3, 4), (2, 3, 4)]
    shapes[1] = tuple(5 if a == dim % 3 else n for a, n in enumerate(shapes[1]))
    shapes[2] = tuple(0 if a == dim % 3 else n for a, n in enumerate(shapes[2]))
    xs = [rng.standard_normal(shape) for shape in shapes]
    check_op(
        lambda *xs: nonet.cat(xs, dim), lambda *xs: np.concatenate(xs, dim), xs, rtol=0, atol=0, dtypes=DTYPES
    )
    same = [xs[0], xs[0] * 2]
    check_op(
        lambda *xs: nonet.stack(xs, dim), lambda *xs: np.stack(xs, dim), same, rtol=0, atol=0, dtypes=DTYPES
    )


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_splitting(dim):
    x = np.random.default_rng(0).standard_normal((5, 5, 5))
    for op, reference in [
        (lambda x: nonet.split(x, 2, dim), lambda x: tuple(np.split(x, [2, 4], dim))),
        (lambda x: nonet.split(x, [1, 0, 4], dim), lambda x: tuple(np.split(x, [1, 1], dim))),
        (lambda x: nonet.chunk(x, 3, dim), lambda x: tuple(np.split(x, [2, 4], dim))),
        (lambda x: nonet.unbind(x, dim), lambda x: tuple(np.moveaxis(x, dim, 0))),
    ]:
        check_op(op, reference, [x], rtol=0, atol=0, dtypes=DTYPES)


def test_unused_pieces_get_no_gradient():
    x = nonet.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    nonet.unbind(x, 1)[1].backward(np.array([2.0, 3.0]))
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 2, 0], [0, 3, 0]])


def test_channels_last_images():
    a = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    x = nonet.Tensor(nonet.tensor(a).array.to_format("nhwc"))
    for dim in range(4):
        y = nonet.cat([x, x], dim)
        assert y.array.format == "nhwc"
        np.testing.assert_array_equal(y.numpy(), np.concatenate([a, a], dim))
        part = nonet.narrow(x, dim, 1, 1)
        assert part.array.format == "nhwc"
        np.testing.assert_array_equal(part.numpy(), np.take(a, [1], dim))
    np.testing.assert_array_equal(nonet.permute(x, 3, 1, 0, 2).numpy(), a.transpose(3, 1, 0, 2))
    np.testing.assert_array_equal(x[:, 1:, ::2, -1].numpy(), a[:, 1:, ::2, -1])
    np.testing.assert_array_equal(x.flatten(1).numpy(), a.reshape(2, -1))
    np.testing.assert_array_equal(x.flip(1, 2).numpy(), a[:, ::-1, ::-1])
    np.testing.assert_array_equal(x.expand(2, 2, 3, 4, 5).numpy(), np.stack([a, a]))
    assert x.contiguous().array.format == "plain"


def test_iteration_and_attributes():
    x = nonet.tensor(np.arange(6.0).reshape(2, 3))
    assert [row.tolist() for row in x] == [[0, 1, 2], [3, 4, 5]]
    np.testing.assert_array_equal(x.T.numpy(), x.numpy().T)
    np.testing.assert_array_equal(x[None].mT.numpy(), x.numpy().T[None])
    with pytest.raises(TypeError, match="rank 0"):
        iter(nonet.tensor(1.0))


BAD = [
    (
        lambda: nonet.reshape(np.zeros((2, 3)), 4),
        ValueError,
        r"reshape: shape \[4\] does not hold the 6 elements",
    ),
    (lambda: nonet.view(np.zeros(6), -1, -1), ValueError, "view: at most one size may be -1"),
    (lambda: nonet.reshape(np.zeros(6), -2, 3), ValueError, "reshape: sizes must be >= 0"),
    (lambda: nonet.reshape(np.zeros(0), -1, 0), ValueError, "does not hold"),
    (lambda: nonet.flatten(np.zeros((2, 3)), 2), IndexError, r"flatten: axis must be in \[-2, 1\], got 2"),
    (lambda: nonet.flatten(np.zeros((2, 3)), 1, 0), ValueError, "start_dim must not come after end_dim"),
    (lambda: nonet.unflatten(np.zeros((2, 6)), 1, (4, -1)), ValueError, "must multiply to 6"),
    (lambda: nonet.permute(np.zeros((2, 3)), 0, 0), ValueError, "each of the 2 axes once"),
    (lambda: nonet.permute(np.zeros((2, 3)), 0), ValueError, "each of the 2 axes once"),
    (lambda: nonet.transpose(np.zeros((2, 3)), 0, 2), IndexError, "transpose: axis"),
    (lambda: nonet.movedim(np.zeros((2, 3)), (0, 1), (0, 0)), ValueError, "different axes"),
    (lambda: nonet.expand(np.zeros((2, 3)), 2, 4), ValueError, r"\[2, 3\] does not broadcast to \[2, 4\]"),
    (lambda: nonet.repeat(np.zeros((2, 3)), 2), ValueError, "at least 2 counts"),
    (lambda: nonet.cat([]), ValueError, "at least one"),
    (lambda: nonet.cat([np.zeros((2, 3)), np.zeros((3, 3))], 1), ValueError, "tensor 1 has shape"),
    (
        lambda: nonet.cat([np.zeros(2), np.zeros(2, dtype=np.int64)]),
        TypeError,
        "one dtype, got float32 and int64",
    ),
    (lambda: nonet.stack([np.zeros(2), np.zeros(3)]), ValueError, r"tensor 1 has \[3\], the first \[2\]"),
    (
        lambda: nonet.stack([np.zeros(2), [1, 2]]),
        TypeError,
        "stack: tensors must have one dtype, got float32 and int64",
    ),
    (lambda: nonet.split(np.zeros(4), [1, 2]), ValueError, "sizes must add up to 4"),
    (lambda: nonet.split(np.zeros(4), 0), ValueError, "must be > 0"),
    (lambda: nonet.chunk(np.zeros(4), 0), ValueError, "must be >= 1"),
    (lambda: nonet.narrow(np.zeros(4), 0, 2, 3), IndexError, "start 2 and length 3 leave axis 0 of size 4"),
    (lambda: nonet.flip(np.zeros((2, 2)), 0, -2), ValueError, "dims must differ"),
    (lambda: nonet.roll(np.zeros((2, 2)), (1, 1), 0), ValueError, "one shift per axis"),
    (lambda: nonet.tril(np.zeros(2)), ValueError, "at least 2 axes"),
    (lambda: nonet.diag(np.zeros((2, 2, 2))), ValueError, "1 or 2 axes"),
    (lambda: nonet.diagonal(np.zeros((2, 2)), 0, 1, 1), ValueError, "must differ"),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_t():
    check_op(nonet.t, np.transpose, [np.arange(6.0).reshape(2, 3)])
    for shape in ((), (3,)):
        x = nonet.tensor(np.ones(shape))
        assert x.t() is x
    assert nonet.tensor(np.ones((0, 2))).t().shape == (2, 0)
    with pytest.raises(ValueError, match=r"t: input must have at most 2 axes, got shape \[1, 2, 3\]"):
        nonet.tensor(np.ones((1, 2, 3))).t()


def test_view_as():
    x = nonet.tensor(np.arange(6.0), requires_grad=True)
    y = x.view_as(np.zeros((2, 3)))
    assert y.shape == (2, 3)
    assert y.array.shares_memory(x.array)
    y.backward(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(x.grad, np.arange(6))
    with pytest.raises(ValueError, match="view_as: "):
        x.view_as(nonet.tensor(1.0))
