"""Where the CUDA kernels take another way: rows summed in shared memory, wide keys, little memory.

The tests hold on every device; sizes are chosen by what csrc/cooccurrence/cooccurrence_cuda.cu does
on the emulated one.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lexforge.ops.cooccurrence.cooccurrence import (
    CooccurrenceIndex,
    cooccurrence_index,
    cooccurrence_merge,
    cooccurrence_rows,
)
from lexforge.reference.cooccurrence import cooccurrence as reference

SATURATED = 2**63 - 1


def counted(sentences, device, *, vocab_size, window, first_row=0, last_row=None, **options):
    offsets = np.cumsum([0, *map(len, sentences)])
    index = cooccurrence_index(
        torch.from_numpy(np.concatenate(sentences).astype(np.int32)).to(device),
        torch.from_numpy(offsets).to(device),
        vocab_size=vocab_size,
        window=window,
    )
    return cooccurrence_rows(
        index, window=window, first_row=first_row, last_row=last_row, **options
    )


def assert_rows(actual, sentences, *, vocab_size, window, first_row=0, last_row=None, **options):
    counts = reference.cooccurrence(sentences, window, **options)
    last_row = vocab_size if last_row is None else last_row
    for tensor, expected in zip(actual, reference.rows(counts, first_row, last_row), strict=True):
        assert torch.equal(tensor.cpu(), torch.as_tensor(expected))


def heavy_sentences(vocab_size, *, seed=0, tokens=6000, frequent=4):
    """Half of the tokens are `frequent` words spread over the vocabulary, the others any words."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, vocab_size, tokens)
    heavy = np.linspace(0, vocab_size - 1, frequent).astype(int)
    words = np.where(rng.random(tokens) < 0.5, rng.choice(heavy, tokens), words)
    return np.split(words, np.sort(rng.integers(0, tokens, tokens // 40)))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    ("vocab_size", "window", "weighted"),
    [
        (8, 10, True),
        (300, 3, True),
        (20_000, 10, True),  # words beyond the counters
        (20_000, 23, True),  # 64-bit units, half as many counters
        (300, 60, False),
    ],
)
def test_heavy_rows(device, vocab_size, window, weighted, symmetric):
    sentences = heavy_sentences(vocab_size)
    size = {"vocab_size": vocab_size, "window": window}
    options = {"symmetric": symmetric, "distance_weighting": weighted}
    rows = counted(sentences, device, **size, **options)
    assert_rows(rows, sentences, **size, **options)


@pytest.mark.parametrize("centers", [1, 63, 64, 65, 127, 128, 129, 3000])
def test_rows_of_every_length(device, centers):
    """A heavy row between light ones, wherever it begins and ends within a block."""
    rng = np.random.default_rng(centers)
    words = np.repeat([0, 1, 2, 3, 4], [5, 70, centers, 63, 1])
    sentences = [rng.permutation(words)]
    rows = counted(sentences, device, vocab_size=5, window=4)
    assert_rows(rows, sentences, vocab_size=5, window=4)


@pytest.mark.parametrize("vocab_size", [1, 2, 3, 4, 5, 64, 65, 65_536, 65_537])
def test_keys_of_just_enough_bits(device, vocab_size):
    """The last word has all bits of the key set where the vocabulary is a power of two."""
    rng = np.random.default_rng(vocab_size)
    words = rng.integers(0, vocab_size, 300)
    words[rng.random(300) < 0.3] = vocab_size - 1
    rows = counted([words], device, vocab_size=vocab_size, window=2)
    assert_rows(rows, [words], vocab_size=vocab_size, window=2)


def test_rows_of_a_large_vocabulary(device):
    """Too many rows for keys of 32 bits: 64-bit keys; fewer: parts that have such keys."""
    vocab_size = 2**20 + 1
    rng = np.random.default_rng(0)
    words = np.append(rng.integers(0, vocab_size, 400) % 140_000, rng.integers(0, vocab_size, 400))
    words[::3] = 139_999
    sentences = [rng.permutation(words)]
    for last_row in (140_000, 5000):
        options = {"vocab_size": vocab_size, "window": 3, "last_row": last_row}
        assert_rows(counted(sentences, device, **options), sentences, **options)
    options = {"vocab_size": vocab_size, "window": 3, "first_row": vocab_size - 9000}
    assert_rows(counted(sentences, device, **options), sentences, **options)


def test_counters_beyond_32_bits(device):
    """At window 20 a counter holds 18 neighbours; each of the 64 centres of a block has one."""
    sentences = [[0, 1]] * 1000
    rows = counted(sentences, device, vocab_size=2, window=20)
    assert rows.counts.tolist() == [1000 * 232_792_560] * 2


def test_counters_beyond_64_bits(device):
    """At window 42 a counter holds 84 neighbours; the first block has 100 of one row.

    Without what is beyond the counter, 100 units are less than 2^63.
    """
    sentences = [*[[0, 1]] * 100, *[[2]] * 2400]
    index = cooccurrence_index(
        torch.tensor([word for s in sentences for word in s], dtype=torch.int32, device=device),
        torch.tensor([0, *map(len, sentences)], device=device).cumsum(0),
        vocab_size=3,
        window=42,
    )
    rows = torch.ops.lexforge.cooccurrence_rows.default(*index, 0, 3, 42, True, True, 1)
    assert rows[2].tolist() == [SATURATED] * 2
    with pytest.raises(OverflowError, match="row 0, column 1"):
        cooccurrence_rows(index, window=42)


@pytest.mark.parametrize("memory", [1, 4000, 60_000])
@pytest.mark.parametrize("window", [5, 23])
def test_little_memory(device, monkeypatch, memory, window):
    """Parts of a few rows, of one row, and of some centres of a row are put together."""
    monkeypatch.setenv("LEXFORGE_PTX_MEMORY", str(memory))
    vocab_size = 30
    texts = [heavy_sentences(vocab_size, seed=seed, tokens=120) for seed in range(3)]
    parts = []
    for sentences in texts:
        size = {"vocab_size": vocab_size, "window": window}
        for rows in ({}, {"first_row": 7, "last_row": 21}):
            part = counted(sentences, device, **size, **rows)
            assert_rows(part, sentences, **size, **rows)
            parts += [] if rows else [part]
    merged = cooccurrence_merge(parts, vocab_size=vocab_size)
    joined = [sentence for sentences in texts for sentence in sentences]
    assert_rows(merged, joined, vocab_size=vocab_size, window=window)


def test_repeats_are_equal(device):
    """Entries come in any order; the sums do not show it."""
    sentences = heavy_sentences(500)
    first = counted(sentences, device, vocab_size=500, window=10)
    for _ in range(5):
        again = counted(sentences, device, vocab_size=500, window=10)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_inconsistent_indexes_are_safe(device):
    """Within their ranges, words and positions may be anything: the rows are nonsense, no more."""
    rng = np.random.default_rng(0)
    window, vocab_size = 3, 5
    for _ in range(20):
        padded = torch.from_numpy(rng.integers(0, vocab_size + 1, 300).astype(np.int32))
        positions = torch.from_numpy(rng.integers(window, 300 - window, 400).astype(np.int32))
        if rng.random() < 0.5:
            positions = positions[padded[positions].argsort()]
        starts = torch.from_numpy(np.sort(rng.integers(0, 401, vocab_size + 1)))
        index = CooccurrenceIndex(*(x.to(device) for x in (padded, starts, positions)))
        rows = cooccurrence_rows(index, window=window, first_row=1, last_row=4)
        assert len(rows.row_size) == 3
        assert len(rows.cols) == len(rows.counts)
        assert ((rows.cols >= 0) & (rows.cols < vocab_size)).all()
