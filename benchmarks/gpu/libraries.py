"""The package that everything runs on: the tree's Python, with native libraries that load here."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from processes import Clock

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NAMES = ("_ops_cpu", "_ops_cuda", "_text")
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
        for path in self._home.glob(f"{name}*.so"):
            path.unlink()


def check(package: Package, run: Run, output: Path, clock: Clock) -> dict:
    """What environment.py says, or the failure of it with all libraries under suspicion."""
    command = [sys.executable, str(HERE / "environment.py")]
    result = run(command, clock.left(60), output=output)
    lines = output.read_text(errors="replace").splitlines()
    if result["outcome"] != "passed" or not lines:
        return {**result, "problems": dict.fromkeys(NAMES, "the check died")}
    return {**result, **json.loads(lines[-1])}


def prepare(
    package: Package,
    given: Path | None,
    run: Run,
    scratch: Path,
    clock: Clock,
    *,
    may_build: bool,
    needs_cuda: bool,
) -> dict:
    """Takes the given libraries, builds those that do not load here, and says what came of it.

    Args:
        run: ``run(command, seconds, output=FILE, **environment)``, the outcome of a program.
        may_build: or else what does not load stays out of use.
        needs_cuda: not so on a stand-in for a GPU.

    Returns:
        The environment, with "outcome" failed where no op can run, "taken", "built" and
        "problems" by library.
    """
    taken = package.take(given) if given else []
    found = check(package, run, scratch / "environment-1.txt", clock)

    def wrong() -> list[str]:
        names = NAMES if needs_cuda else [name for name in NAMES if name != "_ops_cuda"]
        return [name for name in names if found["problems"][name]]

    built: dict[str, object] = {}
    if wrong() and may_build:
        first = found["problems"]
        names = wrong()
        for name in names:
            package.drop(name)
        command = [sys.executable, str(HERE / "build.py"), str(package.folder), *names]
        built = {"names": names, "because": first}
        built |= run(
            command,
            clock.left(BUILD_SECONDS),
            output=scratch / "build.txt",
            LEXFORGE_CUDA="1" if needs_cuda else "0",
            MAX_JOBS=str(len(os.sched_getaffinity(0))),
        )
        found = check(package, run, scratch / "environment-2.txt", clock)
    # Without _text there is no corpus and no BERT, but every kernel runs.
    usable = not set(wrong()) - {"_text"}
    return {**found, "outcome": "passed" if usable else "failed", "taken": taken, "built": built}
