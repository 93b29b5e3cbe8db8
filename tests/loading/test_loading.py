"""What becomes of the CUDA library: its states in one line each, and the CPU whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

import lexforge
from lexforge import _library

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cuda_library

pytestmark = pytest.mark.skipif(
    _library.emulated(), reason="the emulated device loads nothing else"
)

STREAM = "aoti_torch_get_current_cuda_stream"  # libtorch_cuda's
RECORD = {"cuda_reason": "torch 2.13.0+cpu at build had no CUDA", "cuda_arch_list": "8.0;9.0+PTX"}
UNDEFINED = "undefined symbol: of_tomorrow"
OLD_DRIVER = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 12040)"
)


def caller_of(symbol: str) -> str:
    return f'extern "C" int {symbol}(); extern "C" int call() {{ return {symbol}(); }}'


@pytest.fixture(scope="module")
def libraries(tmp_path_factory) -> dict[str, Path]:
    """One that loads, one that no torch lets load, and one that needs libtorch_cuda."""
    folder = tmp_path_factory.mktemp("libraries")
    return {
        "loads": cuda_library.stub(folder, "loads", "int nothing;"),
        "lacks a symbol": cuda_library.stub(folder, "lacks", caller_of("of_tomorrow")),
        "needs streams": cuda_library.stub(folder, "streams", caller_of(STREAM)),
    }


@pytest.fixture
def state_of(monkeypatch, tmp_path, libraries):
    """The result of loading under given circumstances."""

    def state(library=None, torch_cuda="13.0", gpu=None, broken=None, warning=None, record=RECORD):
        def is_available() -> bool:
            if warning:
                warnings.warn(warning, stacklevel=1)
            return gpu is not None or broken is not None

        def name() -> str:
            if broken:
                raise RuntimeError(broken)
            return "NVIDIA H200"

        if library:
            (tmp_path / "_ops_cuda.abi3.so").symlink_to(libraries[library])
        if record:
            (tmp_path / "_build.json").write_text(json.dumps(record))
        monkeypatch.setattr(_library, "_FOLDER", tmp_path)
        monkeypatch.setattr(torch.version, "cuda", torch_cuda)
        monkeypatch.setattr(torch.cuda, "is_available", is_available)
        monkeypatch.setattr(torch.cuda, "get_device_name", name)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: gpu)
        return _library._load_cuda()

    return state


def test_not_built(state_of):
    usable, state = state_of(torch_cuda=None)
    assert not usable
    no_cuda = f"this torch, {torch.__version__}, has no CUDA"
    assert state == f"not built: torch 2.13.0+cpu at build had no CUDA; {no_cuda}"


def test_not_built_for_a_torch_that_has_cuda(state_of):
    assert state_of() == (
        False,
        "not built: torch 2.13.0+cpu at build had no CUDA; no GPU is visible",
    )


def test_not_built_and_a_gpu_is_waiting(state_of):
    assert state_of(gpu=(9, 0)) == (
        False,
        "not built: torch 2.13.0+cpu at build had no CUDA; build again to use this GPU",
    )


def test_no_record_of_the_build(state_of):
    assert state_of(gpu=(9, 0), record=None)[1] == (
        "not built: no record of the build; build again to use this GPU"
    )


def test_built_for_a_torch_without_cuda(state_of):
    """The library is not even opened."""
    usable, state = state_of("lacks a symbol", torch_cuda=None)
    assert (usable, state) == (
        False,
        f"built, not loaded: this torch, {torch.__version__}, has no CUDA",
    )


def test_undefined_symbol(state_of):
    usable, state = state_of("lacks a symbol", gpu=(9, 0))
    assert not usable
    assert state.startswith("built, not loaded: ") and state.endswith(UNDEFINED)
    assert "\n" not in state


def test_no_gpu(state_of):
    assert state_of("loads") == (False, "loaded; no GPU is visible")


def test_no_gpu_for_a_reason_that_torch_knows(state_of):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is told in the state, and nowhere else
        state = state_of("loads", warning=OLD_DRIVER + "\nPlease update your driver.")
    assert state == (False, f"loaded; no GPU is visible: {OLD_DRIVER}")


def test_gpu_older_than_the_targets(state_of):
    assert state_of("loads", gpu=(7, 5)) == (
        False,
        "built for 8.0;9.0+PTX, not for this GPU: NVIDIA H200, compute capability 7.5",
    )


def test_gpu_that_does_not_work(state_of):
    assert state_of("loads", broken="CUDA error: out of memory\nCompile with ...") == (
        False,
        "loaded; the GPU cannot be used: CUDA error: out of memory",
    )


def test_all_well(state_of):
    assert state_of("loads", gpu=(9, 0)) == (True, "NVIDIA H200, compute capability 9.0")


def test_a_library_from_elsewhere_leaves_no_record(state_of):
    assert state_of("loads", gpu=(7, 5), record=None)[0]


@pytest.mark.parametrize(
    ("targets", "capability", "runs"),
    [
        ("8.0;9.0+PTX", (8, 0), True),
        ("8.0;9.0+PTX", (8, 9), True),
        ("8.0;9.0+PTX", (9, 0), True),
        ("8.0;9.0+PTX", (12, 0), True),
        ("8.0;9.0+PTX", (7, 5), False),
        ("8.0;9.0", (12, 0), False),
        ("8.6", (8, 0), False),
        ("8.0 8.6", (8, 7), True),
        ("9.0a", (9, 0), True),
        ("9.0a+PTX", (10, 0), False),
        ("10.0;12.0", (12, 1), True),
        ("Hopper", (7, 5), True),
        ("native", (7, 5), True),
    ],
)
def test_targets(targets, capability, runs):
    assert _library._runs_on(targets, capability) == runs


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has a libtorch_cuda")
def test_symbols_of_a_libtorch_cuda_that_torch_keeps_to_itself(libraries, tmp_path):
    """In a process of its own: what is opened stays open."""
    script = """
