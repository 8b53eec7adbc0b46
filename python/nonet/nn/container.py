"""Containers: modules and parameters by number or by name, kept as attributes "0", "1", … or under their key."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from nonet.nn import module as _module
from nonet.nn.fusion import fused_steps
from nonet.nn.module import Module, check_name
from nonet.tensor import Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]

Self = TypeVar("Self", bound="_Numbered")


def _child(value: Any, owner: Module) -> Module:
    if not isinstance(value, Module):
        raise TypeError(f"{type(owner).__name__}: expected a Module, got {type(value).__name__}")
    return value


def _parameter(value: Any, owner: Module) -> Parameter:
    return value if isinstance(value, Parameter) else Parameter(value)


class _Numbered(Module):
    """A list of members of one kind, kept as attributes in their order."""

    _kind: Any = Module
    _convert: Callable[[Any, Module], Any] = staticmethod(_child)

    def _names(self) -> list[str]:
        return [name for name, value in vars(self).items() if isinstance(value, self._kind)]

    def _members(self) -> list[Any]:
        return [value for value in vars(self).values() if isinstance(value, self._kind)]

    def _set(self, members: Iterable[Any]) -> None:
        """Numbers the members anew from 0."""
        new = [self._convert(member, self) for member in members]
        for name in self._names():
            delattr(self, name)
        for i, member in enumerate(new):
            setattr(self, str(i), member)

    def _place(self, index: Any, end: int) -> int:
        i = operator.index(index)
        if not -end <= i < end:
            raise IndexError(f"{type(self).__name__}: index {i} is out of range for {len(self)} members")
        return i + end if i < 0 else i

    def __len__(self) -> int:
        return len(self._members())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._members())

    def __contains__(self, member: Any) -> bool:
        return any(member is own for own in self._members())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(self._members()[index])  # type: ignore[call-arg]
        return self._members()[self._place(index, len(self))]

    def __setitem__(self, index: Any, member: Any) -> None:
        names = self._names()
        if isinstance(index, slice):
            for name, value in zip(names[index], member, strict=True):
                setattr(self, name, self._convert(value, self))
        else:
            setattr(self, names[self._place(index, len(names))], self._convert(member, self))

    def __delitem__(self, index: Any) -> None:
        members = self._members()
        if not isinstance(index, slice):
            index = self._place(index, len(members))
        del members[index]
        self._set(members)

    def append(self: Self, member: Any) -> Self:
        setattr(self, str(len(self)), self._convert(member, self))
        return self

    def extend(self: Self, members: Iterable[Any]) -> Self:
        for member in list(members):
            self.append(member)
        return self

    def insert(self: Self, index: int, member: Any) -> Self:
        members = self._members()
        i = operator.index(index)
        if not -len(members) <= i <= len(members):
            raise IndexError(f"{type(self).__name__}: index {i} is out of range for {len(members)} members")
        members.insert(i, member)
        self._set(members)
        return self

    def pop(self, index: int = -1) -> Any:
        member = self[index]
        del self[index]
        return member

    def __iadd__(self: Self, members: Iterable[Any]) -> Self:
        return self.extend(members)

    def __add__(self: Self, members: Iterable[Any]) -> Self:
        return type(self)([*self, *members])  # type: ignore[call-arg]


class Sequential(_Numbered):
    """Modules called one after the other: Sequential(a, b, …) or Sequential({"name": a, …}).

    Neighbours that can be computed in one pass (Linear and its activation) are; the result is that of separate calls.
    Errors: TypeError for a member that is no Module, KeyError for a name that cannot be an attribute.
    """

    _plan: list[Callable[[Any], Any]] | None = None

    @overload
    def __init__(self, *modules: Module): ...
    @overload
    def __init__(self, modules: Mapping[str, Module], /): ...
    def __init__(self, *modules: Any):
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, member in modules[0].items():
                check_name(self, name)
                setattr(self, name, _child(member, self))
        else:
            self._set(modules)

    def forward(self, input: Any) -> Any:
        if _module.observer is not None:  # it is told of every module, so every module is called
            for step in self._members():
                input = step(input)
            return input
        plan = self._plan
        if plan is None:
            plan = fused_steps(self._members())
            self.__dict__["_plan"] = plan
        for step in plan:
            input = step(input)
        return input

    # The plan holds for the children it was made of.
    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__.pop("_plan", None)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self.__dict__.pop("_plan", None)
        object.__delattr__(self, name)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_plan"}

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            names = self._names()[index]
            return type(self)({name: vars(self)[name] for name in names})
        return super().__getitem__(index)

    def __add__(self, modules: Iterable[Module]) -> Sequential:
        return Sequential(*self, *modules)

    def __mul__(self, times: int) -> Sequential:
        """The same modules `times` times in a row, not copies. Errors: TypeError, ValueError unless times >= 1."""
        return Sequential(*self._members() * _repeats(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Sequential:
        return self.extend(self._members() * (_repeats(times) - 1))


def _repeats(times: Any) -> int:
    if not isinstance(times, int):
        raise TypeError(f"Sequential: expected an int to repeat by, got {type(times).__name__}")
    if times < 1:
        raise ValueError(f"Sequential: expected to be repeated at least once, got {times}")
    return times


class ModuleList(_Numbered):
    """Modules by number; it has no forward of its own. Errors: TypeError for a member that is no Module."""

    def __init__(self, modules: Iterable[Module] | None = None):
        self._set(modules or ())


class ParameterList(_Numbered):
    """Parameters by number; other tensors and arrays become parameters."""

    _kind = Parameter
    _convert = staticmethod(_parameter)

    def __init__(self, values: Iterable[Any] | None = None):
        self._set(values or ())

    def extra_repr(self) -> str:
        return "\n".join(f"({i}): Parameter of shape {list(p.shape)}, {p.dtype}" for i, p in enumerate(self))


class _Named(Module):
    """A dictionary of members of one kind, kept as attributes in their order."""

    _kind: Any = Module
    _convert: Callable[[Any, Module], Any] = staticmethod(_child)

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        return isinstance(vars(self).get(key), self._kind)  # type: ignore[arg-type]

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return vars(self)[key]

    def __setitem__(self, key: str, member: Any) -> None:
        check_name(self, key)
        setattr(self, key, self._convert(member, self))

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        delattr(self, key)

    def keys(self) -> list[str]:
        return [name for name, value in vars(self).items() if isinstance(value, self._kind)]

    def values(self) -> list[Any]:
        return [value for value in vars(self).values() if isinstance(value, self._kind)]

    def items(self) -> list[tuple[str, Any]]:
        return [(name, value) for name, value in vars(self).items() if isinstance(value, self._kind)]

    def update(self, members: Any) -> None:
        """members: a mapping, or pairs of key and member."""
        pairs = members.items() if isinstance(members, (Mapping, _Named)) else members
        for key, member in pairs:
            self[key] = member

    def pop(self, key: str) -> Any:
        member = self[key]
        del self[key]
        return member

    def clear(self) -> None:
        for key in self.keys():
            del self[key]


class ModuleDict(_Named):
    """Modules by key; it has no forward of its own. Errors: TypeError for a member that is no Module, KeyError."""

    def __init__(self, modules: Any = None):
        self.update(modules or ())


class ParameterDict(_Named):
    """Parameters by key; other tensors and arrays become parameters."""

    _kind = Parameter
    _convert = staticmethod(_parameter)

    def __init__(self, parameters: Any = None):
        self.update(parameters or ())

    def get(self, key: str, default: Any = None) -> Any:
        return vars(self)[key] if key in self else default

    def extra_repr(self) -> str:
        return "\n".join(f"({k}): Parameter of shape {list(p.shape)}, {p.dtype}" for k, p in self.items())
