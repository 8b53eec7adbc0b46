"""Optimizer: what all optimizers share.

A group's parameters are laid out in one flat block of memory, their gradients in another, their states in more; a step
is one call over all of them (csrc/ops/optim). Nothing depends on that layout: a parameter that another optimizer has
laid out anew, or a gradient assigned by hand, is used where it lies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from nonet import _core
from nonet.tensor import Parameter, Tensor, as_tensor, enable_grad

__all__ = ["Optimizer"]


class Optimizer:
    """Base class: parameter groups, state and its saving.

    params: an iterable of parameters or of (name, parameter), or of dicts with "params" and hyper-parameters of their
    own. `param_groups` are dicts that hold "params" and every hyper-parameter; a changed value counts from the next
    step on. Errors: ValueError for no parameters, repeated ones or hyper-parameters out of range, TypeError for what
    is not a tensor.
    """

    # Names of the states, by their number in the kernel.
    STATES: tuple[str, ...] = ()
    # Numbers saved beside them.
    COUNTS: tuple[str, ...] = ("step",)
    # Whether states exist, and are saved, before the first step.
    EAGER = False

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]):
        if isinstance(params, (Tensor, dict)):
            raise TypeError(f"{type(self).__name__}: params must be an iterable of tensors or of dicts")
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self._flat: list[_core.OptimGroup] = []
        groups = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__}: got no parameters")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Adds {"params": ..., hyper-parameters that differ from the defaults}."""
        name = type(self).__name__
        group = dict(param_group)
        given = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        if given and isinstance(given[0], tuple):
            group["param_names"] = [item[0] for item in given]
            given = [item[1] for item in given]
        known = {id(p) for other in self.param_groups for p in other["params"]}
        for p in given:
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: params must hold tensors, got {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError(
                    f"{name}: only leaves can be optimized, this tensor was computed on the tape"
                )
            if id(p) in known:
                raise ValueError(f"{name}: a parameter appears twice")
            known.add(id(p))
        group["params"] = given
        for key, value in self.defaults.items():
            group.setdefault(key, value)
        flat = _core.OptimGroup(given, [isinstance(p, Parameter) for p in given])
        for i, p in enumerate(given):
            if isinstance(p, Parameter):
                p.array = flat.param(i)
                p._slot = Tensor(flat.slot(i))
        self.param_groups.append(group)
        self._flat.append(flat)

    # ---- a step
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Moves every parameter that has a gradient. A closure computes the loss first; its value is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._follow()
        for group, flat in zip(self.param_groups, self._flat):  # noqa: B905  one per group
            self._update(group, flat)
        return loss

    def _follow(self) -> None:
        """Lays everything out anew if the parameters have been moved to another device."""
        for group, flat in zip(self.param_groups, self._flat):  # noqa: B905  one per group
            if group["params"] and group["params"][0].array.device != flat.device:
                self.__setstate__(self.__getstate__())
                return

    def _update(self, group: dict[str, Any], flat: _core.OptimGroup) -> None:
        raise TypeError(f"{type(self).__name__} defines no step")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients, or sets them to zero."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.zero_()

    # ---- state
    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:
        """Per parameter its states (tensors that share memory with the optimizer's) and counts, once it has some."""
        out = {}
        for group, flat in zip(self.param_groups, self._flat, strict=True):
            for i, p in enumerate(group["params"]):
                if values := self._values(flat, i):
                    out[p] = values
        return out

    def _values(self, flat: _core.OptimGroup, i: int) -> dict[str, Any]:
        if flat.steps(i) == 0 and not self.EAGER:
            return {}
        out: dict[str, Any] = {}
        if "step" in self.COUNTS:
            out["step"] = flat.steps(i)
        if "mu_product" in self.COUNTS:
            out["mu_product"] = flat.product(i)
        for k, name in enumerate(self.STATES):
            array = flat.state(k, i)
            if array is not None:
                out[name] = Tensor(array)
        return out

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: {name: array or number}}, "param_groups": [...]} with copies, as torch.optim has it."""
        state: dict[int, dict[str, Any]] = {}
        groups = []
        index = 0
        for group, flat in zip(self.param_groups, self._flat, strict=True):
            count = len(group["params"])
            for i in range(count):
                if values := self._values(flat, i):
                    state[index + i] = {
                        key: np.array(value.cpu().numpy()) if isinstance(value, Tensor) else value
                        for key, value in values.items()
                    }
            rest = {key: value for key, value in group.items() if key != "params"}
            groups.append({**rest, "params": list(range(index, index + count))})
            index += count
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what state_dict() gave; later steps are bit for bit those of the saved optimizer.

        Errors: ValueError if the groups or shapes differ; nothing is changed then.
        """
        name = type(self).__name__
        saved = state_dict["param_groups"]
        sizes = [len(group["params"]) for group in self.param_groups]
        if [len(group["params"]) for group in saved] != sizes:
            raise ValueError(
                f"{name}: load_state_dict: groups must have {sizes} parameters, "
                f"got {[len(group['params']) for group in saved]}"
            )
        state = {int(key): value for key, value in state_dict["state"].items()}
        for group, other in zip(self.param_groups, saved, strict=True):
            for p, key in zip(group["params"], other["params"], strict=True):
                self._check_state(p, state.get(int(key), {}))
        for group, flat, other in zip(self.param_groups, self._flat, saved, strict=True):
            group.update({key: value for key, value in other.items() if key != "params"})
            for i, key in enumerate(other["params"]):
                self._load(flat, i, state.get(int(key), {}))

    # Copies and pickles lay out their parameters anew: the flat blocks belong to one optimizer.
    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_flat": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, param_groups=[], _flat=[])
        for group in state["param_groups"]:
            self.add_param_group(group)
        self.load_state_dict(state["_flat"])

    def _check_state(self, p: Tensor, values: Mapping[str, Any]) -> None:
        for state in self.STATES:
            if values.get(state) is not None and tuple(np.shape(values[state])) != p.shape:
                raise ValueError(
                    f"{type(self).__name__}: load_state_dict: {state} must have shape {list(p.shape)}, "
                    f"got {list(np.shape(values[state]))}"
                )

    def _load(self, flat: _core.OptimGroup, i: int, values: Mapping[str, Any]) -> None:
        steps = int(values.get("step", 1 if any(values.get(s) is not None for s in self.STATES) else 0))
        flat.set_progress(i, steps, float(values.get("mu_product", 1.0)))
        for k, state in enumerate(self.STATES):
            if values.get(state) is not None:
                flat.make_state(k)
            array = flat.state(k, i)
            if array is not None:
                value = values.get(state)
                array.copy_from(
                    as_tensor(np.zeros(array.shape, np.float32) if value is None else value).array
                )

    def __repr__(self) -> str:
        lines = []
        for number, group in enumerate(self.param_groups):
            lines.append(f"group {number}: {len(group['params'])} parameters")
            lines += [
                f"    {key}: {group[key]}" for key in sorted(group) if key not in ("params", "param_names")
            ]
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def check_range(owner: Optimizer, ok: bool, name: str, wanted: str, value: Any) -> None:
    """Errors: ValueError."""
    if not ok:
        raise ValueError(f"{type(owner).__name__}: {name} must be {wanted}, got {value}")


def check_nonnegative(owner: Optimizer, **values: Any) -> None:
    """Errors: ValueError for a negative or NaN value."""
    for name, value in values.items():
        check_range(owner, float(value) >= 0 and not math.isnan(float(value)), name, "at least 0", value)


def check_betas(owner: Optimizer, betas: Any) -> None:
    """Errors: ValueError unless two numbers in [0, 1)."""
    ok = len(betas) == 2 and all(0 <= float(b) < 1 for b in betas)
    check_range(owner, ok, "betas", "two numbers in [0, 1)", betas)


def refuse_differentiable(owner: Optimizer, differentiable: bool) -> None:
    """Errors: ValueError: gradients are of first order, so none can flow through a step."""
    check_range(owner, not differentiable, "differentiable", "False", differentiable)
