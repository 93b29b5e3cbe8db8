"""Builds the CUDA kernels for a device made of software: nvcc's PTX, executed on the CPU.

    python tests/ptx/build.py

compiles every ``*_schema.cpp``, ``*_ops_cuda.cpp`` and ``*.cu`` under csrc and the shared parts,
links them with the interpreter of this folder in place of the CUDA runtime and of torch's CUDA, and
prints the library's path. Only what changed is compiled again. The objects of the CUDA files are
those of cuda_check.py: the bindings that are loaded there are called here, and one run of nvcc
makes the machine code whose registers are checked and the PTX that is executed.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CSRC = ROOT / "csrc"
OUTPUT = ROOT / "build" / "ptx"

NO_TOOLKIT = (
    "no nvcc found (PATH, CUDA_HOME): the CUDA sources are not checked; "
    "pip install nvidia-cuda-nvcc nvidia-cuda-runtime nvidia-cuda-cccl brings it"
)
# The checks of registers and spills need the machine code of both; the PTX is what is executed.
MACHINE_CODE = (
    *("-gencode=arch=compute_80,code=sm_80", "-gencode=arch=compute_90,code=[sm_90,compute_90]"),
    *("-Xptxas", "-v"),
)
PTX_ONLY = ("-gencode=arch=compute_90,code=compute_90",)
WARNINGS = ("-Wall", "-Wextra", "-Werror")


class CompileError(Exception):
    """The command and the compiler's words."""


class Object(NamedTuple):
    """A compiled file and what the compiler said of it."""

    path: Path
    report: str


