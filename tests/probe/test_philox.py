"""Philox on every device and instruction set against published vectors and plain numpy."""

import numpy as np
import pytest
import torch

from lexforge import _library
from lexforge.reference.sampling import sampling as reference

# kat_vectors of the Random123 distribution: counter, key, result of philox4x32-10.
KNOWN_ANSWERS = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def as_int32(words: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(words).astype(np.uint32).view(np.int32))


def as_uint32(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy().view(np.uint32)


def signed_seed(key0: int, key1: int) -> int:
    seed = key0 | key1 << 32
    return seed - (1 << 64) if seed >= 1 << 63 else seed


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_known_answers_in_the_reference(counter, key, expected):
    assert reference.philox4x32(np.array([counter]), *key).tolist() == [expected]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
@pytest.mark.parametrize("rows", [1, 15, 16, 33])
def test_known_answers_in_every_lane(device, counter, key, expected, rows):
    counters = as_int32(np.array([counter] * rows)).to(device)
    out = torch.ops.lexforge._philox(counters, signed_seed(*key))
    assert as_uint32(out).tolist() == [expected] * rows


def test_random_counters_match_the_reference(device):
    rng = np.random.default_rng(0)
    counters = rng.integers(0, 1 << 32, (1001, 4), dtype=np.uint64)
    key0, key1 = (int(k) for k in rng.integers(0, 1 << 32, 2))
    out = torch.ops.lexforge._philox(as_int32(counters).to(device), signed_seed(key0, key1))
    np.testing.assert_array_equal(as_uint32(out), reference.philox4x32(counters, key0, key1))


@pytest.mark.parametrize("position", [0, 12345, 2**32 - 7, 2**40 - 3])
@pytest.mark.parametrize("along_slots", [False, True])
def test_runs_match_the_reference(device, position, along_slots):
    """Runs of positions carry into the counter's second word."""
    n, seed, epoch, slot = 61, -(2**61) + 5, 3, 9
    out = torch.ops.lexforge._philox_run(
        torch.empty(0, device=device), seed, epoch, position, reference.NOISE, slot, n, along_slots
    )
    step = np.arange(n, dtype=np.uint64)
    positions = np.uint64(position) + (0 * step if along_slots else step)
    slots = slot + (step if along_slots else 0 * step)
    expected = reference.philox_at(seed, epoch, positions, reference.NOISE, slots)
    np.testing.assert_array_equal(as_uint32(out), expected)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 100, 4097])
def test_the_benchmarked_loop_computes_all_words(count):
    """So that the figure for the generator alone is one of whole quads."""
    if _library.emulated():
        pytest.skip("the emulated device has no CPU kernels")
    words = reference.philox_at(77, 0, np.arange(count), reference.ALIAS_SAMPLE, 0)
    expected = int(np.bitwise_xor.reduce(words, axis=None))
    assert torch.ops.lexforge._philox_xor(77, count) == expected
