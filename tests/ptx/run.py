"""Runs the op tests on the emulated device.

    python tests/cuda_emulation/run.py [--sanitize] [--order SEED] [pytest arguments]

Builds the emulated op library and runs pytest in a process that loads it instead of the ordinary
one. Without a path among the arguments it takes the tests of every op family that has CUDA kernels;
of those, the tests that use the ``device`` fixture.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import build  # noqa: E402


def families() -> list[str]:
    """The test folders of the op families that have CUDA kernels."""
    names = sorted({path.parent.name for path in build.CSRC.glob("**/*_ops_cuda.cpp")})
    return [str(build.ROOT / "tests" / name) for name in names if (HERE.parent / name).is_dir()]


def sanitizer_environment() -> dict[str, str]:
    """What a Python without sanitizers needs in order to load a library with them."""
    compiler = os.environ.get("CXX", "g++")

    def library(name: str) -> str:
        command = [compiler, f"-print-file-name={name}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return {
        # libstdc++ too: the sanitizer looks for __cxa_throw before torch brings it in.
        "LD_PRELOAD": f"{library('libasan.so')}:{library('libstdc++.so.6')}",
        # Python leaks by design; torch and Python use one symbol in several libraries.
        "ASAN_OPTIONS": "detect_leaks=0:detect_odr_violation=0:alloc_dealloc_mismatch=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sanitize", action="store_true", help="address and UB sanitizers")
    parser.add_argument("--order", metavar="SEED", help="shuffle threads and blocks by this seed")
    options, arguments = parser.parse_known_args()
    environment = {
        **os.environ,
        "LEXFORGE_OPS_LIBRARY": str(build.build_ops(sanitize=options.sanitize)),
        "PYTHONPATH": os.pathsep.join(
            [str(build.ROOT / "pyext"), str(HERE), os.environ.get("PYTHONPATH", "")]
        ),
    }
    if options.order is not None:
        environment["LEXFORGE_EMULATION_ORDER"] = options.order
    if options.sanitize:
        environment.update(sanitizer_environment())
    if not any(Path(argument.split("::")[0]).exists() for argument in arguments):
        arguments = [*families(), *arguments]
        if not families():
            print("no op family has CUDA kernels yet")
            return 0
    command = [sys.executable, "-m", "pytest", "-p", "only_cuda_tests", *arguments]
    return subprocess.run(command, env=environment, cwd=build.ROOT, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
