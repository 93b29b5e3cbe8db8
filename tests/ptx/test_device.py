"""The emulated device: right kernels give right values, planted errors are reported."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import build  # noqa: E402

import run  # noqa: E402


def library_path(sanitize: bool) -> Path:
    folder = build.OUTPUT / ("tests-sanitize" if sanitize else "tests")
    return build.build_library(
        [HERE / "kernels.cu"], folder / "kernels.so", sanitize=sanitize, with_torch=False
    )


@pytest.fixture(scope="module")
def kernels():
    """Calls an entry of kernels.cu; returns the error message of its launch, or None."""
    library = ctypes.CDLL(str(library_path(sanitize=False)))

    def call(name, *arguments):
        entry = getattr(library, name)
        entry.restype = ctypes.c_char_p
        converted = [
            ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else a for a in arguments
        ]
        message = entry(*converted)
        return None if message is None else message.decode()

    return call


@pytest.mark.parametrize("order", [None, "1", "2"])
@pytest.mark.parametrize(("name", "dtype"), [("float", np.float32), ("double", np.float64)])
def test_block_sum(kernels, monkeypatch, order, name, dtype):
    if order is not None:
        monkeypatch.setenv("LEXFORGE_EMULATION_ORDER", order)
    for n in (1, 31, 128, 1000):
        values = np.arange(n, dtype=dtype)
        total = np.zeros(1, dtype)
        assert kernels(f"block_sum_{name}", values, n, total) is None
        assert total[0] == n * (n - 1) / 2


@pytest.mark.parametrize("order", [None, "3"])
def test_collectives(kernels, monkeypatch, order):
    if order is not None:
        monkeypatch.setenv("LEXFORGE_EMULATION_ORDER", order)
    results = np.zeros((10, 32), np.int32)
    assert kernels("collectives", results) is None
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


def test_shared_memory_starts_poisoned_in_every_block(kernels):
    out = np.zeros(64, np.float32)
    assert kernels("unwritten_shared", out) is None
    assert np.isnan(out).all()


def test_barrier_deadlock_is_reported(kernels):
    message = kernels("barrier_deadlock")
    assert "barrier_deadlock_kernel" in message
    assert "block (0, 0, 0): deadlock" in message
    assert "thread (0, 0, 0) and 39 more wait for __syncthreads" in message
    assert "thread (40, 0, 0) and 23 more wait for __syncwarp" in message
    assert "kernels.cu:" in message


def test_the_device_works_after_an_error(kernels):
    assert "deadlock" in kernels("barrier_deadlock")
    test_block_sum(kernels, None, None, "float", np.float32)


def test_shuffle_deadlock_is_reported(kernels):
    message = kernels("shuffle_deadlock", np.zeros(32, np.int32))
    assert "shuffle_deadlock_kernel" in message
    assert "31 more" not in message  # lane 7 waits elsewhere
    assert "thread (7, 0, 0) waits for __syncthreads" in message


def test_shuffle_from_a_lane_outside_the_mask_is_an_error(kernels):
    message = kernels("shuffle_outside_mask", np.zeros(32, np.int32))
    assert "a shuffle reads lane 20, which takes no part in it" in message


def test_trap_names_block_and_thread(kernels):
    assert "trap_kernel(), block (0, 0, 0), thread (9, 0, 0): __trap" in kernels("trap")


def test_invalid_configuration(kernels):
    assert "invalid configuration" in kernels("too_many_threads")


def test_a_race_shows_under_random_order(kernels, monkeypatch):
    threads = 64
    expected = (np.arange(threads) + 1) % threads
    right, racing = [], []
    for seed in range(8):
        monkeypatch.setenv("LEXFORGE_EMULATION_ORDER", str(seed))
        for wait, results in ((True, right), (False, racing)):
            out = np.zeros(threads, np.int32)
            assert kernels("neighbour", out, threads, wait) is None
            results.append(out)
    assert all((out == expected).all() for out in right)
    assert all((out != expected).any() for out in racing)
    assert len({out.tobytes() for out in racing}) > 1


@pytest.mark.parametrize(
    ("call", "report"),
    [
        ("out_of_bounds_global(values, 40, out)", "heap-buffer-overflow"),
        ("out_of_bounds_static(out, 1)", "index 64 out of bounds"),
        ("out_of_bounds_dynamic(out, 1)", "heap-buffer-overflow"),
        ("out_of_bounds_dynamic(out, 0)", None),
    ],
)
def test_the_sanitizer_names_the_line(call, report):
    program = f"""
import ctypes
from ctypes import c_float, c_int
library = ctypes.CDLL({str(library_path(sanitize=True))!r})
malloc = ctypes.CDLL(None).malloc
malloc.restype = ctypes.c_void_p
values, out = ctypes.c_void_p(malloc(40 * 4)), ctypes.c_void_p(malloc(64 * 4))
assert library.{call} == 0
print("finished")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **run.sanitizer_environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    if report is None:
        assert done.returncode == 0, done.stderr
        assert "finished" in done.stdout
    else:
        assert done.returncode != 0
        assert report in done.stderr
        assert "kernels.cu:" in done.stderr
