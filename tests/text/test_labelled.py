"""Text with labels in numbers, against the rules of csrc/text/labelled.h told in Python."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lexforge import _text
from lexforge._text import WordBytes
from lexforge.reference.subword.classify_train import line_rows
from lexforge.text.corpus import resolve_corpus
from lexforge.text.labelled import labelled_corpus
from lexforge.text.subwords import SubwordIndex, pruned_rows

TEXT = (
    b"__label__a the cat \xff sat\r\n\nthe\vdog\0__label__b __label__a </s> tail\n"
    b"\tna\xc3\xafve the </s>\nno end the __label__"
)


def words_of(words: WordBytes) -> list[bytes]:
    return [words[i] for i in range(len(words))]


def lines_of(text: bytes) -> list[list[bytes]]:
    """Words and labels of each line."""
    lines, now = [], []
    for word in re.findall(rb"\n|[^\0\t\n\v\f\r ]+", text):
        now.append(b"</s>" if word == b"\n" else word)
        if now[-1] == b"</s>":
            lines.append(now)
            now = []
    return lines + [now] * bool(now)


def test_lines(tmp_path):
    """Words by descending count, then by first appearance; labels apart; rare words behind."""
    (tmp_path / "text").write_bytes(TEXT)
    corpus = resolve_corpus(tmp_path / "text", errors="replace")
    for threads in (1, 3):
        with labelled_corpus(corpus, min_count=2, threads=threads) as found:
            assert words_of(found.words) == [b"</s>", b"the"]
            assert found.word_counts.tolist() == [6, 4]
            assert words_of(found.labels) == [b"__label__a", b"__label__b", b"__label__"]
            assert found.label_counts.tolist() == [2, 1, 1]
            types = words_of(found.words) + words_of(found.unknown)
            assert types[2:5] == [b"cat", b"\xff", b"sat"]
            tokens, labels = [], []
            for line in lines_of(TEXT):
                tokens.append([types.index(w) for w in line if not w.startswith(b"__label__")])
                labels.append([w for w in line if w.startswith(b"__label__")])
            assert found.tokens.tolist() == [token for line in tokens for token in line]
            assert found.offsets.tolist() == np.cumsum([0, *map(len, tokens)]).tolist()
            assert [found.labels[i] for i in found.label_ids] == [
                label for line in labels for label in line
            ]
            assert found.label_offsets.tolist() == np.cumsum([0, *map(len, labels)]).tolist()
            assert found.read == sum(map(len, lines_of(TEXT)))
            hashes = [_text.ngram_hash(word) for word in types]
            assert (found.hashes.astype(np.int64) % 2**32).tolist() == hashes


def test_rare_labels_are_left_out():
    corpus = resolve_corpus([["__label__a", "x"], ["__label__b", "y", "__label__a"]])
    with labelled_corpus(corpus, min_count_label=2) as found:
        assert words_of(found.labels) == [b"__label__a"]
        assert found.label_ids.tolist() == [0, 0]
        assert found.label_offsets.tolist() == [0, 1, 2]


def test_more_words_count_once_more_and_are_never_rare():
    corpus = resolve_corpus([["b", "b", "c", "__label__x"]])
    more = WordBytes.of([b"new", b"c", b"b"])
    with labelled_corpus(corpus, min_count=2, more_words=more) as found:
        assert words_of(found.words) == [b"b", b"new", b"c"]
        assert found.word_counts.tolist() == [3, 1, 1]
        assert words_of(found.unknown) == [b"</s>"]


def test_a_vocabulary_that_is_given_stays():
    corpus = resolve_corpus([["x", "y", "__label__q", "__label__p"]])
    given = WordBytes.of([b"z", b"y"]), WordBytes.of([b"__label__p"])
    with labelled_corpus(corpus, vocabulary=given) as found:
        assert (words_of(found.words), words_of(found.labels)) == ([b"z", b"y"], [b"__label__p"])
        assert words_of(found.unknown) == [b"x", b"</s>"]
        assert found.tokens.tolist() == [2, 1, 3]
        assert found.label_ids.tolist() == [0]


def test_numbers_in_a_file_are_those_in_memory(tmp_path):
    (tmp_path / "text").write_bytes(TEXT)
    corpus = resolve_corpus(tmp_path / "text", errors="replace")
    with labelled_corpus(corpus) as one, labelled_corpus(corpus, memory=0) as other:
        assert isinstance(other.tokens, np.memmap)
        assert one.identity() == other.identity()


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize(("max_n", "word_ngrams"), [(0, 1), (0, 3), (3, 1), (4, 2)])
def test_rows_of_lines_are_those_of_training(tmp_path, max_n, word_ngrams, pruned):
    """What a text is to a model is what its types, bags and hashes are in training."""
    (tmp_path / "text").write_bytes(TEXT)
    bucket = 17 if max_n or word_ngrams > 1 else 0
    pairs = np.array([[16, 1], [2, 0], [5, 2], [9, 3]], np.int32)
    bucket_rows = None
    if pruned and bucket:
        bucket_rows = np.full(bucket, -1, np.int32)
        bucket_rows[pairs[:, 0]] = pairs[:, 1]
    index = SubwordIndex.every(2 if max_n else 0, max_n, bucket)
    if bucket_rows is not None and max_n:
        index = SubwordIndex.pruned(2, max_n, bucket, pairs)
    corpus = resolve_corpus(tmp_path / "text", errors="replace")
    with labelled_corpus(corpus, min_count=2) as found:
        words = len(found.words)
        ends, rows = index.bags(found.words)
        more_ends, more = index.many_ngram_rows(found.unknown)
        bags = (
            np.concatenate([ends, ends[-1] + more_ends[1:]]),
            np.concatenate([rows, more + words]),
        )
        features = _text.LineFeatures(
            found.words,
            found.labels,
            b"__label__",
            min_n=2 if max_n else 0,
            max_n=max_n,
            word_ngrams=word_ngrams,
            buckets=bucket,
            pruned=None if bucket_rows is None else pruned_rows(bucket, pairs),
        )
        lines = features.read(TEXT, whole=False, threads=1)
        assert lines.tokens == found.read
        assert lines.label_ends.tolist() == found.label_offsets.tolist()
        assert lines.labels.tolist() == found.label_ids.tolist()
        for line in range(len(found)):
            types = found.tokens[found.offsets[line] : found.offsets[line + 1]].tolist()
            expected = line_rows(
                types,
                *bags,
                found.hashes,
                words=words,
                buckets=bucket,
                word_ngrams=word_ngrams,
                bucket_rows=bucket_rows,
            )
            got = lines.rows[lines.row_ends[line] : lines.row_ends[line + 1]]
            assert got.tolist() == expected


def test_whole_lines_and_threads():
    """What follows a </s> is left out of whole lines; threads give the same lines."""
    features = _text.LineFeatures(
        WordBytes.of([b"a", b"</s>"]),
        WordBytes.of([b"__label__x"]),
        b"__label__",
        min_n=0,
        max_n=0,
        word_ngrams=1,
        buckets=0,
    )
    text = b"a </s> a __label__x\na\n"
    assert features.read(text, whole=True, threads=1).rows.tolist() == [0, 1, 0, 1]
    assert features.read(text, whole=False, threads=1).row_ends.tolist() == [0, 2, 4, 6]
    many = b"".join(b"a " * (i % 7) + b"__label__x\n" for i in range(20_000))
    one, three = (features.read(many, whole=False, threads=n) for n in (1, 3))
    for part, other in zip(one, three, strict=True):
        assert np.array_equal(part, other)
    assert len(features.read(b"", whole=False, threads=2).row_ends) == 1
