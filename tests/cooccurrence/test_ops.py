"""Co-occurrence counting: the dictionary's counts bit for bit, however a corpus is cut."""

from __future__ import annotations

import itertools
import math

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.ops.cooccurrence.cooccurrence import (
    CooccurrenceIndex,
    CountedRows,
    cooccurrence_index,
    cooccurrence_merge,
    cooccurrence_rows,
    cooccurrence_unit,
)
from lexforge.reference.cooccurrence import cooccurrence as reference

on_cpu = pytest.mark.skipif(_library.emulated(), reason="the emulated device has no CPU kernels")


def corpus(sentences, device):
    """(tokens, offsets) of lists of ids."""
    offsets = np.cumsum([0, *(len(sentence) for sentence in sentences)])
    tokens = np.concatenate([np.empty(0, np.int32), *sentences]).astype(np.int32)
    return torch.from_numpy(tokens).to(device), torch.from_numpy(offsets).to(device)


def random_sentences(vocab_size, sentences, longest, seed=0):
    """Zipfian words in sentences of 0 to `longest` tokens."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, vocab_size + 1)
    lengths = rng.integers(0, longest + 1, sentences)
    words = rng.choice(vocab_size, lengths.sum(), p=shares / shares.sum())
    return np.split(words, np.cumsum(lengths)[:-1])


def count(sentences, device, *, vocab_size, window, first=0, last=None, cross=False, **options):
    """Index and rows of a chunk."""
    index = cooccurrence_index(
        *corpus(sentences, device),
        first=first,
        last=last,
        vocab_size=vocab_size,
        window=window,
        cross_sentences=cross,
        threads=options.get("threads"),
    )
    return cooccurrence_rows(index, window=window, **options)


def assert_rows(rows, expected):
    """Equal to arrays or tensors of row_size, cols and counts, dtypes included."""
    for actual, wanted in zip(rows, expected, strict=True):
        wanted = torch.as_tensor(wanted)
        assert actual.dtype == wanted.dtype
        assert torch.equal(actual.cpu(), wanted.cpu())


def as_dictionary(rows):
    row = torch.repeat_interleave(rows.row_size.cpu())
    return {
        (i, j): n
        for i, j, n in zip(row.tolist(), rows.cols.tolist(), rows.counts.tolist(), strict=True)
    }


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    ("vocab_size", "sentences", "longest", "window", "weighted"),
    [
        (1, 20, 9, 3, True),
        (5, 40, 12, 1, True),
        (30, 40, 4, 10, True),  # all sentences shorter than the window
        (200, 60, 40, 10, True),
        (3000, 60, 60, 15, True),  # sparse rows
        (70_000, 10, 60, 2, True),  # bits in far groups
        (500, 2, 60, 42, True),  # a pair of words that counts for 43 would pass 2^63
        (50, 10, 130, 42, False),
        (50, 5, 300, 100, False),
    ],
)
def test_equals_the_dictionary(device, vocab_size, sentences, longest, window, weighted, symmetric):
    text = random_sentences(vocab_size, sentences, longest)
    options = {"symmetric": symmetric, "distance_weighting": weighted}
    counts = reference.cooccurrence(text, window, **options)
    rows = count(text, device, vocab_size=vocab_size, window=window, **options)
    assert_rows(rows, reference.rows(counts, 0, vocab_size))


@hypothesis.given(
    text=st.lists(st.lists(st.integers(0, 6), max_size=9), max_size=8),
    window=st.integers(1, 12),
    weighted=st.booleans(),
    data=st.data(),
)
@hypothesis.settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_any_cut_of_centres_and_rows(device, text, window, weighted, data):
    """Chunks add up to the whole, and so do ranges of rows; each chunk is the dictionary's."""
    n = sum(map(len, text))
    cuts = sorted([0, n, *data.draw(st.lists(st.integers(0, n), max_size=3))])
    options = {"vocab_size": 7, "window": window, "distance_weighting": weighted}
    whole = count(text, device, **options)
    parts = []
    for first, last in itertools.pairwise(cuts):
        expected = reference.cooccurrence(
            text, window, distance_weighting=weighted, first=first, last=last
        )
        parts.append(count(text, device, first=first, last=last, **options))
        assert_rows(parts[-1], reference.rows(expected, 0, 7))
    assert_rows(cooccurrence_merge(parts, vocab_size=7), whole)
    middle = data.draw(st.integers(0, 7))
    low, high = (
        count(text, device, first_row=first, last_row=last, **options)
        for first, last in ((0, middle), (middle, None))
    )
    assert_rows((torch.cat(pair) for pair in zip(low, high, strict=True)), whole)


