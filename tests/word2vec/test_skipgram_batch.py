"""Minibatches drawn from a corpus: rules, statistics, and training on them (CPU)."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from lexforge import _library
from lexforge.models.word2vec.textbook import SkipgramData, train_skipgram
from lexforge.ops.sampling.sampling import build_alias, keep_probability, noise_weights
from lexforge.ops.word2vec.skipgram_batch import (
    Examples,
    Windows,
    skipgram_batch,
    skipgram_epoch_,
    skipgram_windows,
)
from lexforge.ops.word2vec.skipgram_step import SkipgramState, skipgram_step_, skipgram_sync_

pytestmark = pytest.mark.skipif(_library.emulated(), reason="minibatches are drawn on the CPU")

VOCABULARY = 50


def corpus(sentences=300, seed=0):
    """Zipfian words in sentences of 0 to 20 tokens."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 21, (sentences,), generator=generator)
    weights = 1 / torch.arange(1, VOCABULARY + 1).float()
    tokens = torch.multinomial(weights, int(lengths.sum()), True, generator=generator)
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
    counts = torch.bincount(tokens, minlength=VOCABULARY)
    return tokens.int(), offsets, counts


def examples(window=3, negatives=2, threshold=0.01, seed=5, epoch=0):
    tokens, offsets, counts = corpus()
    keep = keep_probability(counts, threshold, "sqrt")
    windows = skipgram_windows(tokens, offsets, keep, window=window, seed=seed, epoch=epoch)
    order = torch.randperm(len(windows.centers), generator=torch.Generator().manual_seed(1))
    noise = build_alias(noise_weights(counts))
    return Examples(windows, order, noise, window, negatives, seed, epoch)


def test_windows_follow_the_rule():
    """Kept tokens in corpus order; windows within the sentence, of 1 to `window` on each side."""
    tokens, offsets, counts = corpus()
    keep = keep_probability(counts, 0.01, "sqrt")
    kept, positions, centers = skipgram_windows(tokens, offsets, keep, window=3, seed=5)
    assert torch.equal(kept, tokens[positions])
    assert (positions[1:] > positions[:-1]).all()
    sentence = torch.searchsorted(offsets, positions, right=True)
    members = torch.bincount(sentence)
    assert len(centers) == int(members[members > 1].sum())
    widths = set()
    for rank, first, last in centers.tolist():
        same = (sentence == sentence[rank]).nonzero().flatten()
        low, high = int(same[0]), int(same[-1])
        assert low <= first <= rank < last <= high + 1 and last - first > 1
        left, right = rank - first, last - 1 - rank
        assert (
            left == right or (left < right and first == low) or (right < left and last == high + 1)
        )
        widths.add(max(left, right))
    assert widths == {1, 2, 3}


def test_fixed_window_keeps_all():
    tokens, offsets, _ = corpus()
    kept, positions, centers = skipgram_windows(
        tokens, offsets, torch.ones(VOCABULARY), window=2, dynamic_window=False
    )
    assert torch.equal(kept, tokens) and torch.equal(positions, torch.arange(len(tokens)))
    for rank, first, last in centers.tolist():
        s = int(torch.searchsorted(offsets, torch.tensor(rank), right=True)) - 1
        assert first == max(rank - 2, int(offsets[s]))
        assert last == min(rank + 3, int(offsets[s + 1]))


def test_subsampling_is_statistically_right():
    """Each word's kept share over 40 epochs lies within 4.5 sigma of its probability."""
    tokens, offsets, counts = corpus()
    keep = keep_probability(counts, 0.002, "sqrt")
    seen = torch.zeros(VOCABULARY, dtype=torch.float64)
    for epoch in range(40):
        kept = skipgram_windows(tokens, offsets, keep, epoch=epoch).kept_tokens
        seen += torch.bincount(kept.long(), minlength=VOCABULARY)
    total = 40 * counts.double()
    sigma = (total * keep * (1 - keep)).sqrt()
    assert ((seen - total * keep).abs() <= 4.5 * sigma + 1e-9).all()


