"""Sentence pairs and masks: draw for draw against the oracle, and the rules by their figures."""

from __future__ import annotations

import collections
import copy
import itertools
import threading

import numpy as np
import pytest
import torch
from scipy import stats

from lexforge.models.bert.examples import (
    BertExamples,
    TokenizedParagraphs,
    padded,
    prediction_count,
    read_paragraphs,
    tokenize_paragraphs,
)
from lexforge.reference.text import bert_examples as oracle
from lexforge.text.tokenizers.words import WordTokenizer

TOKENIZER = WordTokenizer([*WordTokenizer.SPECIAL_TOKENS, *(f"w{i}" for i in range(95))])


def make_paragraphs(count: int, *, seed: int = 0, longest: int = 12) -> list[list[list[int]]]:
    """Paragraphs of 1 to 5 sentences of ordinary and unknown words."""
    generator = np.random.default_rng(seed)

    def sentence() -> list[int]:
        words = generator.integers(4, len(TOKENIZER), generator.integers(1, longest + 1))
        return np.where(words == 4, TOKENIZER.unk_id, words).tolist()

    return [[sentence() for _ in range(generator.integers(1, 6))] for _ in range(count)]


PARAGRAPHS = make_paragraphs(60)


def examples_of(paragraphs=PARAGRAPHS, **options) -> BertExamples:
    return BertExamples(paragraphs, TOKENIZER, **{"max_len": 20, "seed": 5, **options})


def sequences(batch) -> list[oracle.Example]:
    """A packed batch taken apart."""
    bounds = batch.cu_seqlens.tolist()
    result = []
    for b, (begin, end) in enumerate(itertools.pairwise(bounds)):
        assert batch.positions[begin:end].tolist() == list(range(end - begin))
        mine = (batch.prediction_index >= begin) & (batch.prediction_index < end)
        result.append(
            oracle.Example(
                batch.tokens[begin:end].tolist(),
                batch.segments[begin:end].tolist(),
                (batch.prediction_index[mine] - begin).tolist(),
                batch.labels[mine].tolist(),
                bool(batch.next_labels[b]),
            )
        )
    return result


def epoch_of(examples: BertExamples, epoch: int, batch_size: int = 7, **options):
    return [
        example
        for batch in examples.batches(epoch, batch_size, **options)
        for example in sequences(batch)
    ]


def originals(example: oracle.Example) -> list[int]:
    """The tokens before masking."""
    tokens = list(example.tokens)
    for position, label in zip(example.positions, example.labels, strict=True):
        tokens[position] = label
    return tokens


@pytest.mark.parametrize("static_masks", [False, True])
@pytest.mark.parametrize(("epoch", "seed"), [(0, 5), (3, 5), (2**32 - 1, 2**64 - 1), (1, -1)])
def test_equals_the_oracle(epoch, seed, static_masks):
    examples = examples_of(seed=seed, static_masks=static_masks)
    pairs = oracle.pairs(PARAGRAPHS, max_len=20, seed=seed, epoch=epoch, static_masks=static_masks)
    sentences = [sentence for paragraph in PARAGRAPHS for sentence in paragraph]
    expected = [
        oracle.example(
            sentences,
            pair,
            seed=seed,
            epoch=0 if static_masks else epoch,
            mask=TOKENIZER.mask_id,
            cls=TOKENIZER.cls_id,
            sep=TOKENIZER.sep_id,
            ordinary=TOKENIZER.ordinary_ids.tolist(),
        )
        for pair in pairs
    ]
    assert len(expected) > 50
    assert epoch_of(examples, epoch) == expected
    assert examples.count(epoch) == len(expected)


class Pieces(WordTokenizer):
    """Words of which a third go on with the word before."""

    continuing = (np.arange(len(TOKENIZER)) % 3 == 1) & (np.arange(len(TOKENIZER)) > 4)


