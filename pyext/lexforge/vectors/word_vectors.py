"""A matrix of vectors and the words of its rows: what evaluation and files need of vectors."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral

import numpy as np
import torch

from lexforge.vectors.similarity import EPSILON, other_form, row_norms, unit


class WordVectors:
    """Words and their vectors.

    Args:
        words: V different strings; row i of `vectors` belongs to ``words[i]``. Or D alone, for none
            yet (``add_vectors``).
        vectors: array or tensor [V, D], floating. float32 and float16 arrays (also memory-mapped
            ones) are kept as they are, without a copy; others are converted to float32.
        counts: occurrences of the words [V], kept as the attribute ``count``.

    Attributes:
        index_to_key: the words, list of V strings.
        key_to_index: their row numbers, dict.
        vectors: the matrix [V, D]. After changing it call ``fill_norms(force=True)``.
        norms: Euclidean norms of the rows, float32 [V], computed on first use.
        expandos: further attributes of the words, name -> array [V].

    Raises:
        ValueError: for repeated words, or shapes that do not fit together.
    """

    def __init__(self, words: Iterable[str] | int, vectors=None, counts=None):
        if isinstance(words, int):
            words, vectors = (), np.zeros((0, words), dtype=np.float32)
        elif vectors is None:
            raise TypeError("KeyedVectors: give words and their vectors, or the size of vectors")
        self.expandos: dict[str, np.ndarray] = {}
        self._take(list(words), _as_matrix(vectors), counts)

    def _take(self, words: list[str], matrix: np.ndarray, counts=None) -> None:
        """Stand for these words and this matrix from now on."""
        rows, index = len(words), {word: row for row, word in enumerate(words)}
        _check_rows(matrix, rows)
        if len(index) != rows:
            repeated = next(word for row, word in enumerate(words) if index[word] != row)
            raise ValueError(f"KeyedVectors: words must be different, got {repeated!r} twice")
        if counts is not None:
            counts = np.asarray(counts)
            if counts.shape != (rows,):
                raise ValueError(f"KeyedVectors: counts must be [V={rows}], got {counts.shape}")
            self.expandos["count"] = whole_counts(counts)
        self.index_to_key, self.key_to_index, self._vectors = words, index, matrix
        self._norms: np.ndarray | None = None

    @property
    def vectors(self) -> np.ndarray:
        """The matrix [V, D]. After changing numbers in it call ``fill_norms(force=True)``."""
        return self._vectors

    @vectors.setter
    def vectors(self, matrix) -> None:
        matrix = _as_matrix(matrix)
        _check_rows(matrix, len(self.index_to_key))
        self._vectors, self._norms = matrix, None

    @property
    def vector_size(self) -> int:
        """D, the number of numbers per word."""
        return self.vectors.shape[1]

    @property
    def norms(self) -> np.ndarray:
        """Euclidean norms of the rows, float32 [V]; kept from the first use on."""
        return self.fill_norms()

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
        """Cosine of two words."""
        return float(unit(self.get_vector(w1)) @ unit(self.get_vector(w2)))


def _check_rows(matrix: np.ndarray, rows: int) -> None:
    if len(matrix) != rows:
        raise ValueError(
            f"KeyedVectors: vectors must be [V={rows}, D] for {rows} words, got {matrix.shape}"
        )


def _as_matrix(vectors) -> np.ndarray:
    if isinstance(vectors, torch.Tensor):
        vectors = vectors.detach().cpu()
        if vectors.dtype == torch.bfloat16:  # numpy has none
            vectors = vectors.float()
        vectors = vectors.numpy()
    vectors = np.asarray(vectors)
    if vectors.dtype not in (np.float32, np.float16):
        vectors = vectors.astype(np.float32)
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
