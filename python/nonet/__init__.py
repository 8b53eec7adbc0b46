"""nonet: the nine classic kinds of neural network on hand-written kernels, under torch.nn's names."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nonet import ops
from nonet._core import Generator, num_threads, set_num_threads
from nonet.ops import *  # noqa: F403
from nonet.tensor import (
    Buffer,
    Parameter,
    Tensor,
    as_tensor,
    backward,
    enable_grad,
    from_dlpack,
    from_numpy,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
    tensor,
)

if TYPE_CHECKING:
    from nonet import cuda, data, io, models, nn, optim, train

__version__ = "0.1.0"

# Imported on first use, so that `import nonet` costs little more than NumPy.
_lazy = ("bench", "cli", "cuda", "data", "io", "models", "nn", "optim", "plot", "train")


def __getattr__(name: str) -> Any:
    if name in _lazy:
        return importlib.import_module(f"nonet.{name}")
    raise AttributeError(f"module 'nonet' has no attribute {name!r}")


__all__ = [
    *ops.__all__,
    "Buffer",
    "Generator",
    "Parameter",
    "Tensor",
    "as_tensor",
    "backward",
    "cuda",
    "data",
    "enable_grad",
    "from_dlpack",
    "from_numpy",
    "io",
    "is_grad_enabled",
    "models",
    "nn",
    "no_grad",
    "num_threads",
    "optim",
    "set_grad_enabled",
    "set_num_threads",
    "tensor",
    "train",
]
