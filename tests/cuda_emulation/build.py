"""Builds the CUDA kernels for the emulated device: one shared library of ops, made by g++.

    python tests/cuda_emulation/build.py [--sanitize]

compiles every ``*_schema.cpp``, ``*_ops_cuda.cpp`` and ``*.cu`` under csrc, the shared parts, and
the emulated device itself, and prints the library's path. Only what changed is compiled again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CSRC = ROOT / "csrc"
OUTPUT = ROOT / "build" / "emulated"

FLAGS = [
    *["-std=c++20", "-O1", "-g1", "-fPIC", "-fvisibility=hidden"],
    *["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"],
    *["-DLEXFORGE_CUDA_EMULATED", f"-I{CSRC}", f"-I{HERE}"],
]
# The sanitizers stop at the first error: a kernel that reads where it must not has no right result.
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def torch_flags() -> tuple[list[str], list[str]]:
    """Compiler and linker flags for files that use torch's stable ABI."""
    from torch.utils import cpp_extension

    headers = [flag for path in cpp_extension.include_paths() for flag in ("-isystem", path)]
    libraries = [
        flag
        for path in cpp_extension.library_paths()
        for flag in (f"-L{path}", f"-Wl,-rpath,{path}")
    ]
    compile_flags = ["-DTORCH_TARGET_VERSION=0x020a000000000000", *headers]
    return compile_flags, [*libraries, "-ltorch", "-ltorch_cpu", "-lc10"]


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(command)}\n{done.stderr}")


def is_current(target: Path, record: Path) -> bool:
    """Whether a compiled file is newer than all that its dependency record says it was made of."""
    if not (target.exists() and record.exists()):
        return False
    rule = record.read_text().replace("\\\n", " ").split(":", 1)[1]
    built = target.stat().st_mtime
    read = [Path(name) for name in shlex.split(rule)]
    return all(path.exists() and path.stat().st_mtime <= built for path in read)


def compile_object(source: Path, folder: Path, flags: list[str]) -> Path:
    """Compiles one file unless its object is newer than it and all the headers it read."""
    command = [os.environ.get("CXX", "g++"), *flags, "-x", "c++", "-c", str(source)]
    key = hashlib.sha256(shlex.join(command).encode()).hexdigest()[:16]
    target = folder / f"{source.stem}-{key}.o"
    record = target.with_suffix(".d")
    if is_current(target, record):
        return target
    run([*command, "-MD", "-MF", str(record), "-o", str(target)])
    return target


def build_library(
    sources: list[Path], target: Path, *, sanitize: bool = False, with_torch: bool = True
) -> Path:
    """Compiles the sources with the emulated device and links them into a shared library.

    Args:
        sources: ``.cu`` and ``.cpp`` files.
        target: the library to write; objects go to a folder beside it.
        sanitize: with the address and undefined-behaviour sanitizers.
        with_torch: whether the sources use torch's headers and libraries.

    Returns:
        ``target``.

    Raises:
        SystemExit: with the command and the compiler's words, when a file does not compile.
    """
    objects = target.parent / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    flags = FLAGS + (SANITIZE if sanitize else [])
    libraries = []
    if with_torch:
        torch_compile, libraries = torch_flags()
        flags = flags + torch_compile
    jobs = int(os.environ.get("MAX_JOBS", os.cpu_count() or 1))
    with ThreadPoolExecutor(jobs) as pool:
        built = list(
            pool.map(
                lambda source: compile_object(source, objects, flags),
                [*sources, HERE / "cuda_emulation.cpp"],
            )
        )
    newest = max(path.stat().st_mtime for path in built)
    record = target.with_suffix(".objects")
    linked = "\n".join(str(path) for path in built)
    if (
        not target.exists()
        or target.stat().st_mtime < newest
        or not record.exists()
        or record.read_text() != linked
    ):
        temporary = target.with_suffix(f".{os.getpid()}.so")
        # Undefined symbols are an error here rather than at load time; the sanitizers have some.
        options = SANITIZE[:1] if sanitize else ["-Wl,--no-undefined"]
        compiler = os.environ.get("CXX", "g++")
        run([compiler, "-shared", "-o", str(temporary), *linked.split("\n"), *options, *libraries])
        temporary.rename(target)
        record.write_text(linked)
    return target


def op_sources() -> list[Path]:
    """What the op library of the emulated device is made of."""
    patterns = ["**/*_schema.cpp", "**/*_ops_cuda.cpp", "**/*.cu", "common/*.cpp"]
    return sorted({path for pattern in patterns for path in CSRC.glob(pattern)})


def build_ops(*, sanitize: bool = False) -> Path:
    """Builds the op library of the emulated device; returns its path."""
    folder = OUTPUT / ("sanitize" if sanitize else "plain")
    return build_library(op_sources(), folder / "lexforge_emulated.so", sanitize=sanitize)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sanitize", action="store_true")
    print(build_ops(sanitize=parser.parse_args().sanitize))


if __name__ == "__main__":
    main()
