"""One command for a machine with a GPU: builds nonet for it, compares hardware and model, tests, and measures.

    python bench/cuda_all.py --part build
    python bench/cuda_all.py --part test
    python bench/cuda_all.py --part bench

It runs in a checkout, needs no network, and installs nothing: Python 3.10 or newer with NumPy, safetensors, ml_dtypes,
pybind11, pytest and hypothesis, CMake, a C++ compiler, nvcc; for `bench` PyTorch with CUDA. Each part ends within
`--seconds` (under eight minutes) and keeps what it has done in build/cuda_all/results.json: called again, it goes on
with the rest, and begins anew when a source file has changed. Exit status: 0 all of the part is done and right,
1 something failed, 3 out of time, call again, 77 no GPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "cuda_all"
PACKAGE = OUT / "package"
TIERS = ("simt", "mma80", "sm90a")
PARTS = ("build", "test", "bench")
LIMIT = 200.0  # seconds for one step of `test`: a kernel that waits forever must not take all


class OutOfTime(Exception):
    """The part's seconds are over; what is done is kept."""


@dataclass
class Session:
    """The results so far, and the time that is left."""

    deadline: float
    results: dict[str, Any]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def save(self) -> None:
        OUT.mkdir(parents=True, exist_ok=True)
        part = OUT / "results.json.part"
        part.write_text(json.dumps(self.results, indent=1))
        part.replace(OUT / "results.json")

    def left(self) -> float:
        return self.deadline - time.monotonic()

    def step(self, name: str, action: Callable[[], str]) -> None:
        """Runs an action that has not succeeded yet. It returns what to note, and raises what went wrong."""
        steps = self.results["steps"]
        if steps.get(name, {}).get("ok"):
            return
        if self.left() < 5:
            raise OutOfTime
        print(f"== {name}", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            note, ok = action(), True
        except (OSError, subprocess.SubprocessError, RuntimeError) as error:
            if isinstance(error, subprocess.TimeoutExpired):
                raise OutOfTime from error
            note, ok = str(error), False
            print(f"FAILED {name}: {note[-3000:]}", file=sys.stderr, flush=True)
        with self.lock:
            steps[name] = {"ok": ok, "seconds": round(time.monotonic() - began, 1), "note": note[-3000:]}
            self.save()

    def together(self, actions: Sequence[tuple[str, Callable[[], str]]]) -> None:
        """Steps that do not depend on each other: processes that share the GPU, one for two processors."""
        with ThreadPoolExecutor(max((os.cpu_count() or 1) // 2, 1)) as pool:
            for done in [pool.submit(self.step, *action) for action in actions]:
                done.result()

    def run(
        self, *command: str | Path, limit: float = 600.0, environment: Mapping[str, str] | None = None
    ) -> str:
        """The output of a command, within the time that is left. Errors: RuntimeError with its end if it failed or
        took more than the limit, in seconds."""
        left = max(1.0, self.left())
        try:
            done = subprocess.run(
                [str(part) for part in command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=ROOT,
                timeout=min(left, limit),
                env=os.environ | dict(environment or {}),
            )
        except subprocess.TimeoutExpired as error:
            if limit > left:
                raise
            said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else ""
            raise RuntimeError(
                f"{Path(str(command[0])).name} did not end within {limit:.0f} s: {said[-2500:]}"
            ) from error
        if done.returncode:
            raise RuntimeError(
                f"{Path(str(command[0])).name} ended with {done.returncode}: {done.stdout[-3000:]}"
            )
        return done.stdout


# ------------------------------------------------------------------------------------------------ parts


def build(session: Session) -> None:
    """The extension for this GPU alone, the programs of tests/cuda for it and for the emulator."""
    capability = session.results["machine"]["capability"]
    architectures = [f"{capability}-real"] + (["90a-real"] if capability == "90" else [])
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    jobs = str(os.cpu_count())

    def configure(folder: Path, *options: str) -> list[str]:
        python = f"-DPython_EXECUTABLE={sys.executable}"
        return ["cmake", "-S", str(ROOT), "-B", str(folder), *generator, python, *options]

    def extension() -> str:
        folder = OUT / "extension"
        session.run(*configure(folder, "-DNONET_CUDA=ON", f"-DNONET_CUDA_ARCHS={';'.join(architectures)}"))
        session.run("cmake", "--build", folder, "--target", "_core", "--parallel", jobs)
        shutil.rmtree(PACKAGE, ignore_errors=True)
        ignored = shutil.ignore_patterns("_core*.so", "__pycache__", "bench")
        shutil.copytree(ROOT / "python" / "nonet", PACKAGE / "nonet", ignore=ignored)
        shutil.copytree(ROOT / "bench", PACKAGE / "nonet" / "bench", ignore=ignored)
        (module,) = folder.glob("_core*.so")
        shutil.copy2(module, PACKAGE / "nonet")
        return f"{', '.join(architectures)}: {module.stat().st_size} bytes"

    def model() -> str:
        folder = OUT / "emulator"
        session.run(*configure(folder, "-DNONET_PYTHON=OFF", "-DNONET_EMULATOR=ON"))
        session.run("cmake", "--build", folder, "--target", "nonet_conformance", "--parallel", jobs)
        return session.run(folder / "nonet_conformance", "write", OUT / "expected")

    def programs() -> str:
        here, csrc = ROOT / "tests" / "cuda", ROOT / "csrc"
        suffix = "90a" if capability == "90" else capability
        flags = [
            f"-gencode=arch=compute_{suffix},code=sm_{suffix}",
            f"-I{csrc}",
            f"-I{here}",
            "-std=c++20",
            "-O3",
        ]
        tests = [here / "main.cu", *sorted(here.glob("test_*.cu"))]
        for name, sources in (("tests", tests), ("conformance", [here / "conformance.cu"])):
            objects = [*sources, csrc / "cuda" / "tensor_map.cu"]
            session.run("nvcc", *flags, "--threads", jobs, "-o", OUT / name, *objects)
        return suffix

    session.step("build extension", extension)
    session.step("build programs", programs)
    session.step("build model", model)


def test(session: Session) -> None:
    """The primitives against the model, then every test of an op on every tier that the GPU has."""
    require(session, "build extension", "build programs", "build model")
    session.step("test primitives", lambda: session.run(OUT / "tests", limit=LIMIT))
    conformance = [OUT / "conformance", "check", OUT / "expected"]
    session.step("test conformance", lambda: session.run(*conformance, limit=LIMIT))
    python = {"PYTHONPATH": str(PACKAGE)}
    session.step(
        "test import",
        lambda: session.run(sys.executable, "-m", "nonet", "info", "--json", environment=python),
    )
    actions: list[tuple[str, Callable[[], str]]] = []
    for preset, floor in (("ann", 0.96), ("lenet5", 0.98)):
        actions.append((f"test train {preset}", lambda p=preset, f=floor: _train(session, p, f)))
    files = [*(ROOT / "tests" / "ops").glob("test_*.py"), *(ROOT / "tests").glob("test_device*.py")]
    for tier in tiers(session):
        tiered = python | {"NONET_CUDA_TIER": tier, "NONET_TEST_DEVICE": "cuda", "NONET_NUM_THREADS": "2"}
        doctor = [sys.executable, "-m", "nonet", "doctor", "--json"]
        actions.append(
            (f"test doctor {tier}", lambda t=tiered, d=doctor: session.run(*d, limit=LIMIT, environment=t))
        )
        for path in sorted(files, key=lambda path: -path.stat().st_size):  # long ones first
            pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
            name = f"test {path.stem.removeprefix('test_')} {tier}"
            actions.append(
                (name, lambda t=tiered, p=pytest: session.run(*p, limit=LIMIT, environment=t)[-500:])
            )
    session.together(actions)


def _train(session: Session, preset: str, floor: float) -> str:
    """Trains on the bundled digits, on the GPU, to what the CPU reaches (docs/results.md) less two in a hundred."""
    command = [sys.executable, "-m", "nonet", "train", preset, "--device", "cuda", "--json", "--out"]
    text = session.run(*command, OUT / "runs" / preset, limit=LIMIT, environment={"PYTHONPATH": str(PACKAGE)})
    last = json.loads([line for line in text.splitlines() if line.startswith("{")][-1])
    if last["value"] < floor:
        raise RuntimeError(f"{preset}: accuracy {last['value']}, expected at least {floor}")
    return f"accuracy {last['value']:.4f} in {last['seconds']:.1f} s"


def bench(session: Session) -> None:
    """Every family beside PyTorch (cuBLAS, cuDNN and its own kernels), interleaved in one process."""
    require(session, "build extension")
    file = OUT / "bench.json"
    command = [sys.executable, "-m", "nonet.bench.bench_cuda", "--save", file]
    seconds = str(int(session.left() - 20))
    session.run(*command, "--seconds", seconds, environment={"PYTHONPATH": str(PACKAGE)})
    document = json.loads(file.read_text())
    session.results["bench"] = document["rows"]
    session.save()
    if document["missing"]:
        raise OutOfTime
    session.step("bench", lambda: f"{len(document['rows'])} rows")


# ------------------------------------------------------------------------------------------------ state


def require(session: Session, *names: str) -> None:
    for name in names:
        if not session.results["steps"].get(name, {}).get("ok"):
            raise RuntimeError(f"'{name}' has not succeeded yet: run --part build first")


def tiers(session: Session) -> Sequence[str]:
    capability = session.results["machine"]["capability"]
    return TIERS if capability == "90" else TIERS[: 2 if int(capability) >= 80 else 1]


def fingerprint() -> str:
    """Of all that is built or run."""
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    yield ROOT / "CMakeLists.txt"
    for folder in ("cmake", "csrc", "python", "tests", "bench"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".cmake", ".cpp", ".h", ".cu", ".cuh", ".py", ".npz"):
                yield path


def machine() -> dict[str, str]:
    """What the driver says of the first GPU. Errors: RuntimeError if there is none."""
    if shutil.which("nvidia-smi") is None:
        raise RuntimeError("no GPU: nvidia-smi is not there")
    fields: tuple[str, ...] = ("name", "compute_cap", "driver_version", "memory.total", "power.limit")
    query = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True)
    if done.returncode or not done.stdout.strip():
        raise RuntimeError(f"no GPU: {(done.stderr or done.stdout).strip()}")
    values = [value.strip() for value in done.stdout.splitlines()[0].split(",")]
    out: dict[str, str] = dict(zip(fields, values, strict=True))
    out["capability"] = out.pop("compute_cap").replace(".", "")
    nvcc = subprocess.run(["nvcc", "--version"], capture_output=True, text=True)
    out["nvcc"] = nvcc.stdout.strip().splitlines()[-1] if nvcc.returncode == 0 else "missing"
    return out


def load(sources: str) -> dict[str, Any]:
    try:
        results = json.loads((OUT / "results.json").read_text())
    except (OSError, ValueError):
        results = {}
    return results if results.get("sources") == sources else {"sources": sources, "steps": {}}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument(
        "--seconds", type=float, default=460.0, help="within which the part ends, default 460"
    )
    args = parser.parse_args(argv)
    session = Session(time.monotonic() + args.seconds, load(fingerprint()))
    try:
        session.results["machine"] = machine()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 77
    session.save()
    try:
        {"build": build, "test": test, "bench": bench}[args.part](session)
    except OutOfTime:
        print(f"{args.part}: out of time; call again to go on", file=sys.stderr)
        return 3
    except RuntimeError as error:
        print(f"{args.part}: {error}", file=sys.stderr)
        return 1
    mine = {name: step for name, step in session.results["steps"].items() if name.split()[0] == args.part}
    failed = [name for name, step in mine.items() if not step["ok"]]
    print(
        json.dumps(
            {"part": args.part, "steps": len(mine), "failed": failed, "results": str(OUT / "results.json")}
        )
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
