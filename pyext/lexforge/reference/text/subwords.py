"""Character n-grams and their rows in plain Python (csrc/text/subwords.h)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


def ngrams(word: bytes, min_n: int, max_n: int) -> list[bytes]:
    """The n-grams of ``<word>``, in order: at each character the shorter first."""
    if word == b"</s>":
        return []
    characters: list[bytes] = []
    for byte in b"<" + word + b">":
        if characters and byte & 0xC0 == 0x80:
            characters[-1] += bytes([byte])
        else:
            characters.append(bytes([byte]))
    count = len(characters)
    return [
        b"".join(characters[begin:end])
        for begin in range(count)
        for end in range(begin + max(min_n, 1), min(begin + max_n, count) + 1)
        if end > begin + 1 or 0 < begin < count - 1
    ]


def ngram_hash(ngram: bytes) -> int:
    """FNV-1a of 32 bits, with bytes of 128 and more taken as negative."""
    value = 2166136261
    for byte in ngram:
        extended = byte | 0xFFFFFF00 if byte >= 128 else byte
        value = (value ^ extended) * 16777619 & 0xFFFFFFFF
    return value


def held_buckets(
    words: Sequence[bytes], counts: Sequence[int], min_n: int, max_n: int, bucket: int
) -> list[int]:
    """The buckets of a vocabulary's n-grams, most frequent first, ties by first appearance."""
    found: Counter[int] = Counter()
    for word, count in zip(words, counts, strict=True):
        for ngram in ngrams(word, min_n, max_n):
            found[ngram_hash(ngram) % bucket] += count
    return sorted(found, key=lambda key: -found[key])


def bags(
    words: Sequence[bytes], min_n: int, max_n: int, bucket: int, row_of: Mapping[int, int]
) -> list[list[int]]:
    """The rows of each word: its own, and behind those of all words its n-grams'.

    Args:
        row_of: the rows of buckets; what has none is left out.
    """
    return [
        [row]
        + [
            len(words) + row_of[key]
            for ngram in ngrams(word, min_n, max_n)
            if (key := ngram_hash(ngram) % bucket) in row_of
        ]
        for row, word in enumerate(words)
    ]
