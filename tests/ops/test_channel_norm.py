from __future__ import annotations

import numpy as np
import pytest

import nonet
from helpers import (
    EPS,
    GPU,
    available_isas,
    check_op,
    each_isa,
    each_place,
    shuffle_threads,
    use_isa,
    use_place,
    use_threads,
)
from nonet.nn import functional as F
from reference.channel_norm import (
    channel_norm,
    channel_norm_gradient,
    local_response_norm,
    local_response_norm_gradient,
    statistics,
)

BOTH = ("float32", "bfloat16")
BATCHES = [
    (5, 3),
    (300, 16),
    (9, 70),
    (4, 3, 5),
    (300, 5, 7),  # read across the images
    (2, 3, 4, 5),
    (2, 17, 7, 9),
    (1, 1, 1, 4),
    (3, 260, 5, 3),
    (2, 3, 67, 71),  # parts of runs
    (40, 33, 20),
    (2, 3, 2, 2, 2),
]
GROUPS = [
    ((3, 4), 2),
    ((2, 6, 5), 3),
    ((2, 6, 4, 5), 1),
    ((2, 6, 4, 5), 6),
    ((1, 8, 70, 71), 2),
    ((70, 8, 3, 3), 4),
    ((2, 260, 3, 3), 4),
    ((2, 3, 1, 1), 1),
]


def nhwc(a, device="cpu", dtype="float32", requires_grad=False) -> nonet.Tensor:
    t = nonet.tensor(a, dtype=dtype, device=device)
    return nonet.Tensor(t.array.to_format("nhwc"), requires_grad)


def data(shape, seed=0):
    rng = np.random.default_rng(seed)
    c = shape[1]
    x = rng.standard_normal(shape) + rng.standard_normal((1, c) + (1,) * (len(shape) - 2))
    return x, 1 + 0.3 * rng.standard_normal(c), rng.standard_normal(c)


def tolerances(n: int) -> dict[str, float]:
    # y is a few roundings from the mean and the root; a gradient subtracts means of n products, and those of weight and
    # bias add n.
    return {"rtol": 16 * EPS, "atol": 16 * EPS, "grad_rtol": 64 * EPS, "grad_atol": 8 * EPS * (8 + n**0.5)}


@pytest.mark.parametrize("shape", BATCHES)
@pytest.mark.parametrize("affine", ["both", "weight", "none"])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(shape, affine, training):
    x, w, b = data(shape)
    count = {"both": 3, "weight": 2, "none": 1}[affine]
    rng = np.random.default_rng(1)
    given = None if training else (rng.standard_normal(shape[1]), rng.random(shape[1]) + 0.1)
    given = None if given is None else tuple(v.astype(np.float32).astype(np.float64) for v in given)

    def op(x, *wb, eps):
        running = [
            None if given is None else nonet.tensor(v, dtype="float32", device=x.device)
            for v in given or (0, 0)
        ]
        return F.batch_norm(x, *running, *wb, training=training, eps=eps)

    check_op(
        op,
        lambda x, *wb, eps: channel_norm(x, *wb, eps=eps, given=given),
        [x, w, b][:count],
        attrs={"eps": 1e-3},
        reference_gradient=lambda dy, x, *wb, eps: channel_norm_gradient(dy, x, *wb, eps=eps, given=given),
        dtypes=BOTH,
        **tolerances(x.size),
    )