PIECES = Pieces(TOKENIZER.tokens)
LONG_WORDS = [[[5, *[7] * 7], [6, *[10] * 7]]] * 9  # longer than what is predicted of a pair


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("paragraphs", [PARAGRAPHS, LONG_WORDS], ids=["drawn", "long"])
def test_whole_words_equal_the_oracle(paragraphs, threads):
    options = {"max_len": 20, "seed": 5}
    examples = BertExamples(paragraphs, PIECES, **options, whole_words=True)
    sentences = [sentence for paragraph in paragraphs for sentence in paragraph]
    names = {name: getattr(TOKENIZER, f"{name}_id") for name in ("mask", "cls", "sep")}
    names["ordinary"] = TOKENIZER.ordinary_ids.tolist()
    expected = [
        oracle.example(
            sentences, pair, seed=5, epoch=1, **names, continues=PIECES.continuing.tolist()
        )
        for pair in oracle.pairs(paragraphs, max_len=20, seed=5, epoch=1)
    ]
    found = epoch_of(examples, 1, threads=threads)
    whole = short = 0
    for one, other in zip(found, expected, strict=True):
        wanted = [label != -100 for label in one.labels]
        kept = sum(wanted)
        assert all(wanted[:kept]) and len(wanted) == prediction_count(len(one.tokens))
        assert one.positions[kept:] == [one.positions[kept - 1] if kept else 0] * (
            len(wanted) - kept
        )
        assert one._replace(positions=one.positions[:kept], labels=one.labels[:kept]) == other
        # No word is predicted in part.
        tokens = list(other.tokens)
        for position, label in zip(other.positions, other.labels, strict=True):
            tokens[position] = label
        for position in range(2, len(tokens) - 1):
            if PIECES.continuing[tokens[position]] and tokens[position - 1] != PIECES.sep_id:
                both = {position - 1, position} & set(other.positions)
                assert len(both) in (0, 2)
                whole += len(both) == 2
        short += kept < len(wanted)
    assert whole > 10 or paragraphs is LONG_WORDS
    assert short == len(found) or paragraphs is PARAGRAPHS
    batch = examples.batch(1, 50, 0)
    assert (padded(batch, 20)[4].sum() == (batch.labels != -100).sum()).item()


def test_the_mask_is_a_token_of_its_own():
    wrong = copy.copy(TOKENIZER)
    wrong.mask_id = TOKENIZER.sep_id
    with pytest.raises(ValueError, match="must have a mask of its own, and its mask is its sep"):
        BertExamples(PARAGRAPHS, wrong, max_len=20)


def test_whole_words_without_pieces_are_words():
    """All are predicted that there is room for, others than without the option."""
    for example in epoch_of(examples_of(whole_words=True), 0):
        assert len(set(example.positions)) == prediction_count(len(example.tokens))
    wrong = Pieces(TOKENIZER.tokens)
    wrong.continuing = np.zeros(3, bool)
    with pytest.raises(ValueError, match=r"continuing must be \[100\], got \[3\]"):
        BertExamples(PARAGRAPHS, wrong, max_len=20, whole_words=True)


def test_dtypes_and_sizes():
    batch = examples_of().batch(0, 16, 1)
    assert batch.num_sequences == 16
    assert batch.tokens.dtype == batch.segments.dtype == batch.positions.dtype == torch.int32
    assert batch.cu_seqlens.dtype == torch.int32 and batch.next_labels.dtype == torch.int64
    assert batch.prediction_index.dtype == batch.labels.dtype == torch.int64
    lengths = batch.cu_seqlens.diff()
    assert batch.cu_seqlens[0] == 0 and batch.cu_seqlens[-1] == len(batch.tokens)
    assert lengths.max() == batch.max_seqlen <= 20
    assert len(batch.labels) == sum(map(prediction_count, lengths.tolist()))
    assert (batch.prediction_index.diff() > 0).all()


def test_prediction_count_rounds_half_to_even():
    assert [prediction_count(n) for n in (6, 10, 64, 128, 512)] == [1, 2, 10, 19, 77]
    for n in range(1, 5000):
        assert prediction_count(n) == oracle.prediction_count(n) == max(1, round(0.15 * n))


