"""Runs the op tests on nvcc's PTX, on the CPU.

    python tests/ptx/run.py [options] [pytest arguments]

Builds the op library of the device and runs pytest in a process that loads it instead of the
ordinary one. Without a path among the arguments it takes the tests of every op family that has
CUDA kernels; of those, the tests that use the ``device`` fixture. A race in shared memory makes the
launch fail, with the lines of both sides. Without nvcc it says so and succeeds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import build  # noqa: E402

# CUB asks the runtime for which architecture this one was compiled; nobody launches it.
NEVER_LAUNCHED = re.compile(r"\bcub::.*\bEmptyKernel\b")


def families() -> list[str]:
    """The test folders of the op families that have CUDA kernels."""
    names = sorted({path.parent.name for path in build.CSRC.glob("**/*_ops_cuda.cpp")})
    return [str(build.ROOT / "tests" / name) for name in names if (HERE.parent / name).is_dir()]


def sanitizer_environment() -> dict[str, str]:
    """Brings the address sanitizer's allocator into a Python that was built without it.

    Every access of a kernel to global memory is then looked up there (memory.cpp).
    """
    compiler = os.environ.get("CXX", "g++")

    def library(name: str) -> str:
        command = [compiler, f"-print-file-name={name}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return {
        # libstdc++ too: the sanitizer looks for __cxa_throw before torch brings it in.
        "LD_PRELOAD": f"{library('libasan.so')}:{library('libstdc++.so.6')}",
        # Python leaks by design; torch and Python use one symbol in several libraries.
        "ASAN_OPTIONS": "detect_leaks=0:detect_odr_violation=0:alloc_dealloc_mismatch=0",
    }


def environment(options: argparse.Namespace, library: Path) -> dict[str, str]:
    """The environment of a process whose ops are those of the library, on the device."""
    settings = {
        "LEXFORGE_PTX_RACES": None if options.no_races else "1",
        "LEXFORGE_PTX_ORDER": options.order,
        "LEXFORGE_PTX_EARLY_COPIES": "1" if options.early_copies else None,
        "LEXFORGE_PTX_RESIDENT": options.resident,
        "LEXFORGE_PTX_JITTER": options.jitter,
        "LEXFORGE_PTX_MULTIPROCESSORS": options.multiprocessors,
    }
    folders = [str(build.ROOT / "pyext"), str(HERE), os.environ.get("PYTHONPATH", "")]
    return {
        # Kernels run on one thread, and torch's others would only wait for work, which takes time.
        "OMP_NUM_THREADS": "1",
        **os.environ,
        **{name: value for name, value in settings.items() if value is not None},
        **(sanitizer_environment() if options.sanitize else {}),
        "LEXFORGE_OPS_LIBRARY": str(library),
        "PYTHONPATH": os.pathsep.join(folders),
    }


def command(arguments: list[str]) -> list[str]:
    """The pytest that runs the tests of CUDA kernels among those that the arguments name."""
    return [sys.executable, "-m", "pytest", "-p", "only_cuda_tests", *arguments]


def launched_kernels(folder: Path) -> dict[str, int]:
    """Launches of every registered kernel, over the processes that left their record.

    A kernel of a header is registered by every file that uses it, and then its name comes again.
    """
    launches: dict[str, int] = {}
    for record in folder.glob("*.json"):
        pairs = dict(json.loads(record.read_text(), object_pairs_hook=list))
        for name, counts in pairs["kernels"]:
            launches[name] = launches.get(name, 0) + dict(counts)["launches"]
    return launches


def unlaunched(launches: dict[str, int]) -> list[str]:
    """The kernels, by their readable names, that no test has launched."""
    names = build.demangle([name for name, count in launches.items() if count == 0])
    return sorted(name for name in names if not NEVER_LAUNCHED.search(name))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sanitize", action="store_true", help="check every access to global memory")
    add("--no-races", action="store_true", help="do not look for races in shared memory")
    add("--order", metavar="SEED", help="shuffle threads and blocks by this seed")
    add("--early-copies", action="store_true", help="copy_async copies at once, not at the wait")
    add("--resident", metavar="BLOCKS", help="so many blocks run at a time, in turns")
    add("--jitter", metavar="SEED", help="approximate functions are off by their error bound")
    add("--multiprocessors", metavar="N", help="of the device; 2 if not given")
    add("--every-kernel", action="store_true", help="fail if a kernel was launched by no test")
    return parser


def run(arguments: list[str]) -> int:
    """Runs pytest as the arguments say; returns its exit status."""
    options, arguments = parser().parse_known_args(arguments)
    try:
        library = build.build_ops()
    except build.CompileError as error:
        print(error, file=sys.stderr)
        return 1
    variables = environment(options, library)
    statistics = build.OUTPUT / "statistics"
    if options.every_kernel:
        shutil.rmtree(statistics, ignore_errors=True)
        statistics.mkdir(parents=True)
        variables["LEXFORGE_PTX_STATISTICS"] = str(statistics)
    if not any(Path(argument.split("::")[0]).exists() for argument in arguments):
        arguments = [*families(), str(HERE / "test_capture.py"), *arguments]
    status = subprocess.run(
        command(arguments), env=variables, cwd=build.ROOT, check=False
    ).returncode
    if not options.every_kernel:
        return status
    launches = launched_kernels(statistics)
    missing = unlaunched(launches)
    for name in missing:
        print(f"ptx: no test launches {name}", file=sys.stderr)
    print(f"ptx: {sum(map(bool, launches.values()))} of {len(launches)} kernels launched")
    return status or int(bool(missing) or not launches)


def main() -> int:
    if build.find_toolkit() is None:
        print(f"ptx: {build.NO_TOOLKIT}")
        return 0
    return run(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
