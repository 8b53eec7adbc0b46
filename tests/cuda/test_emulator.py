"""Kernels over csrc/cuda/prim.cuh: on the emulator under many seeds, with planted faults; compiled by nvcc where it is
installed, and run where there is a GPU (docs/cuda.md)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CSRC, HERE = ROOT / "csrc", Path(__file__).parent
SEEDS = 10
ARCHITECTURES = ["75", "80", "90", "90a"]

CASES = [
    match
    for path in sorted(HERE.glob("test_*.cu"))
    for match in re.findall(r"^(TEST|FAULT)\((\w+)", path.read_text(), re.MULTILINE)
]


def _run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        env=os.environ | environment,
    )


@pytest.fixture(scope="session")
def emulated(tmp_path_factory):
    """The folder with nonet_kernel_tests and nonet_conformance, compiled for the emulator."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    if not any(map(shutil.which, [os.environ.get("CXX", "c++"), "c++", "g++", "clang++"])):
        pytest.skip("there is no C++ compiler")
    build = tmp_path_factory.mktemp("emulator")
    configured = _run("cmake", "-S", ROOT, "-B", build, "-DNONET_PYTHON=OFF", "-DNONET_EMULATOR=ON")
    assert configured.returncode == 0, configured.stdout
    built = _run(
        "cmake", "--build", build, "-j2", "--target", "nonet_kernel_tests", "--target", "nonet_conformance"
    )
    assert built.returncode == 0, built.stdout
    return build


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """The folder with the same programs, compiled by nvcc for every architecture."""
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed")
    build = tmp_path_factory.mktemp("cuda")
    flags = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in ARCHITECTURES]
    common = ["nvcc", "-std=c++20", "-O3", "-t", "2", "-Xptxas", "-v", f"-I{CSRC}", f"-I{HERE}", *flags]
    tests = [HERE / "main.cu", *sorted(HERE.glob("test_*.cu"))]
    for program, sources in {
        "nonet_kernel_tests": tests,
        "nonet_conformance": [HERE / "conformance.cu"],
    }.items():
        built = _run(*common, "-o", build / program, *sources, CSRC / "cuda" / "tensor_map.cu")
        (build / f"{program}.log").write_text(built.stdout)
        assert built.returncode == 0, built.stdout
    return build


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[name for _, name in CASES])
def test_on_the_emulator(emulated, kind, name):
    """A correct kernel passes under every seed, a planted fault is reported, in the words given, under at least one."""
    result = _run(emulated / "nonet_kernel_tests", str(SEEDS), name)
    assert result.returncode == 0, result.stdout
    assert "1 cases, 0 failures" in result.stdout
    assert ("caught" in result.stdout) == (kind == "FAULT")


def test_faults_leave_the_process_usable(emulated):
    """All cases in one process: correct kernels pass after others have failed."""
    result = _run(emulated / "nonet_kernel_tests", "1")
    passed = [name for kind, name in CASES if kind == "TEST"]
    assert not [name for name in passed if f"FAILED {name}" in result.stdout], result.stdout
    assert f"{len(CASES)} cases" in result.stdout


def test_model_does_not_depend_on_the_order(emulated, tmp_path):
    """What the primitives give is a function of their inputs, whoever runs first."""
    for seed in ("1", "2", "3"):
        result = _run(emulated / "nonet_conformance", "write", tmp_path / seed, NONET_EMULATOR_SEED=seed)
        assert result.returncode == 0, result.stdout
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes() == (tmp_path / "3").read_bytes()


@pytest.mark.parametrize("program", ["nonet_kernel_tests", "nonet_conformance"])
def test_compiles_without_spills(compiled, program):
    """For every architecture; wgmma is neither serialised (C7510) nor are its registers moved (C7508)."""
    log = (compiled / f"{program}.log").read_text()
    assert not re.findall(r".*C75(?:08|10).*", log)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    assert len(spills) > 100
    assert set(spills) == {("0", "0")}


def test_hopper_instructions_are_there(tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed")
    ptx = tmp_path / "hopper.ptx"
    result = _run(
        *["nvcc", "-std=c++20", "-ptx", "-arch=compute_90a", f"-I{CSRC}", f"-I{HERE}", "-o", ptx],
        HERE / "test_hopper.cu",
    )
    assert result.returncode == 0, result.stdout
    text = ptx.read_text()
    for instruction in (
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16",
        "wgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32",
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster",
        "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group",
        "mbarrier.try_wait.parity",
        "fence.proxy.async",
        "barrier.cluster.arrive",
        "setmaxnreg.inc",
    ):
        assert instruction in text


def test_on_the_gpu(compiled):
    result = _run(compiled / "nonet_kernel_tests")
    if result.returncode == 77:
        pytest.skip(result.stdout.strip())
    assert result.returncode == 0, result.stdout


def test_gpu_conforms_to_the_model(compiled, emulated, tmp_path):
    expected = tmp_path / "expected"
    assert _run(emulated / "nonet_conformance", "write", expected).returncode == 0
    result = _run(compiled / "nonet_conformance", "check", expected)
    if result.returncode == 77:
        pytest.skip(result.stdout.strip())
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "path",
    [
        p
        for p in sorted([*CSRC.rglob("*.cu"), *CSRC.rglob("*.cuh"), *HERE.glob("*.cu")])
        if CSRC / "cuda" not in p.parents
    ],
    ids=lambda p: p.name,
)
def test_kernels_speak_in_primitives_only(path):
    text = re.sub(r"//.*", "", path.read_text())
    for forbidden in (r"\basm\b", r"<<<", r"__shared__", r"__global__", r"\bthreadIdx\b", r"__syncthreads"):
        assert not re.search(forbidden, text), f"{path.name} contains {forbidden}; see csrc/cuda/prim.cuh"
