"""A pytest plugin that keeps the tests which run CUDA kernels, on a GPU or as PTX on the CPU.

The others test host code, which is the same whatever device the process has. On the CPU, memory
that nobody has written is NaN (or the largest integer): a kernel that leaves a part of its result
out, or reads of its scratch what it has not written, cannot be right by luck. The switch for that
is torch's own; no op of the package asks for the other things it switches.
"""

import ctypes
import os

import torch

from lexforge import _library


def device_name(item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("device") if callspec is not None else None


def pytest_configure():
    if _library.emulated():
        torch.use_deterministic_algorithms(True, warn_only=True)


def pytest_unconfigure():
    # The processes of pytest-xdist end without what libraries do at the end of a process.
    if os.environ.get("LEXFORGE_PTX_STATISTICS"):
        ctypes.CDLL(os.environ["LEXFORGE_OPS_LIBRARY"]).lexforge_ptx_write_statistics()


def pytest_collection_modifyitems(config, items):
    kept, left_out = [], []
    for item in items:
        (kept if device_name(item) in ("cuda", "cuda_emulated") else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept
