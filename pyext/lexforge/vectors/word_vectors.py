"""A matrix of vectors and the words of its rows: what evaluation and files need of vectors."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from numbers import Integral
from typing import Any, cast

import numpy as np
import torch

from lexforge._arguments import whole
from lexforge.vectors.similarity import EPSILON, cosine, other_form, row_norms

FLOATS = ("float32", "float16", "float64")


class WordVectors:
    """Words and their vectors.

    Args:
        words: V different strings; row i of `vectors` belongs to ``words[i]``. Or `vector_size`,
            `count` and `dtype`, in gensim's order.
        vectors: array or tensor [V, D], floating. float32 and float16 arrays (also memory-mapped
            ones) are kept as they are, without a copy; others are converted to float32.
        counts: occurrences of the words [V], kept as the attribute ``count``.
        vector_size: D of a table without words yet.
        count: rows of zeros that it begins with, for ``add_vector`` to fill.
        dtype: float32, float16 or float64, which rows and `vectors` are converted to. Similarities
            are computed in float32 all the same.
        mapfile_path: kept, and without effect.

    Attributes:
        index_to_key: the words, list of V strings; None for a row that waits for its word.
        key_to_index: their row numbers, dict.
        vectors: the matrix [V, D]. After changing it call ``fill_norms(force=True)``.
        norms: Euclidean norms of the rows, float32 [V], computed on first use.
        expandos: further attributes of the words, name -> array [V].
        next_index: the first row without a word, V when all have one.

    Raises:
        ValueError: for repeated words, or shapes that do not fit together.
    """

    def __init__(
        self,
        words: Iterable[str] | int | None = None,
        vectors: Any = None,
        counts: Any = None,
        mapfile_path: Any = None,
        *,
        vector_size: int | None = None,
        count: int | None = None,
        dtype: Any = None,
    ):
        if isinstance(words, int | Integral):
            vector_size, words = int(words), None
            count, vectors = vectors if count is None else count, None
            dtype, counts = counts if dtype is None else dtype, None
        kind = None if dtype is None else float_type("KeyedVectors", dtype)
        if vector_size is not None:
            if words is not None or vectors is not None:
                raise TypeError("KeyedVectors: vector_size is of a table without words and vectors")
            rows = whole("KeyedVectors", "count", 0 if count is None else count, 0)
            vector_size = whole("KeyedVectors", "vector_size", vector_size)
            words, vectors = (
                cast(list[str], [None] * rows),
                np.zeros((rows, vector_size), kind or "float32"),
            )
        elif words is None or vectors is None:
            raise TypeError("KeyedVectors: give words and their vectors, or the size of vectors")
        elif count is not None:
            raise TypeError("KeyedVectors: count is of rows without words; counts are of words")
        self.expandos: dict[str, np.ndarray] = {}
        self.mapfile_path = mapfile_path
        self._take(list(words), _as_matrix(vectors, kind), counts)

    def _take(self, words: list[str], matrix: np.ndarray, counts=None) -> None:
        """Stand for these words and this matrix from now on; words may be None."""
        rows, index = len(words), {word: row for row, word in enumerate(words)}
        _check_rows(matrix, rows)
        waiting, self.next_index = 0, rows
        if index.pop(None, None) is not None:  # type: ignore[call-overload]  # see above
            waiting, self.next_index = words.count(None), words.index(None)  # type: ignore[arg-type]
        if len(index) != rows - waiting:
            repeated = next(word for row, word in enumerate(words) if index[word] != row)
            raise ValueError(f"KeyedVectors: words must be different, got {repeated!r} twice")
        if counts is not None:
            counts = np.asarray(counts)
            if counts.shape != (rows,):
                raise ValueError(f"KeyedVectors: counts must be [V={rows}], got {counts.shape}")
            self.expandos["count"] = whole_counts(counts).copy()  # a vocabulary has its own
        self.index_to_key, self.key_to_index, self._vectors = words, index, matrix
        self._norms: np.ndarray | None = None

    @property
    def vectors(self) -> np.ndarray:
        """The matrix [V, D]. After changing numbers in it call ``fill_norms(force=True)``."""
        return self._vectors

    @vectors.setter
    def vectors(self, matrix) -> None:
        # One that was asked for in float64 stays so.
        matrix = _as_matrix(matrix, "float64" if self._vectors.dtype == np.float64 else None)
        if self.index_to_key:  # or they come next
            _check_rows(matrix, len(self.index_to_key))
        self._vectors, self._norms = matrix, None

    @property
    def ngrams(self) -> Any:
        """What vectors are composed of, if they are; see `lexforge.vectors.formats.arrays`."""
        return None

    @property
    def vector_size(self) -> int:
        """D, the number of numbers per word."""
        return self.vectors.shape[1]

    @property
    def norms(self) -> np.ndarray:
        """Euclidean norms of the rows, float32 [V]; kept from the first use on.

        Setting them to None says that `vectors` was changed.
        """
        return self.fill_norms()

    @norms.setter
    def norms(self, norms: np.ndarray | None) -> None:
        self._norms = norms

    def fill_norms(self, force: bool = False) -> np.ndarray:
        """Compute the row norms unless they are known; `force` after `vectors` was changed."""
        if self._norms is None or force:
            self._norms = row_norms(self.vectors)
        return self._norms

    def __len__(self) -> int:
        return len(self.index_to_key)

    def __contains__(self, key: str | int) -> bool:
        return self.has_index_for(key)

    def __repr__(self) -> str:
        return f"KeyedVectors<vector_size={self.vector_size}, {len(self)} keys>"

    def has_index_for(self, key: str | int) -> bool:
        """Whether `key` is a known word or a valid row number."""
        return self.get_index(key, -1) >= 0

    def get_index(self, key: str | int, default: int | None = None) -> int:
        """The row of a word (or of a row number); `default`, else KeyError, when unknown."""
        row = self.key_to_index.get(key)  # type: ignore[arg-type]  # a row number is not found
        if row is not None:
            return row
        if isinstance(key, Integral) and 0 <= key < len(self):
            return int(key)
        if default is not None:
            return default
        hint = ""
        if isinstance(key, str) and (other := other_form(key, self.key_to_index)) is not None:
            hint = f"; it is there in another Unicode form, {other!a}"
        raise KeyError(f"key {key!r} not present{hint}")

    def __getitem__(self, key_or_keys) -> np.ndarray:
        """The vector [D] of a key, or the vectors [N, D] of a list of N keys."""
        if isinstance(key_or_keys, str | Integral):
            return self.get_vector(key_or_keys)  # type: ignore[arg-type]  # numpy integers too
        return self.vectors[[self.get_index(key) for key in key_or_keys]]

    def get_vector(self, key: str | int, norm: bool = False) -> np.ndarray:
        """The vector [D] of a key, read-only; scaled to length 1 with ``norm=True``.

        Raises:
            KeyError: naming the key, when it is unknown.
        """
        row = self.get_index(key)
        vector = self.vectors[row]
        if norm:
            vector = vector.astype(np.float32) / max(self.norms[row], EPSILON)
        vector.flags.writeable = False  # a change would leave the cached norms stale
        return vector

    def get_normed_vectors(self) -> np.ndarray:
        """A new matrix [V, D] of all vectors scaled to length 1."""
        return self.vectors / np.maximum(self.norms, EPSILON)[:, None]

    def similarity(self, w1: str | int, w2: str | int) -> float:
        """Cosine of two words, 1 exactly for a word and itself."""
        return cosine(self.get_vector(w1), self.get_vector(w2))


def _check_rows(matrix: np.ndarray, rows: int) -> None:
    if len(matrix) != rows:
        raise ValueError(
            f"KeyedVectors: vectors must be [V={rows}, D] for {rows} words, got {matrix.shape}"
        )


def float_type(function: str, dtype: Any, allowed: tuple[str, ...] = FLOATS) -> str:
    """The name of a dtype of numpy or torch.

    Raises:
        ValueError: It is none of those allowed.
    """
    text = str(dtype).removeprefix("torch.")
    with suppress(TypeError):  # torch types and unknown names
        text = np.dtype(dtype).name
    if text not in allowed:
        raise ValueError(f"{function}: dtype must be {' or '.join(allowed)}, got {dtype!r}")
    return text


def _as_matrix(vectors, dtype: str | None = None) -> np.ndarray:
    if isinstance(vectors, torch.Tensor):
        vectors = vectors.detach().cpu()
        if vectors.dtype == torch.bfloat16:  # numpy has none
            vectors = vectors.float()
        vectors = vectors.numpy()
    vectors = np.asarray(vectors)
    if dtype is not None or vectors.dtype not in (np.float32, np.float16):
        vectors = vectors.astype(dtype or np.float32, copy=False)
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise ValueError(f"KeyedVectors: vectors must be [V, D] with D >= 1, got {vectors.shape}")
    return vectors


def whole_counts(counts: np.ndarray) -> np.ndarray:
    """Counts of words as int64.

    Raises:
        ValueError: one is no whole number of 0 to 2^63 - 1, or all are more than that together.
    """
    with np.errstate(invalid="ignore"):  # what does not fit is found below
        whole = counts if counts.dtype.kind == "O" else counts.astype(np.int64, copy=False)
    wrong = np.flatnonzero((whole != counts) | (counts < 0) | (counts >= 1 << 63))
    if len(wrong):
        got = counts[wrong[0]]
        raise ValueError(f"KeyedVectors: counts must be whole numbers of 0 to 2^63 - 1, got {got}")
    if (total := whole.sum(dtype=float)) >= 2.0**63:
        raise ValueError(f"KeyedVectors: counts must add up to <= 2^63 - 1, got {total:.4g}")
    return whole.astype(np.int64, copy=False)


def as_list(keys: Any) -> list:
    """A list of keys from one key, a vector [D], a matrix [N, D] or a list."""
    if keys is None:
        return []
    if isinstance(keys, bytes):
        raise TypeError(f"a word must be a str, got {keys!r}")
    if isinstance(keys, str | Integral) or (isinstance(keys, np.ndarray) and keys.ndim == 1):
        return [keys]
    return list(keys)