@hypothesis.given(
    text=st.lists(st.lists(st.integers(0, 4), max_size=9), max_size=8),
    window=st.integers(1, 6),
    weighted=st.booleans(),
)
@hypothesis.settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_symmetric_counts_are_one_sided_ones_and_their_transpose(device, text, window, weighted):
    options = {"vocab_size": 5, "window": window, "distance_weighting": weighted}
    right = as_dictionary(count(text, device, symmetric=False, **options))
    both = {}
    for (i, j), n in right.items():
        both[i, j] = both.get((i, j), 0) + n
        both[j, i] = both.get((j, i), 0) + n
    assert as_dictionary(count(text, device, **options)) == both


@pytest.mark.parametrize(("first", "last"), [(0, None), (0, 0), (5, 5), (3, 17), (17, 40)])
def test_index_equals_the_reference(device, first, last):
    text = [[], [], [0, 1, 2], [3], [], [], [2, 2, 0, 1, 4, 4, 2, 1, 0], [], *[[1, 3, 0]] * 9, []]
    last = sum(map(len, text)) if last is None else last
    index = cooccurrence_index(
        *corpus(text, device), first=first, last=last, vocab_size=6, window=3
    )
    assert_rows(index, reference.index(text, 3, first=first, last=last, vocab_size=6))


