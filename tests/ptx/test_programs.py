"""What the programs of this folder read, and what they do without a compiler."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import cuda_check  # noqa: E402
import pytest  # noqa: E402

import run  # noqa: E402

REPORT = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z3onev' for 'sm_90'
ptxas info    : Function properties for _Z3onev
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers
ptxas info    : Compile time = 1.000 ms
ptxas info    : Compiling entry function '_Z3twov' for 'sm_80'
ptxas info    : Function properties for _Z3twov
    112 bytes stack frame, 200 bytes spill stores, 220 bytes spill loads
ptxas info    : Used 128 registers, used 0 barriers, 112 bytes cumulative stack size
"""


def test_the_report_is_read():
    assert cuda_check.parse_ptxas(REPORT) == [
        cuda_check.Kernel("_Z3onev", "90", registers=8, spilled=0, stack=0),
        cuda_check.Kernel("_Z3twov", "80", registers=128, spilled=200, stack=112),
    ]


@pytest.mark.parametrize("program", ["cuda_check.py", "run.py", "check.py"])
def test_without_nvcc_it_says_so_and_succeeds(program, tmp_path):
    done = subprocess.run(
        [sys.executable, str(HERE / program)],
        env={**os.environ, "CUDA_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no nvcc found" in done.stdout
    assert done.stdout.count("\n") == 1


def test_kernels_that_nothing_launched_are_named(tmp_path):
    empty = "_ZN3cub11EmptyKernelIvEEvv"  # which nobody launches
    records = (
        [("_Z3onev", 1), ("_Z3onev", 0), ("_Z3twov", 0), ("_Z5threev", 0), (empty, 0)],
        [("_Z3onev", 0), ("_Z3twov", 2), ("_Z5threev", 0), (empty, 0)],
    )
    for i, record in enumerate(records):
        counts = ", ".join(f'"{name}": {{"launches": {n}}}' for name, n in record)
        (tmp_path / f"{i}.json").write_text(f'{{"kernels": {{{counts}}}}}')
    launches = run.launched_kernels(tmp_path)
    assert launches == {"_Z3onev": 1, "_Z3twov": 2, "_Z5threev": 0, empty: 0}
    assert run.unlaunched(launches) == ["three()"]