def test_minibatch_layout():
    """Contexts first, then K noise words for each, none of them a context; padding is zero."""
    source = examples()
    batch = skipgram_batch(source, 10, 90)
    used = batch.mask.sum(1)
    contexts = batch.label.sum(1)
    assert batch.contexts_and_negatives.shape == (80, int(used.max()))
    assert torch.equal(used, contexts * 3)
    kept, _, centers = source.windows
    for i in range(80):
        rank, first, last = centers[source.order[10 + i]].tolist()
        expected = [int(kept[j]) for j in range(first, last) if j != rank]
        row = batch.contexts_and_negatives[i].tolist()
        assert int(batch.center[i]) == int(kept[rank])
        assert row[: len(expected)] == expected
        assert not set(row[len(expected) : 3 * len(expected)]) & set(expected)
        assert not any(row[3 * len(expected) :])
        assert batch.mask[i].tolist() == [1] * int(used[i]) + [0] * (len(row) - int(used[i]))
        assert batch.label[i].tolist() == [1] * len(expected) + [0] * (len(row) - len(expected))


def test_padding_length_and_ranges():
    source = examples()
    bound = 2 * 3 * (1 + 2)
    assert skipgram_batch(source, 0, 5, length=bound).mask.shape == (5, bound)
    assert skipgram_batch(source, 0, 0).mask.shape == (0, 0)
    with pytest.raises(RuntimeError, match="length must be 0 or at least"):
        skipgram_batch(source, 0, len(source), length=1)


def test_noise_distribution():
    """Noise words follow count^0.75, as far as contexts allow (chi-square at a fixed seed)."""
    tokens, offsets, _ = corpus(1000)
    counts = torch.zeros(2 * VOCABULARY, dtype=torch.int64)
    counts[VOCABULARY:] = torch.arange(1, VOCABULARY + 1)  # words that are never contexts
    noise = build_alias(noise_weights(counts))
    windows = skipgram_windows(tokens, offsets, torch.ones(2 * VOCABULARY), window=3)
    source = Examples(windows, torch.arange(len(windows.centers)), noise, 3, 5, 1, 0)
    batch = skipgram_batch(source, 0, len(source))
    drawn = batch.contexts_and_negatives[(batch.mask == 1) & (batch.label == 0)].long()
    seen = torch.bincount(drawn, minlength=2 * VOCABULARY)[VOCABULARY:].double()
    expected = noise_weights(counts)[VOCABULARY:]
    expected = expected / expected.sum() * seen.sum()
    assert seen.sum() == len(drawn)
    chi_square = ((seen - expected) ** 2 / expected).sum()
    assert chi_square < 49 + 4 * (2 * 49) ** 0.5


