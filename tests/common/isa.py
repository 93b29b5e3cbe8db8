"""Runs scripts under a lowered instruction set: the choice is made once per process."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile

import pytest

import lexforge
from lexforge import _library

ISAS = ("baseline", "avx2", "avx512")

# One process for all scripts of an instruction set, as to import torch takes longer than most of
# them. Its answers go where its standard output was; what libraries print goes to its errors.
RUNNER = """
import contextlib, io, json, os, sys, traceback
import torch
import lexforge

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
threads = torch.get_num_threads()
for line in sys.stdin:
    script, seed, arguments = json.loads(line)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    sys.argv = ["-c", *arguments]
    printed, wrong = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            exec(script, {"__name__": "__main__"})
    except SystemExit as end:
        wrong = f"exit status {int(end.code)}" if end.code else None
    except BaseException:
        wrong = traceback.format_exc()
    print(json.dumps([printed.getvalue(), wrong]), file=answers, flush=True)
"""


class Runner:
    """A process under LEXFORGE_CPU=isa that runs one script after another."""

    def __init__(self, isa: str) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUNNER],
            env={**os.environ, "LEXFORGE_CPU": isa, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def run(self, script: str, seed: int, arguments: tuple[str, ...]) -> str:
        """What the script prints; fails where it does, or where the process ends."""
        assert self.process.stdin and self.process.stdout
        try:
            print(json.dumps([script, seed, arguments]), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            runner.cache_clear()  # the next script gets a process of its own
            self.errors.seek(0)
            pytest.fail(f"ended with status {self.process.wait()}:\n{self.errors.read()}")
        printed, wrong = json.loads(answer)
        assert wrong is None, f"{wrong}\n{printed}"
        return printed


@functools.cache
def runner(isa: str) -> Runner:
    """The process for that instruction set; it ends with this one, which holds its input."""
    return Runner(isa)


def run_under(isa: str, script: str, *arguments: str) -> str:
    """The standard output of a Python script under LEXFORGE_CPU=isa; skips where there is none.

    What the script draws is the same every time, and changes with pytest's ``--seed``. Other
    scripts may have run in its process: it leaves the settings of torch and Lexforge as they are.
    """
    if _library.emulated():
        pytest.skip("the emulated device has no CPU kernels")
    if ISAS.index(isa) > ISAS.index(lexforge.cpu_capability()):
        pytest.skip(f"this processor (or LEXFORGE_CPU) has no {isa}")
    seed = int(os.environ["LEXFORGE_TEST_SEED"]) % 2**63
    return runner(isa).run(script, seed, arguments)


def passed_again(isa: str, file: str, chosen: str) -> int:
    """How many tests of a file pass under LEXFORGE_CPU=isa, of those that an expression chooses.

    Fails where one fails; skips what all tests run with, and as :func:`run_under`.
    """
    if isa == lexforge.cpu_capability():
        pytest.skip("the one that all tests run with")
    arguments = ["-q", "-p", "no:cacheprovider", "-k", chosen, file]
    report = run_under(isa, f"import pytest; raise SystemExit(pytest.main({arguments}))")
    return int(report.split(" passed")[0].split()[-1])
