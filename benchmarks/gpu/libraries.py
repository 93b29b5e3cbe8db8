"""The package that everything runs on: the tree's Python, with native libraries that load here."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OPS, TEXT = ("_ops_cpu", "_ops_cuda"), "_text_native"
BUILD_SECONDS = 240

Run = Callable[..., dict]


class Package:
    """A folder with a copy of lexforge in it, in which libraries are put; the tree stays as it is.

    Args:
        folder: of the copy; libraries that were built into it stay, where a later call finds them.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._home = folder / "lexforge"
        ignore = shutil.ignore_patterns("*.so", "_build.json", "__pycache__")
        shutil.copytree(ROOT / "pyext" / "lexforge", self._home, ignore=ignore, dirs_exist_ok=True)

    def take(self, libraries: Path) -> list[str]:
        """Copies the libraries of a folder, or of its `lexforge`; their file names."""
        at = libraries / "lexforge" if (libraries / "lexforge").is_dir() else libraries
        found = sorted(at.glob("*.so"))
        for path in [*found, *at.glob("_build.json")]:
            shutil.copy2(path, self._home)
        return [path.name for path in found]

    def drop(self, name: str) -> None:
        """Removes a library, with the record of how it was built."""
        for path in [*self._home.glob(f"{name}*.so"), *self._home.glob("_build.json")]:
            path.unlink()


def check(run: Run, output: Path) -> dict:
    """What environment.py says, or its failure, with all libraries under suspicion."""
    result = run([sys.executable, str(HERE / "environment.py")], 60, output=output)
    lines = output.read_text(errors="replace").splitlines()
    if result["outcome"] != "passed" or not lines:
        return {**result, "problems": dict.fromkeys((*OPS, TEXT), "the check died")}
    return {**result, **json.loads(lines[-1])}


def build(package: Package, names: list[str], run: Run, output: Path, **environment: str) -> dict:
    """Builds libraries into the package, in the place of those that are there."""
    for name in names:
        package.drop(name)
    command = [sys.executable, str(HERE / "build.py"), str(package.folder), *names]
    jobs = str(len(os.sched_getaffinity(0)))
    result = run(command, BUILD_SECONDS, output=output, MAX_JOBS=jobs, **environment)
    return {"names": names, **result}


def prepare(
    package: Package,
    given: Path,
    run: Run,
    scratch: Path,
    *,
    may_build: bool,
    needs_cuda: bool,
) -> dict:
    """Takes the given libraries, builds those that do not load here, and says what came.

    Args:
        given: folder of libraries.
        run: ``run(command, seconds, output=FILE, **environment)``, the outcome of a program.
        may_build: or else what does not load is a failure.
        needs_cuda: not so on a stand-in for a GPU.

    Returns:
        The environment, with "outcome" failed where no op can run, "taken", "built", and
        "problems" by library.
    """
    taken = package.take(given)
    found = check(run, scratch / "environment.txt")
    needed = OPS if needs_cuda else OPS[:1]

    def wrong(*names: str) -> list[str]:
        return [name for name in names if found["problems"][name]]

    built: dict[str, object] = {}
    if wrong(*needed, TEXT) and may_build:
        reasons = found["problems"]
        variables = {"LEXFORGE_CUDA": "1" if needs_cuda else "0"}
        if "capability" in found:  # for other GPUs it would take longer
            variables["TORCH_CUDA_ARCH_LIST"] = str(found["capability"])
        built = build(package, wrong(*needed, TEXT), run, scratch / "build.txt", **variables)
        built["because"] = reasons
        found = check(run, scratch / "environment-built.txt")
    outcome = "failed" if wrong(*needed) else "passed"
    return {**found, "outcome": outcome, "taken": taken, "built": built}
