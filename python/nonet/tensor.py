"""Tensor: an Array on the tape, and the walk back over it.

An op computes arrays and calls `record`, which remembers where the inputs came from, the op's gradient rule and what
the rule needs. `backward` walks the nodes from the last recorded to the first, so no recursion and no sorting is
needed: a node is younger than everything it was computed from. Gradients are of first order only.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nonet import _core
from nonet._core import Array

__all__ = [
    "Tensor",
    "Parameter",
    "Buffer",
    "DTypeLike",
    "TensorLike",
    "tensor",
    "as_tensor",
    "as_tensors",
    "from_numpy",
    "from_dlpack",
    "record",
    "record_many",
    "backward",
    "no_grad",
    "enable_grad",
    "set_grad_enabled",
    "is_grad_enabled",
]

# What a rule is told per input: no gradient wanted, wanted, or wanted and here is memory it may write it into.
Need: TypeAlias = "bool | Array"
# rule(saved, gradient of the output, needs) -> one gradient array (or None) per input
Rule: TypeAlias = Callable[[Any, Any, list[Need]], "Sequence[Array | None]"]

# A dtype's name, NumPy's dtype or scalar type of that name, or Python's float (float32), int (int64) and bool.
DTypeLike: TypeAlias = "str | type | np.dtype[Any]"

_dtypes = {"float32", "bfloat16", "int64", "int32", "uint8", "bool"}
_order = count()


class _Mode(threading.local):
    grad = True


_mode = _Mode()


class Node:
    """One recorded op. `inputs` holds, per input, the node or leaf that its gradient goes to, or None."""

    __slots__ = ("grad", "inputs", "order", "rule", "saved")

    def __init__(self, inputs: tuple[Node | Tensor | None, ...], rule: Rule | None, saved: Any):
        self.inputs = inputs
        self.rule = rule
        self.saved = saved
        self.grad: Any = None
        self.order = -next(_order)  # negative: the heap gives the youngest first

    def __lt__(self, other: Node) -> bool:
        return self.order < other.order


class Sum:
    """A gradient of a parameter that a rule of `adding_rules` may add to itself, returning None."""

    __slots__ = ("array",)

    def __init__(self, array: Array):
        self.array = array


# Rules of one input that know how to add to a float32 gradient on the CPU.
adding_rules: set[Any] = set()


class Tap(Node):
    """One output of an op with several; hands its gradient to the op's node (inputs[0]) under its index (saved)."""

    __slots__ = ()


