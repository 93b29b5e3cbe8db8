"""Character n-grams, their hashes, and the rows that they have."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexforge._text import WordBytes
from lexforge.reference.text import subwords as reference
from lexforge.text.subwords import SubwordIndex, character_ngrams, ngram_hash

WORDS = st.lists(st.text(max_size=8), min_size=1, max_size=12, unique=True)
LENGTHS = st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted).filter(lambda n: n[1] > 0)


def bags_of(offsets: np.ndarray, rows: np.ndarray) -> list[list[int]]:
    assert (offsets.dtype, rows.dtype) == (np.int64, np.int32)
    assert offsets[0] == 0 and offsets[-1] == len(rows)
    return [rows[a:b].tolist() for a, b in itertools.pairwise(offsets)]


@pytest.mark.parametrize(
    ("ngram", "expected"),
    [
        ("<wh", 1048167652),
        ("whe", 888420941),
        ("her", 4105473420),
        ("ere", 2073529033),
        ("re>", 2062867498),
        ("<where>", 2319392596),
        ("é", 1023043777),
        ("naïve", 3440832043),
        ("", 2166136261),
    ],
)
def test_hashes(ngram, expected):
    assert ngram_hash(ngram) == expected == reference.ngram_hash(ngram.encode())


@pytest.mark.parametrize(
    ("word", "lengths", "expected"),
    [
        (
            "where",
            (3, 6),
            "<wh <whe <wher <where whe wher where where> her here here> ere ere> re>",
        ),
        (
            "naïve",
            (3, 6),
            "<na <naï <naïv <naïve naï naïv naïve naïve> aïv aïve aïve> ïve ïve> ve>",
        ),
        ("the", (3, 6), "<th <the <the> the the> he>"),
        ("ab", (1, 2), "<a a ab b b>"),
        ("ab", (0, 1), "a b"),
        ("🙂é", (2, 2), "<🙂 🙂é é>"),
        ("a", (3, 3), "<a>"),
        ("", (1, 3), "<>"),
        ("", (3, 6), ""),
        ("where", (3, 0), ""),
        ("</s>", (1, 6), ""),
        ("ab", (9, 12), ""),
    ],
)
def test_ngrams(word, lengths, expected):
    assert character_ngrams(word, *lengths) == expected.split()


@given(st.binary(max_size=12), LENGTHS)
def test_any_bytes(word, lengths):
    """Bytes 10xxxxxx belong to the character before, in whatever order they come."""
    index = SubwordIndex.every(*lengths, 1000)
    expected = reference.ngrams(word, *lengths)
    assert index.ngram_rows(word).tolist() == [reference.ngram_hash(n) % 1000 for n in expected]
    as_text = word.decode(errors="surrogateescape")
    assert index.ngram_rows(as_text).tolist() == index.ngram_rows(word).tolist()
    spelt = [
        ngram.encode(errors="surrogateescape") for ngram in character_ngrams(as_text, *lengths)
    ]
    assert spelt == expected


def test_words_in_another_encoding():
    """The bytes of the file count: fastText reads them as they are."""
    word, index = "über", SubwordIndex.every(3, 6, 1000, encoding="cp852")
    expected = [reference.ngram_hash(n) % 1000 for n in reference.ngrams(b"\x81ber", 3, 6)]
    assert index.ngram_rows(word).tolist() == expected
    assert (
        index.ngram_rows(word).tolist() != SubwordIndex.every(3, 6, 1000).ngram_rows(word).tolist()
    )


@given(WORDS, LENGTHS, st.integers(1, 40), st.randoms(use_true_random=False))
def test_rows_of_a_vocabulary(words, lengths, bucket, random):
    counts = sorted((random.randint(0, 5) for _ in words), reverse=True)
    index = SubwordIndex.of_vocabulary(words, counts, *lengths, bucket)
    as_bytes = [word.encode() for word in words]
    held = reference.held_buckets(as_bytes, counts, *lengths, bucket)
    assert index.bucket_of_rows().tolist() == held and index.rows == len(held)
    row_of = {key: row for row, key in enumerate(held)}
    expected = reference.bags(as_bytes, *lengths, bucket, row_of)
    assert bags_of(*index.bags(words, threads=2)) == expected
    assert bags_of(*index.bags(WordBytes.of(as_bytes))) == expected
    # A word of another text: what has no row counts as a row of zeros.
    stranger = [row_of.get(ngram_hash(n) % bucket, -1) for n in character_ngrams("xyzé", *lengths)]
    assert index.ngram_rows("xyzé").tolist() == stranger


def test_every_bucket():
    index = SubwordIndex.every(3, 6, 100)
    assert (index.rows, index.bucket_of_rows().tolist()) == (100, list(range(100)))
    rows = [ngram_hash(ngram) % 100 for ngram in character_ngrams("where", 3, 6)]
    assert index.ngram_rows("where").tolist() == rows
    assert bags_of(*index.bags(["where", "</s>"])) == [[0, *(2 + row for row in rows)], [1]]
    assert index.extended(["new"], [1]) is index


def test_a_pruned_index_leaves_out_what_it_does_not_hold():
    buckets = [ngram_hash(ngram) % 100 for ngram in ("re>", "<wh")]
    index = SubwordIndex.pruned(3, 3, 100, [[buckets[0], 1], [buckets[1], 0]])
    assert index.rows == 2 and index.bucket_of_rows().tolist() == buckets[::-1]
    assert index.ngram_rows("where").tolist() == [0, 1]
    assert bags_of(*index.bags(["where", "that"])) == [[0, 2, 3], [1]]
    empty = SubwordIndex.pruned(3, 3, 100, [])
    assert empty.rows == 0 and empty.ngram_rows("where").tolist() == []


def test_an_explicit_index_is_the_union_of_ngrams():
    index = SubwordIndex.explicit(["banana", "the", "</s>"], [1, 5, 9], 3, 5)
    # Heaviest first, then in order; whole words have rows of their own; `ana` comes once in a word.
    expected = "<th <the the the> he> ana anan <ba <ban <bana ban bana banan nan nana nana> "
    expected += "anana ana> na> anana>"
    found = index.ngram_of_rows()
    assert sorted(found) == sorted(set(expected.split()) - {"anana>"})
    assert found[:5] == expected.split()[:5]
    offsets, rows = index.bags(["banana", "the", "</s>"])
    bags = bags_of(offsets, rows)
    banana = [found[row - 3] for row in bags[0][1:]]
    assert banana == list(dict.fromkeys(character_ngrams("banana", 3, 5)))
    assert [found[row - 3] for row in bags[1][1:]] == ["<th", "<the", "the", "the>", "he>"]
    assert [bag[0] for bag in bags] == [0, 1, 2] and bags[2] == [2]
    # Others' n-grams are left out.
    assert [found[row] for row in index.ngram_rows("them")] == ["<th", "<the", "the"]


@pytest.mark.parametrize("make", [SubwordIndex.of_vocabulary, SubwordIndex.explicit])
def test_an_extended_index_keeps_its_rows(make):
    words, counts = ["where", "here"], [3, 2]
    index = make(words, counts, 2, 4)
    longer = index.extended([*words, "thereé"], [3, 2, 1])
    assert longer.rows > index.rows
    assert longer.ngram_rows("here").tolist() == index.ngram_rows("here").tolist()
    assert longer.bags([*words, "thereé"])[0][-1] > 0
    for name, values in index.arrays().items():
        assert longer.arrays()[name][: len(values)].tolist() == values.tolist()
    with pytest.raises(ValueError, match="words must be those that the index was made for"):
        SubwordIndex.of_vocabulary(words, counts).bags(["stranger"])


@pytest.mark.parametrize(
    "index",
    [
        SubwordIndex.of_vocabulary(["where", "éa"], [3, 2]),
        SubwordIndex.of_vocabulary(["where", "éa"], [3, 2], max_n=0),
        SubwordIndex.every(2, 5, 77),
        SubwordIndex.pruned(2, 5, 77, [[5, 1], [3, 0]]),
        SubwordIndex.explicit(["where", "éa"], [3, 2], encoding="latin-1"),
        SubwordIndex.explicit([], []),
    ],
    ids=repr,
)
def test_record_and_arrays_restore_it(index):
    again = SubwordIndex.restored(index.record(), index.arrays())
    assert again.record() == index.record() and repr(again) == repr(index)
    for name, values in index.arrays().items():
        assert again.arrays()[name].tolist() == values.tolist()
    assert again.ngram_rows("where").tolist() == index.ngram_rows("where").tolist()


@pytest.mark.parametrize("kind", ["held", "every", "pruned", "explicit"])
def test_one_word_has_the_rows_that_it_has_among_many(kind):
    """Words whose n-grams come twice, that are no words, or are the end of a line."""
    known, lengths = ["banana", "ananas", "né"], (1, 3)
    index = {
        "held": lambda: SubwordIndex.of_vocabulary(known, [3, 2, 1], *lengths, 50),
        "every": lambda: SubwordIndex.every(*lengths, 50),
        "pruned": lambda: SubwordIndex.pruned(*lengths, 50, [[3, 0], [9, 2], [40, 1]]),
        "explicit": lambda: SubwordIndex.explicit(known, [3, 2, 1], *lengths),
    }[kind]()
    words = [*known, "bananarama", "", "</s>", "\udcff"] * 20  # more than few
    offsets, rows = index.many_ngram_rows(words)
    for i, word in enumerate(words[:7]):
        assert index.ngram_rows(word).tolist() == rows[offsets[i] : offsets[i + 1]].tolist()


def test_without_ngrams_words_have_their_own_rows_alone():
    for index in (
        SubwordIndex.of_vocabulary(["a", "b"], [2, 1], 3, 0),
        SubwordIndex.every(0, 0, 0),
        SubwordIndex.explicit(["a", "b"], [2, 1], 3, 0),
    ):
        assert (index.rows, index.bucket) == (0, 0)
        assert bags_of(*index.bags(["a", "b"])) == [[0], [1]]
        assert index.ngram_rows("where").tolist() == []


def refused(kind: str, **changed):
    options = {"min_n": 3, "max_n": 6, "bucket": 100} | changed
    if kind == "of_vocabulary":
        options = {"words": ["a"], "counts": [1]} | options
    if kind == "pruned":
        options = {"pruneidx": [[1, 0]]} | options
    return getattr(SubwordIndex, kind)(**options)


@pytest.mark.parametrize("kind", ["of_vocabulary", "every", "pruned"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"min_n": 7}, "min_n must be <= max_n=6, got 7"),
        ({"min_n": -1}, "min_n must be >= 0, got -1"),
        ({"max_n": -2}, "max_n must be >= 0, got -2"),
        ({"bucket": 0}, r"bucket must be >= 1 where there are n-grams \(max_n=6\), got 0"),
        ({"bucket": -5}, "bucket must be >= 0, got -5"),
        ({"bucket": 2**31}, "bucket must be <= 2147483647, got 2147483648"),
        ({"encoding": "klingon"}, "encoding must be an encoding that Python knows"),
    ],
)
def test_what_is_refused(kind, changed, message):
    with pytest.raises(ValueError, match=f"SubwordIndex.{kind}: {message}"):
        refused(kind, **changed)


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        ("of_vocabulary", {"counts": [1, 2]}, r"counts must be \[V=1\] like words, got \[2\]"),
        ("of_vocabulary", {"counts": [-1]}, "counts must be whole numbers >= 0"),
        ("of_vocabulary", {"counts": [1.5]}, "counts must be whole numbers >= 0"),
        ("pruned", {"pruneidx": [[100, 0]]}, "pruneidx: bucket 100 is outside 0 .. 99"),
        ("pruned", {"pruneidx": [[1, 0], [1, 1]]}, "pruneidx: bucket 1 comes twice"),
        ("pruned", {"pruneidx": [[1, 1]]}, "the rows of pruneidx must be 0 to 0, each once"),
        ("pruned", {"pruneidx": [[-1, 0]]}, "pruneidx must be 0 to 2147483647"),
        ("pruned", {"pruneidx": [1, 2]}, r"pruneidx must be \[n, 2\], got \[2\]"),
    ],
)
def test_what_is_refused_of_one_kind(kind, changed, message):
    with pytest.raises(ValueError, match=f"SubwordIndex.{kind}: {message}"):
        refused(kind, **changed)


def test_ngrams_refuse_lengths():
    with pytest.raises(ValueError, match="character_ngrams: min_n must be <= max_n=2, got 3"):
        character_ngrams("a", 3, 2)
    with pytest.raises(TypeError, match="words must be a list of str, got 'abc'"):
        SubwordIndex.every(3, 6, 9).bags("abc")
    with pytest.raises(ValueError, match="at most 2147483647 rows, got 1 \\+ 2147483647"):
        SubwordIndex.every(3, 6, 2**31 - 1).bags(["abc"])


@pytest.mark.parametrize(
    ("data", "offsets", "message"),
    [
        (np.zeros(3, np.uint8), [0, 4], "offsets must go from 0 to B"),
        (np.zeros(3, np.uint8), [0, 2, 1, 3], "offsets must go from 0 to B"),
        (np.zeros(3, np.int8), [0, 3], "data must be uint8"),
        (np.zeros(3, np.uint8), [], "offsets int64"),
        (np.zeros(6, np.uint8)[::2], [0, 3], "must be contiguous"),
    ],
)
def test_bytes_that_are_no_words(data, offsets, message):
    with pytest.raises(ValueError, match=f"WordBytes: .*{message}"):
        WordBytes(data, np.array(offsets, np.int64))


def test_a_hundred_thousand_words():
    """Some 0.2 s in all."""
    rng = np.random.default_rng(1)
    letters = rng.integers(97, 123, (100_000, 9)).astype(np.uint8)
    words = [row.tobytes().decode() for row in letters]
    started = time.process_time()
    index = SubwordIndex.of_vocabulary(words, np.ones(len(words), np.int64))
    offsets, rows = index.bags(words)
    assert time.process_time() - started < 5
    assert len(rows) == offsets[-1] == 100_000 * (1 + 9 + 8 + 7 + 6)
    assert rows.max() == 100_000 + index.rows - 1
