"""Character n-grams of words, and the rows that they have in a table (csrc/text/subwords.h)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lexforge import _text
from lexforge._arguments import encoding_name, whole
from lexforge._text import WordBytes

_LARGEST = 2**31 - 1  # rows and buckets are int32
END_OF_LINE = "</s>"  # which has no n-grams
_END_OF_LINE = END_OF_LINE.encode()


def character_ngrams(word: str, min_n: int, max_n: int) -> list[str]:
    """The n-grams of ``<word>``, in order: at each character the shorter first.

    Args:
        word: any text; ``</s>``, the end of a line, has no n-grams.
        min_n, max_n: characters (code points) of an n-gram; 0 for `max_n` means none at all. The
            brackets alone are no n-grams.

    Raises:
        ValueError: `min_n` or `max_n` is negative, or `min_n` larger than `max_n`.

    Example:
        >>> character_ngrams("naïf", 3, 3)
        ['<na', 'naï', 'aïf', 'ïf>']
    """
    min_n, max_n = _lengths("character_ngrams", min_n, max_n)
    found = ngrams_of(_encoded(word, "utf-8"), min_n, max_n)
    return [ngram.decode(errors="surrogateescape") for ngram in found]


def ngrams_of(word: bytes, min_n: int, max_n: int) -> list[bytes]:
    """As `character_ngrams`, of bytes, with lengths that are known to be right."""
    if word == _END_OF_LINE:
        return []
    return _text.ngrams(b"<" + word + b">", min_n, max_n)


def ngram_hash(ngram: str) -> int:
    """The hash of a text, 0 to 2^32 - 1, as fastText's: FNV-1a of bytes with a sign.

    Example:
        >>> ngram_hash("<wh")
        1048167652
    """
    return _text.ngram_hash(_encoded(ngram, "utf-8"))


class SubwordIndex:
    """In which rows of a table the n-grams of words lie. It never changes.

    Make one by `of_vocabulary`, `every`, `pruned` or `explicit`. An n-gram's bucket is its hash
    (`ngram_hash`) mod `bucket`; n-grams are those of `character_ngrams`, counted as often as they
    come.

    Attributes:
        kind: "held" (of `of_vocabulary`), "every", "pruned" or "explicit".
        min_n, max_n: characters of an n-gram; without any, `max_n` is 0.
        bucket: number of buckets; 0 for "explicit", and without n-grams.
        encoding: of words, as bytes of which n-grams are told; bytes that are not in it may stand
            in a word as Python's ``surrogateescape`` writes them.

    Example:
        >>> index = SubwordIndex.of_vocabulary(["where", "here"], [3, 2], min_n=3, max_n=3)
        >>> index.rows  # <wh <he whe her ere re>
        6
        >>> offsets, rows = index.bags(["where", "here"])
        >>> offsets.tolist(), rows[:3].tolist()
        ([0, 6, 11], [0, 5, 6])
    """

    def __init__(
        self,
        kind: str,
        min_n: int,
        max_n: int,
        bucket: int,
        native: _text.SubwordRows,
        encoding: str = "utf-8",
    ):
        self.kind, self.min_n, self.max_n, self.bucket = kind, min_n, max_n, bucket
        self.encoding = encoding
        self._native = native

    @classmethod
    def of_vocabulary(
        cls,
        words: Sequence[str] | WordBytes,
        counts: npt.ArrayLike,
        min_n: int = 3,
        max_n: int = 6,
        bucket: int = 2_000_000,
        encoding: str = "utf-8",
    ) -> SubwordIndex:
        """Rows for those buckets only that the n-grams of these words fall in.

        The buckets of frequent words' n-grams come first, so that rows in frequent use lie
        together. For other words, a bucket that has no row counts as a row of zeros.

        Args:
            words: V words.
            counts: their occurrences, whole numbers [V] >= 0.
            min_n, max_n: characters of an n-gram; 0 for `max_n` means no n-grams.
            bucket: number of buckets, 1 to 2^31 - 1; fastText's default is 2,000,000.
            encoding: of words.

        Raises:
            ValueError: what is outside its limits, `min_n` above `max_n`, or counts that are not
                one for each word.
        """
        name = "SubwordIndex.of_vocabulary"
        index = cls._new(name, "held", min_n, max_n, bucket, encoding)
        index._grow(name, words, counts)
        return index

    @classmethod
    def every(cls, min_n: int, max_n: int, bucket: int, encoding: str = "utf-8") -> SubwordIndex:
        """A row for each bucket, in order, as in a fastText .bin; arguments as `of_vocabulary`."""
        return cls._new("SubwordIndex.every", "every", min_n, max_n, bucket, encoding)

    @classmethod
    def pruned(
        cls,
        min_n: int,
        max_n: int,
        bucket: int,
        pruneidx: npt.ArrayLike,
        encoding: str = "utf-8",
    ) -> SubwordIndex:
        """Rows for some buckets, as in a pruned model; n-grams in others are left out.

        Args:
            min_n, max_n, bucket, encoding: as of `of_vocabulary`.
            pruneidx: int [n, 2], of each row its bucket and its number, in any order.

        Raises:
            ValueError: what is outside its limits, or a bucket that comes twice.
        """
        name = "SubwordIndex.pruned"
        index = cls._new(name, "pruned", min_n, max_n, bucket, encoding)
        pairs = _int32(name, "pruneidx", pruneidx)
        if pairs.size == 0:
            pairs = pairs.reshape(0, 2)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"{name}: pruneidx must be [n, 2], got {[*pairs.shape]}")
        numbers = pairs[:, 1]
        if numbers.size and not np.array_equal(np.sort(numbers), np.arange(len(numbers))):
            raise ValueError(
                f"{name}: the rows of pruneidx must be 0 to {len(numbers) - 1}, each once"
            )
        index._give(name, "pruneidx", pairs[np.argsort(numbers), 0])
        return index

    @classmethod
    def explicit(
        cls,
        words: Sequence[str] | WordBytes,
        counts: npt.ArrayLike,
        min_n: int = 3,
        max_n: int = 6,
        encoding: str = "utf-8",
    ) -> SubwordIndex:
        """A row for each n-gram of these words, without buckets: none shares a row with another.

        A word's n-grams are a set: each counts once, and the whole wrapped word is none of them,
        as it has a row of its own. N-grams without a row are left out. Rows are in the order of
        `of_vocabulary`, whose arguments and errors are these.
        """
        name = "SubwordIndex.explicit"
        index = cls._new(name, "explicit", min_n, max_n, 0, encoding)
        index._grow(name, words, counts)
        return index

    def __reduce__(self):
        return SubwordIndex.restored, (self.record(), self.arrays())

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._native) if self.max_n else 0

    def __repr__(self) -> str:
        buckets = f", bucket={self.bucket}" if self.bucket else ""
        return (
            f"SubwordIndex({self.kind}, min_n={self.min_n}, max_n={self.max_n}{buckets}, "
            f"{self.rows:,} rows)"
        )

    def bags(
        self, words: Sequence[str] | WordBytes, threads: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The rows of each of V words, in a table of V rows of words and then those of n-grams.

        Args:
            words: in the order of their rows; those that the index was made for, or `every` or
                `pruned` ones.
            threads: default as many as there are processors, at most 8.

        Returns:
            offsets int64 [V + 1], rows int32 [offsets[V]]: word i has rows
            ``rows[offsets[i]:offsets[i + 1]]``, first its own, i, then those of its n-grams, V +
            what `ngram_rows` says.

        Raises:
            ValueError: an n-gram without a row, in a word that the index was not made for; a table
                of more than 2^31 - 1 rows.
        """
        spans = self._bytes(words)
        if len(spans) + self.rows > _LARGEST:
            raise ValueError(
                f"SubwordIndex.bags: words and n-grams must have at most {_LARGEST} rows, got "
                f"{len(spans)} + {self.rows}"
            )
        try:
            return self._native.rows(
                spans, own=True, first=len(spans), zeros_allowed=False, threads=_threads(threads)
            )
        except ValueError as error:
            raise ValueError(
                f"SubwordIndex.bags: words must be those that the index was made for: {error}"
            ) from None

    @property
    def native(self) -> _text.SubwordRows:
        """For functions of the text library."""
        return self._native

    def ngram_rows(self, word: str | bytes) -> np.ndarray:
        """The rows of a word's n-grams, int32; -1 for one that counts as a row of zeros.

        -1 comes of "held" alone. "pruned" and "explicit" leave out what has no row.
        """
        return self._native.of_word(
            word if isinstance(word, bytes) else _encoded(word, self.encoding)
        )

    def many_ngram_rows(
        self, words: Sequence[str | bytes] | WordBytes, threads: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """`ngram_rows` of V words: int64 [V + 1], where each word's begin, and the rows of all."""
        spans = self._bytes(words)
        return self._native.rows(
            spans, own=False, first=0, zeros_allowed=True, threads=_threads(threads)
        )

    def bucket_of_rows(self) -> np.ndarray:
        """The bucket of each row, int64 [rows].

        Raises:
            ValueError: "explicit" has none.
        """
        if self.kind == "explicit":
            raise ValueError("SubwordIndex.bucket_of_rows: an explicit index has no buckets")
        if self.kind == "every":
            return np.arange(self.rows)
        return self._native.buckets().astype(np.int64)

    def ngram_of_rows(self) -> list[str]:
        """The n-gram of each row, of an "explicit" index.

        Raises:
            ValueError: another has buckets.
        """
        if self.kind != "explicit":
            raise ValueError(f'SubwordIndex.ngram_of_rows: of "explicit" only, got {self.kind!r}')
        found = self._native.ngrams()
        return [found[row].decode(self.encoding, "surrogateescape") for row in range(len(found))]

    def extended(self, words: Sequence[str] | WordBytes, counts: npt.ArrayLike) -> SubwordIndex:
        """An index of these rows, and of further ones for the n-grams of words that have none.

        Args:
            words, counts: as of `of_vocabulary`; words that the index knows may be among them.
        """
        if self.kind in ("every", "pruned"):
            return self
        extended = self.restored(self.record(), self.arrays())
        extended._grow("SubwordIndex.extended", words, counts)
        return extended

    def record(self) -> dict[str, Any]:
        """What it is made of, but for `arrays`, as plain values."""
        names = ("kind", "min_n", "max_n", "bucket", "encoding")
        return {name: getattr(self, name) for name in names}

    def arrays(self) -> dict[str, np.ndarray]:
        """Its rows, int32: ``buckets`` [rows], or bytes of ``ngrams`` and their ``ends``."""
        if self.kind == "every":
            return {}
        if self.kind == "explicit":
            found = self._native.ngrams()
            return {
                "ngrams": found.data.astype(np.int32),
                "ends": found.offsets[1:].astype(np.int32),
            }
        return {"buckets": self._native.buckets()}

    @classmethod
    def restored(cls, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> SubwordIndex:
        """The index that gave this `record` and these `arrays`.

        Raises:
            ValueError: they are damaged. KeyError: one is missing.
        """
        name, kind = "SubwordIndex.restored", record["kind"]
        if kind not in _text.SUBWORD_KINDS:
            raise ValueError(f"{name}: kind must be one of {_text.SUBWORD_KINDS}, got {kind!r}")
        lengths = record["min_n"], record["max_n"], record["bucket"]
        index = cls._new(name, kind, *lengths, record["encoding"])
        if kind == "explicit":
            data, ends = arrays["ngrams"], arrays["ends"]
            offsets = np.concatenate([[0], ends]).astype(np.int64)
            if (
                ((data < 0) | (data > 255)).any()
                or (np.diff(offsets) < 0).any()
                or offsets[-1] != data.size
            ):
                raise ValueError(f"{name}: ends must be those of ngrams, and these bytes")
            data = data.astype(np.uint8)
            index._native.give_ngrams(WordBytes(data, offsets))
            if index.rows != len(ends):
                raise ValueError(f"{name}: ngrams must be different")
        elif kind != "every":
            index._give(name, "buckets", _int32(name, "buckets", arrays["buckets"]))
        return index

    @classmethod
    def _new(
        cls, name: str, kind: str, min_n: int, max_n: int, bucket: int, encoding: str
    ) -> SubwordIndex:
        min_n, max_n = _lengths(name, min_n, max_n)
        bucket = whole(name, "bucket", bucket, 0, _LARGEST)
        if max_n == 0 or kind == "explicit":
            bucket = 0
        elif bucket == 0:
            raise ValueError(
                f"{name}: bucket must be >= 1 where there are n-grams (max_n={max_n}), got 0"
            )
        encoding = encoding_name(name, "encoding", encoding)
        native = _text.SubwordRows(kind if max_n else "explicit", min_n, max_n, bucket)
        return cls(kind, min_n, max_n, bucket, native, encoding)

    def _give(self, name: str, argument: str, buckets: np.ndarray) -> None:
        if self.max_n == 0:
            return
        try:
            self._native.give(np.ascontiguousarray(buckets, np.int32))
        except ValueError as error:
            raise ValueError(f"{name}: {argument}: {error}") from None

    def _grow(self, name: str, words: Sequence[str] | WordBytes, counts: npt.ArrayLike) -> None:
        spans, numbers = self._bytes(words), np.asarray(counts)
        if numbers.shape != (len(spans),):
            raise ValueError(
                f"{name}: counts must be [V={len(spans)}] like words, got {[*numbers.shape]}"
            )
        if numbers.size and (numbers.dtype.kind not in "iu" or numbers.min() < 0):
            raise ValueError(f"{name}: counts must be whole numbers >= 0")
        if self.max_n:
            self._native.grow(spans, np.ascontiguousarray(numbers, np.int64))

    def _bytes(self, words: Sequence[str | bytes] | WordBytes) -> WordBytes:
        if isinstance(words, WordBytes):
            return words
        if isinstance(words, str | bytes):
            raise TypeError(f"SubwordIndex: words must be a list of str, got {words!r}")
        encoding = self.encoding
        return WordBytes.of(
            word if isinstance(word, bytes) else _encoded(word, encoding) for word in words
        )


def pruned_rows(bucket: int, pruneidx: np.ndarray) -> _text.SubwordRows:
    """The rows of buckets, which n-grams of any kind may fall in.

    Args:
        bucket: number of buckets.
        pruneidx: int32 [n, 2], of each row its bucket and its number.
    """
    found = _text.SubwordRows("pruned", 0, 0, bucket)
    found.give(*(np.ascontiguousarray(each) for each in pruneidx.T))
    return found


def _encoded(word: str, encoding: str) -> bytes:
    return word.encode(encoding, "surrogateescape")


def _lengths(name: str, min_n: int, max_n: int) -> tuple[int, int]:
    max_n = whole(name, "max_n", max_n, 0, _LARGEST)
    min_n = whole(name, "min_n", min_n, 0, _LARGEST)
    if max_n and min_n > max_n:
        raise ValueError(f"{name}: min_n must be <= max_n={max_n}, got {min_n}")
    return min_n, max_n


def _int32(name: str, argument: str, values: npt.ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"{name}: {argument} must be whole numbers, got {array.dtype}")
    if array.size and (array.min() < 0 or array.max() > _LARGEST):
        raise ValueError(f"{name}: {argument} must be 0 to {_LARGEST}")
    return np.ascontiguousarray(array, np.int32)


def _threads(threads: int | None) -> int:
    return min(len(os.sched_getaffinity(0)), 8) if threads is None else threads