def test_across_sentences_is_one_long_sentence(device):
    text = random_sentences(20, 30, 6)
    joined = [np.concatenate(text)]
    n = len(joined[0])
    for first, last in ((0, n), (0, 0), (n // 3, n // 2), (n - 1, n)):
        chunk = {"vocab_size": 20, "window": 9, "first": first, "last": last}
        across = count(text, device, cross=True, **chunk)
        assert_rows(across, count(joined, device, **chunk))
    index = cooccurrence_index(*corpus(text, device), vocab_size=20, window=9, cross_sentences=True)
    assert_rows(index, reference.index(joined, 9, first=0, last=n, vocab_size=20))


def test_multiset_example_of_the_text(device):
    """Windows "k j m k" and "k l k j" around word i give j 2, k 4, l 1, m 1."""
    i, j, k, m, l = range(5)
    rows = count(
        [[k, j, i, m, k], [k, l, i, k, j]],
        device,
        vocab_size=5,
        window=2,
        distance_weighting=False,
        first_row=i,
        last_row=i + 1,
    )
    assert rows.row_size.tolist() == [4]
    assert dict(zip(rows.cols.tolist(), rows.counts.tolist(), strict=True)) == {
        j: 2,
        k: 4,
        l: 1,
        m: 1,
    }


def test_vector_of_the_file_format(device):
    """The original tool's example; it writes 30 for the first entry, the first record twice."""
    a, b, c, d = 1, 0, 2, 3
    text = [[a, b, c, a, b], [b, c, d]] * 6
    rows = count(text, device, vocab_size=4, window=2)
    weights = {key: n / cooccurrence_unit(2) for key, n in as_dictionary(rows).items()}
    above = {(b, a): 15, (b, c): 15, (b, d): 3, (a, c): 9, (c, d): 6}
    assert weights == above | {(j, i): x for (i, j), x in above.items()}


def test_units():
    assert [cooccurrence_unit(w) for w in (1, 2, 10, 15, 20)] == [1, 2, 2520, 360360, 232792560]
    assert cooccurrence_unit(42) == math.lcm(*range(1, 43)) < 2**63 < math.lcm(*range(1, 44))
    assert cooccurrence_unit(1000, False) == 1


@pytest.mark.parametrize("sentences", [[], [[]], [[], []]])
def test_empty_corpus(device, sentences):
    rows = count(sentences, device, vocab_size=3, window=5)
    assert rows.row_size.tolist() == [0, 0, 0]
    assert len(rows.cols) == len(rows.counts) == 0
    assert_rows(cooccurrence_merge([rows, rows], vocab_size=3), rows)


def test_words_without_neighbours_and_no_rows(device):
    rows = count([[1], [1], [2, 0]], device, vocab_size=4, window=5)
    assert rows.row_size.tolist() == [1, 0, 1, 0]
    none = count([[1], [1], [2, 0]], device, vocab_size=4, window=5, first_row=2, last_row=2)
    assert [len(x) for x in none] == [0, 0, 0]
    assert [len(x) for x in cooccurrence_merge([none, none], vocab_size=4)] == [0, 0, 0]


@on_cpu
@pytest.mark.parametrize(("vocab_size", "window"), [(40, 10), (300_000, 10), (40, 42)])
def test_result_does_not_depend_on_threads(vocab_size, window):
    """Heavy rows are split over threads, dense and sparse ones are not; some counts saturate."""
    text = random_sentences(vocab_size, 3000, 60, seed=1)
    tokens, offsets = corpus(text, "cpu")
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(min(threads, 3))
            index = cooccurrence_index(
                tokens, offsets, vocab_size=vocab_size, window=window, threads=threads
            )
            # The op itself, which leaves saturated counts for its caller to find.
            rows = torch.ops.lexforge.cooccurrence_rows.default(
                *index, 0, vocab_size, window, True, True, threads
            )
            merged = torch.ops.lexforge.cooccurrence_merge.default(
                *([x, x, x] for x in rows), vocab_size, threads
            )
            results.append((*index, *rows, *merged))
    finally:
        torch.set_num_threads(before)
    assert (int(results[0][5].max()) == 2**63 - 1) == (window == 42)
    for result in results[1:]:
        assert_rows(result, results[0])


@on_cpu
def test_unsorted_vocabulary_with_heavy_rows():
    """Rows too heavy for one thread lie between others; results are in the order of the rows."""
    text = [(5 * s + 7) % 100 for s in random_sentences(100, 3000, 60, seed=2)]
    one, three = (count(text, "cpu", vocab_size=100, window=10, threads=n) for n in (1, 3))
    assert_rows(three, one)
    assert int(one.counts.sum()) == sum(
        2 * max(0, len(s) - d) * (2520 // d) for s in text for d in range(1, 11)
    )


def saturated(device, sentences):
    """Counts of "1 0" pairs at window 42, where 42 neighbours fit into 63 bits and 43 do not."""
    return count([[1, 0]] * sentences, device, vocab_size=2, window=42)


def test_counts_beyond_63_bits_are_an_error(device):
    most = saturated(device, 42)
    assert most.counts.tolist() == [42 * cooccurrence_unit(42)] * 2
    with pytest.raises(OverflowError, match="cooccurrence_rows: the count of row 0, column 1 "):
        saturated(device, 43)
    with pytest.raises(OverflowError, match="cooccurrence_rows: the count of row 1, column 0 "):
        count([[1, 0]] * 43, device, vocab_size=2, window=42, first_row=1)
    with pytest.raises(OverflowError, match="cooccurrence_merge: the count of row 0, column 1 "):
        cooccurrence_merge([most, saturated(device, 1)], vocab_size=2)


def test_sums_saturate(device):
    index = cooccurrence_index(*corpus([[1, 0]] * 500, device), vocab_size=2, window=42)
    rows = torch.ops.lexforge.cooccurrence_rows.default(*index, 0, 2, 42, True, True, 1)
    assert rows[2].tolist() == [2**63 - 1] * 2
    merged = torch.ops.lexforge.cooccurrence_merge.default(*([x] * 5 for x in rows), 2, 1)
    assert merged[2].tolist() == [2**63 - 1] * 2


def test_merge_of_different_rows(device):
    """Entries of one part only, of several, and empty rows; a single part is copied."""

    def part(rows):
        entries = [entry for row in rows for entry in sorted(row.items())]
        return CountedRows(
            torch.tensor([len(row) for row in rows], device=device),
            torch.tensor([col for col, _ in entries], dtype=torch.int32, device=device),
            torch.tensor([n for _, n in entries], dtype=torch.int64, device=device),
        )

    far = 5000
    a = part([{0: 1, far: 2}, {}, {3: 4}, {}])
    b = part([{1: 5}, {2: 6}, {3: 7, 4: 8}, {}])
    merged = cooccurrence_merge([a, b, a], vocab_size=far + 1)
    assert_rows(merged, part([{0: 2, 1: 5, far: 4}, {2: 6}, {3: 15, 4: 8}, {}]))
    assert_rows(cooccurrence_merge([a], vocab_size=far + 1), a)


def test_merge_of_random_parts(device):
    texts = [random_sentences(4000, 60, 50, seed=seed) for seed in range(5)]
    options = {"vocab_size": 4000, "window": 8}
    parts = [count(text, device, **options) for text in texts]
    joined = [sentence for text in texts for sentence in text]
    assert_rows(cooccurrence_merge(parts, vocab_size=4000), count(joined, device, **options))


def test_opcheck(device):
    tokens, offsets = corpus([[0, 1, 2], [1, 0]], device)
    ops = torch.ops.lexforge
    index_arguments = (tokens, offsets, 0, 5, 3, 2, False, 1)
    torch.library.opcheck(ops.cooccurrence_index.default, index_arguments)
    index = ops.cooccurrence_index.default(*index_arguments)
    rows_arguments = (*index, 0, 3, 2, True, True, 1)
    torch.library.opcheck(ops.cooccurrence_rows.default, rows_arguments)
    rows = ops.cooccurrence_rows.default(*rows_arguments)
    torch.library.opcheck(ops.cooccurrence_merge.default, (*([x, x] for x in rows), 3, 1))


INDEX = {"vocab_size": 3, "window": 2}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"window": 0}, ValueError, r"window must be in \[1, 1000\], got 0"),
        ({"window": 1001}, ValueError, r"window must be in \[1, 1000\], got 1001"),
        ({"window": 2.0}, TypeError, "window must be an int, got float"),
        ({"vocab_size": 0}, ValueError, "vocab_size must be in .*, got 0"),
        ({"vocab_size": 2**31 - 1}, ValueError, "vocab_size must be in .*, got 2147483647"),
        (
            {"first": 3, "last": 2},
            ValueError,
            r"first and last must be a range within \[0, 5\], got \[3, 2\)",
        ),
        (
            {"first": -1},
            ValueError,
            r"first and last must be a range within \[0, 5\], got \[-1, 5\)",
        ),
        ({"last": 6}, ValueError, r"first and last must be a range within \[0, 5\], got \[0, 6\)"),
        ({"threads": 0}, ValueError, "threads must be in"),
        (
            {"tokens": torch.int64},
            TypeError,
            "tokens must be int32, got int64",
        ),
        ({"offsets": torch.int32}, TypeError, "offsets must be int64"),
    ],
)
def test_bad_arguments_of_index(device, changes, error, message):
    arguments = dict(zip(("tokens", "offsets"), corpus([[0, 1, 2], [1, 0]], device), strict=True))
    for name, change in changes.items():
        arguments[name] = arguments[name].to(change) if name in arguments else change
    with pytest.raises(error, match=f"cooccurrence_index: {message}"):
        cooccurrence_index(**INDEX | arguments)


