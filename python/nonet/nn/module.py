"""Module: a tree of layers that owns parameters and buffers.

Parameters, buffers and child modules are plain attributes; the tree is read from them when it is asked for, so an
attribute access on the way through a network costs what it costs on any object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from nonet._core import Array
from nonet.ops.unary import cuda_name, target_of
from nonet.tensor import Buffer, DTypeLike, Parameter, Tensor, as_tensor

__all__ = ["Module"]

Self = TypeVar("Self", bound="Module")

# Called as observer(module, args, output) after every call in this process while set (summaries, the NaN search).
observer: Callable[[Module, tuple[Any, ...], Any], None] | None = None


class IncompatibleKeys(NamedTuple):
    """What load_state_dict returns."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base class of all layers and models: subclasses define `__init__` and `forward`.

    `state_dict` keys are attribute paths joined by dots, as in torch.nn. An error raised inside `forward` is prefixed
    with the path and class of the module it came from.
    """

    training: bool = True
    # Buffers of this class that a state_dict may lack: they keep their values.
    _optional: tuple[str, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            out = self.forward(*args, **kwargs)
        except (ValueError, TypeError, IndexError, RuntimeError) as error:
            _name_module(error, self)
            raise
        if observer is not None:
            observer(self, args, out)
        return out

    def __setattr__(self, name: str, value: Any) -> None:
        # A result takes the place of a buffer, and is one; over a parameter it would silently end the training of it.
        if value.__class__ is Tensor:
            known = vars(self).get(name)
            if isinstance(known, Parameter):
                raise TypeError(
                    f"{type(self).__name__}: {name} must be a Parameter or None, got Tensor; copy_ changes its values"
                )
            if isinstance(known, Buffer):
                if value.requires_grad:
                    raise ValueError(
                        f"{type(self).__name__}: {name} is a buffer and must have no history, use detach()"
                    )
                value = Buffer(value, known.persistent)
        object.__setattr__(self, name, value)

    # ---- the tree
    def _child_items(self) -> list[tuple[str, Module]]:
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Module)]

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module), each module once."""
        seen: set[int] = set()
        for name, child in self._child_items():
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        for _, child in self.named_children():
            yield child

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """(path, module) of this module and all below, each module once, or else under every path it has."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if remove_duplicate and id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            below = [(f"{path}.{name}" if path else name, child) for name, child in module._child_items()]
            stack.extend(reversed(below))

    def modules(self) -> Iterator[Module]:
        for _, module in self.named_modules():
            yield module

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter), each parameter once, or else under every path it has."""
        yield from self._named(Parameter, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Buffer]]:
        yield from self._named(Buffer, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def _named(
        self, kind: Any, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix, remove_duplicate) if recurse else [(prefix, self)]:
            for name, value in vars(module).items():
                if isinstance(value, kind) and not (remove_duplicate and id(value) in seen):
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def get_submodule(self, target: str) -> Module:
        """The module at a path. Errors, here and in the next two: AttributeError."""
        return self._at(target, Module)

    def get_parameter(self, target: str) -> Parameter:
        return self._at(target, Parameter)

    def get_buffer(self, target: str) -> Buffer:
        return self._at(target, Buffer)

    def _at(self, path: str, kind: Any) -> Any:
        value: Any = self
        for name in path.split(".") if path else []:
            value = vars(value).get(name) if isinstance(value, Module) else None
        if not isinstance(value, kind):
            raise AttributeError(f"{type(self).__name__} has no {kind.__name__.lower()} at {path!r}")
        return value

    def add_module(self, name: str, module: Module | None) -> None:
        """Sets a child. Errors, here and in the next two: KeyError for a name that cannot be a member's, TypeError."""
        self._register("add_module", name, module, Module)

    register_module = add_module

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        self._register("register_parameter", name, param, Parameter)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        self._register(
            "register_buffer", name, None if tensor is None else Buffer(tensor, persistent), Buffer
        )

    def _register(self, op: str, name: str, value: Any, kind: Any) -> None:
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{op}: {name} must be a {kind.__name__} or None, got {type(value).__name__}")
        check_name(self, name)
        known = vars(self).get(name)
        if known is not None and not isinstance(known, kind):
            raise KeyError(f"{type(self).__name__}: {name!r} is taken by a {type(known).__name__}")
        setattr(self, name, value)

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Calls fn on every module, the children before their parent."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- modes
    def train(self: Self, mode: bool = True) -> Self:
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    def to(
        self: Self, target: Any = None, dtype: DTypeLike | None = None, *, device: str | None = None
    ) -> Self:
        """Moves parameters and buffers to a device, or converts those of floating dtype, in place.

        Parameters keep their identity, and an optimizer made before follows them to the device with its next step;
        after a conversion it is made anew. Errors: ValueError for a name of neither, TypeError for a dtype that is not
        floating, RuntimeError for a device that is not there.
        """
        kind, place = target_of(target, dtype, device)
        if kind is not None and kind not in ("float32", "bfloat16"):
            raise TypeError(f"Module.to: dtype must be float32 or bfloat16, got {kind}")
        for value in (*self.parameters(), *self.buffers()):
            _convert(value, kind, place)
        return self

    def cpu(self: Self) -> Self:
        return self.to(device="cpu")

    def cuda(self: Self, device: str | int | None = None) -> Self:
        return self.to(device=cuda_name(device))

    def float(self: Self) -> Self:
        """Parameters and buffers of floating dtype as float32."""
        return self.to("float32")

    def bfloat16(self: Self) -> Self:
        """Parameters and buffers of floating dtype as bfloat16."""
        return self.to("bfloat16")

    # ---- state
    def state_dict(self, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Path -> tensor of every parameter and persistent buffer: the same memory, detached unless keep_vars."""
        out: dict[str, Tensor] = {}
        for path, value in self._state_items(prefix):
            out[path] = value if keep_vars else value.detach()
        return out

    def _state_items(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        # A parameter shared by two modules is listed under both of its paths, as in torch.
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            dot = f"{path}." if path and not path.endswith(".") else path
            values = vars(module)
            for kind in (Parameter, Buffer):
                for name, value in values.items():
                    if isinstance(value, kind) and getattr(value, "persistent", True):
                        yield dot + name, value
            stack.extend(reversed([(dot + name, child) for name, child in module._child_items()]))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copies values into the parameters and buffers of the same paths.

        Returns (missing_keys, unexpected_keys). Errors: KeyError for such keys if strict; ValueError that lists every
        parameter whose shape differs; TypeError for what is no mapping. Nothing is written unless all of it can be.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: expected a mapping, got {type(state_dict).__name__}")
        own = dict(self._state_items())
        missing = [key for key in own if key not in state_dict]
        if missing:
            optional = self._optional_keys()
            missing = [key for key in missing if key not in optional]
        unexpected = [key for key in state_dict if key not in own]
        if strict and (missing or unexpected):
            raise KeyError(
                f"load_state_dict ({type(self).__name__}): missing keys {missing}, unexpected keys {unexpected}"
            )
        values = {key: as_tensor(state_dict[key]) for key in own if key in state_dict}
        wrong = [
            f"{key}: expected {list(own[key].shape)}, got {list(value.shape)}"
            for key, value in values.items()
            if value.shape != own[key].shape
        ]
        if wrong:
            raise ValueError(f"load_state_dict ({type(self).__name__}): wrong shapes: " + "; ".join(wrong))
        for key, value in values.items():
            own[key].copy_(value)
        return IncompatibleKeys(missing, unexpected)

    def _optional_keys(self) -> set[str]:
        modules = self.named_modules(remove_duplicate=False)
        return {f"{path}.{name}" if path else name for path, module in modules for name in module._optional}

    # ---- text
    def extra_repr(self) -> str:
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._child_items()]
        extra = self.extra_repr()
        if "\n" in extra:  # a list of its own
            lines, extra = extra.split("\n") + lines, ""
        head = f"{type(self).__name__}({extra}"
        return head + ("\n  " + "\n  ".join(lines) + "\n" if lines else "") + ")"


def _convert(value: Parameter | Buffer, dtype: str | None, device: str | None) -> None:
    if value.dtype not in ("float32", "bfloat16"):
        dtype = None

    def converted(array: Array) -> Array:
        moved = array if device is None else array.to_device(device)
        return moved if dtype is None else moved.to(dtype)

    array = converted(value.array)
    if array.device == value.device and array.dtype == value.dtype:
        return
    grad = value.grad
    value.__setstate__({**value._state(array), "dtype": array.dtype})
    value.grad = None if grad is None else Tensor(converted(grad.array))


def check_name(owner: Module, name: Any) -> None:
    """Errors: TypeError or KeyError for what cannot be the name of a member of owner."""
    if not isinstance(name, str):
        raise TypeError(f"{type(owner).__name__}: names must be strings, got {type(name).__name__}")
    if name == "" or "." in name or hasattr(type(owner), name):
        raise KeyError(f"{type(owner).__name__}: a member cannot be named {name!r}")


def _name_module(error: Exception, module: Module) -> None:
    """Puts the path of the module that failed in front of the message; each module on the way out adds its part."""
    known = getattr(error, "_module", None)
    if known is None:
        if len(error.args) != 1 or not isinstance(error.args[0], str):
            return
        path, kind, text = "", type(module).__name__, error.args[0]
    else:
        below, path, kind, text = known
        for name, child in module.named_children():
            if child is below:
                path = f"{name}.{path}" if path else name
                break
    error._module = (module, path, kind, text)  # type: ignore[attr-defined]
    error.args = (f"{path} ({kind}): {text}" if path else f"{kind}: {text}",)
