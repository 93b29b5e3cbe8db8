"""Vectors of words and of their n-grams, with the names of gensim's `FastTextKeyedVectors`."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch

from lexforge._arguments import one_of
from lexforge._text import MatrixRows, WordComposer
from lexforge.ops import embedding_bag
from lexforge.text.subwords import END_OF_LINE, SubwordIndex
from lexforge.vectors.formats.arrays import Ngrams
from lexforge.vectors.growing import moved, resized
from lexforge.vectors.keyed_vectors import Key, KeyedVectors, load_vectors
from lexforge.vectors.similarity import EPSILON, cosines, row_norms, unit
from lexforge.vectors.word_vectors import as_list as _as_list

COMPOSITIONS = ("mean", "sum")
_BLOCK_WORDS = 1 << 14
_FEW_WORDS = 256  # one by one


class SubwordVectors(KeyedVectors):
    """Word vectors that are made of rows of words and of n-grams, for any word.

    The vector of a word is the mean (or the sum) of its own row and those of its n-grams; of a
    word that is not among them, of its n-grams alone. Names, arguments and results are those of
    gensim 4's ``FastTextKeyedVectors``. A row number is a key, too. The end of a line, ``</s>``,
    has no n-grams, as in fastText; gensim gives it some.

    Args:
        vector_size: D.
        min_n, max_n: characters of n-grams.
        bucket: rows of n-grams; 0 means no n-grams.
        count: rows of zeros that it begins with, for :meth:`add_vector` to fill.
        dtype: float32 or float64.

    Vectors that are there already go into :meth:`of`.

    Attributes:
        vectors: the words' vectors [V, D], composed when they are first asked for. After changing
            rows call :meth:`refresh` (later) or :meth:`adjust_vectors` (now).
        vectors_vocab: own rows of the words [V, D].
        vectors_ngrams: rows of n-grams [n, D]; None before there are any (:meth:`resize_vectors`).
        subwords: which n-gram has which row.
        composition: "mean" or "sum".
        vectors_vocab_lockf, vectors_ngrams_lockf: what steps of training are multiplied by, float32
            [V] and [n], or [1] for all alike.

    Example:
        >>> index = SubwordIndex.of_vocabulary(["where", "here"], [3, 2], min_n=3, max_n=3)
        >>> wv = SubwordVectors.of(["where", "here"], np.eye(2, 4), np.ones((index.rows, 4)), index)
        >>> wv["here"].tolist()  # the mean of its row and of four
        [0.800000011920929, 1.0, 0.800000011920929, 0.800000011920929]
        >>> wv["there"].tolist()  # of five n-grams two have a row
        [0.6000000238418579, 0.6000000238418579, 0.6000000238418579, 0.6000000238418579]
    """

    compatible_hash = True  # as gensim's from 3.8 on
    _composer: tuple[tuple[Any, ...], WordComposer | None] | None = None  # and what it is made of

    def __init__(
        self,
        vector_size: int,
        min_n: int,
        max_n: int,
        bucket: int,
        count: int = 0,
        dtype: Any = np.float32,
    ):
        without = bucket == 0
        self.subwords = SubwordIndex.every(min_n, 0 if without else max_n, bucket)
        self.min_n, self.max_n, self.bucket = min_n, max_n, bucket
        self.composition = "mean"
        self.vectors_ngrams: Any = None
        self.vectors_vocab: Any = None
        self._composed: np.ndarray | None = None
        super().__init__(vector_size=vector_size, count=count, dtype=dtype)
        self.vectors_vocab = self._vectors.copy()
        self._unlock()

    @classmethod
    def of(
        cls,
        words: Iterable[str],
        vectors_vocab: Any,
        vectors_ngrams: Any,
        subwords: SubwordIndex,
        counts: Any = None,
        composition: str = "mean",
    ) -> SubwordVectors:
        """Vectors of what a model or a file has, without a copy.

        Args:
            words: V different words.
            vectors_vocab: their own rows [V, D].
            vectors_ngrams: rows of n-grams [n, D].
            subwords: of n rows.
            counts: occurrences of the words [V], kept as the attribute ``count``.
            composition: "mean" or "sum" of a word's rows.

        Raises:
            ValueError: for repeated words, or shapes that do not fit together.
        """
        made = cls.__new__(cls)
        made.composition = one_of("SubwordVectors", "composition", composition, COMPOSITIONS)
        made.expandos, made.mapfile_path = {}, None
        made._composed = None
        made.rebase(words, vectors_vocab, vectors_ngrams, subwords, counts)
        return made

    def rebase(
        self,
        words: Iterable[str],
        vectors_vocab: Any,
        vectors_ngrams: Any,
        subwords: SubwordIndex,
        counts: Any = None,
    ) -> None:
        """Stand for these words and rows from now on; arguments as of :meth:`of`."""
        shape = (subwords.rows, vectors_vocab.shape[1])
        if vectors_ngrams.shape != shape:
            raise ValueError(
                f"SubwordVectors: vectors_ngrams must be {list(shape)}, "
                f"got {list(vectors_ngrams.shape)}"
            )
        self.subwords, self.vectors_ngrams = subwords, vectors_ngrams
        self.min_n, self.max_n, self.bucket = subwords.min_n, subwords.max_n, subwords.bucket
        self.vectors_vocab = vectors_vocab
        self._take(list(words), vectors_vocab, counts)
        self._unlock()
        self.refresh()

    def __repr__(self) -> str:
        return f"SubwordVectors<vector_size={self.vector_size}, {len(self)} keys>"

    # What vectors are made of

    @property
    def _vectors(self) -> np.ndarray:
        if self._composed is None:
            self._composed = self._compose(np.arange(len(self.vectors_vocab)))
        return self._composed

    @_vectors.setter
    def _vectors(self, matrix: np.ndarray) -> None:
        self._composed = matrix

    @property
    def vector_size(self) -> int:
        """D, the number of numbers per word."""
        own: Any = self._composed if self.vectors_vocab is None else self.vectors_vocab
        return own.shape[1]

    def refresh(self) -> None:
        """Rows have changed: vectors are composed anew when they are next asked for."""
        self._composed = self._norms = None

    def adjust_vectors(self) -> None:
        """Compose the vectors of all words now."""
        self.refresh()
        self._composed = self._vectors

    def recalc_char_ngram_buckets(self) -> None:
        """Nothing: rows of n-grams are found when they are needed. gensim keeps them."""

    @property
    def buckets_word(self) -> list[np.ndarray]:
        """The rows of each word's n-grams, V uint32 arrays, in `vectors_ngrams`."""
        offsets, rows = self.subwords.many_ngram_rows(self._spelt(range(len(self))))
        return [part.astype(np.uint32) for part in np.split(rows, offsets[1:-1])][: len(self)]

    def init_post_load(self, fb_vectors: np.ndarray) -> None:
        """Take the input matrix of a fastText file, [V + bucket, D], for the words that are here.

        Raises:
            ValueError: for another shape.
        """
        words, shape = len(self), (len(self) + self.subwords.rows, self.vector_size)
        if fb_vectors.shape != shape:
            raise ValueError(
                f"init_post_load: fb_vectors must be {list(shape)}, got {list(fb_vectors.shape)}"
            )
        self.vectors_vocab = np.array(fb_vectors[:words])
        self.vectors_ngrams = np.array(fb_vectors[words:])
        self.adjust_vectors()

    def resize_vectors(self, seed: int = 0) -> None:
        """Bring rows and attributes to as many as there are words and n-grams.

        New rows are drawn uniformly from -1 / D to 1 / D, the same as gensim draws.

        Args:
            seed: of numpy's generator; one more for n-grams.
        """
        words, size, kind = self.index_to_key, self.vector_size, self.vectors_vocab.dtype
        self.allocate_vecattrs()
        counts = self.expandos.get("count", np.zeros(len(words), np.int64))
        self.subwords = self.subwords.extended(words, counts)
        self.vectors_vocab = resized(self.vectors_vocab, (len(words), size), seed)
        before = self.vectors_ngrams
        before = np.zeros((0, size), kind) if before is None else before
        self.vectors_ngrams = resized(before, (self.subwords.rows, size), seed + 1)
        self._composed = self.vectors_vocab  # of the right size for what follows
        super().resize_vectors(seed)
        self.adjust_vectors()

    @property
    def ngrams(self) -> Ngrams | None:
        """Rows of words and n-grams, for files; None where there are no n-grams."""
        if not self._infers:
            return None
        rows = self.vectors_vocab, np.asarray(self.vectors_ngrams)
        return Ngrams(*rows, self.subwords, self.composition)

    # Vectors

    def __contains__(self, word: str | int) -> bool:
        """Whether there is a vector: of any word, where there are n-grams."""
        return (isinstance(word, str) and self._infers) or self.has_index_for(word)

    def get_vector(self, word: str | int, norm: bool = False) -> np.ndarray:
        """The vector [D] of any word, read-only; scaled to length 1 with ``norm=True``.

        Zeros for a word that is so short that it has no n-grams.

        Raises:
            KeyError: naming the word, where there are no n-grams.
        """
        if isinstance(word, str) and word not in self.key_to_index and self._infers:
            vector = self._one(word, -1)
        elif self._composed is None:  # no need for the others
            row = self.get_index(word)
            vector = self._one(self._spelt([row])[0], row)
        else:
            return super().get_vector(word, norm)
        if norm:
            vector = vector.astype(np.float32) / max(row_norms(vector[None])[0], EPSILON)
        vector.flags.writeable = False
        return vector

    def __getitem__(self, key_or_keys) -> np.ndarray:
        """The vector [D] of a key, or the vectors [N, D] of a list of N keys."""
        if isinstance(key_or_keys, str | Integral):
            return self.get_vector(key_or_keys)  # type: ignore[arg-type]
        rows = np.array([self.get_index(key, -1) for key in key_or_keys], np.int64)
        found = self.vectors[np.maximum(rows, 0)] if len(self) else self._zeros(len(rows))
        unknown = np.flatnonzero(rows < 0)
        words = [key_or_keys[place] for place in unknown.tolist()]
        for word in words:
            if word not in self:
                self.get_index(word)  # KeyError
        found[unknown] = self._inferred(words)
        return found

    def get_sentence_vector(self, sentence: Sequence[str | int]) -> np.ndarray:
        """The mean of a sentence's words' vectors, each scaled to length 1: float32 [D]."""
        return self.get_mean_vector(sentence)

    def distances(
        self, word_or_vector: Key, other_words: str | int | Sequence[str | int] = ()
    ) -> np.ndarray:
        """1 - cosine of a word or vector [D] to each of `other_words`, or to all words.

        Returns:
            float32 [len(other_words)], or [V] when `other_words` is empty.
        """
        others = _as_list(other_words)
        if all(self.has_index_for(word) for word in others):
            return super().distances(word_or_vector, others)
        matrix = self[others]
        return 1 - cosines(matrix, unit(self._vector_of(word_or_vector)), row_norms(matrix))

    def add_vector(self, key: str, vector: Any) -> int:
        """Add one word; returns its row. Its own row is what makes this vector with its n-grams."""
        row = super().add_vector(key, vector)
        self._settle([row])
        return row

    def add_vectors(self, keys, weights, extras=None, replace: bool = False) -> None:
        """Append words and their vectors; see :meth:`KeyedVectors.add_vectors`.

        A word's own row is what makes its vector with its n-grams, which stay as they are.
        """
        new = [key for key in _as_list(keys) if replace or key not in self.key_to_index]
        super().add_vectors(keys, weights, extras, replace)
        self._settle([self.key_to_index[key] for key in new])

    # Other homes

    @classmethod
    def load(cls, fname: str | os.PathLike, mmap: str | None = None) -> SubwordVectors:
        """Load what `save` wrote, or a model of fastText (.bin, .ftz).

        Args:
            fname: The file.
            mmap: Map the rows instead of reading them, when not None.

        Raises:
            ValueError: for a file without rows of n-grams, and damaged files.
        """
        found = load_vectors(fname, mmap=mmap is not None)
        if not isinstance(found, SubwordVectors):
            raise ValueError(
                f"{os.fspath(fname)}: has vectors of words, and none of n-grams (.vec files have "
                "none either): load it as KeyedVectors"
            )
        return found

    def to_gensim(self):
        """The same vectors as gensim's ``FastTextKeyedVectors``; n-grams without a row are zeros.

        Raises:
            ImportError: when gensim is not installed.
            ValueError: of an index without buckets, which gensim has no class for; of sums.
        """
        from gensim.models.fasttext import FastTextKeyedVectors

        if self.composition != "mean" or self.subwords.kind not in ("every", "held"):
            raise ValueError(
                "to_gensim: gensim's n-grams are means of hashed buckets, these are "
                f"{self.composition} of {self.subwords.kind}"
            )
        kv = FastTextKeyedVectors(self.vector_size, self.min_n, self.max_n, self.bucket)
        kv.index_to_key, kv.key_to_index = list(self.index_to_key), dict(self.key_to_index)
        kv.next_index = len(self)
        kv.expandos = {name: values.copy() for name, values in self.expandos.items()}
        kv.vectors_vocab = np.require(self.vectors_vocab, np.float32, "W")
        kv.vectors_ngrams = np.zeros((self.bucket, self.vector_size), np.float32)
        if self.subwords.rows:
            kv.vectors_ngrams[self.subwords.bucket_of_rows()] = self.vectors_ngrams
        kv.recalc_char_ngram_buckets()
        kv.vectors = np.require(self.vectors, np.float32, "W")
        return kv

    @classmethod
    def from_gensim(cls, kv) -> SubwordVectors:
        """The same vectors as gensim's ``FastTextKeyedVectors``, sharing float32 memory."""
        none = not kv.bucket or kv.max_n < kv.min_n
        index = SubwordIndex.every(kv.min_n, 0 if none else kv.max_n, 0 if none else kv.bucket)
        ngrams = kv.vectors_ngrams[: index.rows]
        ours = cls.of(kv.index_to_key, kv.vectors_vocab, ngrams, index)
        ours.expandos = {name: np.array(values) for name, values in kv.expandos.items()}
        return ours

    # Composition

    @property
    def _infers(self) -> bool:
        return self.subwords.max_n > 0 and self.vectors_ngrams is not None

    def _unlock(self) -> None:
        self.vectors_vocab_lockf = self.vectors_ngrams_lockf = np.ones(1, np.float32)

    def _zeros(self, rows: int) -> np.ndarray:
        return np.zeros((rows, self.vector_size), _kind(self.vectors_vocab))

    def _spelt(self, rows: Iterable[int]) -> list[str]:
        """Words of rows; one that waits for its word has no n-grams, as the end of a line."""
        words: list[Any] = self.index_to_key
        return [END_OF_LINE if words[row] is None else words[row] for row in rows]

    def _one(self, word: str, row: int) -> np.ndarray:
        """The vector [D] of one word, whose own row this is, or -1."""
        if (composer := self._native) is not None:
            return composer.word(word.encode(self.subwords.encoding, "surrogateescape"), row)
        return self._compose(np.array([row]))[0] if row >= 0 else self._inferred([word])[0]

    @property
    def _native(self) -> WordComposer | None:
        """Composes single words; None for what the text library does not add up: no float32."""
        tables = self.vectors_vocab, self.vectors_ngrams, self.subwords, self.composition
        if self._composer is None or any(map(operator.is_not, tables, self._composer[0])):
            made, own, ngrams = None, *tables[:2]
            if self._infers and _in_floats(own) and _in_floats(ngrams):
                rows = MatrixRows.of(own), MatrixRows.of(ngrams)
                mean = self.composition == "mean"
                made = WordComposer(None, self.subwords.native, *rows, mean=mean)
            self._composer = tables, made
        return self._composer[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_composer": None}

    def _compose(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of words by number, [len(rows), D]."""
        found = np.array(self.vectors_vocab[rows], _kind(self.vectors_vocab))
        if not self._infers:
            return found
        for start in range(0, len(rows), _BLOCK_WORDS):
            part = slice(start, start + _BLOCK_WORDS)
            sums, numbers = self._sums(self._spelt(rows[part].tolist()))
            found[part] += sums
            if self.composition == "mean":
                found[part] /= numbers + 1
        return found

    def _inferred(self, words: list[str]) -> np.ndarray:
        """The vectors of words by their n-grams alone, [len(words), D]."""
        if 0 < len(words) <= _FEW_WORDS and self._native is not None:
            return np.stack([self._one(word, -1) for word in words])
        sums, numbers = self._sums(words)
        return sums / np.maximum(numbers, 1) if self.composition == "mean" else sums

    def _sums(self, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the rows of words' n-grams, [N, D], and how many n-grams, [N, 1]."""
        kind = _kind(self.vectors_vocab)
        offsets, rows = self.subwords.many_ngram_rows(words)
        numbers = np.diff(offsets)[:, None].astype(kind)
        if not len(rows):
            return self._zeros(len(words)), numbers
        table = self.vectors_ngrams
        if not _as_it_is(table, kind) or (self.subwords.kind == "held" and rows.min() < 0):
            used, rows = np.unique(rows, return_inverse=True)
            table = np.zeros((len(used), self.vector_size), kind)
            held = used >= 0
            table[held] = self.vectors_ngrams[used[held]]
        ids, bags = torch.from_numpy(rows.reshape(-1)), torch.from_numpy(offsets)
        sums = embedding_bag(
            ids, torch.from_numpy(table), bags, mode="sum", include_last_offset=True
        )
        return sums.numpy(), numbers

    def _settle(self, rows: Sequence[int]) -> None:
        """Own rows of words become what makes their vectors with the rows of their n-grams."""
        if len(self.vectors_vocab) < len(self):
            more = self._zeros(len(self) - len(self.vectors_vocab))
            self.vectors_vocab = np.concatenate((self.vectors_vocab, more))
        own = self._vectors[np.array(rows, np.int64)]
        if self._infers and len(rows):
            sums, numbers = self._sums(self._spelt(rows))
            own = own * (numbers + 1) - sums if self.composition == "mean" else own - sums
        self.vectors_vocab[rows] = own

    def _move(self, words, matrix: np.ndarray, rows: np.ndarray, counts=None) -> None:
        self.vectors_vocab = moved(self.vectors_vocab, rows)
        if len(self.vectors_vocab_lockf) > 1:
            self.vectors_vocab_lockf = moved(self.vectors_vocab_lockf, rows, new=1)
        super()._move(words, matrix, rows, counts)


def _as_it_is(matrix: Any, kind: np.dtype) -> bool:
    """Whether sums can be taken of rows where they lie; those of a file may be at any byte."""
    if type(matrix) is not np.ndarray or matrix.dtype != kind:
        return False
    return matrix.flags.c_contiguous and matrix.flags.aligned and matrix.flags.writeable


def _in_floats(matrix: Any) -> bool:
    """Whether rows are float32 in memory, or in a mapped file, at any byte."""
    return type(matrix) is np.ndarray and matrix.dtype == np.float32 and matrix.strides[1] == 4


KeyedVectors._of_ngrams = SubwordVectors.of


def _kind(matrix: Any) -> np.dtype:
    """The dtype of vectors that are made of a matrix: sums are at least float32."""
    return np.dtype(np.float64 if matrix.dtype == np.float64 else np.float32)
