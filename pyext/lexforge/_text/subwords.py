"""N-grams of words, their hashes and their rows."""

from __future__ import annotations

import struct
from ctypes import byref, c_bool, c_char, c_int, c_int32, c_int64, c_uint32, c_void_p

import numpy as np

from lexforge._text.library import BYTES, Handle, check, checked, plain, take, thread_count
from lexforge._text.words import WORDS, WordBytes

_ngram_hash = plain(c_uint32, "ngram_hash", *BYTES, quick=True)
_ngram_spans = checked("ngram_spans", *BYTES, *2 * (c_int32,), c_void_p, quick=True)
_subwords_new = checked("subwords_new", c_int, *3 * (c_int32,), c_void_p)
_subwords_free = plain(None, "subwords_free", c_void_p)
_subwords_give = checked("subwords_give", *3 * (c_void_p,), c_int64)
_subwords_give_ngrams = checked("subwords_give_ngrams", c_void_p, *WORDS)
_subwords_grow = checked("subwords_grow", c_void_p, *WORDS, c_void_p)
_subwords_rows = plain(c_int64, "subwords_rows", c_void_p)
_subwords_buckets = checked("subwords_buckets", *2 * (c_void_p,))
_subwords_ngrams = checked("subwords_ngrams", *3 * (c_void_p,))
_subwords_word = checked("subwords_word", c_void_p, *BYTES, c_void_p, quick=True)
_subwords_parts = plain(
    c_int, "subwords_parts", c_void_p, *BYTES, *3 * (c_int64,), c_void_p, quick=True
)
_subwords_measure = checked("subwords_measure", c_void_p, *WORDS, c_int64, c_int, c_void_p)
_subwords_fill = checked(
    "subwords_fill", c_void_p, *WORDS, c_void_p, c_int64, c_int32, c_bool, c_int, c_void_p
)
_word_hashes = plain(None, "word_hashes", *WORDS, c_void_p)
_PLACE = 4096  # bytes, for most words enough
_SIZES, _INT64 = struct.Struct("=2q"), np.dtype(np.int64)


def ngram_hash(ngram: bytes) -> int:
    """Its hash, 32 bits; see csrc/text/subwords.h."""
    return _ngram_hash(ngram, len(ngram))


def ngrams(wrapped: bytes, min_n: int, max_n: int) -> list[bytes]:
    """The n-grams of a wrapped word, in order; see csrc/text/subwords.h."""
    spans = c_void_p()
    _ngram_spans(wrapped, len(wrapped), min_n, max_n, byref(spans))
    ends = memoryview(take(spans)).cast("q").tolist()
    return [wrapped[begin:end] for begin, end in zip(ends[::2], ends[1::2], strict=True)]


SUBWORD_KINDS = ("every", "held", "pruned", "explicit")  # by the numbers of SubwordRows::Kind


class SubwordRows(Handle):
    """Which n-grams have rows, and which rows; see csrc/text/subwords.h.

    What changes it is for those who make it: readers of it take no lock.
    """

    def __init__(self, kind: str, min_n: int, max_n: int, buckets: int):
        number = SUBWORD_KINDS.index(kind)
        super().__init__(_subwords_free, _subwords_new, number, min_n, max_n, buckets)
        self._address = self._as_parameter_.value

    def give(self, buckets: np.ndarray, rows: np.ndarray | None = None) -> None:
        """Contiguous int32 [n]: buckets, and the row of each; by default the next ones."""
        address = None if rows is None else rows.ctypes
        _subwords_give(self, buckets.ctypes, address, buckets.size)

    def give_ngrams(self, ngrams: WordBytes) -> None:
        _subwords_give_ngrams(self, *ngrams.native)

    def grow(self, words: WordBytes, counts: np.ndarray) -> None:
        """Rows for the n-grams of words that have none; counts are contiguous int64 [V]."""
        _subwords_grow(self, *words.native, counts.ctypes)

    def __len__(self) -> int:
        return _subwords_rows(self)

    def buckets(self) -> np.ndarray:
        """int32 [n], the bucket of each row."""
        block = c_void_p()
        _subwords_buckets(self, byref(block))
        return np.frombuffer(take(block), np.int32)

    def ngrams(self) -> WordBytes:
        """The n-gram of each row."""
        data, offsets = c_void_p(), c_void_p()
        _subwords_ngrams(self, byref(data), byref(offsets))
        return WordBytes(
            np.frombuffer(take(data), np.uint8), np.frombuffer(take(offsets), np.int64)
        )

    def of_word(self, word: bytes) -> np.ndarray:
        """The rows of one word, int32."""
        rows = c_void_p()
        _subwords_word(self, word, len(word), byref(rows))
        return np.frombuffer(take(rows), np.int32)

    def parts(self, word: bytes, own: int, first: int) -> tuple[np.ndarray, bytes]:
        """Rows of one word, int64, and its n-grams, each with a NUL behind it.

        Args:
            own: the word's row, with which both begin; -1 for none.
            first: what is added to other rows.
        """
        place = _PLACE
        while True:
            room = (c_char * place)()
            if status := _subwords_parts(self._address, word, len(word), own, first, place, room):
                check(status, None, None)
            used, count = _SIZES.unpack_from(room)
            if used <= place:
                rows = np.frombuffer(memoryview(room), _INT64, count, 16)
                return rows, room.raw[16 + 8 * count : used]
            place = used

    def rows(
        self, words: WordBytes, *, own: bool, first: int, zeros_allowed: bool, threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the rows of each word begin, int64 [V + 1], and the rows of all, int32.

        Args:
            own: whether a word's number comes first.
            first: what is added to the others, but to -1, which means zeros.
            zeros_allowed: ValueError otherwise.
        """
        offsets = np.empty(len(words) + 1, np.int64)
        threads = thread_count(threads)
        _subwords_measure(self, *words.native, own, threads, offsets.ctypes)
        rows = np.empty(offsets[-1], np.int32)
        _subwords_fill(
            self,
            *words.native,
            offsets.ctypes,
            own,
            first,
            zeros_allowed,
            threads,
            rows.ctypes,
        )
        return offsets, rows


def word_hashes(words: WordBytes) -> np.ndarray:
    """The hash of each, int32 [V], of 32 bits with a sign; see csrc/text/subwords.h."""
    hashes = np.empty(len(words), np.int32)
    _word_hashes(*words.native, hashes.ctypes)
    return hashes
