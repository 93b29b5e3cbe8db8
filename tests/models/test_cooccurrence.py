"""Co-occurrence counts: exact, the same within any memory, resumable, and in everybody's files."""

import errno
import fcntl
import gc
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexforge import Cooccurrence, cooccurrence
from lexforge.models.cooccurrence import count as cooccurrence_module
from lexforge.models.cooccurrence import counting, runs, triplets
from lexforge.models.cooccurrence.counting import (
    CountSettings,
    MemoryPlan,
    chunk_end,
    plan_memory,
    ranges,
)
from lexforge.models.cooccurrence.triplets import TRIPLET, TripletWriter
from lexforge.ops.cooccurrence.cooccurrence import CountedRows
from lexforge.text import EncodedCorpus, Vocabulary, build_vocabulary, encode_corpus

TINY = MemoryPlan(chunk_bytes=6000, range_entries=100)


def dictionary(sentences, window, symmetric=True, distance_weighting=True):
    """The oracle: counts of (row, column) in whole units, and the unit."""
    unit = math.lcm(*range(1, window + 1)) if distance_weighting else 1
    counts = Counter()
    for sentence in sentences:
        for place, left in enumerate(sentence):
            for d, right in enumerate(sentence[place + 1 : place + 1 + window], 1):
                weight = unit // d if distance_weighting else 1
                counts[left, right] += weight
                if symmetric:
                    counts[right, left] += weight
    return counts, unit


def expected_triplets(sentences, window, symmetric=True, distance_weighting=True):
    counts, unit = dictionary(sentences, window, symmetric, distance_weighting)
    return [(row, col, counts[row, col] / unit) for row, col in sorted(counts)]


def summed_pairs(sentences, window):
    """The same for a text that is too long for a dictionary: all pairs of a distance at a time.

    Returns:
        Rows and columns of the pairs that occur, in order, their counts in whole units, the unit.
    """
    unit = math.lcm(*range(1, window + 1))
    tokens = np.array([token for sentence in sentences for token in sentence], np.int64)
    number = np.repeat(np.arange(len(sentences)), [len(sentence) for sentence in sentences])
    pairs = []  # with their units in the last bits, so that sorting brings them along
    for d in range(1, window + 1):
        near = number[:-d] == number[d:]
        left, right = tokens[:-d][near], tokens[d:][near]
        pairs += [left << 40 | right << 20 | unit // d, right << 40 | left << 20 | unit // d]
    found = np.sort(np.concatenate(pairs))
    first = np.flatnonzero(np.diff(found >> 20, prepend=-1))
    rows, cols = found[first] >> 40, found[first] >> 20 & (1 << 20) - 1
    return rows, cols, np.add.reduceat(found & (1 << 20) - 1, first), unit


def triplets_of(counts):
    return list(
        zip(counts.rows.tolist(), counts.cols.tolist(), counts.values.tolist(), strict=True)
    )


def zipf_corpus(tokens, words, seed=0, longest=30):
    """An encoded corpus with words as frequent as 1 / rank, and its vocabulary."""
    rng = np.random.default_rng(seed)
    ids = (words ** rng.random(tokens)).astype(np.int32) - 1
    ends = np.cumsum(rng.integers(1, longest, size=tokens))
    offsets = np.concatenate([[0], ends[ends < tokens], [tokens]])
    counts = np.sort(np.bincount(ids, minlength=words))[::-1]
    vocab = Vocabulary([f"w{i}" for i in range(words)], counts)
    return EncodedCorpus(torch.from_numpy(ids), torch.from_numpy(offsets)), vocab


def sentences_of(corpus):
    bounds = corpus.offsets.tolist()
    return [corpus.tokens[a:b].tolist() for a, b in itertools.pairwise(bounds)]


def bytes_of(counts):
    return np.concatenate([piece.copy() for piece in pieces(counts)]).tobytes()


def pieces(counts):
    return triplets.read_triplets(counts._file, counts.nnz)


@pytest.fixture
def tiny_plan(monkeypatch):
    """Chunks of a few dozen words and ranges of a few rows, whatever the cap."""
    monkeypatch.setattr(cooccurrence_module, "plan_memory", lambda *_, **__: TINY)


@pytest.fixture
def example():
    """formats of the original tool: ranks b=1, a=2, c=3, d=4."""
    return cooccurrence([["a", "b", "c", "a", "b"], ["b", "c", "d"]] * 6, window=2, min_count=1)


# -- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("distance_weighting", [True, False])
@pytest.mark.parametrize("window", [1, 2, 10, 20])
def test_counts_are_those_of_a_dictionary(device, window, symmetric, distance_weighting):
    corpus, vocab = zipf_corpus(3000, 40)
    options = {"symmetric": symmetric, "distance_weighting": distance_weighting}
    counts = cooccurrence(corpus, vocabulary=vocab, window=window, device=device, **options)
    assert triplets_of(counts) == expected_triplets(sentences_of(corpus), window, **options)
    assert (counts.window, counts.symmetric, counts.distance_weighting) == (
        window, symmetric, distance_weighting,
    )  # fmt: skip
    assert counts.row_begin.tolist() == [
        int((counts.rows < row).sum()) for row in range(len(vocab) + 1)
    ]


def test_over_the_ends_of_sentences(device):
    corpus, vocab = zipf_corpus(2000, 30)
    counts = cooccurrence(corpus, vocabulary=vocab, window=5, cross_sentences=True, device=device)
    assert triplets_of(counts) == expected_triplets([corpus.tokens.tolist()], 5)


@pytest.mark.parametrize("cross_sentences", [True, False])
def test_chunks_and_ranges_change_nothing(device, cross_sentences, tiny_plan):
    corpus, vocab = zipf_corpus(3000, 40)
    counts = cooccurrence(
        corpus, vocabulary=vocab, window=3, cross_sentences=cross_sentences, device=device
    )
    sentences = [corpus.tokens.tolist()] if cross_sentences else sentences_of(corpus)
    assert triplets_of(counts) == expected_triplets(sentences, 3)


@settings(max_examples=60, deadline=None)
@given(
    sentences=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=12), min_size=1),
    window=st.integers(1, 6),
    symmetric=st.booleans(),
    distance_weighting=st.booleans(),
    chunk_bytes=st.integers(1, 3000),
    range_entries=st.integers(14, 60),
    fan_in=st.integers(2, 4),
)
def test_any_corpus_in_any_pieces(
    sentences, window, symmetric, distance_weighting, chunk_bytes, range_entries, fan_in
):
    expected = expected_triplets(sentences, window, symmetric, distance_weighting)
    vocab = Vocabulary([f"w{i}" for i in range(7)], [1] * 7)
    with pytest.MonkeyPatch.context() as patch:
        plan = MemoryPlan(chunk_bytes, range_entries)
        patch.setattr(cooccurrence_module, "plan_memory", lambda *_, **__: plan)
        patch.setattr(runs, "LARGEST_FAN_IN", fan_in)
        patch.setattr(runs, "SIZES_HELD", 3 * fan_in)
        patch.setattr(triplets, "PIECE", 5)
        options = {
            "vocabulary": vocab,
            "window": window,
            "symmetric": symmetric,
            "distance_weighting": distance_weighting,
        }
        if expected:
            counts = cooccurrence(EncodedCorpus.from_sentences(sentences), **options)
            assert triplets_of(counts) == expected
        else:
            with pytest.raises(ValueError, match="nothing to count"):
                cooccurrence(EncodedCorpus.from_sentences(sentences), **options)


