"""Compiles every CUDA source with the real compiler, without a GPU: `make cuda-check`.

    python tests/cuda_emulation/cuda_check.py [--link]

Every ``.cu`` file under csrc goes through nvcc for sm_90 and sm_80 with warnings as errors; a
kernel whose registers spill to memory fails. Every ``*_ops_cuda.cpp`` goes through g++ against the
installed torch's stable headers. The objects are linked and loaded as a torch with CUDA would load
them (tests/loading/cuda_library.py). ``--link`` also builds the CUDA op library by setup.py itself.
Without nvcc it says so and succeeds. Only what changed is compiled again.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "loading"))
import build  # noqa: E402
import cuda_library  # noqa: E402

ROOT, CSRC = build.ROOT, build.CSRC
OUTPUT = ROOT / "build" / "cuda_check"
ARCHITECTURES = ("90", "80")


class Kernel(NamedTuple):
    """What ptxas says of one kernel for one architecture."""

    name: str
    architecture: str
    registers: int
    spilled: int  # bytes stored
    stack: int  # bytes


def setup_module() -> ModuleType:
    """setup.py, for its flags and its search for the toolkit."""
    spec = importlib.util.spec_from_file_location("lexforge_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def demangle(names: list[str]) -> list[str]:
    if not names or not (tool := shutil.which("c++filt")):
        return names
    done = subprocess.run([tool, "-p"], input="\n".join(names), capture_output=True, text=True)
    return done.stdout.splitlines()


def short(name: str) -> str:
    return re.sub(r"\(anonymous namespace\)::|lexforge::|^void ", "", name)


def object_of(source: Path) -> Path:
    return OUTPUT / (str(source.relative_to(ROOT)).replace("/", "-") + ".o")


def compile_source(source: Path, command: list[str]) -> tuple[str, str]:
    """Compiles one file unless it is current; returns the error text ("" if none), or what the
    compiler reported."""
    target = object_of(source)
    report, record, used = (target.with_suffix(suffix) for suffix in (".txt", ".d", ".command"))
    command = [*command, "-c", str(source)]
    text = shlex.join(command)
    if not (build.is_current(target, record) and used.exists() and used.read_text() == text):
        target.unlink(missing_ok=True)
        done = subprocess.run(
            [*command, "-MD", "-MF", str(record), "-o", str(target)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            return done.stderr + done.stdout, ""
        report.write_text(done.stderr + done.stdout)
        used.write_text(text)
    return "", report.read_text()


def compile_kernels(source: Path, command: list[str]) -> tuple[Path, str, list[Kernel]]:
    """Compiles one .cu file; returns it, the error text ("" if none) and its kernels."""
    error, report = compile_source(source, command)
    return source, error, parse_ptxas(report)


def compile_binding(source: Path, command: list[str]) -> tuple[Path, str]:
    return source, compile_source(source, command)[0]


def link(home: str) -> str:
    """Builds the extension as setup.py does, into a folder of its own; returns the error text."""
    folder = OUTPUT / "setup"
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
    return cuda_library.check_library(libraries[0], folder, setup_module(), home)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--link", action="store_true", help="also build the CUDA op library")
    options = parser.parse_args()
    setup = setup_module()
    home = setup.find_cuda_home()
    if home is None:
        print("cuda-check: no nvcc found (PATH, CUDA_HOME); the CUDA sources are not compiled")
        return 0
    OUTPUT.mkdir(parents=True, exist_ok=True)
    nvcc = [
        f"{home}/bin/nvcc",
        *setup.NVCC_FLAGS,
        *["--Werror", "all-warnings", "-Xptxas", "-v", "-Xcompiler", "-fPIC", f"-I{CSRC}"],
        *(f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES),
    ]
    gxx = [
        *[os.environ.get("CXX", "g++"), "-fPIC", "-fvisibility=hidden"],
        *["-std=c++20", "-DUSE_CUDA"],
        *["-Wall", "-Wextra", "-Werror", f"-I{CSRC}", "-isystem", f"{home}/include"],
        *[*setup.STABLE_ABI, *setup.TORCH_HEADERS],
    ]
    kernel_files = sorted(CSRC.glob("**/*.cu")) + sorted(HERE.glob("*.cu"))
    bindings = sorted(CSRC.glob("**/*_ops_cuda.cpp"))
    with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS", os.cpu_count() or 1))) as pool:
        compiled = list(pool.map(lambda source: compile_kernels(source, nvcc), kernel_files))
        checked = list(pool.map(lambda source: compile_binding(source, gxx), bindings))

    failures = []
    for source, error, kernels in compiled:
        print(source.relative_to(ROOT))
        if error:
            failures.append(f"{source.relative_to(ROOT)}:\n{error}")
        names = demangle([kernel.name for kernel in kernels])
        for name, kernel in zip(names, kernels, strict=True):
            if re.search(
                r"\b(cub|thrust)::", name
            ):  # the library's own kernels are not ours to mend
                continue
            line = f"sm_{kernel.architecture} {kernel.registers:3} registers"
            if kernel.stack:
                line += f", {kernel.stack} bytes of stack"
            if kernel.spilled:
                line += f", {kernel.spilled} bytes spilled"
                failures.append(f"{source.relative_to(ROOT)}: {short(name)} spills on {line}")
            print(f"  {line:40} {short(name)[:100]}")
    for source, error in checked:
        print(source.relative_to(ROOT))
        if error:
            failures.append(f"{source.relative_to(ROOT)}:\n{error}")
    if not failures:
        own = [object_of(source) for source in (*kernel_files, *bindings) if CSRC in source.parents]
        if error := cuda_library.check(own, OUTPUT, setup, home):
            failures.append(f"loading _ops_cuda:\n{error}")
    if options.link and (error := link(home)):
        failures.append(f"linking _ops_cuda:\n{error}")
    for failure in failures:
        print(f"cuda-check: {failure}", file=sys.stderr)
    total = f"{len(kernel_files)} kernel files, {len(bindings)} bindings"
    print(f"cuda-check: {total}: {f'{len(failures)} failures' if failures else 'all right'}")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
