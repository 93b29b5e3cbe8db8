"""Compiles every CUDA source with the real compiler, without a GPU: `make cuda-check`.

    python tests/ptx/cuda_check.py [--link]

Every ``.cu`` file under csrc goes through nvcc for sm_90 and sm_80 with warnings as errors; a
kernel whose registers spill to memory fails. Every ``*_ops_cuda.cpp`` goes through g++ against the
installed torch's stable headers. The objects are linked and loaded as a torch with CUDA would load
them (tests/loading/cuda_library.py). ``--link`` also builds the CUDA op library by setup.py itself.
Without nvcc it says so and succeeds. Only what changed is compiled again.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "loading"))
import build  # noqa: E402
import cuda_library  # noqa: E402

ROOT = build.ROOT


class Kernel(NamedTuple):
    """What ptxas says of one kernel for one architecture."""

    name: str
    architecture: str
    registers: int
    spilled: int  # bytes stored
    stack: int  # bytes


def parse_ptxas(report: str) -> list[Kernel]:
    """The kernels in what ``-Xptxas -v`` prints; names as the linker has them."""
    kernels = []
    pattern = re.compile(
        r"Compiling entry function '(?P<name>\S+)' for 'sm_(?P<architecture>\w+)'"
        r".*?(?P<stack>\d+) bytes stack frame, (?P<spilled>\d+) bytes spill stores"
        r".*?Used (?P<registers>\d+) registers",
        re.DOTALL,
    )
    for match in pattern.finditer(report):
        numbers = (int(match[field]) for field in ("registers", "spilled", "stack"))
        kernels.append(Kernel(match["name"], match["architecture"], *numbers))
    return kernels


def short(name: str) -> str:
    return re.sub(r"\(anonymous namespace\)::|lexforge::|^void ", "", name)


def compiled(source: Path, command: list[str]) -> tuple[str, build.Object | None]:
    """Compiles one file; returns the error text ("" if none) and the object."""
    try:
        return "", build.compile_object(source, command)
    except build.CompileError as error:
        return str(error), None


def link(home: str) -> str:
    """Builds the extension as setup.py does, into a folder of its own; returns the error text."""
    folder = build.OUTPUT / "setup"
    folders = [f"--build-lib={folder}/lib", f"--build-temp={folder}/temp"]
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", *folders],
        cwd=ROOT,
        env={**os.environ, "CUDA_HOME": home, "LEXFORGE_CUDA": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    libraries = list((folder / "lib" / "lexforge").glob("_ops_cuda*.so"))
    if done.returncode != 0 or not libraries:
        return (done.stdout + done.stderr)[-4000:] or "no _ops_cuda library was built"
    return cuda_library.check_library(libraries[0], folder, build.setup_module(), home)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--link", action="store_true", help="also build the CUDA op library")
    options = parser.parse_args()
    home = build.find_toolkit()
    if home is None:
        print(f"cuda-check: {build.NO_TOOLKIT}")
        return 0
    setup = build.setup_module()
    kernels = [(source, build.nvcc()) for source in build.kernel_sources()]
    bindings = [(source, build.binding()) for source in build.binding_sources()]
    work = [*kernels, *bindings]
    failures = []
    results = build.in_parallel(compiled, *zip(*work, strict=True))
    for (source, _), (error, made) in zip(work, results, strict=True):
        print(source.relative_to(ROOT))
        if error:
            failures.append(f"{source.relative_to(ROOT)}:\n{error}")
        found = parse_ptxas(made.report if made is not None else "")
        names = build.demangle([kernel.name for kernel in found], "-p")
        for name, kernel in zip(names, found, strict=True):
            # The library's own kernels are not ours to mend.
            if re.search(r"\b(cub|thrust)::", name):
                continue
            line = f"sm_{kernel.architecture} {kernel.registers:3} registers"
            if kernel.stack:
                line += f", {kernel.stack} bytes of stack"
            if kernel.spilled:
                line += f", {kernel.spilled} bytes spilled"
                failures.append(f"{source.relative_to(ROOT)}: {short(name)} spills on {line}")
            print(f"  {line:40} {short(name)[:100]}")
    if not failures:
        objects = [made.path for _, made in results]
        if error := cuda_library.check(objects, build.OUTPUT, setup, home):
            failures.append(f"loading _ops_cuda:\n{error}")
    if options.link and (error := link(home)):
        failures.append(f"linking _ops_cuda:\n{error}")
    for failure in failures:
        print(f"cuda-check: {failure}", file=sys.stderr)
    total = f"{len(kernels)} kernel files, {len(bindings)} bindings"
    print(f"cuda-check: {total}: {f'{len(failures)} failures' if failures else 'all right'}")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
