"""Parametrizations: spectral normalisation."""

from __future__ import annotations

from nonet.nn.conv import ConvTranspose1d, ConvTranspose2d
from nonet.nn.module import Module
from nonet.nn.utils.parametrize import register_parametrization
from nonet.ops.distance import normalize
from nonet.ops.elementwise import div
from nonet.ops.matmul import dot, mv
from nonet.ops.random import randn
from nonet.ops.shape import flatten, permute, reshape
from nonet.tensor import Buffer, Tensor, no_grad

__all__ = ["spectral_norm"]


class _SpectralNorm(Module):
    """weight -> weight / its largest singular value, as a matrix whose rows are the axis `dim`.

    The value is u·Wv, with the buffers `_u` [rows] and `_v` [columns] moved by `n_power_iterations` steps of the power
    method in every forward pass of training, 15 at the beginning. A vector is divided by its length.
    """

    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float) -> None:
        rank = weight.ndim
        if not -rank <= dim < rank:
            raise IndexError(f"spectral_norm: dim must be in [{-rank}, {rank - 1}], got {dim}")
        if n_power_iterations <= 0:
            raise ValueError(f"spectral_norm: n_power_iterations must be positive, got {n_power_iterations}")
        self.dim, self.eps, self.n_power_iterations = dim % rank, eps, n_power_iterations
        if rank > 1:
            with no_grad():
                matrix = self._matrix(weight.detach())
                rows, columns = matrix.shape
                self._u = Buffer(normalize(randn(rows, device=weight.device), dim=0, eps=eps))
                self._v = Buffer(normalize(randn(columns, device=weight.device), dim=0, eps=eps))
                self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        if self.dim != 0:
            weight = permute(weight, (self.dim, *(axis for axis in range(weight.ndim) if axis != self.dim)))
        return flatten(weight, 1)

    def _iterate(self, matrix: Tensor, times: int) -> None:
        for _ in range(times):
            u = normalize(mv(matrix, self._v), dim=0, eps=self.eps)
            v = normalize(reshape(u, (1, -1)) @ matrix, dim=1, eps=self.eps)
            self._u.copy_(u)
            self._v.copy_(reshape(v, -1))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            with no_grad():
                self._iterate(matrix.detach(), self.n_power_iterations)
        # Copies: a second forward pass moves the vectors before the walk back through the first.
        u, v = self._u.detach().clone(), self._v.detach().clone()
        return div(weight, dot(u, mv(matrix, v)))


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """`module` with its parameter `name` divided by its spectral norm (its length, for a vector); returns `module`.

    The norm is estimated by the power method, `n_power_iterations` steps in every forward pass of training. dim: the
    axis of outputs, by default 0, and 1 for transposed convolutions. State: `parametrizations.{name}.original`,
    `parametrizations.{name}.0._u` and `._v`. Miyato, Kataoka, Koyama, Yoshida, "Spectral normalization for generative
    adversarial networks", ICLR 2018. Errors: ValueError for a name or n_power_iterations, IndexError for dim.
    """
    weight = vars(module).get(name, getattr(module, name, None))
    if not isinstance(weight, Tensor):
        raise ValueError(f"spectral_norm: {type(module).__name__} has no parameter with the name {name!r}")
    if dim is None:
        dim = 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d)) else 0
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))