@pytest.mark.parametrize("optimizer", ["adam", "lazy_adam", "sgd", "adagrad"])
def test_epoch_equals_single_steps(optimizer):
    """skipgram_epoch_ does what drawing and stepping minibatch by minibatch does, bit for bit."""
    source = examples()
    states = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(2)
        tables = torch.randn(2, VOCABULARY, 32, generator=generator) / 10
        states.append(SkipgramState.create(tables[0].clone(), tables[1].clone(), optimizer))
    stats = torch.zeros(3, dtype=torch.float64)
    skipgram_epoch_(states[0], stats, source, batch_size=64, lr=0.01)
    total = torch.zeros(3, dtype=torch.float64)
    for first in range(0, len(source), 64):
        batch = skipgram_batch(source, first, min(first + 64, len(source)))
        loss = skipgram_step_(states[1], *batch, lr=0.01)
        total += torch.tensor([loss.double().sum(), len(loss), batch.mask.sum()])
    assert states[0].step == states[1].step == -(-len(source) // 64)
    for state in states:
        skipgram_sync_(state)
    for x, y in zip(states[0].tensors(), states[1].tensors(), strict=True):
        assert torch.equal(x, y)
    torch.testing.assert_close(stats, total)


def test_parts_of_an_epoch_equal_the_whole():
    source = examples()
    states = [
        SkipgramState.create(torch.full((VOCABULARY, 16), 0.1), torch.full((VOCABULARY, 16), 0.2))
        for _ in range(2)
    ]
    stats = torch.zeros(3, dtype=torch.float64)
    skipgram_epoch_(states[0], stats, source, batch_size=32, lr=0.01)
    for first, last in ((0, 320), (320, 640), (640, len(source))):
        skipgram_epoch_(states[1], stats, source, batch_size=32, lr=0.01, first=first, last=last)
    for x, y in zip(states[0].tensors(), states[1].tensors(), strict=True):
        assert torch.equal(x, y)


def test_same_for_any_threads():
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            source = examples()
            state = SkipgramState.create(
                torch.full((VOCABULARY, 16), 0.1), torch.full((VOCABULARY, 16), 0.2)
            )
            stats = torch.zeros(3, dtype=torch.float64)
            skipgram_epoch_(state, stats, source, batch_size=100, lr=0.01)
            batch = skipgram_batch(source, 0, len(source))
            results.append([*source.windows, *batch, *state.tensors(), stats])
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


def test_bad_sources_are_refused():
    """Windows and orders that point elsewhere raise; nothing is read out of bounds."""
    source = examples()
    kept, positions, centers = source.windows
    bad = [
        replace(source, order=source.order + len(centers)),
        replace(source, order=source.order - len(centers)),
        replace(source, windows=Windows(kept, positions, centers + len(kept))),
        replace(source, windows=Windows(kept, positions, centers - len(kept))),
        replace(source, windows=Windows(kept + VOCABULARY, positions, centers)),
        replace(source, windows=Windows(kept - VOCABULARY, positions, centers)),
        replace(source, windows=Windows(kept, positions, centers * torch.tensor([1, 0, 1]).int())),
    ]
    state = SkipgramState.create(torch.zeros(VOCABULARY, 16), torch.zeros(VOCABULARY, 16))
    stats = torch.zeros(3, dtype=torch.float64)
    for one in bad:
        with pytest.raises(RuntimeError, match="out of range"):
            skipgram_batch(one, 0, len(one))
        with pytest.raises(RuntimeError, match="out of range"):
            skipgram_epoch_(state, stats, one, batch_size=64, lr=0.01)


def misaligned(table):
    words = torch.zeros(table.numel() + 1, dtype=table.dtype)[1:].view(table.shape)
    return words.copy_(table)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda noise: noise[:, 1].fill_(VOCABULARY),
            r"noise\[0\] must have an alias in \[0, 50\)",
        ),
        (lambda noise: noise[7, 1].fill_(-1), r"noise\[7\] must have an alias in .*, got -1"),
        (misaligned, "noise must start at a multiple of 8 bytes"),
    ],
)
def test_bad_noise_is_refused(damage, message):
    """Its draws are rows that training writes to."""
    source = examples()
    damaged = damage(source.noise)
    if damaged.shape == source.noise.shape:
        source = replace(source, noise=damaged)
    state = SkipgramState.create(torch.zeros(VOCABULARY, 16), torch.zeros(VOCABULARY, 16))
    stats = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=f"^skipgram_batch: {message}"):
        skipgram_batch(source, 0, len(source))
    with pytest.raises(RuntimeError, match=f"^skipgram_epoch_: {message}"):
        skipgram_epoch_(state, stats, source, batch_size=64, lr=0.01)


