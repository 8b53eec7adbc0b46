"""The tape: what is recorded, how it is walked, and what happens to leaves."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import nonet
from nonet import _core
from nonet.tensor import record, record_many


def double(x):
    """An op with a rule that shows what it was given."""
    return record(_core.add(x.array, x.array), (x,), _double_rule, None)


def _double_rule(saved, dy, needs):
    return (_core.add(dy, dy),)


def halves(x):
    a, b = x.array.numpy()
    outs = [_core.from_numpy(np.array(v), "float32", True) for v in (a, b)]
    return record_many(outs, (x,), _halves_rule, None)


def _halves_rule(saved, grads, needs):
    values = [0.0 if g is None else g.item() for g in grads]
    return (_core.from_numpy(np.array(values, np.float32), "float32", True),)


def test_gradients_add_up():
    x = nonet.tensor([1.0, 2.0], requires_grad=True)
    y = double(double(x))
    y.backward(np.array([1.0, 10.0]))
    np.testing.assert_array_equal(x.grad.numpy(), [4, 40])
    double(x).backward(np.ones(2))
    np.testing.assert_array_equal(x.grad.numpy(), [6, 42])


def test_a_value_used_twice():
    x = nonet.tensor([1.0], requires_grad=True)
    y = double(x)
    z = y + double(y)
    z.backward()
    assert x.grad.item() == 6


def test_several_outputs_in_one_walk():
    x = nonet.tensor([3.0, 4.0], requires_grad=True)
    a, b = halves(x)
    nonet.backward([a, double(b)], [nonet.tensor(1.0), np.float32(10)])
    np.testing.assert_array_equal(x.grad.numpy(), [1, 20])
    x.grad = None
    a, b = halves(x)
    b.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 1])


def test_nodes_are_freed():
    x = nonet.tensor([1.0], requires_grad=True)
    y = double(x)
    y.backward()
    with pytest.raises(RuntimeError, match="walked before and is freed"):
        y.backward()


def test_deep_graphs_do_not_recurse():
    x = nonet.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(20000):
        y = y + 0.0
    y.backward()
    assert x.grad.item() == 1


def test_bad_calls():
    x = nonet.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match=r"a gradient is needed for an output of shape \[2\]"):
        double(x).backward()
    with pytest.raises(ValueError, match=r"gradient must have shape \[2\], got \[3\]"):
        double(x).backward(np.ones(3))
    with pytest.raises(RuntimeError, match="no output requires a gradient"):
        nonet.tensor(1.0).backward()
    with pytest.raises(ValueError, match="expected 1 gradients, one per output, got 2"):
        nonet.backward([double(x)], [np.ones(2), np.ones(2)])
    with pytest.raises(RuntimeError, match="only a leaf can be written in place"):
        double(x).zero_()
    with pytest.raises(RuntimeError, match="only a leaf can be changed"):
        double(x).requires_grad_(False)


def test_modes():
    x = nonet.tensor([1.0], requires_grad=True)
    with nonet.no_grad():
        assert not double(x).requires_grad
        with nonet.enable_grad():
            assert double(x).requires_grad
        assert not nonet.is_grad_enabled()
    assert double(x).requires_grad

    @nonet.no_grad()
    def quiet(depth):
        return double(x).requires_grad or (depth > 0 and quiet(depth - 1))

    assert not quiet(3)
    assert nonet.is_grad_enabled()
    with nonet.set_grad_enabled(False):
        assert not double(x).requires_grad
    assert nonet.is_grad_enabled()


def test_leaf_gradients_do_not_alias():
    """A rule may give one array to two leaves; adding into one must not change the other."""
    a, b = (nonet.Parameter(np.zeros(2)) for _ in range(2))
    seed = nonet.tensor([1.0, 1.0])
    (a + b).backward(seed)
    (a + a).backward(seed)
    np.testing.assert_array_equal(a.grad.numpy(), [3, 3])
    np.testing.assert_array_equal(b.grad.numpy(), [1, 1])
    np.testing.assert_array_equal(seed.numpy(), [1, 1])


def test_a_parameter_in_two_places_of_one_op():
    """Both gradients cannot go to the one slot that an optimizer offers."""
    w = nonet.Parameter([[1.0, 2.0], [3.0, 4.0]])
    nonet.optim.SGD([w], lr=0.1)
    nonet.nn.functional.linear(w, w).backward(np.ones((2, 2)))
    np.testing.assert_array_equal(w.grad.numpy(), 2 * np.array([[4.0, 6.0], [4.0, 6.0]]))


def test_scalars_and_truth():
    assert float(nonet.tensor(2.5)) == 2.5
    assert int(nonet.tensor([3])) == 3
    assert [10, 20][nonet.tensor(1)] == 20
    assert bool(nonet.tensor([True]))
    with pytest.raises(ValueError, match=r"item: expected one element, got shape \[2\]"):
        bool(nonet.tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match="expected an integer tensor, got float32"):
        [10, 20][nonet.tensor(1.0)]
    with pytest.raises(TypeError, match="rank 0 has no length"):
        len(nonet.tensor(1.0))
    assert repr(nonet.tensor([1, 2])) == "Tensor([1, 2], dtype=int64)"
    assert "shape=[2000]" in repr(nonet.tensor(np.zeros(2000)))


def test_a_decorator_acts_in_the_calls_only():
    @nonet.set_grad_enabled(False)
    def quiet():
        return nonet.is_grad_enabled()

    @nonet.set_grad_enabled(True)
    def loud():
        return nonet.is_grad_enabled()

    assert nonet.is_grad_enabled()
    assert not quiet()
    assert nonet.is_grad_enabled()
    with nonet.no_grad():
        assert loud()
        assert not nonet.is_grad_enabled()


def test_a_decorated_function_in_two_threads():
    entered, leave = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]

    @nonet.no_grad()
    def quiet(i):
        entered[i].set()
        assert leave[i].wait(10)

    after = []

    def first():
        quiet(0)
        after.append(nonet.is_grad_enabled())

    def second():
        with nonet.no_grad():
            quiet(1)

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for i, thread in enumerate(threads):
        thread.start()
        assert entered[i].wait(10)
    for i, thread in enumerate(threads):
        leave[i].set()
        thread.join()
    assert after == [True]


def test_text():
    assert f"{nonet.tensor(0.12345):.3f} {nonet.tensor(7):3d}" == "0.123   7"
    assert f"{nonet.tensor([1, 2])}" == "Tensor([1, 2], dtype=int64)"
    with pytest.raises(ValueError, match="Invalid format specifier|Unknown format code"):
        f"{nonet.tensor([1, 2]):.3f}"


def test_writing_a_part():
    x = nonet.tensor(np.zeros((3, 4)))
    version = x.array.version
    x[1] = 2
    x[:, ::2] = nonet.tensor([5.0, 6.0])
    x[nonet.tensor([0, 2]), nonet.tensor(3)] = [7, 8]
    x[x == 0] = -1
    x[nonet.tensor([0]), nonet.tensor([True, False, False, False])] = [5]
    np.testing.assert_array_equal(x, [[5, -1, 6, 7], [5, 2, 6, 2], [5, -1, 6, 8]])
    assert x.array.version > version
    y = nonet.tensor([1.0, 2.0], dtype="bfloat16")
    y[0] = 0.5
    assert y.tolist() == [0.5, 2]
    w = nonet.tensor([1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="no gradient goes through a write in place"):
        x[0, 0] = w
    with pytest.raises(RuntimeError, match="only a leaf can be written in place"):
        double(w)[0] = 1


def test_in_place_operators_move_parameters():
    w = nonet.Parameter([1.0, 2.0])
    same = w
    with pytest.raises(RuntimeError, match=r"sub_: a write in place is not recorded"):
        w -= 0.5
    with nonet.no_grad():
        w -= 0.5 * nonet.tensor([1.0, 2.0])
        w += 1
        w *= 4
        w /= np.float32([2, 1])
        with pytest.raises(ValueError, match=r"add_: the result must have shape \[2\], got \[2, 2\]"):
            w += np.zeros((2, 2))
    assert w is same
    assert w.requires_grad
    np.testing.assert_array_equal(w, [3, 8])
    x = y = nonet.tensor([1.0])
    x += 1
    assert (x.item(), y.item()) == (2, 1)


def test_in_place_methods_move_leaves():
    w = nonet.Parameter([1.0, 2.0, 3.0])
    version = w.array.version
    with nonet.no_grad():
        assert w.add_(1) is w
        w.add_(np.float32([1, 2, 3]), alpha=2).sub_(nonet.tensor(1.0), alpha=3).mul_(w).div_(2)
        np.testing.assert_array_equal(w, [0.5, 8, 24.5])
        w.clamp_(max=9).clamp_(1)
    np.testing.assert_array_equal(w, [1, 8, 9])
    assert w.array.version > version
    assert w.requires_grad
    x = nonet.tensor([3, -7])
    assert x.div_(2, rounding_mode="floor").clamp_(min=0) is x
    assert (x.tolist(), x.dtype) == ([1, 0], "int64")
    half = nonet.tensor([1.0], dtype="bfloat16")
    assert half.add_(nonet.tensor([0.5])).dtype == "bfloat16"
    assert half.tolist() == [1.5]


def test_in_place_methods_refuse():
    w = nonet.Parameter([1.0, 2.0])
    x = nonet.tensor([1, 2])
    for call, error, text in (
        (lambda: w.add_(1), RuntimeError, "add_: a write in place is not recorded"),
        (lambda: nonet.tensor([1.0, 2.0]).mul_(w), RuntimeError, "mul_: a write in place is not recorded"),
        (lambda: (w * 2).clamp_(min=0), RuntimeError, "clamp_: only a leaf can be written in place"),
        (lambda: x.sub_([[1, 2]]), ValueError, r"sub_: the result must have shape \[2\], got \[1, 2\]"),
        (lambda: x.div_(2), TypeError, "div_: the result must fit int64, got float32"),
        (lambda: (x > 1).add_(1), TypeError, "add_: the result must fit bool, got int64"),
        (lambda: x.clamp_(), ValueError, "clamp: at least one of min and max"),
    ):
        with pytest.raises(error, match=text):
            call()
    assert (w.tolist(), x.tolist()) == ([1, 2], [1, 2])


def test_data_is_the_memory_without_history():
    w = nonet.Parameter([1.0, 2.0])
    assert not w.data.requires_grad
    assert w.data.is_leaf
    assert double(w).data.tolist() == double(w).detach().tolist()
    version = w.array.version
    w.data.add_(1)
    assert w.tolist() == [2, 3]
    assert w.array.version > version
    assert not w.data.numpy().flags.writeable
    with pytest.raises(AttributeError, match="data: cannot be set; copy_ overwrites the values"):
        w.data = nonet.tensor([0.0, 0.0])


def test_a_leaf_shares_its_gradient_with_nobody():
    given = nonet.tensor([1.0, 2.0])
    a, b = nonet.tensor([1.0, 2.0], requires_grad=True), nonet.tensor([3.0, 4.0], requires_grad=True)
    (a + b).backward(given)  # the rule hands what it was given to both
    assert a.grad is not None and b.grad is not None
    a.grad.fill_(0)
    assert b.grad.tolist() == given.tolist() == [1.0, 2.0]


def test_unshared_takes_what_nobody_else_has():
    array = nonet.zeros(3).array
    results = [array]
    assert _core.unshared(results, 0) is not array
    del array
    kept = results[0]
    assert _core.unshared(results, 0) is not kept
    del kept
    assert _core.unshared(results, 0) is results[0]
    view = nonet.Tensor(results[0]).numpy()
    assert _core.unshared(results, 0) is not results[0]
    assert view.shape == (3,)
    with pytest.raises(IndexError, match="no result 1"):
        _core.unshared(results, 1)