def test_layout_of_a_sequence():
    sentences = [sentence for paragraph in PARAGRAPHS for sentence in paragraph]
    for example in epoch_of(examples_of(), 0):
        tokens = originals(example)
        split = example.segments.index(1)
        assert example.segments == [0] * split + [1] * (len(tokens) - split)
        assert tokens[0] == TOKENIZER.cls_id
        assert tokens[split - 1] == tokens[-1] == TOKENIZER.sep_id
        assert tokens[1 : split - 1] in sentences and tokens[split:-1] in sentences
        assert not {0, split - 1, len(tokens) - 1} & set(example.positions)
        assert len(tokens) <= 20


def test_any_batch_without_those_before_it():
    examples = examples_of()
    whole = epoch_of(examples, 4, batch_size=1000)
    for batch_size in (1, 3, 64):
        assert epoch_of(examples, 4, batch_size) == whole
        assert examples.num_batches(4, batch_size) == -(-len(whole) // batch_size)
    fresh = examples_of()
    assert sequences(fresh.batch(4, 16, 3)) == whole[48:64]
    assert epoch_of(fresh, 4, 16, first_batch=3) == whole[48:]
    assert epoch_of(fresh, 4, 16, first_batch=fresh.num_batches(4, 16)) == []


def test_epochs_in_any_order_and_interleaved():
    examples = examples_of()
    expected = [epoch_of(examples_of(), epoch) for epoch in range(4)]
    assert [epoch_of(examples, epoch) for epoch in (2, 0, 3, 1)] == [
        expected[epoch] for epoch in (2, 0, 3, 1)
    ]
    mixed = zip(*(examples.batches(epoch, 7) for epoch in range(4)), strict=False)
    for number, batches in enumerate(mixed):
        for epoch, batch in enumerate(batches):
            assert sequences(batch) == expected[epoch][7 * number : 7 * number + 7]


def test_threads_change_nothing():
    # Long enough that each of four threads has work of its own in both steps.
    paragraphs = make_paragraphs(12_000, seed=1, longest=60)
    examples = examples_of(paragraphs, max_len=512)
    drawn = {threads: examples._examples.draw(2, threads=threads) for threads in (1, 4)}
    pairs = {t: [d.pair(i) for i in range(len(d))] for t, d in drawn.items()}
    assert pairs[1] == pairs[4]
    one = examples.batch(2, 10_000, 0, threads=1)
    assert len(one.tokens) > 4 << 16
    for _ in range(5):
        many = examples.batch(2, 10_000, 0, threads=4)
        for name, expected in one._asdict().items():
            got = getattr(many, name)
            same = torch.equal(got, expected) if torch.is_tensor(got) else got == expected
            assert same, name


def test_leaving_early_ends_the_background_work():
    before = threading.active_count()
    batches = examples_of().batches(0, 2)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_epochs_and_seeds_differ():
    def drawn(epoch, **options):
        return epoch_of(examples_of(**options), epoch)

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    assert drawn(0) != drawn(0, seed=6)
    # The same pair of neighbours is masked elsewhere in another epoch.
    masks = [
        {tuple(originals(e)): e.positions for e in drawn(epoch) if e.is_next} for epoch in (0, 1)
    ]
    common = masks[0].keys() & masks[1].keys()
    assert len(common) > 10
    assert any(masks[0][key] != masks[1][key] for key in common)


def test_static_masks_repeat_in_another_order():
    examples = examples_of(static_masks=True)
    epochs = [epoch_of(examples, epoch) for epoch in range(3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] == epoch_of(examples_of(), 0)


def drawn_pairs(paragraphs, epochs, **options) -> list[tuple[int, int]]:
    examples = examples_of(paragraphs, **options)
    pairs = []
    for epoch in range(epochs):
        drawn = examples._epoch(epoch)
        pairs += [drawn.pair(i) for i in range(len(drawn))]
    return pairs


def test_every_sentence_that_has_a_neighbour_gives_one_pair():
    ends = np.cumsum([len(paragraph) for paragraph in PARAGRAPHS]) - 1
    firsts = sorted(first for first, _ in drawn_pairs(PARAGRAPHS, 1, max_len=64))
    assert firsts == sorted(set(range(ends[-1] + 1)) - set(ends.tolist()))


def test_order_is_uniform():
    """Every pair is equally often first of all; and all orders of four come up."""
    paragraphs = [[[6], [7], [8], [9], [10]]]
    first, orders = collections.Counter(), collections.Counter()
    examples = examples_of(paragraphs)
    for epoch in range(4800):
        drawn = examples._examples.draw(epoch, threads=1)
        order = tuple(drawn.pair(i)[0] for i in range(4))
        first[order[0]] += 1
        orders[order] += 1
    assert len(orders) == 24
    assert stats.chisquare(list(orders.values())).pvalue > 1e-3
    assert stats.chisquare(list(first.values())).pvalue > 1e-3


def test_half_are_next_and_partners_follow_the_text():
    """A random paragraph, then a random sentence of it; never the one that follows."""
    paragraphs = [[[6], [7], [8]], [[9]], [[10], [11], [12], [13], [14]]]
    pairs = drawn_pairs(paragraphs, 6000)
    is_next = sum(second == first + 1 for first, second in pairs)
    assert stats.binomtest(is_next, len(pairs)).pvalue > 1e-3
    chances = np.repeat([1 / 9, 1 / 3, 1 / 15], [3, 1, 5])
    for first in (0, 1, 4, 5, 6, 7):
        counts = np.bincount(
            [second for a, second in pairs if a == first and second != a + 1], minlength=9
        )
        assert counts[first + 1] == 0
        others = np.arange(9) != first + 1
        expected = chances[others] / chances[others].sum() * counts.sum()
        assert stats.chisquare(counts[others], expected).pvalue > 1e-4


def test_smallest_corpus():
    """With two sentences, the only random partner is the first one itself."""
    pairs = drawn_pairs([[[6], [7]]], 200)
    assert set(pairs) == {(0, 0), (0, 1)}
    examples = examples_of([[[6], [7]]], max_len=5)
    (example,) = epoch_of(examples, 0)
    assert len(example.tokens) == 5 and len(example.positions) == 1


def test_length_is_a_bound():
    """Pairs of max_len tokens stay, longer ones go."""
    paragraphs = [[[6] * 4, [7] * 3], [[8] * 9]]
    kept = {
        max_len: set(drawn_pairs(paragraphs, 100, max_len=max_len)) for max_len in (10, 11, 15, 16)
    }
    assert kept == {
        10: {(0, 1)},
        11: {(0, 0), (0, 1)},
        15: {(0, 0), (0, 1)},
        16: {(0, 0), (0, 1), (0, 2)},
    }
    counts = [examples_of(paragraphs, max_len=10).count(epoch) for epoch in range(20)]
    assert set(counts) == {0, 1}
    empty = counts.index(0)
    assert list(examples_of(paragraphs, max_len=10).batches(empty, 4)) == []


def test_masks_are_80_10_10_and_uniform():
    paragraphs = make_paragraphs(3000, seed=2)
    examples = examples_of(paragraphs, max_len=64)
    fates, words, places = collections.Counter(), collections.Counter(), collections.Counter()
    for example in epoch_of(examples, 0, 4096):
        length = len(example.tokens)
        for position, label in zip(example.positions, example.labels, strict=True):
            token = example.tokens[position]
            if token == TOKENIZER.mask_id:
                fates["mask"] += 1
            elif token == label:
                fates["same"] += 1
            else:
                fates["other"] += 1
                words[token] += 1
            if length == 16:
                places[position] += 1
    n = sum(fates.values())
    ordinary = len(TOKENIZER.ordinary_ids)
    # A random word is the word itself once in a while.
    share = 0.1 / ordinary
    expected = np.array([0.8, 0.1 + share, 0.1 - share]) * n
    observed = [fates["mask"], fates["same"], fates["other"]]
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    assert set(words) <= set(TOKENIZER.ordinary_ids.tolist())
    assert stats.chisquare([words[t] for t in TOKENIZER.ordinary_ids.tolist()]).pvalue > 1e-3
    # Of 13 candidates in 16 tokens; where <sep> stands differs, so only the ends are known.
    assert set(places) <= set(range(1, 15))


def test_every_subset_of_positions_is_equally_likely():
    examples = examples_of([[[6, 7, 8], [9, 10, 11, 12]]])  # 10 tokens: 2 of 7 candidates
    subsets = collections.Counter()
    for epoch in range(8000):
        batch = examples.batch(epoch, 1, 0, threads=1)
        if batch.next_labels[0] == 1:
            subsets[tuple(batch.prediction_index.tolist())] += 1
    assert len(subsets) == 21
    assert stats.chisquare(list(subsets.values())).pvalue > 1e-3


def test_scattered_special_tokens():
    """Special tokens may stand anywhere in a vocabulary."""
    tokens = ["a", "<sep>", "b", "<unk>", "c", "<mask>", "<pad>", "d", "<cls>"]
    tokenizer = WordTokenizer(tokens)
    assert tokenizer.ordinary_ids.tolist() == [0, 2, 4, 7]
    paragraphs = [[[0, 2, 4] * 8, [7, 3] * 10]]
    seen = set()
    examples = BertExamples(paragraphs, tokenizer)
    for epoch in range(40):
        for example in epoch_of(examples, epoch):
            assert example.tokens[0] == 8 and example.tokens[-1] == 1
            pairs = zip(example.positions, example.labels, strict=True)
            seen |= {example.tokens[p] for p, label in pairs if example.tokens[p] != label}
    assert seen == {5, 0, 2, 4, 7}


def test_generator_as_seed():
    generator = torch.Generator().manual_seed(3)
    first, second = (epoch_of(examples_of(seed=generator), 0) for _ in range(2))
    generator.manual_seed(3)
    assert first != second
    assert first == epoch_of(examples_of(seed=generator), 0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_len": 0}, ValueError, "max_len must be >= 1, got 0"),
        ({"max_len": 4}, ValueError, r"max_len must be at least 6, the shortest pair.*got 4"),
        ({"max_len": 5.0}, TypeError, "max_len must be an int, got float"),
        ({"seed": 2**64}, ValueError, "seed must have at most 64 bits"),
        ({"seed": "x"}, TypeError, "seed must be an int"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        examples_of([[[6], [7, 8]], [[6] * 9]], **options)


@pytest.mark.parametrize(
    ("paragraphs", "message"),
    [
        ([], "paragraphs must include one of two sentences, got none"),
        ([[], [[]]], "paragraphs must include one of two sentences, got none"),
        ([[[6]], [[7, 8], []]], "paragraphs must include one of two sentences, got none"),
        ([[[6], [7, 100]]], r"0\.\.99 without special ones, got 100 at token 2"),
        ([[[6, -1], [7]]], "got -1 at token 1"),
        ([[[6], [7, TOKENIZER.cls_id]]], f"got {TOKENIZER.cls_id} at token 2"),
        ([[[6], [7, TOKENIZER.mask_id]]], f"got {TOKENIZER.mask_id} at token 2"),
    ],
)
def test_bad_paragraphs(paragraphs, message):
    with pytest.raises(ValueError, match=f"BertExamples: .*{message}"):
        examples_of(paragraphs)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("sentences", [0, 2, 2, 3]),
        ("sentences", [1, 2, 3]),
        ("sentences", [0, 2, 4]),
        ("sentences", []),
        ("paragraphs", [0, 3]),
        ("paragraphs", [0, 1, 1, 2]),
    ],
)
def test_bad_offsets(name, array):
    arrays = TokenizedParagraphs.from_lists([[[6, 7], [8]]])
    broken = arrays._replace(**{name: np.array(array, np.int64)})
    with pytest.raises(ValueError, match=f"BertExamples: {name} must ascend strictly from 0 to"):
        examples_of(broken)


def test_no_ordinary_tokens():
    tokenizer = WordTokenizer(WordTokenizer.SPECIAL_TOKENS)
    with pytest.raises(ValueError, match="tokenizer must have ordinary tokens, got none"):
        BertExamples([[[0], [0]]], tokenizer)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: e.batch(0, 0, 0), ValueError, "batch_size must be >= 1, got 0"),
        (lambda e: e.batches(0, 0), ValueError, "batch_size must be >= 1, got 0"),
        (lambda e: e.batches(0, 4.0), TypeError, "batch_size must be an int, got float"),
        (lambda e: e.batches(-1, 4), ValueError, "epoch must be >= 0, got -1"),
        (lambda e: e.count(2**32), ValueError, "epoch must be <= 4294967295"),
        (lambda e: e.batches(0, 4, first_batch=-1), ValueError, "first_batch must be >= 0"),
        (lambda e: e.batches(0, 4, first_batch=999), ValueError, "first_batch must be <= "),
        (lambda e: e.batches(0, 4, threads=0), ValueError, "threads must be 1 to 1024, got 0"),
        (lambda e: e.batch(0, 1000, 1), IndexError, r"batch must be in 0\.\.0, got 1"),
        (lambda e: e.batch(0, 4, -1), IndexError, r"batch must be in 0\.\.\d+, got -1"),
    ],
)
def test_bad_calls(call, error, message):
    """At the call, not when the first batch is taken."""
    with pytest.raises(error, match=f"BertExamples: {message}"):
        call(examples_of())


