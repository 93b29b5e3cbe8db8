"""No reader comes to harm, or to an unclear error, through a damaged file.

``python tests/fuzz/run.py`` does the same for longer, and outlives crashes.
"""

from __future__ import annotations

import time

import pytest

from fuzz.fuzzing import attempt, inputs, make, write
from fuzz.targets import TARGETS

MOST = 300  # inputs, however fast a reader is


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files(name, tmp_path, request):
    if name == "log":
        pytest.importorskip("matplotlib")
    target, folder = TARGETS[name], tmp_path / "input"
    files = make(target, folder)
    write(files, folder)
    assert attempt(target, folder).kind == "accepted"  # as it is
    ends = time.perf_counter() + request.config.getoption("--fuzz-seconds")
    for number, outcome in inputs(target, name, files, folder, seed=0):
        assert outcome.kind != "other", f"input {number}: {outcome.detail}"
        if number + 1 == MOST or time.perf_counter() > ends:
            break