@pytest.mark.parametrize(("shape", "groups"), GROUPS)
@pytest.mark.parametrize("affine", ["both", "none"])
def test_group_norm(shape, groups, affine):
    x, w, b = data(shape)
    check_op(
        lambda x, *wb, eps: F.group_norm(x, groups, *wb, eps=eps),
        lambda x, *wb, eps: channel_norm(x, *wb, eps=eps, groups=groups),
        [x, w, b][: 3 if affine == "both" else 1],
        attrs={"eps": 1e-3},
        reference_gradient=lambda dy, x, *wb, eps: channel_norm_gradient(dy, x, *wb, eps=eps, groups=groups),
        dtypes=BOTH,
        **tolerances(x.size),
    )


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 17, 7, 9), (1, 3, 70, 71), (2, 140, 4, 4)])
def test_instance_norm(shape):
    x, w, b = data(shape)
    check_op(
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
        lambda x, w, b: channel_norm(x, w, b, groups=shape[1]),
        [x, w, b],
        reference_gradient=lambda dy, x, w, b: channel_norm_gradient(dy, x, w, b, groups=shape[1]),
        dtypes=BOTH,
        **tolerances(x.size),
    )


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5), (2, 17, 7, 9), (2, 3, 67, 71), (3, 260, 5, 3)])
@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_act(shape, shortcut, relu, training):
    x, w, b = data(shape)
    inputs = [x, w, b, np.random.default_rng(2).standard_normal(shape)][: 4 if shortcut else 3]
    given = None if training else (np.full(shape[1], 0.5), np.full(shape[1], 2.0))

    def op(x, w, b, residual=None):
        running = [
            None if given is None else nonet.tensor(v, dtype="float32", device=x.device)
            for v in given or (0, 0)
        ]
        activation = "relu" if relu else None
        return nonet.batch_norm_act(
            x, *running, w, b, training, activation=activation, residual=residual, eps=1e-3
        )

    check_op(
        op,
        lambda *inputs: channel_norm(*inputs, eps=1e-3, given=given, relu=relu),
        inputs,
        reference_gradient=lambda dy, *inputs: channel_norm_gradient(
            dy, *inputs, eps=1e-3, given=given, relu=relu
        ),
        dtypes=("float32",) if relu else BOTH,  # rounding to bfloat16 moves numbers across the kink
        **tolerances(x.size),
    )


