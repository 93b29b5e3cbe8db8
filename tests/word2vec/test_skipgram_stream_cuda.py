"""The CUDA kernel of skipgram_train_; the CPU kernel passes the same contract tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lexforge import _library
from lexforge.ops.skipgram_stream import skipgram_train_

from . import skipgram_stream_oracle as oracle


@pytest.fixture
def cuda_kernels(device):
    if device.type == "cpu" and not _library.emulated():
        pytest.skip("a limit of the CUDA kernel")
    return device


class Case:
    """A random corpus and tables, and both ways to train on them."""

    def __init__(self, lengths, *, vocab_size=40, dim=100, subsample=True, scale=0.5, **options):
        random = np.random.default_rng(len(lengths) + sum(lengths))
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # Squared uniform numbers: a few words are frequent, so rows repeat within windows.
        self.tokens = (random.random(self.offsets[-1]) ** 2 * vocab_size).astype(np.int32)
        self.keep = np.ones(vocab_size, np.float32)
        if subsample:
            self.keep = random.uniform(0.3, 1.2, vocab_size).astype(np.float32)
        self.noise = np.stack(
            [random.integers(0, 2**32, vocab_size), random.integers(0, vocab_size, vocab_size)], 1
        )
        stride = -(-dim // 16) * 16
        self.tables = np.zeros((2, vocab_size, stride), np.float32)
        self.tables[:, :, :dim] = random.uniform(-scale, scale, (2, vocab_size, dim))
        self.options = {
            "window": 5,
            "negatives": 5,
            "dynamic_window": True,
            "share_negatives": False,
            "alpha": 0.05,
            "min_alpha": 0.01,
            "tokens_before": 7,
            "total_tokens": 7 + 2 * max(1, len(self.tokens)),
            "seed": 2**63 + 12345678901,
            "epoch": 3,
            **options,
        }

    def run(self, device, threads=1):
        """Tables and stats after training on the device."""
        in_table, out_table = (torch.tensor(table, device=device) for table in self.tables)
        stats = torch.zeros(3, dtype=torch.float64, device=device)
        options = dict(self.options)
        options["negative_sharing"] = "window" if options.pop("share_negatives") else "pair"
        skipgram_train_(
            in_table,
            out_table,
            stats,
            torch.tensor(self.tokens, device=device),
            torch.tensor(self.offsets, device=device),
            torch.tensor(self.keep, device=device),
            torch.tensor(self.noise.astype(np.uint32).view(np.int32), device=device),
            threads=threads,
            **options,
        )
        return in_table.cpu().numpy(), out_table.cpu().numpy(), stats.cpu().numpy()

    def expected(self):
        in_table, out_table = self.tables.astype(np.float64)
        stats = oracle.train(
            in_table, out_table, self.tokens, self.offsets, self.keep, self.noise, **self.options
        )
        return in_table, out_table, stats

    def check_sequential(self, device):
        """One sentence is trained in order: equal to the oracle to rounding."""
        actual, expected = self.run(device), self.expected()
        assert (actual[2][1:] == expected[2][1:]).all()
        assert actual[2][0] == pytest.approx(expected[2][0], rel=2e-6)
        for table in (0, 1):
            np.testing.assert_allclose(actual[table], expected[table], rtol=0, atol=4e-6)
            changed = expected[table] != self.tables[table]
            assert len(self.tokens) < 20 or changed.any()


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("dim", [4, 16, 100, 128, 200, 300, 500])
def test_one_sentence_equals_the_oracle(device, dim, share):
    Case([60], dim=dim, share_negatives=share, scale=4 / dim**0.5).check_sequential(device)


@pytest.mark.parametrize(
    "options",
    [
        {"dynamic_window": False},
        {"negatives": 0},
        {"negatives": 1, "window": 1},
        {"negatives": 20, "dynamic_window": False},
        {"negatives": 20, "dynamic_window": False, "share_negatives": True},
        {"negatives": 40, "window": 2, "share_negatives": True},
        {"window": 40, "negatives": 2, "dynamic_window": False},
        {"window": 17, "negatives": 3},
        {"subsample": False},
        {"vocab_size": 3},
        {"vocab_size": 1},
        {"vocab_size": 2000},
        {"seed": -1, "epoch": 2**32 - 1},
    ],
    ids=str,
)
def test_options_equal_the_oracle(device, options):
    Case([50], **{"dim": 20, **options}).check_sequential(device)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 31, 32, 33, 64, 65, 127, 300])
def test_sentence_lengths(device, length):
    Case([length], dim=12, window=3, negatives=2).check_sequential(device)


def test_an_empty_range_does_nothing(device):
    case = Case([10, 10], dim=12, first_sentence=1, last_sentence=1)
    in_table, out_table, stats = case.run(device)
    assert (in_table == case.tables[0]).all()
    assert (out_table == case.tables[1]).all()
    assert (stats == 0).all()


def check_same_stream(device, lengths, **options):
    """Order differs between warps, so only the sampled stream is exact."""
    case = Case(lengths, **options)
    actual, expected = case.run(device, threads=2), case.expected()
    assert (actual[2][1:] == expected[2][1:]).all()
    assert actual[2][0] == pytest.approx(expected[2][0], rel=1e-3)
    for table in (0, 1):
        moved = expected[table] - case.tables[table]
        difference = actual[table] - expected[table]
        assert np.linalg.norm(difference) < 0.1 * np.linalg.norm(moved)


@pytest.mark.parametrize("share", [False, True])
def test_many_sentences_sample_the_same_stream(device, share):
    lengths = np.random.default_rng(5).integers(0, 40, 100)
    check_same_stream(
        device, lengths, vocab_size=200, dim=20, share_negatives=share, window=3, negatives=3
    )


def test_sentences_trained_at_the_same_time(device):
    """Enough words and tokens for several blocks of warps."""
    lengths = np.random.default_rng(6).integers(0, 40, 450)
    assert sum(lengths) > 8 * 1024
    check_same_stream(device, lengths, vocab_size=400, dim=16, window=1, negatives=1)


def test_a_call_can_be_cut_anywhere(device):
    """Two calls on parts of the corpus sample what one call samples."""
    case = Case([20] * 6, dim=12, window=3, negatives=2)
    whole = case.run(device)[2]
    parts = np.zeros(3)
    for first, last in ((0, 2), (2, 6)):
        part = Case([20] * 6, dim=12, window=3, negatives=2)
        part.options |= {"first_sentence": first, "last_sentence": last}
        parts += part.run(device)[2]
    assert (parts[1:] == whole[1:]).all()


def test_padding_columns_stay_zero(device):
    case = Case([80], dim=5)
    in_table, out_table, _ = case.run(device)
    assert (in_table[:, 5:] == 0).all()
    assert (out_table[:, 5:] == 0).all()


def test_extreme_logits_stay_finite(device):
    case = Case([40], dim=16, scale=30)
    in_table, out_table, stats = case.run(device)
    assert np.isfinite(in_table).all()
    assert np.isfinite(out_table).all()
    assert np.isfinite(stats).all()


@pytest.mark.parametrize("bad", [-1, 40, 2**31 - 1])
def test_a_token_outside_the_vocabulary_makes_the_loss_nan(cuda_kernels, bad):
    case = Case([30, 30], dim=12)
    case.tokens[41] = bad
    in_table, out_table, stats = case.run(cuda_kernels)
    assert np.isnan(stats[0])
    assert np.isfinite(in_table).all()
    assert np.isfinite(out_table).all()


def test_offsets_beyond_the_corpus_make_the_loss_nan(cuda_kernels):
    for position, value in ((2, 61), (1, -1), (1, 61)):
        case = Case([30, 30], dim=12)
        case.offsets[position] = value
        assert np.isnan(case.run(cuda_kernels)[2][0])


def test_limits_are_refused(cuda_kernels):
    with pytest.raises(RuntimeError, match="at most 1024 floats on CUDA, got 1040"):
        Case([5], dim=1030).run(cuda_kernels)
    with pytest.raises(RuntimeError, match="at most 8192 targets of one centre on CUDA, got 8200"):
        Case([5], dim=5, window=820, negatives=4).run(cuda_kernels)


def test_windows_up_to_the_limit_work(device):
    Case([70], dim=12, window=1000, negatives=3, dynamic_window=False).check_sequential(device)