def test_the_oracle_of_long_texts():
    corpus, _ = zipf_corpus(2000, 30)
    for window in (1, 2, 10):
        sentences = sentences_of(corpus)
        *triplets, unit = summed_pairs(sentences, window)
        expected, same = dictionary(sentences, window)
        assert unit == same
        assert [*zip(*(part.tolist() for part in triplets), strict=True)] == [
            (*entry, expected[entry]) for entry in sorted(expected)
        ]


@pytest.mark.real_data
def test_penn_treebank(data_folder):
    """Bit for bit, also through runs on the disk."""
    path = data_folder / "ptb" / "ptb.train.txt"
    counts = cooccurrence(path, window=10, memory="20MB")
    lines = (line.split() for line in path.read_text().splitlines())
    vocab = counts.vocab
    sentences = [[vocab[word] for word in line if word in vocab] for line in lines]
    rows, cols, units, unit = summed_pairs(sentences, 10)
    assert np.array_equal(counts.rows, rows) and np.array_equal(counts.cols, cols)
    assert np.array_equal(counts.values, units / unit)
    for threads, memory in ((1, "2GB"), (2, "18MB"), (3, "50MB")):
        other = cooccurrence(path, window=10, memory=memory, workers=threads)
        assert bytes_of(other) == bytes_of(counts)


def test_words_are_dropped_before_distances_are_taken():
    counts = cooccurrence([["a", "rare", "b"], ["a", "a", "b"]], window=1, min_count=2)
    assert counts.count("a", "b") == 2.0


def test_context_multiset():
    """The context windows "k j m k" and "k l k j" of a word hold j 2, k 4, l 1 and m 1 times."""
    counts = cooccurrence(
        [["k", "j", "i", "m", "k"], ["k", "l", "i", "k", "j"]],
        window=2, min_count=1, distance_weighting=False,
    )  # fmt: skip
    assert {word: counts.count("i", word) for word in "jklm"} == {"j": 2, "k": 4, "l": 1, "m": 1}


def test_symmetric_counts_are_symmetric(device):
    corpus, vocab = zipf_corpus(3000, 40)
    dense = cooccurrence(corpus, vocabulary=vocab, device=device).to_torch_sparse().to_dense()
    assert torch.equal(dense, dense.T)
    right = cooccurrence(corpus, vocabulary=vocab, symmetric=False, device=device)
    flat = (
        cooccurrence(
            corpus, vocabulary=vocab, symmetric=False, distance_weighting=False, device=device
        )
        .to_torch_sparse()
        .to_dense()
    )
    assert not torch.equal(flat, flat.T)
    together = right.to_torch_sparse().to_dense()
    assert torch.allclose(together + together.T, dense, rtol=1e-15, atol=0)


def test_example_of_the_original_format(example):
    assert example.vocab.words == ["b", "a", "c", "d"]
    expected = {
        (1, 2): 15, (1, 3): 15, (1, 4): 3, (2, 1): 15, (2, 3): 9, (3, 1): 15, (3, 2): 9,
        (3, 4): 6, (4, 1): 3, (4, 3): 6,
    }  # fmt: skip
    assert {(row + 1, col + 1): value for row, col, value in triplets_of(example)} == expected


def test_to_torch_sparse(example):
    sparse = example.to_torch_sparse()
    assert sparse.is_coalesced() and sparse.dtype == torch.float64 and sparse.shape == (4, 4)
    again = torch.sparse_coo_tensor(
        sparse.indices(), sparse.values(), (4, 4), check_invariants=True
    ).coalesce()
    assert torch.equal(again.to_dense(), sparse.to_dense())
    assert sparse.to_dense()[0, 1] == 15


