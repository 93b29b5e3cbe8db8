"""CONTRIBUTING.md's five steps are enough for an op: one is added to a tree that has no other.

The files under example_op lie where the steps say, and what is built around them is the repository
itself: its build and its common parts, unchanged. `make package` runs this.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "tests" / "example_op"

# What every op stands on.
COMMON = (
    *("setup.py", "pyproject.toml", "README.md", "LICENSE", "csrc/common/*"),
    *("pyext/lexforge/*.py", "pyext/lexforge/ops/_*.py", "pyext/lexforge/reference/_*.py"),
    *("tests/conftest.py", "tests/common/isa.py", "tests/common/__init__.py"),
    *("tests/ptx/build.py", "tests/ptx/cuda_check.py", "tests/loading/cuda_library.py"),
)
# Another op's, which takes a while to compile.
LEFT_OUT = "row_groups_cuda.cu"


def copied() -> Iterator[tuple[Path, Path]]:
    """The files of the tree, each with its place there; the example's come last."""
    for pattern in COMMON:
        yield from ((path, path.relative_to(ROOT)) for path in ROOT.glob(pattern))
    for path in EXAMPLE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path, path.relative_to(EXAMPLE)


def run(tree: Path, *command: str, **environment: str) -> str:
    """What a Python in the tree prints."""
    paths = [str(tree / "pyext"), str(Path(sys.executable).parent)]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tree,
        env={
            **os.environ,
            "PYTHONPATH": paths[0],
            "PATH": os.pathsep.join([paths[1], os.environ["PATH"]]),  # ninja
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    for source, place in copied():
        if source.name != LEFT_OUT:
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / place)
    # The build makes a library of it, which the op does without.
    (folder / "csrc" / "text").mkdir()
    (folder / "csrc" / "text" / "nothing.cpp").touch()
    run(folder, "setup.py", "build_ext", "--inplace", LEXFORGE_CUDA="0", LEXFORGE_WERROR="1")
    return folder


def test_the_steps_name_every_file():
    """Of the example's, none is missing and none is too many."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.partition("## How to add an op\n")[2].partition("\n## ")[0]
    named = re.findall(r"`((?:[\w/<>]*/)?(?:test_)?x[_.]\w[\w.]*)`", section)
    files = [path for path in EXAMPLE.rglob("*scale_add*.*") if "__pycache__" not in path.parts]
    # Steps 1 and 3 tell the folder of csrc once.
    found = {path.name.replace("scale_add", "x") for path in files}
    assert {Path(name).name for name in named} == found
    for name in (name for name in named if "/" in name and not name.startswith("benchmarks/")):
        assert (EXAMPLE / name.replace("<family>", "example").replace("x.", "scale_add.")).exists()


@pytest.mark.slow
def test_an_op_is_built_and_passes_its_tests(tree):
    printed = run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/example")
    assert "passed" in printed and "error" not in printed


@pytest.mark.slow
def test_its_cuda_kernel_is_compiled_and_loaded(tree):
    printed = run(tree, "tests/ptx/cuda_check.py")
    if "no nvcc found" in printed:
        pytest.skip(printed)
    assert "csrc/example/scale_add_cuda.cu" in printed
    assert "cuda-check: 1 kernel files, 1 bindings: all right" in printed
