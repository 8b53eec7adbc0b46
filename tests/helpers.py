"""check_op: one call checks values, dtype, shape and gradients of an op against a NumPy float64 reference."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nonet
from nonet import _core
from nonet.ops.isa import available_isas, use_isa

EPS = float(np.finfo(np.float32).eps)


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    before = nonet.num_threads()
    nonet.set_num_threads(count)
    try:
        yield
    finally:
        nonet.set_num_threads(before)


ROOT = Path(__file__).parent.parent
# Test modules of families that have no kernels for GPUs yet, and are not run on the emulator of one.
NOT_EMULATED: set[str] = set()


# The GPU that tests ask for: NONET_TEST_DEVICE=cuda has them run on one, others run on the emulator.
GPU = "cuda" if os.environ.get("NONET_TEST_DEVICE") == "cuda" else "emulator"
emulator_only = pytest.mark.skipif(GPU != "emulator", reason="needs a GPU that fails when told to")


def why_no_gpu() -> str:
    """Why GPU cannot be used; empty if it can. The emulator is built if need be."""
    return _core.why_unavailable("cuda") if GPU == "cuda" else why_no_emulator()


def shuffle_threads(seed: int) -> None:
    """Has the emulator run threads in another order; a GPU has its own."""
    if GPU == "emulator":
        sys.modules["nonet._emulator"].seed(seed)


@functools.cache
def why_no_emulator() -> str:
    """Builds nonet._emulator under build/emulator and imports it, once; why not, if that failed.

    With NONET_REQUIRE_EMULATOR=1 a failure is an error, which is how .ci/run makes sure that it is there.
    """
    reason = _build_emulator()
    if reason and os.environ.get("NONET_REQUIRE_EMULATOR") == "1":
        raise RuntimeError(reason)
    return reason


def _build_emulator() -> str:
    if not _core.why_unavailable("emulator"):
        return ""
    build = ROOT / "build" / "emulator"
    configure = ["cmake", "-S", str(ROOT), "-B", str(build), "-DNONET_EMULATOR=ON", "-DNONET_PYTHON=OFF"]
    configure += [f"-DPython_EXECUTABLE={sys.executable}"]
    make = ["cmake", "--build", str(build), "--target", "_emulator", "--parallel", str(os.cpu_count())]
    for command in (configure, make):
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            return f"cannot build nonet._emulator: {command[0]}: {error.strerror}"
        if done.returncode:
            return f"cannot build nonet._emulator: {(done.stderr or done.stdout)[-2000:]}"
    spec = importlib.util.spec_from_file_location(
        "nonet._emulator", build / f"_emulator{sysconfig.get_config_var('EXT_SUFFIX')}"
    )
    assert spec is not None and spec.loader is not None
    try:
        module = importlib.util.module_from_spec(spec)
    except ImportError as error:
        return f"cannot import nonet._emulator: {error}"
    sys.modules["nonet._emulator"] = module
    spec.loader.exec_module(module)
    return _core.why_unavailable("emulator")


def _where_to_run() -> list[tuple[str, str]]:
    """(device, instruction set) pairs for the current test; NONET_TEST_DEVICE leaves those of one device."""
    only = os.environ.get("NONET_TEST_DEVICE")
    places = [("cpu", isa) for isa in available_isas()]
    if Path(os.environ["PYTEST_CURRENT_TEST"].split("::")[0]).stem not in NOT_EMULATED:
        if only in (None, "emulator") and not why_no_emulator():
            places.append(("emulator", _core.isa()))
        if nonet.cuda.is_available():
            places.append(("cuda", _core.isa()))
    return [place for place in places if only in (None, place[0])]


def numeric_gradient(
    reference: Callable[..., np.ndarray],
    inputs: Sequence[np.ndarray],
    index: int,
    cotangent: np.ndarray,
    attrs: Any,
) -> np.ndarray:
    """Central differences of sum(cotangent * reference(*inputs)) in float64 with respect to inputs[index]."""
    x = inputs[index]
    out = np.zeros(x.shape)
    for i in np.ndindex(*x.shape):
        h = 1e-6 * max(1.0, abs(x[i]))
        keep = x[i]
        x[i] = keep + h
        up = np.sum(cotangent * reference(*inputs, **attrs))
        x[i] = keep - h
        down = np.sum(cotangent * reference(*inputs, **attrs))
        x[i] = keep
        out[i] = (up - down) / (2 * h)
    return out


def assert_close(got: Any, want: np.ndarray, rtol: float, atol: float, what: str) -> None:
    got = np.asarray(got)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    if want.dtype.kind in "biu":
        np.testing.assert_array_equal(got, want, err_msg=what)
        return
    got = got.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg=f"{what}: NaN pattern")
    inf = np.isinf(want)
    np.testing.assert_array_equal(got[inf], want[inf], err_msg=f"{what}: infinities")
    ok = np.isfinite(want)
    np.testing.assert_allclose(got[ok], want[ok], rtol=rtol, atol=atol, err_msg=what)


def check_op(
    op: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Sequence[np.ndarray],
    *,
    attrs: dict[str, Any] | None = None,
    rtol: float = 8 * EPS,
    atol: float = 8 * EPS,
    grad_rtol: float = 1e-4,
    grad_atol: float = 1e-5,
    grad: bool | Sequence[int] = True,
    reference_gradient: Callable[..., Sequence[np.ndarray | None]] | None = None,
    dtypes: Sequence[str] = ("float32",),
    isas: Sequence[str] | None = None,
    seed: int = 0,
) -> None:
    """Runs op(*tensors, **attrs) on every ISA and dtype, on the emulator of a GPU and on a GPU that is there,
    unless the test module is in NOT_EMULATED, and compares it with reference(*float64 arrays, **attrs).

    inputs: NumPy arrays; floating ones are rounded to the dtype under test before the reference sees them, integer ones
    are passed as they are. Tolerances are for float32, relative and absolute; derive them from the op's own bound
    (c * eps * sum |a||b|). For bfloat16 the result must lie within half a bfloat16 ulp (2^-8) more. grad: True for all
    floating inputs, or indices. Gradients are compared with reference_gradient(cotangent, *inputs, **attrs) if given,
    else with central differences (whose own error sets grad_rtol / grad_atol: use small inputs away from kinks).
    A reference may return a tuple; then every output is checked and gets a cotangent.
    """
    attrs = attrs or {}
    for dtype in dtypes:
        exact = [_rounded(np.asarray(x), dtype) for x in inputs]
        want = reference(*exact, **attrs)
        wants = [np.asarray(w) for w in (want if isinstance(want, tuple) else (want,))]
        rng = np.random.default_rng(seed)
        cotangents = [
            _rounded(rng.standard_normal(w.shape), dtype) if w.dtype.kind == "f" else None for w in wants
        ]
        which = [i for i, x in enumerate(exact) if x.dtype.kind == "f"] if grad is True else list(grad or [])
        gradients = _reference_gradients(
            reference, reference_gradient, exact, wants, cotangents, which, attrs
        )
        extra = 2.0**-7 if dtype == "bfloat16" else 0.0
        for device, isa in _where_to_run() if isas is None else [("cpu", isa) for isa in isas]:
            with use_isa(isa):
                tag = f"{getattr(op, '__name__', op)} [{isa if device == 'cpu' else device}, {dtype}]"
                tensors = [
                    nonet.tensor(x.astype(np.float32), dtype=dtype, requires_grad=i in which, device=device)
                    if x.dtype.kind == "f"
                    else nonet.tensor(x, device=device)
                    for i, x in enumerate(exact)
                ]
                got = op(*tensors, **attrs)
                gots = list(got) if isinstance(got, (tuple, list)) else [got]
                assert len(gots) == len(wants), f"{tag}: {len(gots)} outputs, expected {len(wants)}"
                for k, (g, w) in enumerate(zip(gots, wants, strict=True)):
                    if w.dtype.kind == "f":
                        assert g.dtype == dtype, f"{tag}: output {k} has dtype {g.dtype}"
                    assert g.device == device, f"{tag}: output {k} is on {g.device}"
                    assert_close(_values(g), w, rtol + extra, atol + extra * 1e-2, f"{tag} output {k}")
                if not which:
                    continue
                pairs = [
                    (g, c) for g, c in zip(gots, cotangents, strict=True) if c is not None and g.requires_grad
                ]
                nonet.backward(
                    [g for g, _ in pairs], [nonet.tensor(c, dtype=dtype, device=device) for _, c in pairs]
                )
                for i in which:
                    gradient = tensors[i].grad
                    assert gradient is not None, f"{tag}: no gradient for input {i}"
                    assert gradient.dtype == dtype, f"{tag}: gradient {i} has dtype {gradient.dtype}"
                    assert gradient.device == device, f"{tag}: gradient {i} is on {gradient.device}"
                    assert_close(
                        _values(gradient),
                        gradients[i],
                        grad_rtol + 4 * extra,
                        grad_atol + 4 * extra * max(1.0, float(np.abs(gradients[i]).max(initial=0))),
                        f"{tag} gradient {i}",
                    )


def _reference_gradients(
    reference: Any, gradient: Any, exact: Any, wants: Any, cotangents: Any, which: Any, attrs: Any
) -> dict[int, np.ndarray]:
    if not which:
        return {}
    if gradient is not None:
        many = cotangents if len(cotangents) > 1 else cotangents[0]
        out = gradient(many, *exact, **attrs)
        return {i: np.asarray(out[i]) for i in which}

    def total(*inputs: np.ndarray, **kw: Any) -> np.ndarray:
        outs = reference(*inputs, **kw)
        outs = outs if isinstance(outs, tuple) else (outs,)
        return np.asarray(sum(np.sum(c * o) for c, o in zip(cotangents, outs, strict=True) if c is not None))

    return {i: numeric_gradient(total, [x.copy() for x in exact], i, np.ones(()), attrs) for i in which}


def _rounded(x: np.ndarray, dtype: str) -> np.ndarray:
    if x.dtype.kind != "f":
        return x
    if dtype == "bfloat16":
        import ml_dtypes

        return x.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)
    with np.errstate(over="ignore"):
        return x.astype(np.float32).astype(np.float64)


def _values(t: Any) -> np.ndarray:
    out = t.detach().cpu().numpy()
    return out if out.dtype.kind in "biuf" and out.dtype.name != "bfloat16" else out.astype(np.float32)


each_isa = pytest.mark.parametrize("isa", available_isas())
each_place = pytest.mark.parametrize("place", [*available_isas(), GPU])


@contextmanager
def use_place(place: str) -> Iterator[str]:
    """The device of a place, which is an instruction set of the CPU, in use inside, or the GPU."""
    if place != GPU:
        with use_isa(place):
            yield "cpu"
        return
    if reason := why_no_gpu():
        pytest.skip(reason)
    yield place
