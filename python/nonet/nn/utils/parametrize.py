"""Parameters that are computed from others: a weight that is a function of what an optimizer moves.

The function is a Module. A parametrized module has another class, a subclass made for it, in which the parameter's name
is a property; the keys of its state are torch's: `parametrizations.weight.original` and `parametrizations.weight.0.*`.
"""

from __future__ import annotations

from typing import Any

from nonet.nn.container import ModuleDict, ModuleList
from nonet.nn.module import Module
from nonet.tensor import Parameter, Tensor, no_grad

__all__ = ["ParametrizationList", "is_parametrized", "register_parametrization", "remove_parametrizations"]


class ParametrizationList(ModuleList):
    """The functions, in the order in which they are applied to `original`."""

    def __init__(self, function: Module, original: Parameter) -> None:
        super().__init__([function])
        self.original = original

    def forward(self) -> Tensor:
        value: Tensor = self.original
        for function in self:
            value = function(value)
        return value


class _Parametrized:
    """What is in front of a layer's own class. Within one forward pass every parameter is computed once."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        owner: Any = self
        known = vars(self)
        known["_computed"] = {name: function() for name, function in owner.parametrizations.items()}
        try:
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        finally:
            del known["_computed"]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made, not imported, so copies and pickles make it again.
        owner: Any = self
        return _remade, (type(self).__mro__[2], tuple(owner.parametrizations.keys())), vars(self)


def _remade(base: type, names: tuple[str, ...]) -> Any:
    return object.__new__(_class_of(base, names))


def _class_of(base: type, names: tuple[str, ...]) -> type:
    """A subclass of `base` with a property for each name."""
    return type(
        f"Parametrized{base.__name__}", (_Parametrized, base), {name: _property(name) for name in names}
    )


def _property(name: str) -> property:
    def computed(self: Any) -> Tensor:
        known = vars(self).get("_computed")
        return self.parametrizations[name]() if known is None else known[name]

    def assigned(self: Any, value: Any) -> None:
        with no_grad():
            self.parametrizations[name].original.copy_(value)

    return property(computed, assigned)


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether this parameter of `module` is computed from another, or any of them."""
    if not isinstance(module, _Parametrized):
        return False
    known: Any = vars(module)["parametrizations"]
    return tensor_name is None or tensor_name in known


def register_parametrization(module: Module, tensor_name: str, parametrization: Module) -> Module:
    """From now on `module`'s parameter `tensor_name` is parametrization(what it was); returns `module`.

    A second one is applied to the result of the first. A value assigned to the parameter is copied into the original.
    Errors: ValueError if `module` has no parameter of this name.
    """
    if is_parametrized(module, tensor_name):
        known: Any = vars(module)["parametrizations"]
        known[tensor_name].append(parametrization)
        return module
    original = vars(module).get(tensor_name)
    if not isinstance(original, Parameter):
        raise ValueError(f"{type(module).__name__} has no parameter with the name {tensor_name!r}")
    if not is_parametrized(module):
        module.parametrizations = ModuleDict()  # type: ignore[attr-defined]
    functions: Any = vars(module)["parametrizations"]
    base = type(module).__mro__[2] if isinstance(module, _Parametrized) else type(module)
    functions[tensor_name] = ParametrizationList(parametrization, original)
    del vars(module)[tensor_name]
    object.__setattr__(module, "__class__", _class_of(base, tuple(functions.keys())))
    return module


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Makes the parameter an ordinary one again, with its computed value or with the original one; returns `module`.

    Errors: ValueError if it is not computed.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"{type(module).__name__}: {tensor_name!r} is not parametrized")
    functions: Any = vars(module)["parametrizations"]
    base = type(module).__mro__[2]
    original = functions[tensor_name].original
    if leave_parametrized:
        with no_grad():
            original.copy_(functions[tensor_name]())
    del functions[tensor_name]
    rest = tuple(functions.keys())
    if not rest:
        del vars(module)["parametrizations"]
    object.__setattr__(module, "__class__", _class_of(base, rest) if rest else base)
    setattr(module, tensor_name, original)
    return module