def test_static_masks_need_an_example():
    paragraphs = [[[6] * 4, [7] * 3], [[8] * 9]]
    options = {"max_len": 10, "static_masks": True}
    seeds = [s for s in range(20) if examples_of(paragraphs, max_len=10, seed=s).count(0) == 0]
    with pytest.raises(ValueError, match="static_masks needs an epoch 0 that is not empty"):
        examples_of(paragraphs, seed=seeds[0], **options)


def test_native_fill_checks_what_it_is_given():
    examples = examples_of()
    drawn = examples._epoch(0)
    batch = examples.batch(0, 4, 0)
    arrays = {k: v.numpy() for k, v in batch._asdict().items() if torch.is_tensor(v)}
    with pytest.raises(ValueError, match="labels must hold"):
        drawn.fill(0, 4, **{**arrays, "labels": arrays["labels"][1:].copy()}, threads=1)
    with pytest.raises(TypeError, match="tokens must be a contiguous array of 32-bit integers"):
        drawn.fill(0, 4, **{**arrays, "tokens": arrays["tokens"].astype(np.int64)}, threads=1)
    with pytest.raises(TypeError, match="tokens must be a contiguous array"):
        drawn.fill(0, 4, **{**arrays, "tokens": arrays["tokens"][::2]}, threads=1)
    with pytest.raises(IndexError, match="examples must be in 0"):
        drawn.measure(0, len(drawn) + 1)
    with pytest.raises(ValueError, match="threads must be >= 1"):
        drawn.fill(0, 4, **arrays, threads=0)


@pytest.mark.real_data
def test_wikitext_2():
    """The figures of the reference text: 20256 tokens, about three quarters of the pairs fit."""
    paragraphs = read_paragraphs("wikitext-2")
    tokenizer = WordTokenizer.build(paragraphs)
    assert (len(paragraphs), len(tokenizer)) == (15_496, 20_256)
    examples = BertExamples(tokenize_paragraphs(paragraphs, tokenizer), tokenizer)
    batches = list(examples.batches(0, 512))
    count = sum(batch.num_sequences for batch in batches)
    # 44,225 of the 59,135 pairs of neighbours fit.
    assert 0.72 < count / 59_135 < 0.77
    assert all(batch.max_seqlen <= 64 for batch in batches)
    is_next = sum(int(batch.next_labels.sum()) for batch in batches)
    assert 0.48 < is_next / count < 0.53
    predicted = sum(len(batch.labels) for batch in batches)
    tokens = sum(len(batch.tokens) for batch in batches)
    assert 0.145 < predicted / tokens < 0.155
    masked = sum(int((batch.tokens == tokenizer.mask_id).sum()) for batch in batches)
    assert stats.binomtest(masked, predicted, 0.8).pvalue > 1e-3
