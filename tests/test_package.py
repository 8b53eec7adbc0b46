"""What the package costs: import time, size, and what `import nonet` leaves alone."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import nonet


def _run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_import_time():
    """At most 0.06 s over NumPy's own import; the best of several fresh processes, since a machine may be busy."""
    code = "import time, numpy; t = time.perf_counter(); import nonet; print(time.perf_counter() - t)"
    assert min(float(_run(code)) for _ in range(12)) <= 0.06


def test_import_is_lazy():
    late = [
        "safetensors",
        "ml_dtypes",
        "tqdm",
        "torch",
        "PIL",
        "matplotlib",
        "argparse",
        "nonet.cli",
        "nonet.train",
    ]
    code = f"import sys, nonet; print([m for m in {late} if m in sys.modules])"
    assert _run(code) == "[]"


def test_submodules_need_no_import():
    code = "import nonet; print(nonet.nn.Linear, nonet.optim.Adam, nonet.data.load, nonet.train.Trainer)"
    assert "Trainer" in _run(code)


def test_version():
    assert nonet.__version__ == importlib.metadata.version("nonet")


def test_installed_size():
    folder = Path(nonet.__file__).parent
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    assert size <= 12 * 2**20  # the wheel, compressed, stays under 5 MB
