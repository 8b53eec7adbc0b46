"""Activations: float32 or bfloat16 of any shape, one pass forward and one backward each. NaN gives NaN.

`inplace` is accepted where torch has it; the result is a new tensor all the same. Errors common to all: TypeError for
integers.
"""

from __future__ import annotations

from typing import Any

from nonet import _core
from nonet._core import Array
from nonet.ops.compare import gt
from nonet.ops.elementwise import mul, where
from nonet.ops.random import uniform
from nonet.ops.softmax import softmax
from nonet.ops.unary import clamp, expm1, neg
from nonet.tensor import DTypeLike, Need, Tensor, TensorLike, as_tensor, record

__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "rrelu",
    "selu",
    "silu",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanhshrink",
    "threshold",
]


def relu(input: TensorLike, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    x = as_tensor(input)
    y = _core.relu(x.array)
    return record(y, (x,), _relu_rule, y)


def _relu_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    return (_core.relu_backward(dy, saved),)


def _plain_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    backward, kept = saved
    return (backward(dy, kept),)


def _one_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    backward, kept, a = saved
    return (backward(dy, kept, a),)


def _two_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    backward, kept, a, b = saved
    return (backward(dy, kept, a, b),)


def relu6(input: TensorLike, inplace: bool = False) -> Tensor:
    """x limited to [0, 6]."""
    return hardtanh(input, 0.0, 6.0)


def leaky_relu(input: TensorLike, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope * x (Maas et al., 2013)."""
    x = as_tensor(input)
    y = _core.leaky_relu(x.array, negative_slope)
    kept = y if negative_slope >= 0 else x.array  # with a negative slope the output no longer tells the side
    return record(y, (x,), _one_rule, (_core.leaky_relu_backward, kept, negative_slope))


def prelu(input: TensorLike, weight: TensorLike) -> Tensor:
    """x where x > 0, else weight * x (He et al., 2015). weight: [1], or [C] for x: [N, C, ...].

    Errors: ValueError for another shape of weight.
    """
    x, w = as_tensor(input), as_tensor(weight)
    return record(_core.prelu(x.array, w.array), (x, w), _prelu_rule, (x.array, w.array))


def _prelu_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array | None, Array | None]:
    x, w = saved
    return (
        _core.prelu_backward(dy, x, w) if needs[0] else None,
        _core.prelu_weight_backward(dy, x, w) if needs[1] else None,
    )


def rrelu(
    input: TensorLike,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """x where x > 0, else r x (Xu et al., 2015); r is drawn per element from [lower, upper), or fixed at their mean.

    training: draw. Errors: ValueError unless lower <= upper.
    """
    if lower > upper:
        raise ValueError(f"rrelu: lower must be <= upper, got {lower} and {upper}")
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    x = as_tensor(input)
    return prelu(x, uniform(x.shape, low=lower, high=upper))


def elu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (e^x - 1) (Clevert et al., 2016)."""
    if alpha > 0:
        return _elu(input, alpha, 1.0, 1.0)
    x = as_tensor(input)
    return where(gt(x, 0.0), x, mul(expm1(clamp(x, max=0.0)), alpha))


def selu(input: TensorLike, inplace: bool = False) -> Tensor:
    """scale (x where x > 0, else alpha (e^x - 1)), the constants of Klambauer et al., 2017."""
    return _elu(input, 1.6732632423543772848, 1.0507009873554804934, 1.0)


def celu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (e^(x / alpha) - 1) (Barron, 2017). Errors: ValueError for alpha = 0."""
    if alpha == 0:
        raise ValueError("celu: alpha must not be 0")
    return _elu(input, alpha, 1.0, 1.0 / alpha)


def _elu(input: TensorLike, alpha: float, scale: float, input_scale: float) -> Tensor:
    x = as_tensor(input)
    y = _core.elu(x.array, alpha, scale, input_scale)
    return record(y, (x,), _elu_rule, (y, alpha, scale, input_scale))


def _elu_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    y, alpha, scale, input_scale = saved
    return (_core.elu_backward(dy, y, alpha, scale, input_scale),)


def gelu(input: TensorLike, approximate: str = "none") -> Tensor:
    """x Phi(x) with the normal distribution Phi (Hendrycks & Gimpel, 2016); approximate="tanh": their approximation.

    Errors: ValueError for another approximation.
    """
    x = as_tensor(input)
    if approximate == "none":
        return record(_core.gelu(x.array), (x,), _plain_rule, (_core.gelu_backward, x.array))
    if approximate != "tanh":
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return record(_core.gelu_tanh(x.array), (x,), _plain_rule, (_core.gelu_tanh_backward, x.array))


def silu(input: TensorLike, inplace: bool = False) -> Tensor:
    """x sigmoid(x) (Elfwing et al., 2018)."""
    x = as_tensor(input)
    return record(_core.silu(x.array), (x,), _plain_rule, (_core.silu_backward, x.array))


def mish(input: TensorLike, inplace: bool = False) -> Tensor:
    """x tanh(log(1 + e^x)) (Misra, 2019)."""
    x = as_tensor(input)
    return record(_core.mish(x.array), (x,), _plain_rule, (_core.mish_backward, x.array))


def softplus(input: TensorLike, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta x)) / beta; x itself where beta x > threshold."""
    x = as_tensor(input)
    y = _core.softplus(x.array, beta, threshold)
    return record(y, (x,), _two_rule, (_core.softplus_backward, x.array, beta, threshold))


def softsign(input: TensorLike) -> Tensor:
    """x / (1 + |x|)."""
    x = as_tensor(input)
    return record(_core.softsign(x.array), (x,), _plain_rule, (_core.softsign_backward, x.array))


def tanhshrink(input: TensorLike) -> Tensor:
    """x - tanh(x)."""
    x = as_tensor(input)
    return record(_core.tanhshrink(x.array), (x,), _plain_rule, (_core.tanhshrink_backward, x.array))


def logsigmoid(input: TensorLike) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    x = as_tensor(input)
    y = _core.logsigmoid(x.array)
    return record(y, (x,), _plain_rule, (_core.logsigmoid_backward, y))


def hardtanh(input: TensorLike, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x limited to [min_val, max_val]; no gradient at the limits. Errors: ValueError unless min_val <= max_val."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val must be <= max_val, got {min_val} and {max_val}")
    x = as_tensor(input)
    y = _core.hardtanh(x.array, min_val, max_val)
    kept = (
        y if x.dtype == "float32" else x.array
    )  # a limit rounded to bfloat16 no longer tells itself from inside
    return record(y, (x,), _two_rule, (_core.hardtanh_backward, kept, min_val, max_val))


def hardsigmoid(input: TensorLike, inplace: bool = False) -> Tensor:
    """x / 6 + 1/2 limited to [0, 1]."""
    x = as_tensor(input)
    y = _core.hardsigmoid(x.array)
    return record(y, (x,), _plain_rule, (_core.hardsigmoid_backward, y))


def hardswish(input: TensorLike, inplace: bool = False) -> Tensor:
    """x hardsigmoid(x) (Howard et al., 2019)."""
    x = as_tensor(input)
    return record(_core.hardswish(x.array), (x,), _plain_rule, (_core.hardswish_backward, x.array))


def hardshrink(input: TensorLike, lambd: float = 0.5) -> Tensor:
    """0 where |x| <= lambd, else x."""
    x = as_tensor(input)
    y = _core.hardshrink(x.array, lambd)
    return record(y, (x,), _one_rule, (_core.hardshrink_backward, y, lambd))


def softshrink(input: TensorLike, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, 0 where |x| <= lambd. Errors: ValueError for lambd < 0."""
    if lambd < 0:
        raise ValueError(f"softshrink: lambd must be >= 0, got {lambd}")
    x = as_tensor(input)
    y = _core.softshrink(x.array, lambd)
    return record(y, (x,), _one_rule, (_core.softshrink_backward, y, lambd))


def threshold(input: TensorLike, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value."""
    x = as_tensor(input)
    y = _core.threshold(x.array, threshold, value)
    return record(y, (x,), _one_rule, (_core.threshold_backward, x.array, threshold))


def glu(input: TensorLike, dim: int = -1) -> Tensor:
    """a sigmoid(b), a and b the halves of the input along `dim` (Dauphin et al., 2017).

    Errors: ValueError for an odd size, IndexError for the axis.
    """
    x = as_tensor(input)
    return record(_core.glu(x.array, dim), (x,), _glu_rule, (x.array, dim))


def _glu_rule(saved: Any, dy: Array, needs: list[Need]) -> tuple[Array]:
    x, dim = saved
    return (_core.glu_backward(dy, x, dim),)


def softmin(input: TensorLike, dim: int = -1, *, dtype: DTypeLike | None = None) -> Tensor:
    """softmax(-x) along `dim`. dtype: converted to before."""
    return softmax(neg(input), dim, dtype=dtype)