def test_quotients_are_rounded_once(tmp_path):
    """Counts and units above 2^53 are no float64 numbers; their quotient is still the nearest."""
    unit = math.lcm(*range(1, 43))
    counts = [unit // 41, unit + 1, 2**53 + 1, 3 * unit // 7, 2**63 - 2]
    with TripletWriter(tmp_path / "t", 5, unit) as writer:
        tensors = torch.tensor([5, 0, 0, 0, 0]), torch.arange(5, dtype=torch.int32)
        writer.write(0, CountedRows(*tensors, torch.tensor(counts)))
    found = np.fromfile(tmp_path / "t", TRIPLET)["value"].tolist()
    for value, count in zip(found, counts, strict=True):
        exact = Fraction(count, unit)
        neighbours = (math.nextafter(value, 0), math.nextafter(value, math.inf))
        assert all(abs(value - exact) <= abs(Fraction(other) - exact) for other in neighbours)


def test_saturated_counts_are_refused(tmp_path):
    rows = CountedRows(
        torch.tensor([0, 2]), torch.tensor([1, 4], dtype=torch.int32), torch.tensor([7, 2**63 - 1])
    )
    with (
        TripletWriter(tmp_path / "t", 5, 2520) as writer,
        pytest.raises(OverflowError, match=r"row 3, column 4 exceeds 2\^63 / 2520"),
    ):
        writer.write(2, rows)


def test_overflow(tmp_path):
    """At window 42 a count of 1 is lcm(1..42) units, and 2^63 are reached at 43."""
    with pytest.raises(OverflowError, match="row 0, column 1"):
        cooccurrence([["a", "b"]] * 43, window=42, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert cooccurrence([["a", "b"]] * 42, window=42).count("a", "b") == 42


# -- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("window", [1, 10, 1000])
@pytest.mark.parametrize("vocab_size", [1, 10_000, 400_000])
def test_smallest_memory_is_told_and_enough(vocab_size, window, threads):
    options = {"vocab_size": vocab_size, "window": window, "threads": threads}
    with pytest.raises(ValueError, match=r"memory must be at least \d+MB .* got 1MB") as error:
        plan_memory(10**6, **options)
    smallest = int(str(error.value).split("at least ")[1].split("MB")[0]) * 10**6
    with pytest.raises(ValueError, match=f"at least {smallest // 10**6}MB"):
        plan_memory(smallest - 10**6, **options)
    for memory in (smallest, 2 * smallest, 100 * smallest):
        plan = plan_memory(memory, **options)
        spent = plan.chunk_bytes + counting.ENTRY_BYTES * plan.range_entries
        assert spent < memory - counting.FIXED_BYTES - 16 * threads * vocab_size
        assert plan.range_entries >= 2 * vocab_size
        assert plan.chunk_bytes >= 8 * vocab_size


def test_a_device_is_a_further_limit():
    plan = MemoryPlan(chunk_bytes=10**9, range_entries=10**7)
    assert plan.on_device(10**12, 1000) == plan
    assert plan.on_device(8 * 10**8, 1000) == MemoryPlan(10**8, 10**8 // 12)
    assert plan.on_device(8000, 1000) == MemoryPlan(1000, 2000)


@pytest.mark.parametrize("cross_sentences", [True, False])
def test_chunks_are_as_long_as_fits(cross_sentences):
    corpus, _ = zipf_corpus(5000, 50, longest=4)
    offsets = corpus.offsets.numpy()
    options = CountSettings(3, True, True, cross_sentences)
    first, ends = 0, []
    while first < 5000:
        last = chunk_end(offsets, first, options, 20_000)
        inside = 1 if cross_sentences else int(((offsets > first) & (offsets < last)).sum()) + 1
        assert counting.chunk_bytes(last - first, inside, 3) <= 20_000
        ends.append(last)
        first = last
    assert ends[-1] == 5000 and len(ends) > 3
    assert chunk_end(offsets, 7, options, 1) == 8  # always something
    assert chunk_end(offsets, 7, options, 10**9) == 5000


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 100))
def test_ranges(sizes, limit):
    sizes = np.array(sizes, dtype=np.int64)
    found = list(ranges(sizes, limit))
    assert [row for a, b in found for row in range(a, b)] == list(range(sizes.size))
    for a, b in found:
        assert sizes[a:b].sum() <= limit or b == a + 1
        assert b == sizes.size or sizes[a : b + 1].sum() > limit


MEASURED = """
import json, sys
import torch
import lexforge
from lexforge.models import cooccurrence  # what it needs is there before the call
from lexforge.text import EncodedCorpus, Vocabulary

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

folder, memory, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
corpus, vocab = EncodedCorpus.open(folder), Vocabulary.load(f"{folder}/vocab.txt")
torch.set_num_threads(threads)
torch.ones(1 << 18).add_(1)  # starts torch's threads
before = status("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the highest mark starts anew
lexforge.cooccurrence(corpus, vocabulary=vocab, memory=memory, threads=threads, folder=sys.argv[4])
print(status("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    """A corpus of 600,000 words, encoded in a folder that also holds its vocabulary."""
    folder = tmp_path_factory.mktemp("encoded")
    corpus, _ = zipf_corpus(600_000, 20_000)
    text = [[f"w{i}" for i in sentence] for sentence in sentences_of(corpus)]
    vocab = build_vocabulary(text, min_count=1)
    vocab.save(folder / "vocab.txt")
    encode_corpus(text, vocab, folder)
    return folder


def test_memory_is_a_cap(on_disk, tmp_path):
    """Resident memory grows by no more than the cap; results are equal byte for byte.

    The smallest caps need many runs, merged in several levels. The cap holds without slack: what
    the allocator keeps is part of the fixed share.
    """
    found = {}
    for memory, threads in (("18MB", 1), ("20MB", 2), ("25MB", 3), ("35MB", 2), ("2GB", 2)):
        out = tmp_path / f"{memory}-{threads}"
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, on_disk, memory, str(threads), out],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found[memory] = int(done.stdout)
        assert {path.name for path in out.iterdir()} == {"triplets.bin", "vocab.txt", "meta.json"}
        if memory == "18MB":
            reference = (out / "triplets.bin").read_bytes()
        assert (out / "triplets.bin").read_bytes() == reference
    # Otherwise the caps would not bind, and the test say nothing.
    assert found["2GB"] > 40e6
    for memory in ("18MB", "20MB", "25MB", "35MB"):
        assert found[memory] <= int(memory[:-2]) * 10**6, found


def test_small_memory_needs_many_runs(on_disk, monkeypatch):
    runs = []
    new_run = counting.RunStore.new_run
    monkeypatch.setattr(
        counting.RunStore,
        "new_run",
        lambda store, *args: runs.append(args) or new_run(store, *args),
    )
    vocab = Vocabulary.load(on_disk / "vocab.txt")
    cooccurrence(EncodedCorpus.open(on_disk), vocabulary=vocab, memory="18MB", threads=1)
    merged = [run for run in runs if len(run) == 3]
    assert len(runs) - len(merged) >= 8 and merged


# -- resuming and cleaning up ---------------------------------------------------------------------

SLOW = """
import sys, time
import lexforge
from lexforge.models.cooccurrence import count as module
from lexforge.models.cooccurrence import counting

plan = counting.MemoryPlan(chunk_bytes=200_000, range_entries=50_000)
module.plan_memory = lambda *_, **__: plan
write_manifest = counting.RunStore._write_manifest
def slowly(store, runs):
    write_manifest(store, runs)
    time.sleep(0.3)
counting.RunStore._write_manifest = slowly
lexforge.cooccurrence(sys.argv[1], min_count=1, folder=sys.argv[2])
"""


@pytest.fixture
def text_file(tmp_path):
    corpus, _ = zipf_corpus(60_000, 300)
    path = tmp_path / "corpus.txt"
    lines = (" ".join(f"w{i}" for i in sentence) for sentence in sentences_of(corpus))
    path.write_text("\n".join(lines))
    return path


def runs_in(folder):
    try:
        return json.loads((folder / ".runs" / "manifest.json").read_text())["runs"]
    except (FileNotFoundError, ValueError):
        return []


@pytest.fixture
def counted(monkeypatch):
    """The centres that are counted, by chunk."""
    chunks = []
    count_chunk = counting.count_chunk

    def noting(corpus, first, last, *args, **options):
        chunks.append((first, last))
        return count_chunk(corpus, first, last, *args, **options)

    monkeypatch.setattr(counting, "count_chunk", noting)
    return chunks


def test_goes_on_after_sigkill(text_file, tmp_path, counted):
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", SLOW, text_file, out])
    deadline = time.monotonic() + 120
    while len(runs_in(out)) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = runs_in(out)
    with pytest.raises(FileNotFoundError, match="not complete yet"):
        Cooccurrence.load(out)
    with pytest.MonkeyPatch.context() as patch:
        plan = MemoryPlan(chunk_bytes=300_000, range_entries=40_000)  # another cap is no matter
        patch.setattr(cooccurrence_module, "plan_memory", lambda *_, **__: plan)
        patch.setattr(cooccurrence_module, "build_vocabulary", None)  # not again
        patch.setattr(cooccurrence_module, "encode_corpus", None)
        counts = cooccurrence(text_file, min_count=1, folder=out)
    assert counted[0][0] == before[-1]["last"] and counted[-1][1] == 60_000
    assert bytes_of(counts) == bytes_of(cooccurrence(text_file, min_count=1))
    assert {path.name for path in out.iterdir()} == {"triplets.bin", "vocab.txt", "meta.json"}


def interrupted(monkeypatch, out, after, **options):
    """Counts, and is stopped as by Ctrl-C after some chunks."""
    chunks = 0
    piece = EncodedCorpus.piece

    def reading(corpus, first, last):
        nonlocal chunks
        chunks += 1
        if chunks > after:
            raise KeyboardInterrupt
        return piece(corpus, first, last)

    with monkeypatch.context() as patch:
        patch.setattr(EncodedCorpus, "piece", reading)
        with pytest.raises(KeyboardInterrupt):
            cooccurrence(folder=out, **options)


@pytest.mark.parametrize(
    "change",
    [{"window": 4}, {"symmetric": False}, {"distance_weighting": False}, {"cross_sentences": True}],
)
def test_other_settings_start_anew(monkeypatch, tmp_path, tiny_plan, counted, change):
    corpus, vocab = zipf_corpus(2000, 30)
    options = {"corpus": corpus, "vocabulary": vocab, "window": 3}
    interrupted(monkeypatch, tmp_path / "out", 3, **options)
    assert len(runs_in(tmp_path / "out")) == 3
    counted.clear()
    counts = cooccurrence(folder=tmp_path / "out", **{**options, **change})
    assert counted[0][0] == 0
    assert bytes_of(counts) == bytes_of(cooccurrence(**{**options, **change}))


def test_other_text_starts_anew(monkeypatch, text_file, tmp_path, counted):
    out = tmp_path / "out"
    plan = MemoryPlan(chunk_bytes=200_000, range_entries=50_000)
    monkeypatch.setattr(cooccurrence_module, "plan_memory", lambda *_, **__: plan)
    interrupted(monkeypatch, out, 2, corpus=text_file, min_count=1)
    assert len(runs_in(out)) == 2
    with open(text_file, "a") as file:
        file.write("\nw1 w2 w3\n")
    counted.clear()
    counts = cooccurrence(text_file, min_count=1, folder=out)
    assert counted[0][0] == 0
    assert bytes_of(counts) == bytes_of(cooccurrence(text_file, min_count=1))


def test_damaged_runs_are_counted_again(monkeypatch, tmp_path, tiny_plan, counted):
    corpus, vocab = zipf_corpus(2000, 30)
    out, options = tmp_path / "out", {"corpus": corpus, "vocabulary": vocab, "window": 3}
    interrupted(monkeypatch, out, 3, **options)
    run = next((out / ".runs").glob("*2.cols"))
    run.write_bytes(run.read_bytes()[:-4])
    counted.clear()
    assert bytes_of(cooccurrence(folder=out, **options)) == bytes_of(cooccurrence(**options))
    assert counted[0][0] == 0


def test_wrong_arguments_keep_what_was_done(monkeypatch, tmp_path):
    corpus, vocab = zipf_corpus(2000, 30)
    out, options = tmp_path / "out", {"corpus": corpus, "vocabulary": vocab, "window": 3}
    with monkeypatch.context() as patch:
        patch.setattr(cooccurrence_module, "plan_memory", lambda *_, **__: TINY)
        interrupted(monkeypatch, out, 3, **options)
    with pytest.raises(ValueError, match="memory must be at least"):
        cooccurrence(folder=out, memory="1MB", **options)
    assert len(runs_in(out)) == 3


def test_one_process_at_a_time(monkeypatch, tmp_path, tiny_plan):
    corpus, vocab = zipf_corpus(2000, 30)
    out, options = tmp_path / "out", {"corpus": corpus, "vocabulary": vocab, "window": 3}
    interrupted(monkeypatch, out, 3, **options)
    with open(out / ".lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="another process is counting there"):
            cooccurrence(folder=out, **options)
    assert len(runs_in(out)) == 3
    assert bytes_of(cooccurrence(folder=out, **options)) == bytes_of(cooccurrence(**options))


def test_words_that_no_file_holds(tmp_path):
    corpus = [["a\nb", "c"]] * 5
    with pytest.raises(ValueError, match="words must be non-empty lines of text"):
        cooccurrence(corpus, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert cooccurrence(corpus).count("c", "a\nb") == 5


def test_result_in_a_folder_is_replaced_when_the_new_one_is_complete(tmp_path, example):
    example.save(tmp_path / "out")
    corpus = [["x", "y"]] * 5
    with pytest.raises(ValueError, match="memory must be at least"):
        cooccurrence(corpus, folder=tmp_path / "out", memory="1MB")
    assert bytes_of(Cooccurrence.load(tmp_path / "out")) == bytes_of(example)
    cooccurrence(corpus, folder=tmp_path / "out")
    assert Cooccurrence.load(tmp_path / "out").vocab.words == ["x", "y"]
    assert bytes_of(example)  # what is mapped stays


def test_temporary_files_go_and_the_result_stays(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    counts = cooccurrence([["a", "b", "c"]] * 5)
    assert not list(tmp_path.iterdir())
    gc.collect()
    assert counts.count("a", "c") == 2.5


FULL = """
import errno, resource, sys
import lexforge
from lexforge.models.cooccurrence import count as module
from lexforge.models.cooccurrence import counting

folder, out, limit, plan = sys.argv[1], sys.argv[2], int(sys.argv[3]), eval(sys.argv[4])
if plan:
    module.plan_memory = lambda *_, **__: counting.MemoryPlan(*plan)
from lexforge.text import EncodedCorpus, Vocabulary
corpus, vocab = EncodedCorpus.open(folder), Vocabulary.load(f"{folder}/vocab.txt")
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    lexforge.cooccurrence(corpus, vocabulary=vocab, folder=out)
except OSError as error:
    assert error.errno == errno.EFBIG and error.filename.startswith(out), error
    print(error)
"""


@pytest.mark.parametrize(
    "limit, plan",
    [(10**6, None), (3 * 10**5, (2_000_000, 200_000)), (5 * 10**6, (2_000_000, 200_000))],
    ids=["one chunk", "first run", "merge"],
)
def test_no_space_for_files(on_disk, tmp_path, limit, plan):
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", FULL, on_disk, out, str(limit), str(plan)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "of counts are written and" in done.stdout and "are needed" in done.stdout
    assert not out.exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("plan", [None, MemoryPlan(1_000_000, 100_000)], ids=["one", "runs"])
def test_full_disk(on_disk, small_disk, monkeypatch, plan):
    if plan:
        monkeypatch.setattr(cooccurrence_module, "plan_memory", lambda *_, **__: plan)
    vocab = Vocabulary.load(on_disk / "vocab.txt")
    with pytest.raises(OSError, match=r"of counts are written and .* are free; about") as error:
        cooccurrence(EncodedCorpus.open(on_disk), vocabulary=vocab, folder=small_disk / "out")
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename.startswith(str(small_disk / "out"))
    assert not list(small_disk.iterdir())


def test_space_is_looked_at_first(text_file, tmp_path, monkeypatch, example):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(OSError, match="240KB are needed and 100B are free"):
        cooccurrence(text_file, min_count=1, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(OSError, match="160B are needed and 100B are free"):
        example.save(tmp_path / "saved")


# -- wrong input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"window": 0}, ValueError, "window"),
        ({"window": 43}, ValueError, "window"),
        ({"window": 1001, "distance_weighting": False}, ValueError, "window"),
        ({"window": 2.5}, TypeError, "window must be an integer, got 2.5"),
        ({"memory": "lots"}, ValueError, "memory must be like '512MB' or '2GB', got 'lots'"),
        ({"memory": 0}, ValueError, "memory must be above 0, got 0"),
        ({"memory": 1.5}, TypeError, "memory must be a number of bytes"),
        ({"workers": 0}, ValueError, "workers must be 1 to 1024, got 0"),
        ({"threads": 0}, ValueError, "workers must be 1 to 1024, got 0"),
        ({"device": "tpu"}, ValueError, "cooccurrence: device must be auto, cpu or cuda"),
        ({"min_count": -1}, ValueError, "min_count must be >= 0, got -1"),
        ({"min_count": 9}, ValueError, "min_count=9"),
        ({"max_vocab_size": 0}, ValueError, "max_vocab_size must be >= 1"),
        ({"max_sentence_length": 0}, ValueError, "max_sentence_length must be >= 1"),
        ({"vocabulary": Vocabulary(["x"], [1])}, ValueError, "no word of the corpus is in the"),
    ],
)
def test_wrong_arguments(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        cooccurrence([["a", "b"]] * 5, folder=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_window_wide_enough_without_weights():
    assert (
        cooccurrence([["a", "b"]] * 5, window=1000, distance_weighting=False).count("a", "b") == 5
    )


def test_an_encoded_corpus_needs_its_vocabulary():
    with pytest.raises(TypeError, match="an EncodedCorpus needs its vocabulary"):
        cooccurrence(EncodedCorpus.from_sentences([[0, 1]]))


def test_words_that_are_not_in_the_vocabulary(device):
    vocab = Vocabulary(["a", "b"], [2, 1])
    with pytest.raises(RuntimeError, match="tokens must be in"):
        cooccurrence(EncodedCorpus.from_sentences([[0, 2]]), vocabulary=vocab, device=device)


def test_nothing_to_count(tmp_path):
    with pytest.raises(ValueError, match="each of the 5 sentences has one word of the vocabulary"):
        cooccurrence([["a"]] * 5, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert cooccurrence([["a"]] * 5, cross_sentences=True, window=1).count("a", "a") == 8


# -- files ----------------------------------------------------------------------------------------


def test_save_and_load(example, tmp_path):
    example.save(tmp_path)
    loaded = Cooccurrence.load(tmp_path)
    assert triplets_of(loaded) == triplets_of(example)
    assert torch.equal(loaded.row_begin, example.row_begin)
    assert loaded.vocab == example.vocab
    for name in ("window", "symmetric", "distance_weighting", "cross_sentences", "corpus", "nnz"):
        assert getattr(loaded, name) == getattr(example, name)
    loaded.save(tmp_path)  # onto itself
    assert triplets_of(Cooccurrence.load(tmp_path)) == triplets_of(loaded) == triplets_of(example)
    assert {path.name for path in tmp_path.iterdir()} == {"triplets.bin", "vocab.txt", "meta.json"}


def test_files_of_any_number_of_pieces(monkeypatch, tmp_path):
    corpus, vocab = zipf_corpus(3000, 40)
    counts = cooccurrence(corpus, vocabulary=vocab, window=3)
    monkeypatch.setattr(triplets, "PIECE", 7)
    counts.save(tmp_path / "out")
    counts.save_stanford(tmp_path / "stanford.bin")
    assert bytes_of(Cooccurrence.load(tmp_path / "out")) == bytes_of(counts)
    loaded = Cooccurrence.load_stanford(tmp_path / "stanford.bin", vocab)
    assert bytes_of(loaded) == bytes_of(counts)
    assert torch.equal(loaded.row_begin, counts.row_begin)


def test_tensors_are_views_of_the_file_that_never_change_it(example, tmp_path):
    example.save(tmp_path)
    loaded = Cooccurrence.load(tmp_path)
    assert loaded.rows.stride() == (4,) and loaded.values.stride() == (2,)
    assert loaded.rows.untyped_storage().data_ptr() == loaded.values.untyped_storage().data_ptr()
    loaded.values[0] = 99.0
    assert Cooccurrence.load(tmp_path).values[0] == 15.0


def write(path, records):
    np.array(records, TRIPLET).tofile(path)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda r: r[:-1], r"must hold 10 records of 16 bytes, got 9: truncated"),
        (lambda r: r.tobytes()[:-1], r"truncated or no triplet file: .* got 159 bytes"),
        (lambda r: b"", "got 0 bytes"),
        (lambda r: r[::-1].copy(), "records must ascend by row and column, got row 3, column 0"),
        (lambda r: r[[0, 0, *range(2, 10)]], "must ascend .* in record 1: damaged or unsorted"),
        (lambda r: changed(r, 9, "col", 4), "words must be 0 to 3, .* column 4"),
        (lambda r: changed(r, 0, "row", -1), "words must be 0 to 3, .* row -1"),
        (lambda r: changed(r, 5, "value", 0.0), "values must be finite and > 0, .* in record 5"),
        (lambda r: changed(r, 5, "value", -1.0), "values must be finite and > 0"),
        (lambda r: changed(r, 5, "value", math.nan), "values must be finite and > 0"),
        (lambda r: changed(r, 5, "value", math.inf), "values must be finite and > 0"),
    ],
)
@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_damaged_triplets(example, tmp_path, monkeypatch, change, message, piece):
    example.save(tmp_path)
    path = tmp_path / "triplets.bin"
    content = change(np.fromfile(path, TRIPLET))
    path.write_bytes(content if isinstance(content, bytes) else content.tobytes())
    monkeypatch.setattr(triplets, "PIECE", piece)
    with pytest.raises(ValueError, match=message) as error:
        Cooccurrence.load(tmp_path)
    assert str(path) in str(error.value)


def changed(records, at, name, value):
    records[name][at] = value
    return records


def test_damaged_folders(example, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no co-occurrence counts: meta.json"):
        Cooccurrence.load(tmp_path)
    example.save(tmp_path)
    meta = (tmp_path / "meta.json").read_text()
    (tmp_path / "meta.json").write_text(meta[:-20])
    with pytest.raises(ValueError, match="truncated or damaged"):
        Cooccurrence.load(tmp_path)
    (tmp_path / "meta.json").write_text(meta.replace('"version": 1', '"version": 2'))
    with pytest.raises(ValueError, match="version must be 1, got 2"):
        Cooccurrence.load(tmp_path)
    for name, wrong in (
        *(("entries", wrong) for wrong in (math.inf, 1.5, "4", None, 10**30)),
        *(("window", wrong) for wrong in ("x", [], 1.5)),
        *(("symmetric", 7), ("corpus", "x")),
    ):
        (tmp_path / "meta.json").write_text(json.dumps({**json.loads(meta), name: wrong}))
        with pytest.raises(ValueError, match=r"meta.json is truncated or damaged"):
            Cooccurrence.load(tmp_path)
    (tmp_path / "meta.json").write_text(re.sub(r'"vocabulary_size": \d+,', "", meta))
    Cooccurrence.load(tmp_path)
    (tmp_path / "vocab.txt").write_text("a 3\nb 2\nc 1\nd 1\n")
    with pytest.raises(ValueError, match=r"vocab.txt is damaged: .*\(4 words, None expected\)"):
        Cooccurrence.load(tmp_path)
    (tmp_path / "meta.json").write_text(meta)
    (tmp_path / "vocab.txt").write_text("a 3\nb 2\nc 1\nd 1\n")
    with pytest.raises(ValueError, match=r"vocab.txt is damaged: .*\(4 words, 4 expected\)"):
        Cooccurrence.load(tmp_path)


def test_stanford_file(example, tmp_path):
    path = tmp_path / "cooccurrence.bin"
    example.save_stanford(path)
    content = path.read_bytes()
    assert content[:16].hex(" ") == "01 00 00 00 02 00 00 00 00 00 00 00 00 00 2e 40"
    assert len(content) == 160
    example.vocab.save(tmp_path / "vocab.txt")
    for vocabulary in (example.vocab, tmp_path / "vocab.txt"):
        loaded = Cooccurrence.load_stanford(path, vocabulary)
        assert triplets_of(loaded) == triplets_of(example)
        assert loaded.window is None and loaded.corpus is None
    Cooccurrence.load_stanford(path, example.vocab, folder=tmp_path / "kept")
    assert triplets_of(Cooccurrence.load(tmp_path / "kept")) == triplets_of(example)


@pytest.mark.parametrize("memory", ["2GB", 1, 48 * 40])
def test_shuffled_stanford_file(tmp_path, monkeypatch, memory):
    """As the original tool's shuffle leaves it: sorted again, in memory or through many files."""
    monkeypatch.setattr(triplets, "PIECE", 7)
    corpus, vocab = zipf_corpus(2000, 40)
    counts = cooccurrence(corpus, vocabulary=vocab, window=3)
    path = tmp_path / "cooccurrence.bin"
    counts.save_stanford(path)
    records = np.fromfile(path, TRIPLET)
    np.random.default_rng(5).shuffle(records)
    shuffled = tmp_path / "cooccurrence.shuf.bin"
    shuffled.write_bytes(records.tobytes())
    for folder in (None, tmp_path / "kept"):
        loaded = Cooccurrence.load_stanford(shuffled, vocab, folder=folder, memory=memory)
        assert bytes_of(loaded) == bytes_of(counts)
        assert loaded.row_begin.equal(counts.row_begin)
    assert bytes_of(Cooccurrence.load(tmp_path / "kept")) == bytes_of(counts)
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {
        "triplets.bin", "vocab.txt", "meta.json",
    }  # fmt: skip


def test_long_lines_are_not_cut(tmp_path, monkeypatch):
    """One line of 12,000 words, counted in chunks of a few: no pair over any border is lost."""
    rng = np.random.default_rng(3)
    ids = rng.integers(0, 6, 12_000)
    path = tmp_path / "line.txt"
    path.write_text(" ".join(f"w{i}" for i in ids))
    vocab = Vocabulary([f"w{i}" for i in range(6)], [1] * 6)
    expected = expected_triplets([ids.tolist()], 4)
    options = {"window": 4, "vocabulary": vocab}
    assert triplets_of(cooccurrence(path, **options)) == expected
    plan = MemoryPlan(chunk_bytes=20_000, range_entries=14)
    monkeypatch.setattr(cooccurrence_module, "plan_memory", lambda *_, **__: plan)
    assert triplets_of(cooccurrence(path, **options)) == expected
    cut = cooccurrence(path, max_sentence_length=10_000, **options)
    assert float(cut.values.sum()) < float(np.sum([value for *_, value in expected]))


def test_a_file_that_is_cut_while_it_is_used(example, tmp_path):
    """An error, and no signal 7."""
    example.save(tmp_path)
    counts = Cooccurrence.load(tmp_path)
    os.truncate(tmp_path / "triplets.bin", 32)
    for use in (counts.identity, counts.refuse_cut):
        with pytest.raises(ValueError, match=r"cut short|truncated"):
            use()


@pytest.mark.parametrize(
    "records, message",
    [
        ([(1, 2, 1.0), (5, 1, 1.0)], "words must be 1 to 4, .* row 5"),
        ([(1, 2, 1.0), (2, 0, 1.0)], "words must be 1 to 4, .* column 0"),
        ([(-(2**31), 2, 1.0)], "words must be 1 to 4"),
        ([(1, 2, 0.0)], "values must be finite and > 0"),
        ([(1, 2, math.nan)], "values must be finite and > 0"),
        ([(2, 1, 1.0), (1, 2, 1.0), (2, 1, 3.0)], "must come once, got row 2, column 1 twice"),
        ([], "got 0 bytes"),
    ],
)
def test_wrong_stanford_files(example, tmp_path, records, message):
    path = tmp_path / "cooccurrence.bin"
    write(path, records)
    with pytest.raises(ValueError, match=message):
        Cooccurrence.load_stanford(path, example.vocab, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("distance_weighting", [True, False])
def test_against_the_original_tool(tmp_path, symmetric, distance_weighting):
    """Its own sums of 1/distance are rounded, and it counts the very first record twice."""
    build = os.environ.get("LEXFORGE_GLOVE")
    if not build:
        pytest.skip("LEXFORGE_GLOVE names no build folder of the original tool")
    corpus, _ = zipf_corpus(30_000, 500)
    text = "".join(
        " ".join(f"w{i}" for i in sentence) + "\n" for sentence in sentences_of(corpus)
    ).encode()

    def tool(name, *options):
        command = [Path(build) / name, "-verbose", "0", *options]
        return subprocess.run(
            command, input=text, capture_output=True, check=True, cwd=tmp_path
        ).stdout

    (tmp_path / "vocab.txt").write_bytes(tool("vocab_count", "-min-count", "3"))
    (tmp_path / "theirs.bin").write_bytes(
        tool(
            "cooccur", "-window-size", "5", "-vocab-file", "vocab.txt", "-memory", "1.0",
            "-symmetric", str(int(symmetric)), "-distance-weighting", str(int(distance_weighting)),
        )
    )  # fmt: skip
    (tmp_path / "corpus.txt").write_bytes(text)
    vocab = Vocabulary.load(tmp_path / "vocab.txt")
    theirs = Cooccurrence.load_stanford(tmp_path / "theirs.bin", vocab)
    ours = cooccurrence(
        tmp_path / "corpus.txt", vocabulary=vocab, window=5, symmetric=symmetric,
        distance_weighting=distance_weighting,
    )  # fmt: skip
    assert torch.equal(ours.rows, theirs.rows) and torch.equal(ours.cols, theirs.cols)
    ratio = (theirs.values / ours.values).tolist()
    assert ratio[0] == pytest.approx(1, rel=1e-13) or ratio[0] == pytest.approx(2, rel=1e-13)
    assert ratio[1:] == pytest.approx([1] * (len(ratio) - 1), rel=1e-13)
    # And back: the tool's shuffle reads our file and puts out the same records.
    ours.save_stanford(tmp_path / "ours.bin")
    text = (tmp_path / "ours.bin").read_bytes()
    shuffled = np.frombuffer(tool("shuffle", "-memory", "1.0", "-seed", "1"), TRIPLET)
    assert np.array_equal(np.sort(shuffled), np.sort(np.frombuffer(text, TRIPLET)))


# -- looking things up ----------------------------------------------------------------------------


@pytest.fixture
def states_of_water():
    """Ice meets solid, steam meets gas, both meet water and neither minds fashion."""
    sentences = (
        [["ice", "solid"]] * 8 + [["ice", "gas"]] + [["ice", "water"]] * 10 + [["ice", "fashion"]]
        + [["steam", "solid"]] + [["steam", "gas"]] * 8 + [["steam", "water"]] * 10
        + [["steam", "fashion"]] + [["fashion", "show"]] * 5
    )  # fmt: skip
    return cooccurrence(sentences, min_count=1)


def test_ratio_table(states_of_water):
    table = states_of_water.ratio_table(("ice", "steam"), ["solid", "gas", "water", "fashion"])
    assert table.probabilities.tolist() == [[0.4, 0.05, 0.5, 0.05], [0.05, 0.4, 0.5, 0.05]]
    assert table.ratios.tolist() == [0.4 / 0.05, 0.05 / 0.4, 1.0, 1.0]
    assert str(table).splitlines() == [
        "k                          solid   gas  water  fashion",
        "P(k | ice)                   0.4  0.05    0.5     0.05",
        "P(k | steam)                0.05   0.4    0.5     0.05",
        "P(k | ice) / P(k | steam)      8  0.12      1        1",
    ]
    assert table.to_dict() == {
        "words": ["ice", "steam"],
        "probes": {
            "solid": {"probabilities": [0.4, 0.05], "ratio": 8.0},
            "gas": {"probabilities": [0.05, 0.4], "ratio": 0.125},
            "water": {"probabilities": [0.5, 0.5], "ratio": 1.0},
            "fashion": {"probabilities": [0.05, 0.05], "ratio": 1.0},
        },
    }


def test_ratios_without_a_number(states_of_water):
    table = states_of_water.ratio_table(("show", "ice"), ["show", "fashion", "ice"])
    assert str(table).splitlines()[-1].split()[-3:] == ["nan", "20", "nan"]
    assert table.to_dict()["probes"]["show"]["ratio"] is None
    table = states_of_water.ratio_table(("fashion", "ice"), ["show"])
    assert table.ratios.tolist() == [math.inf] and "inf" in str(table)


def test_counts_and_probabilities_of_words(states_of_water):
    assert states_of_water.count("ice", "solid") == 8.0
    assert states_of_water.count("solid", "steam") == 1.0
    assert states_of_water.count("ice", "steam") == 0.0
    assert states_of_water.probability("solid", "ice") == 8 / 9
    total = sum(states_of_water.probability("ice", word) for word in states_of_water.vocab.words)
    assert total == pytest.approx(1.0)
    right = cooccurrence([["a", "b"]] * 5, symmetric=False)
    assert right.probability("a", "b") == 1.0 and math.isnan(right.probability("b", "a"))


@pytest.mark.parametrize("words", [("ice",), ("ice", "steam", "gas"), "ic"])
def test_ratios_are_of_two_words(states_of_water, words):
    with pytest.raises(ValueError, match="words must be two words, got"):
        states_of_water.ratio_table(words, ["solid"])


def test_unknown_words(states_of_water):
    for ask in (
        lambda: states_of_water.count("stream", "gas"),
        lambda: states_of_water.probability("gas", "stream"),
        lambda: states_of_water.ratio_table(("ice", "stream"), ["gas"]),
        lambda: states_of_water.ratio_table(("ice", "steam"), ["stream"]),
    ):
        with pytest.raises(KeyError, match=r"'stream' is not among the 7 words .*mean steam"):
            ask()


def test_the_function_is_what_the_package_exports():
    """Modules of the same name are imported under other packages, whatever the order."""
    import lexforge.models.cooccurrence.count as module
    import lexforge.models.cooccurrence.counts as results
    import lexforge.ops.cooccurrence.cooccurrence

    assert lexforge.cooccurrence is module.cooccurrence
    assert lexforge.Cooccurrence is results.Cooccurrence
    assert {"cooccurrence", "Cooccurrence"} <= set(dir(lexforge))
    code = (
        "import lexforge.models.cooccurrence.count, lexforge; "
        "print(callable(lexforge.cooccurrence))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_representation(example, tmp_path):
    assert repr(example) == "Cooccurrence(10 entries, 4 words, window 2)"
    example.save_stanford(tmp_path / "s")
    loaded = Cooccurrence.load_stanford(tmp_path / "s", example.vocab)
    assert repr(loaded) == "Cooccurrence(10 entries, 4 words)"
