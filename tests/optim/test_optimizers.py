from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import nonet
from helpers import GPU, each_place, use_place, use_threads, why_no_gpu
from nonet import nn, optim
from reference.optim import Reference

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1, "amsgrad": True, "maximize": True}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.3, "amsgrad": True}),
    ("RMSprop", {"lr": 0.01, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "momentum": 0.5}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.5, "maximize": True}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, "initial_accumulator_value": 0.1, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.01, "momentum_decay": 0.01, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.01, "betas": (0.9, 0.9), "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adadelta", {"lr": 1.0, "weight_decay": 0.1}),
    ("Adamax", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
]
SHAPES = [(3, 4), (), (0, 5), (17,), (129,)]


def parameters(seed: int = 0, shapes=SHAPES) -> list[nn.Parameter]:
    rng = np.random.default_rng(seed)
    return [nn.Parameter(rng.standard_normal(shape).astype(np.float32)) for shape in shapes]


def gradients(seed: int, shapes=SHAPES) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def assign(params, values) -> None:
    """Gradients where the optimizer keeps them."""
    for p, g in zip(params, values, strict=True):
        p._slot.array.copy_from(nonet.tensor(g).array)
        p.grad = p._slot


def assign_by_hand(params, values) -> None:
    for p, g in zip(params, values, strict=True):
        p.grad = nonet.tensor(g)


def snapshot(params) -> list[bytes]:
    return [p.numpy().tobytes() for p in params]


@pytest.mark.parametrize(("name", "attrs"), CASES)
@each_place
def test_twenty_steps(name, attrs, place):
    references = [Reference(name, p.numpy(), **attrs) for p in parameters()]
    with use_place(place) as device:
        params = [nn.Parameter(p.detach().to(device)) for p in parameters()]
        optimizer = getattr(optim, name)(params, **attrs)
        for t in range(20):
            values = gradients(t + 1)
            assign(params, values)
            optimizer.step()
            for reference, g in zip(references, values, strict=True):
                reference.step(g)
    for p, reference in zip(params, references, strict=True):
        # Twenty float32 steps of at most 2 |lr|, each with a handful of roundings; RMSprop's centered variance and
        # early Adadelta divide by small numbers that carry more.
        np.testing.assert_allclose(p.detach().cpu(), reference.p, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("name", "attrs"), CASES)
def test_arena_equals_hand_assigned_and_moved(name, attrs):
    ways = []
    for way in range(3):
        params = parameters()
        optimizer = getattr(optim, name)(params, **attrs)
        for t in range(5):
            (assign_by_hand if way == 1 else assign)(params, gradients(t))
            if way == 2 and t == 2:
                optim.SGD(params[1:3], lr=1.0)  # lays two of them out elsewhere
                assign(params, gradients(t))
            optimizer.step()
            optimizer.zero_grad()
        ways.append(snapshot(params))
    assert ways[0] == ways[1] == ways[2]


@pytest.mark.parametrize(("name", "attrs"), CASES)
def test_state_round_trip_is_exact(name, attrs):
    shapes = [*SHAPES, (3,)]
    params = parameters(shapes=shapes)
    optimizer = getattr(optim, name)(params, **attrs)
    for t in range(3):
        assign(params[:-1], gradients(t))
        optimizer.step()
    saved = pickle.loads(pickle.dumps(optimizer.state_dict()))
    others = [nn.Parameter(p.numpy()) for p in params]
    other = getattr(optim, name)(others, **{**attrs, "lr": 123.0})
    other.load_state_dict(saved)
    for t in range(3, 6):
        for q, o in ((params, optimizer), (others, other)):
            assign(q, gradients(t, shapes))
            o.step()
    assert snapshot(params) == snapshot(others)