@each_place
@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize(
    "shape", [s for s in BATCHES if len(s) == 4] + [(2, 3, 32, 33), (3, 6, 32, 16), (1, 600, 3, 3)]
)
def test_channels_last(shape, dtype, place):
    """The same numbers as of the plain array, but for the order of sums, in the same format."""
    x, w, b = data(shape)
    rng = np.random.default_rng(3)
    residual, dy = rng.standard_normal(shape), rng.standard_normal(shape)
    c = shape[1]
    ops = [
        lambda x, w, b, r: F.batch_norm(x, None, None, w, b, True),
        lambda x, w, b, r: nonet.batch_norm_act(x, None, None, w, b, True, activation="relu"),
        lambda x, w, b, r: nonet.batch_norm_act(x, None, None, w, b, True, activation="relu", residual=r),
        lambda x, w, b, r: nonet.batch_norm_act(x, None, None, w, b, True, residual=r),
        lambda x, w, b, r: F.batch_norm(x, b.detach(), w.detach() ** 2, w, b),
        lambda x, w, b, r: F.group_norm(x, c // 3 if c % 3 == 0 else 1, w, b),
        lambda x, w, b, r: (
            F.instance_norm(x, weight=w, bias=b) if x.numel() > c * x.shape[0] else x * w.sum() * b.sum()
        ),
    ]
    error = 64 * EPS if dtype == "float32" else 2.0**-6
    with use_place(place) as device:
        for k, op in enumerate(ops):
            if dtype == "bfloat16" and k in (1, 2):
                continue  # a kink
            results = []
            for make in (lambda a: nonet.tensor(a, dtype=dtype), lambda a: nhwc(a, device, dtype)):
                where = "cpu" if not results else device
                leaves = [
                    make(x),
                    *(nonet.tensor(v, dtype=dtype, device=where) for v in (w, b)),
                    make(residual),
                ]
                for t in leaves:
                    t.requires_grad = True
                y = op(*leaves)
                y.backward(make(dy))
                if results:
                    assert y.array.format == leaves[0].grad.array.format == "nhwc"
                got = [y, *(t.grad for t in leaves if t.grad is not None)]
                results.append([t.detach().cpu().to("float32").numpy() for t in got])
            for plain, last in zip(*results, strict=True):
                np.testing.assert_allclose(last, plain, rtol=error, atol=error * np.abs(plain).max())


@each_place
@pytest.mark.parametrize("shape", [(7, 5), (4, 3, 5), (2, 17, 7, 9)])
@pytest.mark.parametrize("op", ["batch", "instance"])
def test_running_statistics(op, shape, place):
    if op == "instance" and len(shape) == 2:
        pytest.skip("one value per channel")
    x = data(shape)[0]
    c = shape[1]
    groups = 0 if op == "batch" else c
    m, v = statistics(x.astype(np.float32).astype(np.float64), groups)
    n = x.size // c if op == "batch" else x[0, 0].size
    rows = (0, *range(2, x.ndim))
    want = [0.7 * 0.5 + 0.3 * m.mean(rows), 0.7 * 2 + 0.3 * v.mean(rows) * n / (n - 1)]
    with use_place(place) as device:
        for last in (False, True) if len(shape) == 4 else (False,):
            t = nhwc(x, device) if last else nonet.tensor(x, dtype="float32", device=device)
            running = [nonet.full((c,), value, device=device) for value in (0.5, 2.0)]
            if op == "batch":
                F.batch_norm(t, *running, training=True, momentum=0.3)
            else:
                F.instance_norm(t, *running, momentum=0.3)
            for got, expected in zip(running, want, strict=True):
                np.testing.assert_allclose(got.cpu().numpy(), expected, rtol=16 * EPS, atol=4 * EPS)


@each_place
@pytest.mark.parametrize("shape", [(1000, 3), (4, 3, 5000), (2, 70, 9, 9)])
@pytest.mark.parametrize("last", [False, True])
def test_large_means_and_outliers(shape, last, place):
    """The variance keeps its digits where the mean is a thousand deviations, or the first elements lie far off."""
    if last and len(shape) != 4:
        pytest.skip("no image")
    rng = np.random.default_rng(4)
    x = (1e3 + rng.standard_normal(shape)).astype(np.float32)
    far = rng.standard_normal(shape).astype(np.float32)
    far[0] = 1e3
    ramp = np.sort(rng.standard_normal(shape), axis=0).astype(np.float32)
    with use_place(place) as device:
        for a, atol in ((x, 8 * EPS * 1e3), (far, 64 * EPS), (ramp, 64 * EPS)):
            t = nhwc(a, device) if last else nonet.tensor(a, device=device)
            running = [nonet.zeros(shape[1], device=device) for _ in range(2)]
            y = F.batch_norm(t, *running, training=True, momentum=1.0)
            np.testing.assert_allclose(
                y.cpu().numpy(), channel_norm(a.astype(np.float64)), rtol=1e-5, atol=atol
            )
            variance = a.astype(np.float64).var((0, *range(2, a.ndim)), ddof=1)
            np.testing.assert_allclose(running[1].cpu().numpy(), variance, rtol=64 * EPS)


@each_place
def test_special_values(place):
    x = np.ones((4, 5, 40, 7), np.float32)
    x[:, 1, 3, 2] = np.nan
    x[1, 2, 3, 2] = np.inf
    x[:, 3] = 0
    x[:, 4] *= 1e-30
    with use_place(place) as device:
        for last in (False, True):
            t = nhwc(x, device) if last else nonet.tensor(x, device=device)
            y = F.batch_norm(t, None, None, training=True).cpu().numpy()
            assert np.isnan(y[:, 1:3]).all()
            assert (y[:, [0, 3, 4]] == 0).all()
            y = nonet.batch_norm_act(t, None, None, training=True, activation="relu").cpu().numpy()
            assert np.isnan(y[:, 1:3]).all()


@pytest.mark.parametrize("shape", [(3000, 5), (700, 300), (4, 200, 30, 31), (6, 3, 90, 90), (500, 40, 6)])
def test_threads(shape):
    x, w, b = (a.astype(np.float32) for a in data(shape))
    for isa in available_isas():
        for last in (False, True) if len(shape) == 4 else (False,):
            for groups in (0, 1):
                results = []
                for threads in (1, 2, 3):
                    with use_isa(isa), use_threads(threads):
                        leaves = [nonet.tensor(a, requires_grad=True) for a in (x, w, b)]
                        if last:
                            leaves[0] = nhwc(x, requires_grad=True)
                        t, *wb = leaves
                        y = F.group_norm(t, 1, *wb) if groups else F.batch_norm(t, None, None, *wb, True)
                        y.backward(x)
                        results.append(
                            [y.detach().numpy().tobytes(), *(t.grad.numpy().tobytes() for t in leaves)]
                        )
                assert results[0] == results[1] == results[2]


def test_empty_batches():
    for shape in [(0, 3), (0, 3, 4, 5), (2, 3, 0)]:
        running = [nonet.full((3,), 2.0), nonet.full((3,), 4.0)]
        leaves = [nonet.zeros(*shape), nonet.ones(3), nonet.ones(3)]
        for t in leaves:
            t.requires_grad = True
        for training in (True, False):
            y = F.batch_norm(leaves[0], *running, *leaves[1:], training)
            y.backward(nonet.zeros(*shape))
        F.group_norm(leaves[0], 3, *leaves[1:]).backward(nonet.zeros(*shape))
        assert all((t.grad.numpy() == 0).all() for t in leaves)
        assert (running[0].numpy() == 2).all() and (running[1].numpy() == 4).all()


def test_only_wanted_gradients():
    for shape in [(2, 3, 4, 5), (6, 3)]:
        for wanted in ([0], [1], [2], [3], [0, 3]):
            for training in (True, False):
                x, w, b = data(shape)
                leaves = [nonet.tensor(a, requires_grad=i in wanted) for i, a in enumerate((x, w, b, x))]
                running = [nonet.zeros(3), nonet.ones(3)]
                t, *wb, r = leaves
                y = nonet.batch_norm_act(t, *running, *wb, training, activation="relu", residual=r)
                y.backward(nonet.ones(*shape))
                assert [i for i, t in enumerate(leaves) if t.grad is not None] == wanted


LRN = [
    ((2, 7, 5), 5),
    ((1, 3, 4, 4), 2),
    ((2, 20, 3, 13), 3),
    ((1, 2, 40), 9),
    ((2, 1, 3), 1),
    ((0, 3, 2), 2),
]


@pytest.mark.parametrize(("shape", "size"), LRN)
@pytest.mark.parametrize("beta", [0.75, 0.5, 1.0, 1.3])
def test_local_response_norm(shape, size, beta):
    x = np.random.default_rng(0).standard_normal(shape) * 3
    check_op(
        lambda x: F.local_response_norm(x, size, alpha=0.3, beta=beta, k=1.5),
        lambda x: local_response_norm(x, size, 0.3, beta, 1.5),
        [x],
        reference_gradient=lambda dy, x: local_response_norm_gradient(dy, x, size, 0.3, beta, 1.5),
        dtypes=BOTH,
        rtol=16 * EPS,
        atol=16 * EPS,
        grad_rtol=64 * EPS,
        grad_atol=64 * EPS,
    )


@each_place
@pytest.mark.parametrize("dtype", BOTH)
def test_local_response_norm_channels_last(dtype, place):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 37, 4, 5)), rng.standard_normal((2, 37, 4, 5))
    plain = nonet.tensor(x, dtype=dtype, requires_grad=True)
    want = F.local_response_norm(plain, 4, 0.5)
    want.backward(nonet.tensor(dy, dtype=dtype))
    with use_place(place) as device:
        last = nhwc(x, device, dtype, True)
        got = F.local_response_norm(last, 4, 0.5)
        assert got.array.format == "nhwc"
        got.backward(nhwc(dy, device, dtype))
        error = 16 * EPS if dtype == "float32" else 2.0**-7
        for a, b in ((got, want), (last.grad, plain.grad)):
            a, b = (t.detach().cpu().to("float32").numpy() for t in (a, b))
            np.testing.assert_allclose(a, b, rtol=error, atol=error)