def test_bad_shapes(device):
    tokens, offsets = corpus([[0, 1, 2], [1, 0]], device)
    with pytest.raises(ValueError, match=r"tokens must be \[N\], got \[5, 1\]"):
        cooccurrence_index(tokens[:, None], offsets, **INDEX)
    with pytest.raises(ValueError, match="tokens must be contiguous"):
        cooccurrence_index(tokens[::2], offsets, **INDEX)
    with pytest.raises(ValueError, match=r"offsets must be \[S \+ 1\], got \[0\]"):
        cooccurrence_index(tokens, offsets[:0], **INDEX)
    with pytest.raises(ValueError, match="offsets must be on"):
        cooccurrence_index(tokens, offsets.to("meta"), **INDEX)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"window": 0}, ValueError, r"window must be in \[1, 42\], got 0"),
        ({"window": 43}, ValueError, "window must be at most 42 .* pass 2\\^63 beyond it, got 43"),
        (
            {"window": 1001, "distance_weighting": False},
            ValueError,
            "window must be in .* got 1001",
        ),
        ({"window": True}, TypeError, "window must be an int, got bool"),
        (
            {"window": 2, "first_row": 2, "last_row": 1},
            ValueError,
            r"first_row and last_row must be a range .* got \[2, 1\)",
        ),
        (
            {"window": 2, "last_row": 4},
            ValueError,
            r"first_row and last_row must be a range within \[0, 3\], got \[0, 4\)",
        ),
        ({"window": 2, "threads": 0}, ValueError, "threads must be in"),
    ],
)
def test_bad_arguments_of_rows(device, options, error, message):
    index = cooccurrence_index(*corpus([[0, 1, 2], [1, 0]], device), **INDEX)
    with pytest.raises(error, match=f"cooccurrence_rows: {message}"):
        cooccurrence_rows(index, **options)