@pytest.mark.parametrize(("name", "attrs"), CASES)
def test_a_gpu_steps_like_the_cpu(name, attrs):
    """Arenas, a gradient by hand, a parameter without one and bfloat16, over several blocks of the kernel."""
    if reason := why_no_gpu():
        pytest.skip(reason)
    shapes = [*SHAPES, (90, 101), (3,)]
    ends = []
    for device in ("cpu", GPU):
        params = [nn.Parameter(p.detach().to(device)) for p in parameters(shapes=shapes)]
        half = nn.Parameter(nonet.tensor(np.linspace(-1, 1, 37), dtype="bfloat16", device=device))
        optimizer = getattr(optim, name)([*params, half], **attrs)
        for t in range(3):
            values = gradients(t, shapes)
            for p, g in zip(params, values, strict=True):
                p._slot.array.copy_from(nonet.tensor(g).array)
                p.grad = p._slot
            params[1].grad = nonet.tensor(values[1], device=device)
            params[3].grad = None if t == 1 else params[3].grad
            half.grad = nonet.tensor(np.cos(np.arange(37) + t), dtype="bfloat16", device=device)
            nn.utils.clip_grad_norm_([*params, half], 50.0)
            optimizer.step()
            optimizer.zero_grad()
        assert {p.device for p in params} == {device}
        states = optimizer.state_dict()["state"].values()
        arrays = [v for state in states for v in state.values() if isinstance(v, np.ndarray)]
        ends.append([*(p.detach().to("float32").cpu().numpy() for p in (*params, half)), *arrays])
    for got, want in zip(*reversed(ends), strict=True):
        # One rounding of the norm apart, which bfloat16 parameters may see as one ulp.
        np.testing.assert_allclose(got, want, rtol=2.0**-8 if got.size == 37 else 1e-6, atol=1e-7)


def test_state_dict_has_torch_structure():
    params = parameters(shapes=[(2, 3), (4,)])
    optimizer = optim.Adam([{"params": [params[0]]}, {"params": [params[1]], "lr": 0.5}])
    params[1].grad = nonet.tensor(np.ones(4, np.float32))
    optimizer.step()
    state = optimizer.state_dict()
    assert [g["params"] for g in state["param_groups"]] == [[0], [1]]
    assert [g["lr"] for g in state["param_groups"]] == [1e-3, 0.5]
    assert set(state["state"]) == {1}
    assert set(state["state"][1]) == {"step", "exp_avg", "exp_avg_sq"}
    assert state["state"][1]["step"] == 1
    np.testing.assert_allclose(state["state"][1]["exp_avg"], np.full(4, 0.1), rtol=1e-6)
    assert list(optimizer.state) == [params[1]]
    bad = copy.deepcopy(state)
    bad["state"][1]["exp_avg"] = np.zeros(5, np.float32)
    with pytest.raises(ValueError, match=r"exp_avg must have shape \[4\], got \[5\]"):
        optimizer.load_state_dict(bad)
    bad["param_groups"].pop()
    with pytest.raises(ValueError, match="groups must have"):
        optimizer.load_state_dict(bad)


def test_parameters_without_gradient_wait():
    params = parameters(shapes=[(3,), (5,), (2,)])
    before = snapshot(params)
    optimizer = optim.Adam(params, lr=0.1)
    for _ in range(3):
        assign([params[0], params[2]], [np.ones(3, np.float32), np.ones(2, np.float32)])
        optimizer.step()
    assert snapshot(params)[1] == before[1]
    assign(params, [np.ones(p.shape, np.float32) for p in params])
    optimizer.step()
    assert [optimizer.state[p]["step"] for p in params] == [4, 1, 4]
    # The first step of Adam moves by lr.
    np.testing.assert_allclose(params[1].numpy(), np.frombuffer(before[1], np.float32) - 0.1, rtol=1e-5)