def test_bad_input():
    x = np.zeros((2, 4, 3), np.float32)
    with pytest.raises(ValueError, match=r"batch_norm: input must have shape \[N, C, ...\], got \[3\]"):
        F.batch_norm(np.zeros(3), None, None)
    with pytest.raises(ValueError, match="batch_norm: running_mean must be given where it is not computed"):
        F.batch_norm(x, None, None)
    with pytest.raises(ValueError, match="batch_norm: running_mean and running_var must be given together"):
        F.batch_norm(x, np.zeros(4), None, training=True)
    with pytest.raises(ValueError, match=r"batch_norm: running_var must have shape \[C\] = \[4\], got \[3\]"):
        F.batch_norm(x, np.zeros(4), np.zeros(3))
    with pytest.raises(ValueError, match=r"batch_norm: weight must have shape \[C\] = \[4\], got \[3\]"):
        F.batch_norm(x, None, None, np.zeros(3), training=True)
    with pytest.raises(ValueError, match="batch_norm: input must have more than one value per channel"):
        F.batch_norm(np.zeros((1, 4)), None, None, training=True)
    with pytest.raises(ValueError, match="batch_norm: eps must be positive, got 0"):
        F.batch_norm(x, None, None, training=True, eps=0)
    with pytest.raises(ValueError, match="instance_norm: input must have more than one value per channel"):
        F.instance_norm(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="group_norm: input must have more than one value per group"):
        F.group_norm(np.zeros((1, 4)), 4)
    with pytest.raises(
        ValueError, match="group_norm: num_groups must divide the channels, got 3 groups of 4"
    ):
        F.group_norm(x, 3)
    with pytest.raises(ValueError, match="group_norm: num_groups must be positive, got 0"):
        F.group_norm(x, 0)
    with pytest.raises(TypeError, match="group_norm: input must be float32 or bfloat16, got int64"):
        F.group_norm(np.zeros((2, 4, 3), int), 2)
    with pytest.raises(TypeError, match="batch_norm: bias must be float32 or bfloat16, got int64"):
        F.batch_norm(x, None, None, None, np.zeros(4, int), training=True)
    with pytest.raises(ValueError, match="batch_norm: activation must be 'relu' or None, got 'tanh'"):
        nonet.batch_norm_act(x, None, None, training=True, activation="tanh")
    with pytest.raises(
        ValueError, match=r"batch_norm: residual must have shape \[like input\] = \[2, 4, 3\]"
    ):
        nonet.batch_norm_act(x, None, None, training=True, residual=np.zeros((2, 4)))
    with pytest.raises(ValueError, match="local_response_norm: input must have shape"):
        F.local_response_norm(np.zeros((2, 3)), 2)
    with pytest.raises(ValueError, match="local_response_norm: size must be positive, got 0"):
        F.local_response_norm(x, 0)


