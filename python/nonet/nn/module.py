"""Module: a tree of layers that owns parameters and buffers.

Parameters, buffers and child modules are plain attributes; the tree is read from them when it is asked for, so an
attribute access on the way through a network costs what it costs on any object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from nonet.tensor import Buffer, Parameter, Tensor, as_tensor

__all__ = ["Module"]

Self = TypeVar("Self", bound="Module")

# Called as observer(module, args, output) after every call in this process while set (summaries, the NaN search).
observer: Callable[[Module, tuple[Any, ...], Any], None] | None = None


class Module:
    """Base class of all layers and models: subclasses define `__init__` and `forward`.

    `state_dict` keys are attribute paths joined by dots, as in torch.nn. An error raised inside `forward` is prefixed
    with the path and class of the module it came from.
    """

    training: bool = True

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

    # ---- the tree
    def named_children(self) -> Iterator[tuple[str, Module]]:
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def children(self) -> Iterator[Module]:
        for _, child in self.named_children():
            yield child

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(path, module) of this module and all below, each module once."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            below = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
            stack.extend(reversed(below))

    def modules(self) -> Iterator[Module]:
        for _, module in self.named_modules():
            yield module

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter), each parameter once."""
        yield from self._named(Parameter, prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Buffer]]:
        yield from self._named(Buffer, prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Buffer]:
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def _named(
        self, kind: Any, prefix: str, recurse: bool, duplicates: bool = False
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, value in vars(module).items():
                if isinstance(value, kind) and (duplicates or id(value) not in seen):
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def get_submodule(self, path: str) -> Module:
        module: Any = self
        for name in path.split(".") if path else []:
            module = vars(module).get(name)
            if not isinstance(module, Module):
                raise AttributeError(f"{type(self).__name__} has no module at {path!r}")
        return module

    def add_module(self, name: str, module: Module | None) -> None:
        setattr(self, name, module)

    register_module = add_module

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(
                f"register_parameter: {name} must be a Parameter or None, got {type(parameter).__name__}"
            )
        setattr(self, name, parameter)

    def register_buffer(self, name: str, value: Any, persistent: bool = True) -> None:
        setattr(self, name, None if value is None else Buffer(value, persistent))

    def apply(self: Self, function: Callable[[Module], Any]) -> Self:
        for module in self.modules():
            function(module)
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

    def to(self: Self, device: str) -> Self:
        """Moves to a device ("cpu"). Errors: RuntimeError for a device that is not there."""
        as_tensor(0.0).to(device)
        return self

    def cpu(self: Self) -> Self:
        return self

    # ---- state
    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Path -> tensor (shared memory, detached) of every parameter and persistent buffer."""
        out: dict[str, Tensor] = {}
        for path, value in self._state_items(prefix):
            out[path] = value.detach()
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
            stack.extend(reversed([(dot + name, child) for name, child in module.named_children()]))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> tuple[list[str], list[str]]:
        """Copies values into the parameters and buffers of the same paths.

        Returns (missing, unexpected) keys. Errors: KeyError for such keys if strict; ValueError that lists every
        parameter whose shape differs. Nothing is written unless all of it can be.
        """
        own = dict(self._state_items())
        missing = [key for key in own if key not in state_dict]
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
        return missing, unexpected

    # ---- text
    def extra_repr(self) -> str:
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        head = f"{type(self).__name__}({self.extra_repr()}"
        return head + ("\n  " + "\n  ".join(lines) + "\n" if lines else "") + ")"


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
