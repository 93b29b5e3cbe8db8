"""Planted bugs (mutants.py) are seen by the tests that run on the device."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import build  # noqa: E402
import mutants  # noqa: E402
import test_tensor_core  # noqa: E402

import run  # noqa: E402

pytestmark = pytest.mark.usefixtures("toolkit")


@pytest.mark.parametrize("mutant", mutants.INSTRUCTIONS, ids=lambda mutant: mutant.name)
def test_instructions(mutant, kernels):
    folder = build.OUTPUT / "mutants" / mutant.name.replace(" ", "-")
    mutants.plant(folder, [("common/tensor_core.cuh", mutant.old, mutant.new)])
    call = test_tensor_core.checked(kernels("tensor_core_kernels.cu", folder))
    with pytest.raises(AssertionError):
        getattr(test_tensor_core, mutant.test)(call, *mutant.arguments)


@functools.cache
def report(library: str) -> str:
    """What pytest says of the tests named by the library's mutants."""
    options, planted = mutants.LIBRARIES[library]
    tests = sorted({mutant.tests for mutant in planted})
    built = mutants.build_ops(library, planted)
    environment = run.environment(run.parser().parse_args(options), built)
    done = subprocess.run(
        run.command([*tests, "-p", "no:cacheprovider", "-q", "--tb=line"]),
        env={**environment, "COLUMNS": "1000"},  # or pytest cuts what a failure says
        cwd=build.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("library", "mutant"),
    [(name, mutant) for name, (_, planted) in mutants.LIBRARIES.items() for mutant in planted],
    ids=lambda x: x if isinstance(x, str) else x.name,
)
def test_ops(library, mutant):
    said = report(library)
    failed = [line for line in said.splitlines() if line.startswith(f"FAILED {mutant.tests}")]
    assert failed, said
    assert any(re.search(mutant.says, line) for line in failed), said
