"""length_buckets and batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lexforge.text.classification import (
    EncodedTexts,
    LabelledTexts,
    batches,
    length_buckets,
)
from lexforge.text.classification.batches import text_batch
from lexforge.text.tokenizers.words import WordTokenizer

TOKENIZER = WordTokenizer([*WordTokenizer.SPECIAL_TOKENS, *"abcdefgh"])  # a is 5


@pytest.mark.parametrize("seed", [None, 0, 5, -1, 2**64 - 1])
@pytest.mark.parametrize("size, batch_size", [(0, 4), (1, 4), (97, 4), (257, 1), (3, 100)])
def test_every_text_once(size, batch_size, seed):
    lengths = np.random.default_rng(0).integers(0, 50, size)
    found = length_buckets(lengths, batch_size, seed, epoch=2)
    assert sorted(np.concatenate([np.empty(0, int), *found])) == list(range(size))
    assert len(found) == -(-size // batch_size) and all(0 < len(b) <= batch_size for b in found)


def test_a_function_of_its_arguments():
    lengths = np.random.default_rng(0).integers(0, 50, 300)

    def order(*arguments):
        return [batch.tolist() for batch in length_buckets(lengths, 8, *arguments)]

    assert order(1, 0) == order(1, 0) == order(1)
    assert len({str(order(*each)) for each in ((1, 0), (1, 1), (2, 0), (2, 1))}) == 4


def test_batches_are_of_like_lengths_in_random_order():
    lengths = np.random.default_rng(0).integers(1, 500, 64 * 100)
    found = length_buckets(lengths, 64, 1)
    padded = sum(len(rows) * lengths[rows].max() for rows in found)
    assert padded < 1.04 * lengths.sum()
    means = [lengths[rows].mean() for rows in found]
    assert abs(np.corrcoef(means, np.arange(100))[0, 1]) < 0.3
    ordered = length_buckets(lengths, 64)
    assert (np.diff(lengths[np.concatenate(ordered)]) >= 0).all()


def test_pools_of_one_batch_make_random_ones():
    lengths = np.random.default_rng(0).integers(1, 500, 64 * 100 + 5)
    found = length_buckets(lengths, 64, 1, pool=1)
    assert sorted(np.concatenate(found)) == list(range(len(lengths)))
    full = [lengths[rows] for rows in found if len(rows) == 64]
    assert len(full) == 100
    # Of the variance of all lengths a batch's mean has a 64th.
    assert 0.6 < np.var([each.mean() for each in full]) * 64 / lengths.var() < 1.5
    assert np.mean([each.var() for each in full]) == pytest.approx(lengths.var(), rel=0.1)
    again = length_buckets(lengths, 64, 1, 1, pool=1)
    assert {tuple(sorted(rows)) for rows in found}.isdisjoint(tuple(sorted(r)) for r in again)


def test_batches():
    texts = LabelledTexts(
        ["a b", "", "c", "d e f"], ["h", "g h", "", "a"], np.array([0, 1, 1, 0]), ("x", "y")
    )
    encoded = EncodedTexts.of(texts, TOKENIZER)
    batch = text_batch(encoded, np.array([3, 1, 0]))
    assert batch.first.tokens.tolist() == [8, 9, 10, 5, 6] and batch.first.max_seqlen == 3
    assert batch.first.cu_seqlens.tolist() == [0, 3, 3, 5]
    assert batch.first.tokens.dtype == torch.int64 and batch.first.cu_seqlens.dtype == torch.int32
    assert batch.second.tokens.tolist() == [5, 11, 12, 12]
    assert batch.second.cu_seqlens.tolist() == [0, 1, 3, 4] and batch.second.max_seqlen == 2
    assert batch.labels.tolist() == [0, 1, 0] and batch.labels.dtype == torch.int64
    assert len(batch) == 3 and batch.num_tokens == 9 and batch.rows.tolist() == [3, 1, 0]
    moved = batch.to("cpu")
    assert moved.first.tokens.tolist() == batch.first.tokens.tolist() and len(moved) == 3
    assert moved.second.max_seqlen == 2
    empty = text_batch(encoded, np.array([1]))
    assert empty.first.max_seqlen == 0 and empty.first.tokens.numel() == 0


def test_batches_of_an_epoch():
    encoded = EncodedTexts.of(LabelledTexts([*"abcde"]), TOKENIZER)
    found = list(batches(encoded, length_buckets(encoded.lengths, 2, 1)))
    assert sorted(t for b in found for t in b.first.tokens.tolist()) == [5, 6, 7, 8, 9]
    assert all(b.labels is None and b.second is None for b in found)


def test_batch_size():
    with pytest.raises(ValueError, match="batch_size must be >= 1"):
        length_buckets(np.ones(3), 0)
    with pytest.raises(ValueError, match="pool must be >= 1"):
        length_buckets(np.ones(3), 2, 1, pool=0)