def test_groups_and_changed_rates():
    params = parameters(shapes=[(3,), (4,)])
    start = [p.numpy().copy() for p in params]
    optimizer = optim.SGD([params[0]], lr=0.5)
    optimizer.add_param_group({"params": params[1], "lr": 0.25})
    optimizer.param_groups[0]["lr"] = 2.0
    assign(params, [np.ones(3, np.float32), np.ones(4, np.float32)])
    optimizer.step()
    np.testing.assert_allclose(params[0].numpy(), start[0] - 2.0, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(params[1].numpy(), start[1] - 0.25, rtol=1e-6, atol=1e-6)


def test_version_and_guard():
    (p,) = parameters(shapes=[(3,)])
    optimizer = optim.SGD([p])
    assert p.array.guarded
    assign([p], [np.ones(3, np.float32)])
    version = p.array.version
    optimizer.step()
    assert p.array.version > version


def test_bfloat16_parameters():
    p = nn.Parameter(nonet.tensor(np.full(40, 1.0), dtype="bfloat16"))
    q = nn.Parameter(np.full(3, 1.0, np.float32))
    optimizer = optim.Adam([q, p, nn.Parameter(nonet.tensor(np.zeros(5), dtype="bfloat16"))], lr=0.25)
    p.grad = nonet.tensor(np.full(40, -2.0), dtype="bfloat16")
    optimizer.step()
    assert p.dtype == "bfloat16"
    np.testing.assert_array_equal(p.numpy().astype(np.float32), np.full(40, 1.25))
    np.testing.assert_array_equal(q.numpy(), np.ones(3))


def test_closure_and_plain_tensors():
    x = nonet.tensor(np.array([1.0, 2.0], np.float32), requires_grad=True)
    optimizer = optim.SGD([x], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(x, np.zeros(2, np.float32), reduction="sum")
        loss.backward()
        return loss

    with nonet.no_grad():
        assert optimizer.step(closure).item() == 5.0
    np.testing.assert_array_equal(x.numpy(), [0.0, 0.0])
    optimizer.zero_grad(set_to_none=False)
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), [0.0, 0.0])


def test_thread_identity():
    results = []
    for threads in (1, 2, 3):
        with use_threads(threads):
            params = parameters(shapes=[(301, 257), (70001,), (5,)])
            optimizer = optim.AdamW(params)
            for t in range(3):
                assign(params, gradients(t, [(301, 257), (70001,), (5,)]))
                nn.utils.clip_grad_norm_(params, 10.0)
                optimizer.step()
            results.append(snapshot(params))
    assert results[0] == results[1] == results[2]


def test_bad_arguments():
    params = parameters(shapes=[(3,)])
    for make, match in (
        (lambda: optim.SGD([]), "got no parameters"),
        (lambda: optim.SGD(params[0]), "params must be an iterable"),
        (lambda: optim.SGD([np.zeros(3)]), "params must hold tensors, got ndarray"),
        (lambda: optim.SGD(params * 2), "a parameter appears twice"),
        (lambda: optim.SGD(params, lr=-1), "SGD: lr must be at least 0, got -1"),
        (lambda: optim.SGD(params, nesterov=True), "nesterov must be False"),
        (lambda: optim.Adam(params, betas=(1.0, 0.9)), r"betas must be two numbers in \[0, 1\)"),
        (lambda: optim.Adam(params, differentiable=True), "differentiable must be False"),
        (lambda: optim.Adadelta(params, rho=1.5), r"rho must be in \[0, 1\]"),
    ):
        with pytest.raises((ValueError, TypeError), match=match):
            make()
    optimizer = optim.SGD(params)
    params[0].grad = nonet.tensor(np.zeros(4, np.float32))
    with pytest.raises(ValueError, match=r"step: gradient must have shape .* = \[3\], got \[4\]"):
        optimizer.step()
    params[0].grad = nonet.tensor(np.zeros(3, np.float32), dtype="bfloat16")
    with pytest.raises(TypeError, match="step: gradient must be float32"):
        optimizer.step()


def test_copies_go_on_alike():
    ps = parameters(1)
    groups = [{"params": ps[:2]}, {"params": ps[2:], "lr": 0.3}]
    optimizer = optim.Adam(groups, amsgrad=True)
    assign(ps, gradients(1))
    optimizer.step()
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        before = [p.numpy().copy() for p in ps]
        others = [p for group in twin.param_groups for p in group["params"]]
        assign(others, gradients(2))
        twin.step()
        for p, value in zip(ps, before, strict=True):
            np.testing.assert_array_equal(p.numpy(), value)
        assert twin.param_groups[1]["lr"] == 0.3
    assign(ps, gradients(2))
    optimizer.step()
    for p, q in zip(ps, others, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())
