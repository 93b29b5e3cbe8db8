"""Fixtures of the device's own tests: small kernels, built with the interpreter and called by C."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import build  # noqa: E402


class Kernels:
    """The entries of a library, by name: each returns its error message, or None."""

    def __init__(self, library: Path):
        self.path = library
        self.library = ctypes.CDLL(str(library))

    def __call__(self, name: str, *arguments: np.ndarray | int) -> str | None:
        entry = getattr(self.library, name)
        entry.restype = ctypes.c_char_p
        converted = [
            ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_int64(a)
            for a in arguments
        ]
        message = entry(*converted)
        return None if message is None else message.decode()


@pytest.fixture(scope="session")
def toolkit() -> str:
    """The folder of the CUDA toolkit; without one the test is skipped."""
    folder = build.find_toolkit()
    if folder is None:
        pytest.skip(build.NO_TOOLKIT)
    return folder


@pytest.fixture(scope="session")
def kernels(toolkit):
    """Builds a file of this folder, some headers changed or none; returns its entries."""
    return lambda name, before=None: Kernels(build.build_kernels(HERE / name, before))
