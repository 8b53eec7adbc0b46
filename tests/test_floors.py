"""Arrows point down: every include and import goes to a lower floor (docs/architecture.md)."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CSRC, PYTHON, BENCH = ROOT / "csrc", ROOT / "python" / "nonet", ROOT / "bench"

CSRC_FLOORS = {"base": 0, "simd": 1, "cuda": 1, "array": 2, "bind.h": 3, "ops": 3, "module.cpp": 4}
PYTHON_FLOORS = {
    "_core": 4,
    "tensor": 5,
    "ops": 6,
    "cuda": 7,
    "nn": 7,
    "optim": 7,
    "io": 7,
    "models": 8,
    "data": 9,
    "train": 10,
    "plot": 11,
    "bench": 11,
    "cli": 12,
    "__main__": 13,
    "__init__": 13,
}


def _includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#include "([^"]+)"', path.read_text(), re.MULTILINE)


def _csrc_files() -> list[Path]:
    return sorted(p for p in CSRC.rglob("*") if p.suffix in (".h", ".cpp", ".cu", ".cuh"))


@pytest.mark.parametrize("path", _csrc_files(), ids=lambda p: str(p.relative_to(CSRC)))
def test_includes_go_down(path):
    name = path.relative_to(CSRC).as_posix()
    floor = 4 if path.name == "bind.cpp" else CSRC_FLOORS[name.split("/")[0]]
    for include in _includes(path):
        assert (CSRC / include).is_file(), f"{name} includes {include}, which is not there"
        assert CSRC_FLOORS[include.split("/")[0]] <= floor, f"{name} includes {include} of a higher floor"
        if include == "bind.h":
            assert path.name in ("bind.cpp", "module.cpp"), f"{name}: only bindings know Python"


@pytest.mark.parametrize(
    "path", [p for p in _csrc_files() if ".simd" in p.name], ids=lambda p: str(p.relative_to(CSRC))
)
def test_kernel_files_include_kernels_only(path):
    """Nothing that could leave a function outside the instruction set's namespace: no library header, no Array."""
    seen: set[str] = set()
    todo = [path]
    while todo:
        for include in _includes(todo.pop()):
            if include not in seen:
                seen.add(include)
                todo.append(CSRC / include)
    for include in seen:
        system = re.findall(r"^\s*#include <([^>]+)>", (CSRC / include).read_text(), re.MULTILINE)
        allowed = {"cstddef", "cstdint", "immintrin.h"}
        assert set(system) <= allowed, f"{path.name} reaches <{set(system) - allowed}> through {include}"
    own = re.findall(r"^\s*#include <([^>]+)>", path.read_text(), re.MULTILINE)
    assert set(own) <= {"cstddef", "cstdint", "immintrin.h"}


def test_kernel_objects_leave_no_common_functions():
    """A weak symbol outside the namespace could be kept from the AVX-512 object and run on a machine without it."""
    objects = sorted((ROOT / "build").glob("*/CMakeFiles/nonet_avx*.dir/**/*.o"))
    if not objects:
        pytest.skip("no build tree under build/ to inspect")
    for path in objects:
        isa = re.search(r"nonet_(\w+)\.dir", str(path))
        assert isa is not None
        lines = subprocess.run(
            ["nm", "-C", str(path)], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        weak = [line for line in lines if re.match(r"[0-9a-f]+ [WVu] ", line)]
        alien = [line for line in weak if f"nonet::{isa[1]}::" not in line and "DW.ref" not in line]
        assert not alien, f"{path.name}: {alien[:5]}"


def _imports(path: Path) -> set[str]:
    """Modules of nonet that a file imports, those for type checkers included."""
    out: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            out |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "nonet"
                else {node.module or ""}
            )
    return {name.split(".")[1] for name in out if name.startswith("nonet.")}


def _python_files() -> list[str]:
    """As they are installed: the folder bench/ is nonet.bench."""
    own = {path.relative_to(PYTHON).as_posix() for path in PYTHON.rglob("*.py")}
    return sorted(own | {path.relative_to(ROOT).as_posix() for path in BENCH.rglob("*.py")})


@pytest.mark.parametrize("name", _python_files())
def test_imports_go_down(name):
    path = (ROOT if name.startswith("bench/") else PYTHON) / name
    floor = PYTHON_FLOORS[name.split("/")[0].removesuffix(".py")]
    if name.startswith("data/"):
        assert _imports(path) <= {"data", "io"}, "data sets are NumPy and know nothing of tensors"
    for other in _imports(path):
        if other in PYTHON_FLOORS:
            assert PYTHON_FLOORS[other] <= floor, f"{name} imports nonet.{other} of a higher floor"