def test_bad_window_of_unit():
    with pytest.raises(ValueError, match="cooccurrence_unit: window must be at most 42 with dist"):
        cooccurrence_unit(43)
    with pytest.raises(TypeError, match="cooccurrence_unit: window must be an int, got str"):
        cooccurrence_unit("10")


def test_bad_parts(device):
    rows = count([[0, 1, 2], [1, 0]], device, vocab_size=3, window=2)
    two = count([[0, 1, 2], [1, 0]], device, vocab_size=3, window=2, last_row=2)
    with pytest.raises(ValueError, match="parts must have at least 1 element, got 0"):
        cooccurrence_merge([], vocab_size=3)
    with pytest.raises(ValueError, match="parts must have 3 rows, got 2"):
        cooccurrence_merge([rows, two], vocab_size=3)
    with pytest.raises(ValueError, match=r"counts must be \[6\], got \[5\]"):
        cooccurrence_merge([rows._replace(counts=rows.counts[:5])], vocab_size=3)
    with pytest.raises(TypeError, match=r"cols must be int32"):
        cooccurrence_merge([rows._replace(cols=rows.cols.long())], vocab_size=3)


@pytest.mark.parametrize(
    ("tokens", "offsets", "message"),
    [
        ([0, 3, 1], [0, 3], r"tokens must be in \[0, 3\)"),
        ([0, -1, 1], [0, 3], r"tokens must be in \[0, 3\)"),
        ([0, 1, 2], [0, 2, 1, 3], "offsets must rise from 0 to 3"),
        ([0, 1, 2], [0, 4], "offsets must rise from 0 to 3"),
        ([0, 1, 2], [0, 2], "offsets must rise from 0 to 3"),
        ([0, 1, 2], [-1, 3], "offsets must rise from 0 to 3"),
        ([0, 1, 2], [1, 3], "offsets must rise from 0 to 3"),
        ([0, 1, 2], [3, 3], "offsets must rise from 0 to 3"),
        ([0, 1, 2], [0], "offsets must rise from 0 to 3"),
    ],
)
def test_bad_corpus_is_an_error(device, tokens, offsets, message):
    with pytest.raises(RuntimeError, match=f"cooccurrence_index: {message}"):
        cooccurrence_index(
            torch.tensor(tokens, dtype=torch.int32, device=device),
            torch.tensor(offsets, device=device),
            **INDEX,
        )