@pytest.mark.parametrize("batch_size", [2**31 // 18 + 1, 2**31 - 1, 2**62, 2**63 - 1])
def test_batches_of_too_many_targets(batch_size):
    source = examples()
    state = SkipgramState.create(torch.zeros(VOCABULARY, 16), torch.zeros(VOCABULARY, 16))
    stats = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^skipgram_epoch_: batch_size must be"):
        skipgram_epoch_(state, stats, source, batch_size=batch_size, lr=0.01)
    given = (*state.tensors(), state.workspace, stats, *source.arguments(0, len(source)))
    settings = (batch_size, "adam", 1, 0.01, 0.9, 0.999, 1e-8)
    with pytest.raises(RuntimeError, match=r"^skipgram_epoch_: batch_size must be 1 to 119304647"):
        torch.ops.lexforge.skipgram_epoch_.default(*given, *settings)


def test_argument_errors():
    tokens, offsets, _ = corpus()
    keep = torch.ones(VOCABULARY)
    with pytest.raises(TypeError, match="tokens must be"):
        skipgram_windows(tokens.long(), offsets, keep)
    with pytest.raises(ValueError, match="offsets must not fall"):
        skipgram_windows(tokens, offsets[torch.tensor([0, 5, 3])], keep)
    with pytest.raises(ValueError, match=r"offsets must be \[S \+ 1\] within"):
        skipgram_windows(tokens, offsets + 1, keep)
    with pytest.raises(IndexError, match=r"tokens must be in \[0, 10\)"):
        skipgram_windows(tokens, offsets, keep[:10])
    with pytest.raises(ValueError, match="window must be in"):
        skipgram_windows(tokens, offsets, keep, window=0)
    source = examples()
    state = SkipgramState.create(torch.zeros(9, 16), torch.zeros(9, 16))
    stats = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="at least 50 rows, got 9"):
        skipgram_epoch_(state, stats, source, batch_size=64, lr=0.01)
    with pytest.raises(ValueError, match="first and last must be a range"):
        skipgram_batch(source, 5, 2)


def test_opcheck():
    tokens, offsets, counts = corpus(30)
    keep = keep_probability(counts, 0.01, "sqrt")
    kinds = ("test_schema", "test_faketensor")
    torch.library.opcheck(
        torch.ops.lexforge.skipgram_windows.default,
        (tokens, offsets, keep, 3, True, 1, 0),
        test_utils=kinds,
    )
    source = examples()
    for length in (0, 18):
        torch.library.opcheck(
            torch.ops.lexforge.skipgram_batch.default,
            (*source.arguments(0, 20), length),
            test_utils=kinds,
        )


def data(**options):
    tokens, offsets, counts = corpus()
    settings = {"batch_size": 64, "window": 3, "negatives": 2, "threshold": 0.01, **options}
    return SkipgramData(tokens, offsets, counts, **settings)


def test_data_iterates_int64_minibatches():
    source = data()
    batches = list(source)
    assert len(batches) == -(-sum(len(b[0]) for b in batches) // 64)
    for center, *slots in batches:
        assert center.shape == (slots[0].shape[0], 1)
        assert all(x.dtype == torch.int64 and x.shape == slots[0].shape for x in slots)
    assert source.epoch == 1


def test_fresh_and_static_samples():
    """Fresh draws differ between epochs; static ones are the same examples in another order."""
    for static in (False, True):
        source = data(static_samples=static)
        first, second = source.examples(0), source.examples(1)
        assert not torch.equal(first.order, second.order[: len(first)])
        same = first.windows.centers.shape == second.windows.centers.shape and torch.equal(
            first.windows.centers, second.windows.centers
        )
        assert same == static


def test_training_paths_agree_and_learn(caplog):
    """The fused path and a list of padded minibatches do the same; the loss falls."""
    source = data(static_samples=True)
    results = []
    for fused in (True, False):
        torch.manual_seed(0)
        embeddings = [torch.nn.Embedding(VOCABULARY, 20) for _ in range(2)]
        source.epoch = 0
        minibatches = source if fused else list(source)
        progress = train_skipgram(*embeddings, minibatches, lr=0.02, epochs=1)
        results.append((progress, *(embedding.weight for embedding in embeddings)))
    (fused, *tables), (stepwise, *others) = results
    assert all(torch.equal(x, y) for x, y in zip(tables, others, strict=True))
    assert fused.loss == pytest.approx(stepwise.loss, rel=1e-6)
    assert (fused.examples, fused.slots) == (stepwise.examples, stepwise.slots)
    with caplog.at_level(logging.INFO, "lexforge"):
        longer = train_skipgram(*embeddings, source, lr=0.02, epochs=3)
    assert caplog.messages[-1].startswith("epoch 3/3  100%  loss_sum ")
    assert len(longer.epoch_losses) == 3
    assert longer.epoch_losses[2] < longer.epoch_losses[0] < fused.loss


def test_an_epoch_does_not_read_what_it_writes():
    """A noise table on the memory of a table was changed while its aliases were followed."""
    if _library.emulated():
        pytest.skip("it has a kernel for the CPU alone")
    state = SkipgramState.create(torch.zeros(8, 16), torch.zeros(8, 16))
    tokens, offsets = torch.arange(8, dtype=torch.int32), torch.tensor([0, 8])
    windows = skipgram_windows(tokens, offsets, torch.ones(8))
    noise = state.in_table.view(torch.int32).view(-1)[:16].view(8, 2)
    order = torch.arange(len(windows.centers))
    source = Examples(windows, order, noise, window=2, negatives=2, seed=1, epoch=0)
    stats = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="skipgram_epoch_: noise must not share memory with in_"):
        skipgram_epoch_(state, stats, source, batch_size=4, lr=0.1)