class Tensor(_core.BufferBase):
    """An array on the tape.

    `array` is the memory, `grad` the gradient of a leaf (a Tensor, or None), `requires_grad` whether one is wanted.
    Made by `nonet.tensor`, not by this class.
    """

    __slots__ = ("__weakref__", "_node", "array", "grad", "requires_grad")
    __array_ufunc__ = None  # so that NumPy leaves `array * tensor` to the tensor
    __hash__ = object.__hash__

    def __init__(self, array: Array, requires_grad: bool = False):
        if requires_grad and array.dtype not in ("float32", "bfloat16"):
            raise TypeError(f"requires_grad: only floating dtypes have gradients, got {array.dtype}")
        self.array: Array = array
        self.grad: Tensor | None = None
        self.requires_grad: bool = requires_grad
        self._node: Node | None = None

    # ---- what it is
    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> str:
        return self.array.dtype

    @property
    def device(self) -> str:
        return self.array.device

    @property
    def ndim(self) -> int:
        return self.array.rank

    @property
    def is_leaf(self) -> bool:
        return self._node is None

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one axis."""
        return self.array.shape if dim is None else self.array.shape[dim]

    def dim(self) -> int:
        return self.array.rank

    def numel(self) -> int:
        return self.array.numel

    def __len__(self) -> int:
        if self.array.rank == 0:
            raise TypeError("len: a tensor of rank 0 has no length")
        return self.array.shape[0]

    def __repr__(self) -> str:
        grad = ", requires_grad=True" if self.requires_grad else ""
        if self.device != "cpu":
            grad = f", device={self.device}{grad}"
        if self.array.numel > 1000:
            return f"{type(self).__name__}(shape={list(self.shape)}, dtype={self.dtype}{grad})"
        values = np.array2string(_host(self), separator=", ", prefix=type(self).__name__ + "(")
        return f"{type(self).__name__}({values}, dtype={self.dtype}{grad})"

    # ---- out of nonet
    def numpy(self) -> np.ndarray:
        """The values as a NumPy array that shares the memory; read-only for a parameter.

        Errors: RuntimeError for a tensor on another device than the CPU.
        """
        return _as_numpy(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        out = self.numpy()
        if dtype is not None and out.dtype != np.dtype(dtype):
            if copy is False:
                raise ValueError(f"__array__: {self.dtype} cannot become {np.dtype(dtype)} without a copy")
            return out.astype(dtype)
        return out.copy() if copy else out

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        **_: Any,
    ) -> Any:
        array = self.array
        if dl_device is not None and tuple(dl_device) == (1, 0):
            array = array.to_device("cpu")
        elif array.device != "cpu" and stream != -1:
            _core.synchronize(array.device)  # then the values are there for every stream
        return array.dlpack(max_version is not None and max_version[0] >= 1)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.dlpack_device()

    def item(self) -> float | int | bool:
        return self.array.item()

    def tolist(self) -> Any:
        return _host(self).tolist()

    def __float__(self) -> float:
        return float(self.array.item())

    def __int__(self) -> int:
        return int(self.array.item())

    def __bool__(self) -> bool:
        return bool(self.array.item())

    def __format__(self, spec: str) -> str:
        return format(self.array.item() if self.array.rank == 0 and spec else str(self), spec)

    def __index__(self) -> int:
        if self.array.dtype in ("float32", "bfloat16"):
            raise TypeError(f"index: expected an integer tensor, got {self.array.dtype}")
        return int(self.array.item())

    # ---- the tape
    def backward(self, gradient: Any = None) -> None:
        """Adds the gradient of this tensor to `grad` of every leaf it was computed from (`gradient`: default 1)."""
        node = self._node
        if node is None:
            backward([self], [gradient])
        else:
            node.grad = _seed(self, gradient)
            _walk([node])

    def detach(self) -> Tensor:
        """The same memory without its history."""
        return Tensor(self.array)

    @property
    def data(self) -> Tensor:
        """The same as detach(). Errors: AttributeError if it is set."""
        return Tensor(self.array)

    @data.setter
    def data(self, value: Any) -> None:
        raise AttributeError("data: cannot be set; copy_ overwrites the values")

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        if self._node is not None:
            raise RuntimeError("requires_grad_: only a leaf can be changed")
        if requires_grad and self.dtype not in ("float32", "bfloat16"):
            raise TypeError(f"requires_grad_: only floating dtypes have gradients, got {self.dtype}")
        self.requires_grad = requires_grad
        return self

    # ---- writing in place: the only ways, because they bump the version that packed copies are keyed by
    def copy_(self, source: Any) -> Tensor:
        """Overwrites the values; source must have this shape."""
        self._check_writable("copy_")
        self.array.copy_from(as_tensor(source).array)
        return self

    def fill_(self, value: float) -> Tensor:
        self._check_writable("fill_")
        self.array.fill(value)
        return self

    def zero_(self) -> Tensor:
        return self.fill_(0.0)

    def __setitem__(self, index: Any, value: Any) -> None:
        """Overwrites the part x[index], indexed and broadcast as in NumPy; not on the tape."""
        if isinstance(value, Tensor) and value.requires_grad:
            raise RuntimeError("setitem: no gradient goes through a write in place; use where, or detach()")
        items = index if isinstance(index, tuple) else (index,)
        with self.mutable() as out:
            places = tuple([_host(i) if isinstance(i, Tensor) else i for i in items])
            out[places] = _host(value) if isinstance(value, Tensor) else value

    @contextlib.contextmanager
    def mutable(self) -> Iterator[np.ndarray]:
        """A writable NumPy view for the length of a with block; of a copy, on another device than the CPU."""
        self._check_writable("mutable")
        array = self.array
        if array.device != "cpu":
            copy = array.to_device("cpu")
            try:
                yield _as_numpy(copy)
            finally:
                array.copy_from(copy)
            return
        out = _viewed(array.open_writer(), array.dtype)
        try:
            yield out
        finally:
            array.close_writer()
            with contextlib.suppress(ValueError):
                out.flags.writeable = False

    def _check_writable(self, op: str) -> None:
        if self._node is not None:
            raise RuntimeError(
                f"{op}: only a leaf can be written in place, this tensor was computed on the tape"
            )

    # ---- copies
    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            raise RuntimeError("deepcopy: only leaves can be copied; use detach()")
        out = object.__new__(type(self))
        memo[id(self)] = out
        out.__setstate__(self._state(self.array.clone()))
        if self.grad is not None:
            out.grad = Tensor(self.grad.array.clone())
        return out

    def _state(self, values: Any) -> dict[str, Any]:
        return {
            "values": values,
            "dtype": self.dtype,
            "device": self.device,
            "requires_grad": self.requires_grad,
        }

    def __reduce__(self) -> Any:
        if self._node is not None:
            raise RuntimeError("pickle: only leaves can be pickled; use detach()")
        return _blank, (type(self),), self._state(self.array.to_device("cpu").numpy())

    def __setstate__(self, state: dict[str, Any]) -> None:
        values = state["values"]
        if not isinstance(values, Array):
            values = _core.from_numpy(
                np.ascontiguousarray(values).reshape(values.shape), state["dtype"], True, state["device"]
            )
        Tensor.__init__(self, values, state["requires_grad"])

    if TYPE_CHECKING:  # attached by nonet.ops
        # fmt: off
        def __add__(self, other: TensorLike) -> Tensor: ...
        def __radd__(self, other: TensorLike) -> Tensor: ...
        def __sub__(self, other: TensorLike) -> Tensor: ...
        def __rsub__(self, other: TensorLike) -> Tensor: ...
        def __mul__(self, other: TensorLike) -> Tensor: ...
        def __rmul__(self, other: TensorLike) -> Tensor: ...
        def __truediv__(self, other: TensorLike) -> Tensor: ...
        def __rtruediv__(self, other: TensorLike) -> Tensor: ...
        def __pow__(self, other: TensorLike) -> Tensor: ...
        def __rpow__(self, other: TensorLike) -> Tensor: ...
        def __matmul__(self, other: TensorLike) -> Tensor: ...
        def __rmatmul__(self, other: TensorLike) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __eq__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __lt__(self, other: TensorLike) -> Tensor: ...
        def __le__(self, other: TensorLike) -> Tensor: ...
        def __gt__(self, other: TensorLike) -> Tensor: ...
        def __ge__(self, other: TensorLike) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def __getattr__(self, name: str) -> Any: ...
        # fmt: on


TensorLike: TypeAlias = "Tensor | np.ndarray | float | int | bool | Sequence[Any]"


class Parameter(Tensor):
    """A leaf that a Module owns and an optimizer moves. Exports of its memory are read-only.

    An optimizer lays parameters out in one flat block and their gradients in another; `_slot` is this parameter's place
    in the latter, into which gradients are written directly. A gradient kept across `zero_grad` must be cloned.
    """

    __slots__ = ("_slot",)

    def __init__(self, data: Any, requires_grad: bool = True):
        super().__init__(as_tensor(data).array.clone(), requires_grad)
        self.array.guard()
        self._slot: Tensor | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.array.guard()
        self._slot = None


class Buffer(Tensor):
    """State of a Module that is saved but not trained (running statistics); `persistent` = part of state_dict."""

    __slots__ = ("persistent",)

    def __init__(self, data: Any, persistent: bool = True):
        super().__init__(as_tensor(data).array.clone())
        self.persistent: bool = persistent

    def _state(self, values: Any) -> dict[str, Any]:
        return {**super()._state(values), "persistent": self.persistent}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.persistent = state["persistent"]


def _blank(cls: type[Tensor]) -> Tensor:
    return object.__new__(cls)


def _viewed(values: np.ndarray, dtype: str) -> np.ndarray:
    """What the core exports, under its NumPy dtype: bfloat16 comes as uint16."""
    if dtype != "bfloat16":
        return values
    import ml_dtypes

    return values.view(ml_dtypes.bfloat16)


def _as_numpy(array: Array) -> np.ndarray:
    return _viewed(array.numpy(), array.dtype)


def _host(t: Tensor) -> np.ndarray:
    """The values as NumPy, copied if they are on another device."""
    return _as_numpy(t.array.to_device("cpu"))


# ------------------------------------------------------------------------------------------------ making tensors


def _array_of(data: Any, dtype: DTypeLike | None, copy: bool, device: str | None = None) -> Array:
    if isinstance(data, Tensor):
        out = data.array if dtype is None else data.array.to(dtype)
        if device is not None:
            out = out.to_device(device)
        return out.clone() if copy and out.shares_memory(data.array) else out
    source = np.asarray(data)
    kind = source.dtype.kind
    name = source.dtype.name
    if name not in _dtypes:
        if kind == "f":
            name = "float32"
        elif kind in "iu":
            name = "int64"
        else:
            raise TypeError(f"tensor: expected numbers, got an array of dtype {source.dtype}")
        if name == "int64" and name != source.dtype.name and source.size and int(source.max()) > 2**63 - 1:
            raise ValueError(f"tensor: {source.dtype} values beyond int64")
        with np.errstate(over="ignore"):
            source = source.astype(name)
    if not source.flags.c_contiguous:
        source = np.ascontiguousarray(source).reshape(source.shape)
    out = _core.from_numpy(
        source.view(np.uint16) if name == "bfloat16" else source, name, copy, device or "cpu"
    )
    return out if dtype is None else out.to(dtype)


def tensor(
    data: Any, requires_grad: bool = False, dtype: DTypeLike | None = None, device: str | None = None
) -> Tensor:
    """A new leaf with a copy of the data: an array, a nested sequence, a number or a tensor.

    dtype: float32, bfloat16, int64, int32, uint8 or bool, by name or as NumPy's (`np.float32`), or Python's float, int
    or bool; by default the data's own, where other floating dtypes become float32 and other integers int64.
    device: cpu or cuda, by default a tensor's own, else cpu. Errors: TypeError for data that is not numeric,
    RuntimeError for a device that is not there.
    """
    return Tensor(_array_of(data, dtype, True, device), requires_grad)


def as_tensor(data: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """The data as a tensor: itself if it is one, without a copy where dtype and layout allow.

    device: where data that are no tensor go (default cpu); a tensor stays where it is.
    """
    if isinstance(data, Tensor):
        if dtype is None or _core.dtype_name(dtype) == data.array.dtype:
            return data
        device = None
    return Tensor(_array_of(data, dtype, False, device))


def as_tensors(*data: Any) -> tuple[Tensor, ...]:
    """Each as a tensor; what is none goes to the device of the first that is one."""
    for item in data:
        if not isinstance(item, Tensor):
            break
    else:
        return data
    device = next((item.array.device for item in data if isinstance(item, Tensor)), None)
    return tuple([as_tensor(item, device=device) for item in data])


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the array's memory where its dtype and layout are nonet's, else a copy."""
    return Tensor(_array_of(array, None, False))