@functools.cache
def setup_module() -> ModuleType:
    """setup.py, for its flags and its search for the toolkit."""
    spec = importlib.util.spec_from_file_location("lexforge_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find_toolkit() -> str | None:
    """The folder of the CUDA toolkit, as the build of the package finds it."""
    return setup_module().find_cuda_home()


def run(command: Sequence[str]) -> str:
    """Runs a compiler; returns what it says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CompileError(f"{shlex.join(command)}\n{done.stderr}{done.stdout}")
    return done.stderr + done.stdout


def demangle(names: list[str], *options: str) -> list[str]:
    """The linker's names as a reader has them, by c++filt if there is one."""
    if not names or not (tool := shutil.which("c++filt")):
        return names
    done = subprocess.run(
        [tool, *options], input="\n".join(names), capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def is_current(target: Path, record: Path) -> bool:
    """Whether a compiled file is newer than all that its dependency record says it was made of."""
    if not (target.exists() and record.exists()):
        return False
    rule = record.read_text().replace("\\\n", " ").split(":", 1)[1]
    built = target.stat().st_mtime
    read = [Path(name) for name in shlex.split(rule)]
    return all(path.exists() and path.stat().st_mtime <= built for path in read)


def compile_object(source: Path, command: Sequence[str]) -> Object:
    """Compiles one file unless its object is newer than it and all the headers it read."""
    command = [*command, "-c", str(source)]
    key = hashlib.sha256(shlex.join(command).encode()).hexdigest()[:16]
    folder = OUTPUT / "objects"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{source.parent.name}-{source.name}-{key}.o"
    record, report = target.with_suffix(".d"), target.with_suffix(".txt")
    if not (report.exists() and is_current(target, record)):
        temporary = target.with_suffix(f".{os.getpid()}.o")
        said = run([*command, "-MD", "-MF", str(record), "-MT", "object", "-o", str(temporary)])
        report.write_text(said)
        temporary.rename(target)
    return Object(target, report.read_text())


def nvcc(code: Sequence[str] = MACHINE_CODE, before: Path | None = None) -> list[str]:
    """The command for ``.cu`` files. The PTX is left as text in the object.

    Args:
        code: what to make.
        before: a folder whose headers come before the project's.
    """
    folders = [CSRC] if before is None else [before, CSRC]
    return [
        *(f"{find_toolkit()}/bin/nvcc", *setup_module().NVCC_FLAGS, "--Werror", "all-warnings"),
        *("--no-compress", "-Xcompiler", "-fPIC", *(f"-I{folder}" for folder in folders), *code),
    ]


def cxx(*flags: str) -> list[str]:
    """The command for ``.cpp`` files."""
    return [
        *(os.environ.get("CXX", "g++"), "-std=c++20", "-fPIC", "-fvisibility=hidden", *WARNINGS),
        *flags,
    ]


def binding() -> list[str]:
    """The command for files that use torch's stable ABI."""
    setup = setup_module()
    flags = ["-O1", "-DUSE_CUDA", f"-I{CSRC}", "-isystem", f"{find_toolkit()}/include"]
    return cxx(*flags, *setup.STABLE_ABI, *setup.TORCH_HEADERS)


def interpreter() -> list[str]:
    """The command for the interpreter: integers wrap and floats round as the device's do."""
    return cxx(
        *("-O3", "-march=native", "-fwrapv", "-ffp-contract=off", "-fno-math-errno"),
        *("-fvisibility=default", "-isystem", f"{find_toolkit()}/include"),
    )


def torch_libraries() -> list[str]:
    from torch.utils import cpp_extension

    folders = cpp_extension.library_paths()
    search = [flag for path in folders for flag in (f"-L{path}", f"-Wl,-rpath,{path}")]
    return [*search, "-ltorch", "-ltorch_cpu", "-lc10"]


def in_parallel(function, *arguments: Iterable) -> list:
    jobs = int(os.environ.get("MAX_JOBS", os.cpu_count() or 1))
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(function, *arguments))


def link(objects: Iterable[Path], target: Path, libraries: Sequence[str] = ()) -> Path:
    """Links a shared library unless it is newer than all its objects and made of the same."""
    command = [os.environ.get("CXX", "g++"), "-shared", "-Wl,-Bsymbolic"]
    command += [*map(str, objects), *libraries]
    record = target.with_suffix(".command")
    newest = max(path.stat().st_mtime for path in objects)
    if not (
        target.exists()
        and target.stat().st_mtime >= newest
        and record.exists()
        and record.read_text() == shlex.join(command)
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(f".{os.getpid()}.so")
        run([*command, "-o", str(temporary)])
        temporary.rename(target)
        record.write_text(shlex.join(command))
    return target


def build_kernels(source: Path, before: Path | None = None) -> Path:
    """A library of one ``.cu`` file and the interpreter, for ctypes: kernels of the tests here.

    Args:
        source: the file; its launches are entries of C.
        before: a folder whose headers come before the project's.

    Returns:
        The library's path.

    Raises:
        CompileError: with the command and the compiler's words.
    """
    sources = [*interpreter_sources(), source]
    commands = [interpreter()] * (len(sources) - 1) + [nvcc(PTX_ONLY, before)]
    objects = in_parallel(compile_object, sources, commands)
    name = hashlib.sha256(str(objects[-1].path).encode()).hexdigest()[:8]
    target = OUTPUT / "kernels" / f"{source.stem}-{name}.so"
    return link([x.path for x in objects], target, ["-Wl,--no-undefined"])


def interpreter_sources() -> list[Path]:
    return sorted(HERE.glob("*.cpp"))


def kernel_sources() -> list[Path]:
    return sorted(CSRC.glob("**/*.cu"))


def binding_sources() -> list[Path]:
    return sorted(CSRC.glob("**/*_ops_cuda.cpp"))


def build_ops(changed: dict[Path, Path] | None = None) -> Path:
    """Builds the op library of the device.

    Args:
        changed: objects to link in place of that of the ``.cu`` file which is their key.

    Returns:
        The library's path.

    Raises:
        CompileError: with the command and the compiler's words, when a file does not compile.
    """
    work = [(source, nvcc()) for source in kernel_sources() if source not in (changed or {})]
    work += [(source, interpreter()) for source in interpreter_sources()]
    # The order of GloVe's tiles is made on the CPU for every device.
    host = CSRC / "glove" / "glove_tiles_ops.cpp"
    schemas = Path(setup_module().schema_source(OUTPUT))
    rest = [*binding_sources(), *sorted(CSRC.glob("common/*.cpp")), host, schemas]
    work += [(source, binding()) for source in rest]
    objects = [x.path for x in in_parallel(compile_object, *zip(*work, strict=True))]
    objects += (changed or {}).values()
    # Undefined symbols are an error here rather than at load time.
    libraries = ["-Wl,--no-undefined", *torch_libraries()]
    name = "lexforge"
    if changed:
        name = hashlib.sha256("".join(map(str, changed.values())).encode()).hexdigest()[:8]
    return link(objects, OUTPUT / f"{name}.so", libraries)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    if find_toolkit() is None:
        raise SystemExit(NO_TOOLKIT)
    try:
        print(build_ops())
    except CompileError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
