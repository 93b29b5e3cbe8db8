"""The sampling ops in plain numpy, draw for draw: the oracle of lexforge.ops.sampling."""

from __future__ import annotations

import numpy as np

# csrc/common/philox.h, RandomStream
ALIAS_SAMPLE, NOISE, SUBSAMPLE, WINDOW, NEGATIVE, INIT = range(6)

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(counters: np.ndarray, key0: int, key1: int) -> np.ndarray:
    """Philox4x32-10 (Salmon et al. 2011).

    Args:
        counters: unsigned integers [n, 4], each below 2^32.
        key0: first key word.
        key1: second key word.

    Returns:
        uint32 [n, 4].
    """
    a, b, c, d = np.asarray(counters).astype(np.uint64).T
    for round_ in range(10):
        round_key0 = np.uint64((key0 + round_ * 0x9E3779B9) & 0xFFFFFFFF)
        round_key1 = np.uint64((key1 + round_ * 0xBB67AE85) & 0xFFFFFFFF)
        product0 = a * np.uint64(0xD2511F53)
        product1 = c * np.uint64(0xCD9E8D57)
        a, b = (product1 >> _HALF) ^ b ^ round_key0, product1 & _LOW
        c, d = (product0 >> _HALF) ^ d ^ round_key1, product0 & _LOW
    return np.stack([a, b, c, d], axis=1).astype(np.uint32)


def philox_at(
    seed: int, epoch: int, positions: np.ndarray, stream: int, slots: np.ndarray | int
) -> np.ndarray:
    """The quads of the project's counters: uint32 [n, 4] for positions [n] and slots [n] or one."""
    seed &= (1 << 64) - 1
    positions = np.asarray(positions).astype(np.uint64)
    counters = np.empty((len(positions), 4), np.uint64)
    counters[:, 0] = positions & _LOW
    counters[:, 1] = positions >> _HALF
    counters[:, 2] = epoch
    counters[:, 3] = np.asarray(slots, np.uint64) | np.uint64(stream << 24)
    return philox4x32(counters, seed & 0xFFFFFFFF, seed >> 32)
