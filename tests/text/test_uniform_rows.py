"""Rows of uniform numbers, against numpy's own generator (csrc/text/uniform_rows.h)."""

from __future__ import annotations

import numpy as np
import pytest

from lexforge import _text


def states_of(seed: int, parts: int) -> np.ndarray:
    found = [np.random.SFC64([seed, part]).state["state"]["state"] for part in range(parts)]
    return np.array(found, np.uint64).reshape(-1, 4)


def expected(seed: int, rows: int, dim: int, part_rows: int, step: float) -> np.ndarray:
    """16 bits at a time, lowest first, of the generator of each part."""
    drawn = np.empty((rows, dim), np.float32)
    for part in range(-(-rows // part_rows)):
        of_part = drawn[part * part_rows : (part + 1) * part_rows]
        bits = np.random.SFC64([seed, part]).random_raw(-(-of_part.size // 4)).astype("<u8")
        numbers = bits.view("<i2")[: of_part.size].reshape(of_part.shape)
        of_part[:] = numbers.astype(np.float32) * np.float32(step)
    return drawn


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 200, 257])
@pytest.mark.parametrize("dim", [1, 3, 16, 59])
@pytest.mark.parametrize("part_rows", [1, 100, 128])
def test_numbers_are_those_of_the_generator(rows, dim, part_rows):
    table = np.full((rows, dim + 5), 7, np.float32)
    states = states_of(3, -(-rows // part_rows))
    for threads in (1, 3):
        table[:, :dim] = 7
        _text.draw_rows(table[:, :dim], states, part_rows, 0.25, threads)
        np.testing.assert_array_equal(table[:, :dim], expected(3, rows, dim, part_rows, 0.25))
        assert (table[:, dim:] == 7).all()


def test_numbers_are_uniform():
    values = np.empty((20_000, 10), np.float32)
    _text.draw_rows(values, states_of(1, 5), 4096, 2.0**-15, 2)
    assert values.min() >= -1 and values.max() < 1
    counts, _ = np.histogram(values, 64, (-1, 1))
    expected_count = values.size / 64
    assert ((counts - expected_count) ** 2 / expected_count).sum() < 103.4  # 0.1 % of chi squared


@pytest.mark.parametrize(
    ("values", "states", "part_rows", "message"),
    [
        (np.empty((4, 3)), states_of(1, 1), 4, "values must be float32"),
        (np.empty((3, 4), np.float32).T, states_of(1, 1), 4, "values must be float32"),
        (np.empty((4, 3), np.float32), states_of(1, 1), 3, r"states must be uint64 \[2, 4\]"),
        (np.empty((4, 3), np.float32), states_of(1, 1).astype(np.int64), 4, "got int64"),
        (np.empty((4, 3), np.float32), states_of(1, 1), 0, "part_rows must be >= 1, got 0"),
    ],
)
def test_refuses(values, states, part_rows, message):
    with pytest.raises(ValueError, match=message):
        _text.draw_rows(values, states, part_rows, 1.0, 1)