def test_any_offsets_are_safe(device):
    """Random offsets either make sense around the chunk or are refused."""
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(rng.integers(0, 3, 40).astype(np.int32)).to(device)
    refused = 0
    for _ in range(300):
        offsets = torch.from_numpy(rng.integers(-3, 44, rng.integers(1, 9))).to(device)
        first, last = sorted(rng.integers(0, 41, 2).tolist())
        try:
            index = cooccurrence_index(tokens, offsets, first=first, last=last, **INDEX)
        except RuntimeError:
            refused += 1
        else:
            cooccurrence_rows(index, window=2)
    assert 0 < refused < 300


@pytest.mark.parametrize(
    ("name", "element", "value", "message"),
    [
        ("padded", 4, 4, r"padded must be in \[0, 3\]"),
        ("padded", 4, -1, r"padded must be in \[0, 3\]"),
        ("starts", 1, 6, "starts must rise from 0 to 5"),
        ("starts", 0, -1, "starts must rise from 0 to 5"),
        ("starts", 3, 6, "starts must rise from 0 to 5"),
        ("positions", 0, 1, "positions must be in"),
        ("positions", 4, 9, "positions must be in"),
        ("positions", 2, -(2**31), "positions must be in"),
    ],
)
def test_forged_index_is_an_error(device, name, element, value, message):
    index = cooccurrence_index(*corpus([[0, 1, 2], [1, 0]], device), **INDEX)
    getattr(index, name)[element] = value
    with pytest.raises(RuntimeError, match=f"cooccurrence_rows: {message}"):
        cooccurrence_rows(index, window=2)


def test_index_for_another_window_is_an_error(device):
    index = cooccurrence_index(*corpus([[0, 1, 2], [1, 0]], device), **INDEX)
    assert_rows(
        cooccurrence_rows(index, window=1),
        count([[0, 1, 2], [1, 0]], device, vocab_size=3, window=1),
    )
    with pytest.raises(RuntimeError, match="positions must be in"):
        cooccurrence_rows(index, window=3)
    empty = CooccurrenceIndex(index.padded[:0], index.starts, index.positions)
    with pytest.raises(RuntimeError, match="positions must be in"):
        cooccurrence_rows(empty, window=2)


def test_forged_parts_are_an_error(device):
    rows = count([[0, 1, 2], [1, 0]], device, vocab_size=3, window=2)
    with pytest.raises(RuntimeError, match=r"cols must be in \[0, 2\)"):
        cooccurrence_merge([rows], vocab_size=2)
    for sizes in ([2, 2, 3], [2, 2, 1], [-1, 5, 2], [2**62, 2**62, 2]):
        forged = rows._replace(row_size=torch.tensor(sizes, device=device))
        with pytest.raises(RuntimeError, match="row_size must add up to 6"):
            cooccurrence_merge([forged], vocab_size=3)


DIGEST = """
import hashlib, torch
from lexforge.ops.cooccurrence.cooccurrence import cooccurrence_index, cooccurrence_rows
from lexforge.ops.sampling.sampling import alias_sample, build_alias
digest = hashlib.sha256()
for vocab_size in (3, 50, 1001, 20_000):
    table = build_alias(1.0 / torch.arange(1, vocab_size + 1, dtype=torch.float64))
    tokens = alias_sample(table, 30_000, seed=1)
    offsets = torch.cat((torch.arange(0, 30_000, 23), torch.tensor([30_000])))
    index = cooccurrence_index(tokens, offsets, vocab_size=vocab_size, window=7)
    for tensor in cooccurrence_rows(index, window=7):
        digest.update(tensor.numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets_agree(isa, capsys):
    if _library.emulated():
        pytest.skip("the emulated device has no CPU kernels")
    exec(DIGEST, {})
    assert run_under(isa, DIGEST) == capsys.readouterr().out


@pytest.mark.real_data
def test_penn_treebank_bit_for_bit(device, data_folder):
    lines = (data_folder / "ptb" / "ptb.valid.txt").read_text().split("\n")
    lines = lines[:300] if _library.emulated() else lines
    words = {}
    text = [[words.setdefault(word, len(words)) for word in line.split()] for line in lines]
    counts = reference.cooccurrence(text, 10)
    rows = count(text, device, vocab_size=len(words), window=10)
    assert_rows(rows, reference.rows(counts, 0, len(words)))