import ctypes, sys
from pathlib import Path
import torch
from lexforge import _library

stub, library = sys.argv[1:]
ctypes.CDLL(stub, ctypes.RTLD_LOCAL)
try:
    torch.ops.load_library(library)
except OSError as error:
    print(error.__cause__ or error)
_library._open_cuda(Path(library))
print(ctypes.CDLL(library).call())
"""
    stub = cuda_library.libtorch_cuda(tmp_path)
    command = [sys.executable, "-c", script, stub, libraries["needs streams"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused, result = done.stdout.splitlines()
    assert refused.endswith(f"undefined symbol: {STREAM}") and result == "1"


def test_the_cpu_works_beside_a_library_that_does_not_load(libraries, tmp_path):
    """The whole package with such a library, and a torch that says it has CUDA."""
    package = tmp_path / "lexforge"
    package.mkdir()
    for path in _library._FOLDER.iterdir():
        if not path.name.startswith(("_ops_cuda", "_build")):
            (package / path.name).symlink_to(path)
    (package / "_ops_cuda.abi3.so").symlink_to(libraries["lacks a symbol"])
    (package / "_build.json").write_text(json.dumps(RECORD))
    script = """
import sys
import torch
torch.version.cuda = "13.0"
import lexforge
from lexforge.cli.main import main
from lexforge.ops.sampling.sampling import build_alias
print(lexforge.__file__, lexforge.cuda_usable, len(build_alias(torch.ones(3))))
sys.argv = ["lexforge", "info"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, *info = done.stdout.splitlines()
    assert first == f"{package / '__init__.py'} False 3"
    (line,) = (line for line in info if line.startswith("CUDA kernels"))
    assert "built, not loaded: " in line and line.endswith(UNDEFINED)
    assert "CUDA targets  8.0;9.0+PTX" in info


def test_the_state_is_that_of_this_process():
    assert (lexforge.cuda_usable, lexforge.build_info()["cuda_state"]) == _library._load_cuda()


def test_providers_are_looked_for(libraries, tmp_path):
    """The check that cuda-check makes of the real library sees what is missing, and no more."""
    assert cuda_library.unprovided(libraries["loads"], []) == set()
    assert cuda_library.unprovided(libraries["needs streams"], []) == {STREAM}
    torch_folder = str(Path(torch.__file__).parent / "lib")
    options = [f"-L{torch_folder}", "-Wl,--no-as-needed", "-ltorch"]
    needing = cuda_library.stub(tmp_path, "needing", caller_of(STREAM), *options)
    assert "libtorch.so" in cuda_library.needed(needing)
    assert cuda_library.unprovided(needing, [torch_folder]) == set()
    other = cuda_library.stub(tmp_path, "other", caller_of("of_tomorrow"), *options)
    assert cuda_library.unprovided(other, [torch_folder]) == {"of_tomorrow"}