def from_dlpack(source: Any) -> Tensor:
    """A tensor that shares the memory of any object with `__dlpack__` (NumPy, PyTorch, JAX …), of a GPU too."""
    if not hasattr(source, "__dlpack__"):
        raise TypeError(f"from_dlpack: expected an object with __dlpack__, got {type(source).__name__}")
    # A producer on a GPU makes the values ready for the stream that nonet will read them in.
    gpu = hasattr(source, "__dlpack_device__") and int(source.__dlpack_device__()[0]) == 2
    stream = {"stream": _core.stream("cuda")} if gpu else {}
    try:
        capsule = source.__dlpack__(max_version=(1, 0), **stream)
    except TypeError:  # a producer from before DLPack 1.0
        capsule = source.__dlpack__(**stream)
    return Tensor(_core.from_dlpack(capsule))


# ------------------------------------------------------------------------------------------------ recording


def is_grad_enabled() -> bool:
    return _mode.grad


class set_grad_enabled(contextlib.ContextDecorator):
    """Turns recording on or off in this thread: at once, and back at the end of a with block or decorated call."""

    def __init__(self, mode: bool):
        self.mode = mode
        self.before = _mode.grad
        _mode.grad = mode

    def __call__(self, func: Any) -> Any:
        _mode.grad = self.before  # for the calls only
        return (enable_grad() if self.mode else no_grad())(func)

    def __enter__(self) -> None:
        _mode.grad = self.mode

    def __exit__(self, *_: object) -> None:
        _mode.grad = self.before


