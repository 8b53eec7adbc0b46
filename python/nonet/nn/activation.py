"""Activation layers and the softmax family. Input and output: float32 or bfloat16 of any shape, unless said otherwise.

`inplace` is accepted as in torch.nn; the result is a new tensor all the same.
"""

from __future__ import annotations

from nonet.nn.module import Module
from nonet.ops import activation as ops
from nonet.ops.creation import full
from nonet.ops.softmax import log_softmax, softmax
from nonet.ops.unary import sigmoid, tanh
from nonet.tensor import DTypeLike, Parameter, Tensor, TensorLike, as_tensor

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SELU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


def _inplace(inplace: bool, before: str = "") -> str:
    return (f"{before}, " if before else "") + "inplace=True" if inplace else before


class ReLU(Module):
    """max(x, 0) (Nair & Hinton, 2010)."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, input: TensorLike) -> Tensor:
        return ops.relu(input)

    def extra_repr(self) -> str:
        return _inplace(self.inplace)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope * x (Maas et al., 2013)."""

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False):
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: TensorLike) -> Tensor:
        return ops.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return _inplace(self.inplace, f"negative_slope={self.negative_slope}")


class PReLU(Module):
    """x where x > 0, else weight * x (He et al., 2015). x: any shape, or [N, num_parameters, ...].

    `weight` [num_parameters] starts at `init`.
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: str | None = None,
        dtype: DTypeLike | None = None,
    ):
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(full((num_parameters,), init, dtype=dtype or "float32", device=device))

    def reset_parameters(self) -> None:
        self.weight.fill_(self.init)

    def forward(self, input: TensorLike) -> Tensor:
        return ops.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """x where x > 0, else r x (Xu et al., 2015); r is drawn per element from [lower, upper) in training, else fixed
    at the middle. Errors: ValueError unless lower <= upper (when called)."""

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False):
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, input: TensorLike) -> Tensor:
        return ops.rrelu(input, self.lower, self.upper, self.training)

    def extra_repr(self) -> str:
        return _inplace(self.inplace, f"lower={self.lower}, upper={self.upper}")


class Hardtanh(Module):
    """x limited to [min_val, max_val]. Errors: ValueError unless min_val < max_val."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False):
        if min_val >= max_val:
            raise ValueError(f"{type(self).__name__}: min_val must be < max_val, got {min_val} and {max_val}")
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace

    def forward(self, input: TensorLike) -> Tensor:
        return ops.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return _inplace(self.inplace, f"min_val={self.min_val}, max_val={self.max_val}")


class ReLU6(Hardtanh):
    """x limited to [0, 6]."""

    def __init__(self, inplace: bool = False):
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        return _inplace(self.inplace)


class ELU(Module):
    """x where x > 0, else alpha (e^x - 1) (Clevert et al., 2016)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: TensorLike) -> Tensor:
        return ops.elu(input, self.alpha)

    def extra_repr(self) -> str:
        return _inplace(self.inplace, f"alpha={self.alpha}")


class CELU(ELU):
    """x where x > 0, else alpha (e^(x / alpha) - 1) (Barron, 2017)."""

    def forward(self, input: TensorLike) -> Tensor:
        return ops.celu(input, self.alpha)


class SELU(Module):
    """ELU scaled so that activations keep mean 0 and variance 1 (Klambauer et al., 2017)."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, input: TensorLike) -> Tensor:
        return ops.selu(input)

    def extra_repr(self) -> str:
        return _inplace(self.inplace)


class GELU(Module):
    """x Phi(x) with the normal distribution Phi (Hendrycks & Gimpel, 2016). approximate: "none" or "tanh"."""

    def __init__(self, approximate: str = "none"):
        self.approximate = approximate

    def forward(self, input: TensorLike) -> Tensor:
        return ops.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x sigmoid(x) (Elfwing et al., 2018)."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, input: TensorLike) -> Tensor:
        return ops.silu(input)

    def extra_repr(self) -> str:
        return _inplace(self.inplace)


