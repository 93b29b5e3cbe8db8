"""What a device can do at most: the measure of how much of it training makes use of."""

from __future__ import annotations

import time

import torch

_SIDES = {"cpu": 1024, "cuda": 8192}  # of the matrices: a hundredth of a second, or less
_TRIES = 4


def measured_peak(device: torch.device, precision: str) -> float:
    """Floating-point operations per second of a large matrix product, the best of a few tries.

    Args:
        precision: ``"float32"`` or ``"bf16"``.
    """
    side = _SIDES.get(device.type, 1024)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    x = torch.ones(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(_TRIES):
        _wait(device)
        begin = time.perf_counter()
        torch.mm(x, x)
        _wait(device)
        best = min(best, time.perf_counter() - begin)
    return 2 * side**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