class no_grad(contextlib.ContextDecorator):
    """No recording in this thread: less memory, and kernels keep nothing for a backward pass."""

    grad = False

    def __init__(self) -> None:
        self.before: list[bool] = []

    def _recreate_cm(
        self,
    ) -> no_grad:  # for each call of a decorated function: they may be in several threads
        return type(self)()

    def __enter__(self) -> None:
        self.before.append(_mode.grad)
        _mode.grad = self.grad

    def __exit__(self, *_: object) -> None:
        _mode.grad = self.before.pop()


class enable_grad(no_grad):
    """Recording on, inside no_grad."""

    grad = True


def wants_grad(*inputs: Tensor | None) -> bool:
    """Whether an op on these inputs will be recorded: what a kernel asks before it keeps anything."""
    if _mode.grad:
        for x in inputs:
            if x is not None and x.requires_grad:
                return True
    return False


def record(out: Array, inputs: tuple[Tensor | None, ...], rule: Rule, saved: Any) -> Tensor:
    """The op's result as a tensor, with a node on the tape if an input wants a gradient."""
    t = Tensor(out)
    if _mode.grad:
        for x in inputs:
            if x is not None and x.requires_grad:
                t.requires_grad = True
                sources = tuple([None if x is None or not x.requires_grad else x._node or x for x in inputs])
                t._node = Node(sources, rule, saved)
                break
    return t


def record_many(
    outs: Sequence[Array], inputs: tuple[Tensor | None, ...], rule: Rule, saved: Any
) -> tuple[Tensor, ...]:
    """Like record for several results. The rule gets a list with a gradient, or None, per result."""
    tensors = tuple([Tensor(out) for out in outs])
    if wants_grad(*inputs):
        sources = tuple([None if x is None or not x.requires_grad else x._node or x for x in inputs])
        node = Node(sources, rule, saved)
        for index, t in enumerate(tensors):
            if t.array.dtype in ("float32", "bfloat16"):
                t.requires_grad = True
                t._node = Tap((node,), None, (index, len(tensors)))
    return tensors


# ------------------------------------------------------------------------------------------------ the walk back


def backward(outputs: Sequence[Tensor] | Tensor, gradients: Sequence[Any] | None = None) -> None:
    """Adds the gradients of the outputs to `grad` of every leaf, in one walk.

    gradients: per output an array of its shape (None: ones; allowed for outputs of one element). Nodes are freed on the
    way. Errors: RuntimeError if an output has no history or its history was walked before, ValueError for a shape.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    if gradients is None:
        gradients = [None] * len(outputs)
    if len(gradients) != len(outputs):
        raise ValueError(f"backward: expected {len(outputs)} gradients, one per output, got {len(gradients)}")
    heap: list[Node] = []
    for output, gradient in zip(outputs, gradients, strict=True):
        if output.requires_grad:
            _send(output._node or output, _seed(output, gradient), heap)
    if not any(output.requires_grad for output in outputs):
        raise RuntimeError("backward: no output requires a gradient")
    _walk(heap)


def _walk(heap: list[Node]) -> None:
    """From the nodes of a heap, which hold the gradients of their results, back to the leaves."""
    while heap:
        node = heappop(heap)
        grad, node.grad = node.grad, None
        sources = node.inputs
        if node.__class__ is Tap:
            index, total = node.saved
            owner: Any = sources[0]
            if owner.grad is None:
                owner.grad = [None] * total
                heappush(heap, owner)
            owner.grad[index] = grad
            continue
        rule, saved = node.rule, node.saved
        if rule is None:
            raise RuntimeError(
                "backward: this history was walked before and is freed; run the forward pass again"
            )
        node.rule = node.saved = None
        node.inputs = ()
        # What each source wants. A parameter without a gradient offers its slot, unless it is there twice. Written out,
        # because a call per input would be a good part of what a small network's step costs.
        needs: list[Need] = [
            source is not None
            and (
                source.__class__ is not Parameter
                or source.grad is not None
                or source._slot is None  # type: ignore[union-attr]
                or source._slot.array  # type: ignore[union-attr]
            )
            for source in sources
        ]
        if len(set(sources)) < len(sources):
            needs = [source is not None for source in sources]
        if rule in adding_rules:
            leaf = sources[0]
            if leaf.__class__ is Parameter and leaf.grad is not None:  # type: ignore[union-attr]
                there = leaf.grad.array  # type: ignore[union-attr]
                if there.dtype == "float32" and there.device == "cpu" and grad.device == "cpu":
                    needs = [Sum(there)]  # type: ignore[list-item]
        results = rule(saved, grad, needs)
        for i, source in enumerate(sources):
            if source is None:
                continue
            g = results[i]
            if g is None:
                continue
            if g is needs[i]:  # written into the slot
                source.grad = source._slot  # type: ignore[union-attr]
            elif source.__class__ is Tensor and source.grad is None:
                # A rule may hand the same array to two leaves, and callers may keep what they passed in.
                g = None
                source.grad = Tensor(_core.unshared(results, i))
            else:
                _send(source, g, heap)


def _seed(output: Tensor, gradient: Any) -> Array:
    if gradient is None:
        return _core.unit_gradient(output.array)
    g = as_tensor(gradient, output.dtype, output.device).array
    if g.shape != output.shape:
        raise ValueError(f"backward: gradient must have shape {list(output.shape)}, got {list(g.shape)}")
    if g.device != output.device:
        raise RuntimeError(f"backward: arrays are on different devices, {output.device} and {g.device}")
    return g


def _send(source: Any, g: Array, heap: list[Node]) -> None:
    if source.__class__ is Node or source.__class__ is Tap:
        if source.grad is None:
            source.grad = g
            heappush(heap, source)
        else:
            source.grad = _core.add(source.grad, g)
    elif source.grad is not None:
        if source.grad.array.dtype == g.dtype and source.__class__ is Parameter:
            _core.add_into(source.grad.array, g)
        else:
            source.grad = Tensor(_core.add(source.grad.array, g))
    elif source.__class__ is Parameter and source._slot is not None:
        source._slot.array.copy_from(g)
        source.grad = source._slot
    else:
        source.grad = Tensor(g.clone())  # callers may keep what they passed in