class Mish(Module):
    """x tanh(log(1 + e^x)) (Misra, 2019)."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, input: TensorLike) -> Tensor:
        return ops.mish(input)

    def extra_repr(self) -> str:
        return _inplace(self.inplace)


class Softplus(Module):
    """log(1 + e^(beta x)) / beta; x itself where beta x > threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: TensorLike) -> Tensor:
        return ops.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, input: TensorLike) -> Tensor:
        return ops.softsign(input)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, input: TensorLike) -> Tensor:
        return tanh(input)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, input: TensorLike) -> Tensor:
        return ops.tanhshrink(input)


class Sigmoid(Module):
    """1 / (1 + e^-x)."""

    def forward(self, input: TensorLike) -> Tensor:
        return sigmoid(input)


class LogSigmoid(Module):
    """log(sigmoid(x)), without overflow."""

    def forward(self, input: TensorLike) -> Tensor:
        return ops.logsigmoid(input)


class Hardsigmoid(Module):
    """x / 6 + 1/2 limited to [0, 1]."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, input: TensorLike) -> Tensor:
        return ops.hardsigmoid(input)


class Hardswish(Module):
    """x hardsigmoid(x) (Howard et al., 2019)."""

    def __init__(self, inplace: bool = False):
        self.inplace = inplace

    def forward(self, input: TensorLike) -> Tensor:
        return ops.hardswish(input)


class Hardshrink(Module):
    """0 where |x| <= lambd, else x."""

    def __init__(self, lambd: float = 0.5):
        self.lambd = lambd

    def forward(self, input: TensorLike) -> Tensor:
        return ops.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Softshrink(Module):
    """x moved towards 0 by lambd, 0 where |x| <= lambd."""

    def __init__(self, lambd: float = 0.5):
        self.lambd = lambd

    def forward(self, input: TensorLike) -> Tensor:
        return ops.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Threshold(Module):
    """x where x > threshold, else value."""

    def __init__(self, threshold: float, value: float, inplace: bool = False):
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input: TensorLike) -> Tensor:
        return ops.threshold(input, self.threshold, self.value)

    def extra_repr(self) -> str:
        return _inplace(self.inplace, f"threshold={self.threshold}, value={self.value}")


class GLU(Module):
    """a sigmoid(b), a and b the halves of the input along `dim` (Dauphin et al., 2017)."""

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, input: TensorLike) -> Tensor:
        return ops.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


# ------------------------------------------------------------------------------------------------ softmax


def _axis(dim: int | None, rank: int) -> int:
    """The axis, or torch's choice for a layer without one: 0 for ranks 0, 1 and 3, else 1."""
    if dim is not None:
        return dim
    return 0 if rank in (0, 1, 3) else 1


class Softmax(Module):
    """exp(x) / sum(exp(x)) along `dim`; without one along axis 0 for ranks 0, 1 and 3 and axis 1 for others."""

    def __init__(self, dim: int | None = None):
        self.dim = dim

    def forward(self, input: TensorLike) -> Tensor:
        x = as_tensor(input)
        return softmax(x, _axis(self.dim, x.ndim))

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmin(Softmax):
    """Softmax of -x."""

    def forward(self, input: TensorLike) -> Tensor:
        x = as_tensor(input)
        return ops.softmin(x, _axis(self.dim, x.ndim))


class LogSoftmax(Softmax):
    """x - log(sum(exp(x))) along `dim`; the axis as in Softmax."""

    def forward(self, input: TensorLike) -> Tensor:
        x = as_tensor(input)
        return log_softmax(x, _axis(self.dim, x.ndim))

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax2d(Module):
    """Softmax over the channels of [N, C, H, W] or [C, H, W]. Errors: ValueError for another rank."""

    def forward(self, input: TensorLike) -> Tensor:
        x = as_tensor(input)
        if x.ndim not in (3, 4):
            raise ValueError(
                f"softmax2d: input must have shape [N, C, H, W] or [C, H, W], got {list(x.shape)}"
            )
        return softmax(x, -3)
