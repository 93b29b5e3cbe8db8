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

    What the script draws is the same every time, and changes with pytest's ``--seed``.
    """
    if _library.emulated():
        pytest.skip("the emulated device has no CPU kernels")
    if ISAS.index(isa) > ISAS.index(lexforge.cpu_capability()):
        pytest.skip(f"this processor (or LEXFORGE_CPU) has no {isa}")
    seed = int(os.environ["LEXFORGE_TEST_SEED"]) % 2**63
    seeded = f"import torch\ntorch.manual_seed({seed})\n{script}"
    process = subprocess.run(
        [sys.executable, "-c", seeded, *arguments],
        env={**os.environ, "LEXFORGE_CPU": isa, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout
