"""Runs a script under a lowered instruction set: the choice is made once per process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import lexforge
from lexforge import _library

ISAS = ("baseline", "avx2", "avx512")


def run_under(isa: str, script: str, *arguments: str) -> str:
    """The standard output of a Python script under LEXFORGE_CPU=isa; skips where there is none.

    What the script draws is the same every time.
    """
    if _library.emulated():
        pytest.skip("the emulated device has no CPU kernels")
    if ISAS.index(isa) > ISAS.index(lexforge.cpu_capability()):
        pytest.skip(f"this processor (or LEXFORGE_CPU) has no {isa}")
    process = subprocess.run(
        [sys.executable, "-c", f"import torch\ntorch.manual_seed(0)\n{script}", *arguments],
        env={**os.environ, "LEXFORGE_CPU": isa, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout
