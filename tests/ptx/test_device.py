"""The device: right kernels give right values, planted errors are reported with their lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import run  # noqa: E402


@pytest.fixture(scope="module")
def call(kernels):
    """Calls an entry of kernels.cu; returns the error message of its launch, or None."""
    return kernels("kernels.cu")


@pytest.mark.parametrize("order", [None, "1", "2"])
@pytest.mark.parametrize(("name", "dtype"), [("float", np.float32), ("double", np.float64)])
def test_block_sum(call, monkeypatch, order, name, dtype):
    if order is not None:
        monkeypatch.setenv("LEXFORGE_PTX_ORDER", order)
    for n in (1, 31, 128, 1000):
        values = np.arange(n, dtype=dtype)
        total = np.zeros(1, dtype)
        assert call(f"block_sum_{name}", values, n, total) is None
        assert total[0] == n * (n - 1) / 2


@pytest.mark.parametrize("order", [None, "3"])
def test_collectives(call, monkeypatch, order):
    if order is not None:
        monkeypatch.setenv("LEXFORGE_PTX_ORDER", order)
    results = np.zeros((10, 32), np.int32)
    assert call("collectives", results) is None
    lane = np.arange(32)
    assert (results[0].view(np.uint32) == 0xAAAAAAAA).all()
    assert (results[1] == np.where(lane % 2, 1, 3)).all()
    assert (results[2] == lane // 8 * 8 + 3).all()
    assert (results[3] == np.where(lane < 5, lane, lane - 5)).all()
    assert (results[4] == np.where(lane > 26, lane, lane + 5)).all()
    assert (results[5] == lane ^ 1).all()
    assert (results[6] == 1).all()
    assert (results[7] == 0).all()
    assert (results[8] == 31 * 16).all()
    assert (results[9] == 0).all()


def test_shared_memory_starts_poisoned_in_every_block(call):
    out = np.zeros(64, np.float32)
    assert call("unwritten_shared", out) is None
    assert np.isnan(out).all()


def test_barrier_deadlock_is_reported(call):
    message = call("barrier_deadlock")
    assert "deadlock" in message
    assert "barrier_deadlock_kernel" in message
    assert "40 threads at 'bar.sync 0'" in message
    assert "24 threads at 'bar.warp.sync" in message
    assert "kernels.cu:" in message


def test_the_device_works_after_an_error(call):
    assert call("barrier_deadlock") is not None
    values, total = np.ones(5, np.float32), np.zeros(1, np.float32)
    assert call("block_sum_float", values, len(values), total) is None
    assert total[0] == 5


def test_shuffle_deadlock_is_reported(call):
    message = call("shuffle_deadlock", np.zeros(32, np.int32))
    assert "shuffle_deadlock_kernel" in message
    assert "31 threads at 'shfl.sync" in message  # lane 7 waits elsewhere
    assert "1 threads at 'bar.sync 0'" in message


def test_shuffle_from_a_lane_outside_the_mask_is_an_error(call):
    message = call("shuffle_outside_mask", np.zeros(32, np.int32))
    assert "a shuffle reads lane 20, which takes no part" in message


def test_trap_names_block_and_thread(call):
    message = call("trap")
    assert "trap_kernel" in message
    assert "block (0, 0, 0), thread (9, 0, 0)" in message


def test_invalid_configuration(call):
    assert "block (1025, 1, 1)" in call("too_many_threads")


@pytest.mark.parametrize("order", [None, "1"])
def test_a_race_makes_the_launch_fail(call, monkeypatch, order):
    monkeypatch.setenv("LEXFORGE_PTX_RACES", "1")
    if order is not None:
        monkeypatch.setenv("LEXFORGE_PTX_ORDER", order)
    out = np.zeros(64, np.int32)
    assert call("neighbour", out, len(out), True) is None
    assert (out == (np.arange(64) + 1) % 64).all()
    message = call("neighbour", out, len(out), False)
    assert "neighbour_kernel" in message
    lines = (HERE / "kernels.cu").read_text().splitlines()
    for side in (
        "staged[threadIdx.x] = static_cast<int>(threadIdx.x);",
        "out[threadIdx.x] = staged[(threadIdx.x + 1) % blockDim.x];",
    ):
        assert str(lines.index(f"  {side}") + 1) in message


@pytest.mark.parametrize(
    ("program", "report"),
    [
        ("out_of_bounds_global(values, 40, out)", "memory that is not allocated"),
        ("out_of_bounds_static(out, 1)", "beyond the 256 bytes"),
        ("out_of_bounds_dynamic(out, 1)", "beyond the 256 bytes"),
        ("out_of_bounds_dynamic(out, 0)", None),
    ],
)
def test_memory_out_of_bounds(call, program, report):
    """Shared memory by the device itself, global memory as the address sanitizer knows it."""
    entry = program.split("(")[0]
    program = f"""
import ctypes
library = ctypes.CDLL({str(call.path)!r})
malloc = ctypes.CDLL(None).malloc
malloc.restype = ctypes.c_void_p
values, out = ctypes.c_void_p(malloc(40 * 4)), ctypes.c_void_p(malloc(64 * 4))
library.{entry}.restype = ctypes.c_char_p
print(library.{program})
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **run.sanitizer_environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if report is None:
        assert done.stdout.strip() == "None"
    else:
        assert report in done.stdout
        assert "kernels.cu:" in done.stdout