def test_the_order_of_threads_on_a_device():
    x, w, b = data((3, 40, 30, 31))
    with use_place(GPU) as device:
        for last in (False, True):
            for groups in (0, 4):
                first = None
                for seed in range(3):
                    shuffle_threads(seed)
                    leaves = [
                        nonet.tensor(a, dtype="float32", device=device, requires_grad=True) for a in (x, w, b)
                    ]
                    if last:
                        leaves[0] = nhwc(x, device, requires_grad=True)
                    t, *wb = leaves
                    y = F.group_norm(t, groups, *wb) if groups else F.batch_norm(t, None, None, *wb, True)
                    y.backward(nonet.tensor(x**2, dtype="float32", device=device))
                    results = [v.detach().cpu().numpy() for v in (y, *(v.grad for v in leaves))]
                    first = first or results
                    for got, want in zip(results, first, strict=True):
                        np.testing.assert_array_equal(got, want)


@each_isa
def test_results_that_no_cache_holds(isa):
    """Both images together are stored past the caches, each alone is not."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 2, 64, 180, 190)).astype(np.float32)
    mean, var, gamma = (rng.random(64, np.float32) + 0.5 for _ in range(3))

    def run(part):
        t = nonet.Tensor(nonet.tensor(x[part]).array.to_format("nhwc"), True)
        y = F.batch_norm(t, mean, var, gamma)
        y.backward(nonet.Tensor(nonet.tensor(dy[part]).array.to_format("nhwc")))
        return y.numpy(), t.grad.numpy()

    with use_isa(isa):
        parts = [run(slice(i, i + 1)) for i in (0, 1)]
        for threads in (1, 2):
            with use_threads(threads):
                for got, *want in zip(run(slice(0, 2)), *parts, strict=True):
                    np.testing.assert_array_equal(got, np.concatenate(want))
