"""Vocabulary: order, trimming, files."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from lexforge.text import Vocabulary, build_vocabulary

LINES = "he is an old worker\nenglish is a useful tool\nthe cinema is far away"
SENTENCES = [line.split() for line in LINES.split("\n")]


def test_order_of_the_reference_text():
    vocab = build_vocabulary(SENTENCES, min_count=1)
    words = "is he an old worker english a useful tool the cinema far away"
    assert " ".join(vocab.words) == words
    assert [vocab[word] for word in SENTENCES[1]] == [5, 0, 6, 7, 8]
    assert "is" in vocab and "was" not in vocab and len(vocab) == 13
    with pytest.raises(KeyError):
        vocab["was"]


def test_min_count_and_max_vocab_size():
    sentences = [["c"] * 3 + ["b"] * 3 + ["a"] * 2 + ["d"]]
    vocab = build_vocabulary(sentences, min_count=2)
    assert vocab.words == ["c", "b", "a"] and vocab.counts.tolist() == [3, 3, 2]
    assert (vocab.total, vocab.tokens_read, vocab.types_read) == (8, 9, 4)
    # Exactly the most frequent, where a tie is cut in the order of first appearance.
    assert build_vocabulary(sentences, min_count=1, max_vocab_size=1).words == ["c"]
    assert vocab.trim(max_size=2).words == ["c", "b"]
    assert vocab.trim(min_count=3) == vocab.trim(max_size=2)
    assert vocab.trim(min_count=3).tokens_read == 9
    with pytest.raises(ValueError, match=r"min_count=9 occurrences; the largest count seen is 3 "):
        build_vocabulary(sentences, min_count=9)
    with pytest.raises(ValueError, match=r"min_count=9, max_size=None; the largest count is 3"):
        vocab.trim(min_count=9)


def test_save_and_load(tmp_path):
    vocab = Vocabulary(["the", "new york", "caf\xe9", "a\u2028b", "x\ry"], [9, 7, 7, 2, 0])
    path = tmp_path / "vocab.txt"
    vocab.save(path)
    assert path.read_bytes().startswith(b"the 9\nnew york 7\ncaf\xc3\xa9 7\n")
    assert hashlib.sha1(path.read_bytes()).hexdigest() == vocab.sha1()
    loaded = Vocabulary.load(path)
    assert loaded == vocab and loaded.sha1() == vocab.sha1()
    assert loaded != Vocabulary(vocab.words, [9, 7, 7, 2, 1])
    assert [file.name for file in tmp_path.iterdir()] == ["vocab.txt"]


def test_load_orders_by_count(tmp_path):
    (tmp_path / "vocab.txt").write_text("</s> 0\nb 2\na 5\nc 2\n")
    vocab = Vocabulary.load(tmp_path / "vocab.txt")
    assert vocab.words == ["a", "b", "c", "</s>"] and vocab.counts.tolist() == [5, 2, 2, 0]


def test_load_as_numbered(tmp_path):
    """Where other files go by the numbers of the lines, another order would mix up words."""
    path = tmp_path / "vocab.txt"
    path.write_text("the 9\ncat 3\nsat 3\n")
    assert Vocabulary.load(path, as_numbered=True).words == ["the", "cat", "sat"]
    path.write_text("the 9\ncat 3\nsat 4\n")
    with pytest.raises(ValueError, match=r"vocab.txt: counts must not ascend, .* line 3 has more"):
        Vocabulary.load(path, as_numbered=True)


@pytest.mark.parametrize("digits", [str(2**63 - 7), str(2**63 - 1), str(2**64), "9" * 5000])
def test_load_names_the_count_that_is_too_large(tmp_path, digits):
    """Alone, or together with those before it."""
    (tmp_path / "vocab.txt").write_text(f"fine 7\nmany {digits}\nlast 1\n")
    with pytest.raises(ValueError, match=r"vocab.txt: line 2: counts must add up to <= 2\^63 - 1"):
        Vocabulary.load(tmp_path / "vocab.txt")
    (tmp_path / "vocab.txt").write_text(f"most {2**63 - 8}\nfine 7\n")
    assert Vocabulary.load(tmp_path / "vocab.txt").total == 2**63 - 1


@pytest.mark.parametrize("line", [b"word", b"word x", b" 5", b"b\xffd 5", b"word -5", b""])
def test_load_names_the_bad_line(tmp_path, line):
    (tmp_path / "vocab.txt").write_bytes(b"fine 7\n" + line + b"\nlast 1\n")
    with pytest.raises(ValueError, match=r"vocab.txt: line 2 must be '<word> <count>'"):
        Vocabulary.load(tmp_path / "vocab.txt")


def test_words_that_a_file_cannot_hold(tmp_path):
    for word in ("", "a\nb"):
        with pytest.raises(ValueError, match="save: words must be non-empty lines"):
            Vocabulary([word], [1]).save(tmp_path / "vocab.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "counts", "message"),
    [
        (["a"], [1, 2], r"counts must be \[1\] like words, got \[2\]"),
        (["a", "b"], [1, 2], "must not ascend"),
        (["a"], [-1], ">= 0"),
        (["a"], [2**63], "counts must be at most"),
        (
            ["a", "b"],
            [2**62, 2**62],
            r"counts must add up to <= 2\^63 - 1, got 9223372036854775808",
        ),
        (["a", "a"], [1, 1], "words must be distinct, got 'a' twice"),
    ],
)
def test_wrong_contents(words, counts, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(words, counts)


def test_counts_are_a_copy():
    counts = np.array([3, 1])
    vocab = Vocabulary(["a", "b"], counts)
    counts[0] = 0
    assert vocab.counts.tolist() == [3, 1] and vocab.counts.dtype == np.int64
