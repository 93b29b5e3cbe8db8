"""CUB's algorithms, as the project uses them, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

SIZES = (0, 1, 2, 1000)


@pytest.fixture(scope="module")
def cub(kernels):
    """Calls an entry of cub_kernels.cu; returns its error message, or None."""
    return kernels("cub_kernels.cu")


@pytest.fixture(params=SIZES)
def numbers(request):
    return np.random.default_rng(request.param).integers(-20, 20, request.param, dtype=np.int32)


def empty(like, dtype=None):
    return np.empty(max(1, len(like)), dtype or like.dtype)


def test_sort_pairs_is_stable_for_floats(cub, numbers):
    keys = numbers.astype(np.float32) / 8
    values = np.arange(len(keys), dtype=np.int32)
    sorted_keys, sorted_values = empty(keys), empty(values)
    assert cub("sort_pairs", keys, sorted_keys, values, sorted_values, len(keys)) is None
    order = np.argsort(keys, kind="stable")
    assert (sorted_keys[: len(keys)] == keys[order]).all()
    assert (sorted_values[: len(keys)] == order).all()


def test_sort_descending_is_stable(cub, numbers):
    values = np.arange(len(numbers), dtype=np.int32)
    keys, order = empty(numbers), empty(values)
    assert cub("sort_pairs_descending", numbers, keys, values, order, len(numbers)) is None
    expected = np.argsort(-numbers, kind="stable")
    assert (keys[: len(numbers)] == numbers[expected]).all()
    assert (order[: len(numbers)] == expected).all()


@pytest.mark.parametrize(("begin", "end"), [(0, 64), (0, 34), (5, 17), (63, 64)])
def test_sort_keys_looks_at_the_bits_asked_for(cub, begin, end):
    keys = np.random.default_rng(1).integers(0, 2**64, 500, dtype=np.uint64)
    actual = empty(keys)
    assert cub("sort_keys_by_bits", keys, actual, len(keys), begin, end) is None
    field = (keys >> np.uint64(begin)) & np.uint64(2 ** (end - begin) - 1)
    assert (actual == keys[np.argsort(field, kind="stable")]).all()


def test_sort_buffers(cub, numbers):
    keys = [numbers.copy(), empty(numbers)]
    values = [np.arange(len(numbers), dtype=np.int32), empty(numbers)]
    selected = np.zeros(2, np.int32)
    assert cub("sort_buffers", *keys, *values, len(numbers), selected) is None
    order = np.argsort(numbers, kind="stable")
    assert (keys[selected[0]][: len(numbers)] == numbers[order]).all()
    assert (values[selected[1]][: len(numbers)] == order).all()


def test_scans(cub, numbers):
    out, total = empty(numbers), np.cumsum(numbers)
    assert cub("inclusive_sum", numbers, out, len(numbers)) is None
    assert (out[: len(numbers)] == total).all()
    in_place = numbers.copy()
    assert cub("exclusive_sum", in_place, in_place, len(numbers)) is None
    assert (in_place == total - numbers).all()


def test_runs(cub, numbers):
    keys = np.sort(numbers)
    unique, lengths, runs = empty(keys), empty(keys), np.full(1, -1, np.int32)
    assert cub("encode", keys, unique, lengths, runs, len(keys)) is None
    expected, counts = np.unique(keys, return_counts=True)
    assert runs[0] == len(expected)
    assert (unique[: runs[0]] == expected).all()
    assert (lengths[: runs[0]] == counts).all()
    values, largest = np.arange(len(keys), dtype=np.int32) % 7, empty(keys)
    assert cub("reduce_by_key", keys, unique, values, largest, runs, len(keys)) is None
    assert runs[0] == len(expected)
    assert [values[keys == key].max() for key in expected] == largest[: runs[0]].tolist()


def test_reductions(cub, numbers):
    out = np.zeros(3, np.int32)
    assert cub("sum_min_max", numbers, out, len(numbers)) is None
    assert out[0] == numbers.sum()
    limits = np.iinfo(np.int32)
    assert out[1] == numbers.min(initial=limits.max)
    assert out[2] == numbers.max(initial=limits.min)


def test_selections(cub, numbers):
    out, count = empty(numbers), np.full(1, -1, np.int32)
    assert cub("select_odd", numbers, out, count, len(numbers)) is None
    assert out[: count[0]].tolist() == numbers[numbers % 2 != 0].tolist()
    flags = (np.arange(len(numbers)) % 3 == 0).astype(np.uint8)
    assert cub("select_flagged", numbers, flags, out, count, len(numbers)) is None
    assert out[: count[0]].tolist() == numbers[::3].tolist()
    keys = np.sort(numbers)
    assert cub("select_unique", keys, out, count, len(keys)) is None
    assert out[: count[0]].tolist() == np.unique(keys).tolist()


def test_too_little_storage_is_an_error(cub):
    numbers = np.ones(4, np.int32)
    assert cub("too_little_storage", numbers, empty(numbers), 4) is not None
