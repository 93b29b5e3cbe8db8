"""Words and vectors that more are added to, with attributes that go with their words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lexforge.vectors.word_vectors import WordVectors, as_list


class GrowingVectors(WordVectors):
    """Vectors that can be added, replaced and sorted, and attributes of their words."""

    def allocate_vecattrs(
        self, attrs: Iterable[str] | None = None, types: Iterable[Any] | None = None
    ) -> None:
        """Make room for attributes of the words, zeros where there is none yet.

        Args:
            attrs: their names; None brings all that are there to the number of words.
            types: what each can hold; of strings and everything but numbers, object.

        Raises:
            TypeError: an attribute is there with a type that cannot hold this one.
        """
        if attrs is None:
            attrs = list(self.expandos)
            types = [self.expandos[attr].dtype for attr in attrs]
        for attr, kind in zip(attrs, types or (), strict=True):
            kind = np.dtype(np.int64 if kind is int else kind)
            kind = kind if kind.kind in "biufc" else np.dtype(object)
            old = self.expandos.get(attr)
            if old is None:
                self.expandos[attr] = np.zeros(len(self), dtype=kind)
                continue
            if not np.can_cast(kind, old.dtype, "same_kind"):
                raise TypeError(f"attribute {attr!r} is {old.dtype}, which cannot hold {kind}")
            if len(old) != len(self):
                self.expandos[attr] = moved(old, _rows_kept(len(old), len(self)))

    def get_vecattr(self, key: str | int, attr: str) -> Any:
        """The value of an attribute of a word.

        ``count`` is the number of its occurrences, where the source had it. Where it had none it
        falls with the row from V to 1, as gensim makes it up when it loads a file.

        Raises:
            KeyError: for an unknown word or attribute.
        """
        row = self.get_index(key)
        if attr not in self.expandos:
            if attr == "count":
                return len(self) - row
            raise KeyError(f"attribute {attr!r} not present")
        return self.expandos[attr][row]

    def set_vecattr(self, key: str | int, attr: str, val: Any) -> None:
        """Set an attribute of a word. A new attribute starts as zeros of the type of `val`.

        Raises:
            KeyError: for an unknown word. TypeError: the attribute has a type that cannot hold it.
        """
        row = self.get_index(key)
        self.allocate_vecattrs([attr], [object if np.ndim(val) else np.asarray(val).dtype])
        self.expandos[attr][row] = val

    @property
    def vectors_lockf(self) -> np.ndarray:
        """What steps of training are multiplied by, float32: [V], or [1] for all rows alike."""
        return self._lockf

    @vectors_lockf.setter
    def vectors_lockf(self, factors: Any) -> None:
        factors = np.atleast_1d(np.asarray(factors, dtype=np.float32))
        if factors.shape not in ((1,), (len(self),)):
            raise ValueError(f"vectors_lockf must be [V={len(self)}] or [1], got {factors.shape}")
        if not (np.isfinite(factors) & (factors >= 0)).all():
            raise ValueError("vectors_lockf must be finite and >= 0")
        self._lockf = factors

    def add_vector(self, key: str, vector: Any) -> int:
        """Add one word; returns its row, the first that waits for a word or a new one.

        To add many, `add_vectors` copies the matrix once.
        """
        row = self.next_index
        if row >= len(self) or self.index_to_key[row] is not None or key in self.key_to_index:
            self.add_vectors([key], np.asarray(vector)[None])
            return self.key_to_index[key]
        vector = np.asarray(vector)
        if vector.shape != (self.vector_size,):
            raise ValueError(
                f"add_vector: vector must be [D={self.vector_size}], got {vector.shape}"
            )
        self._vectors[row] = vector
        self.index_to_key[row], self.key_to_index[key], self._norms = key, row, None
        self.next_index = row + 1
        return row

    def add_vectors(
        self,
        keys: str | Sequence[str],
        weights: Any,
        extras: Mapping[str, Any] | None = None,
        replace: bool = False,
    ) -> None:
        """Append words and their vectors.

        Args:
            keys: N words, or one word.
            weights: their vectors [N, D], or [D] for one word.
            extras: attributes of these words, name -> array [N].
            replace: whether words that are known already take the new vector and attributes; else
                they keep theirs.

        Raises:
            ValueError: for repeated words in `keys` or wrong shapes.
            TypeError: an attribute of another type than it has.
        """
        keys = as_list(keys)
        weights = np.asarray(weights)
        weights = weights.reshape(1, -1) if weights.ndim == 1 and len(keys) == 1 else weights
        if weights.shape != (len(keys), self.vector_size):
            raise ValueError(
                f"add_vectors: weights must be [N={len(keys)}, D={self.vector_size}], "
                f"got {weights.shape}"
            )
        if len(set(keys)) != len(keys):
            raise ValueError("add_vectors: keys must be different")
        more = {name: np.asarray(values) for name, values in (extras or {}).items()}
        for name, values in more.items():
            if len(values) != len(keys):
                raise ValueError(
                    f"add_vectors: extras[{name!r}] must be [N={len(keys)}], got {values.shape}"
                )
        self.allocate_vecattrs(more, [values.dtype for values in more.values()])
        new = np.array([key not in self.key_to_index for key in keys], dtype=bool)
        if new.any():
            fresh = weights[new].astype(self.vectors.dtype)
            words = [key for key, is_new in zip(keys, new, strict=True) if is_new]
            self._move(
                [*self.index_to_key, *words],
                np.concatenate((self.vectors, fresh)),
                _rows_kept(len(self), len(self) + len(words)),
            )
        chosen = np.ones(len(keys), bool) if replace else new
        rows = [self.key_to_index[key] for key in keys]
        if replace and not new.all():
            if not self.vectors.flags.writeable:
                self.vectors = self.vectors.copy()
            self._vectors[np.array(rows)[~new]] = weights[~new]
        for name, values in more.items():
            self.expandos[name][np.array(rows)[chosen]] = values[chosen]
        self._norms = None

    def __setitem__(self, keys: str | Sequence[str], weights: Any) -> None:
        """Set the vectors of words, adding those that are new."""
        self.add_vectors(keys, weights, replace=True)

    def resize_vectors(self, seed: int = 0) -> None:
        """Bring `vectors` and attributes to as many rows as `index_to_key` has words.

        New rows are drawn uniformly from -1 / D to 1 / D, the same as gensim draws.

        Args:
            seed: of numpy's generator.
        """
        rows, size = len(self.index_to_key), self.vector_size
        self._vectors = resized(self._vectors, (rows, size), seed)
        self.allocate_vecattrs()
        if len(self._lockf) > 1:
            self._lockf = moved(self._lockf, _rows_kept(len(self._lockf), rows), new=1)
        self._norms = None

    def sort_by_descending_frequency(self) -> None:
        """Order the rows by falling count; words of equal count change places, as in gensim.

        Raises:
            ValueError: when there are no counts.
        """
        counts = self.expandos.get("count")
        if not len(self):
            return
        if counts is None:
            raise ValueError("sort_by_descending_frequency: there are no counts to sort by")
        order = np.lexsort((-np.arange(len(counts)), -counts))
        self._move([self.index_to_key[row] for row in order], self.vectors[order], order)

    def unit_normalize_all(self) -> None:
        """Scale all vectors to length 1, for good."""
        self.vectors = self.get_normed_vectors().astype(self.vectors.dtype, copy=False)

    def _take(self, words, matrix, counts=None) -> None:
        super()._take(words, matrix, counts)
        if not hasattr(self, "_lockf"):
            self._lockf = np.ones(1, dtype=np.float32)

    def _move(self, words, matrix: np.ndarray, rows: np.ndarray, counts=None) -> None:
        """Stand for other rows; `rows` says which of the old each is, or -1.

        Attributes go with their words, and are zero for a new one.
        """
        self.expandos = {name: moved(values, rows) for name, values in self.expandos.items()}
        self._take(words, matrix, counts)
        if len(self._lockf) > 1:
            self._lockf = moved(self._lockf, rows, new=1)


def _rows_kept(before: int, after: int) -> np.ndarray:
    """Which of the old rows each row is when the last ones come or go."""
    rows = np.arange(after)
    return np.where(rows < before, rows, -1)


def resized(matrix: np.ndarray, shape: tuple[int, int], seed: int) -> np.ndarray:
    """A matrix with more rows, drawn as :meth:`GrowingVectors.resize_vectors` says, or fewer."""
    if len(matrix) == shape[0]:
        return matrix
    drawn = np.random.default_rng(seed).random(shape, dtype=np.float32)
    drawn = ((drawn * np.float32(2) - np.float32(1)) / np.float32(shape[1])).astype(
        matrix.dtype, copy=False
    )
    kept = matrix[: shape[0]]
    drawn[: len(kept)] = kept
    return drawn


def moved(values: np.ndarray, rows: np.ndarray, new: float = 0) -> np.ndarray:
    """`values` of the old rows that `rows` names; `new` for a row that is -1."""
    found = np.full((len(rows), *values.shape[1:]), new, dtype=values.dtype)
    found[rows >= 0] = values[rows[rows >= 0]]
    return found
