"""Cosine similarity on the rows of a matrix, without a normalised copy of it."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Container, Iterable, Sequence

import numpy as np

# Norms below this count as it: a zero vector is then similar to nothing instead of NaN.
EPSILON = 1e-12
_BLOCK_ROWS = 65536


def row_norms(matrix: np.ndarray) -> np.ndarray:
    """Euclidean norms of the rows of `matrix` [V, D] -> float32 [V]."""
    norms = np.empty(len(matrix), dtype=np.float32)
    for start in range(0, len(matrix), _BLOCK_ROWS):
        rows = matrix[start : start + _BLOCK_ROWS].astype(np.float32, copy=False)
        norms[start : start + _BLOCK_ROWS] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return norms


def unit(vector: np.ndarray) -> np.ndarray:
    """`vector` [D] scaled to length 1; a zero vector stays zero."""
    vector = np.asarray(vector, dtype=np.float32)
    return vector / max(float(np.linalg.norm(vector)), EPSILON)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """That of two vectors [D], 1 exactly for equal ones and 0 for one of zeros."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    squares = np.maximum((first @ first, second @ second), EPSILON**2)
    return float(first @ second / np.sqrt(squares.prod()))


def cosines(matrix: np.ndarray, query: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Dot products of the rows of `matrix` [V, D] with `query` [D] over the row norms [V].

    For a query of unit length these are the cosines. float32 [V].
    """
    query = np.asarray(query, dtype=np.float32)
    if matrix.dtype == np.float32:
        scores = matrix @ query
    else:
        scores = np.empty(len(matrix), dtype=np.float32)
        for start in range(0, len(matrix), _BLOCK_ROWS):
            rows = matrix[start : start + _BLOCK_ROWS].astype(np.float32)
            scores[start : start + _BLOCK_ROWS] = rows @ query
    return scores / np.maximum(norms, EPSILON)


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Indices of the `k` largest scores [V], descending; equal scores in index order."""
    k = min(k, len(scores))
    if k <= 0:
        return np.empty(0, dtype=np.int64)
    scores = np.where(np.isnan(scores), -np.inf, scores)
    threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > threshold)
    equal = np.flatnonzero(scores == threshold)[: k - len(above)]
    chosen = np.concatenate((above, equal))
    return chosen[np.lexsort((chosen, -scores[chosen]))]


def nearest(
    scores: np.ndarray, k: int, exclude: Iterable[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` best of `scores` [V] without the rows in `exclude`: (indices, their scores)."""
    excluded = [row for row in set(exclude) if 0 <= row < len(scores)]
    best = top_k(scores, k + len(excluded))
    best = best[~np.isin(best, excluded)][:k]
    return best, scores[best]


def knn(
    matrix, query, k: int, exclude: Iterable[int] = (), *, norms=None
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` rows of `matrix` with the largest cosine to `query`.

    Args:
        matrix: array or tensor [V, D].
        query: array or tensor [D].
        k: how many rows; fewer come back when fewer are left.
        exclude: row numbers that are not returned, usually those the query was made of. Rows are
            excluded by number, so a duplicate of an excluded row is still found.
        norms: Euclidean norms of the rows [V], when at hand.

    Returns:
        ``(indices int64 [k], cosines float32 [k])``, best first, equal cosines in row order. Rows
        and queries of norm zero have cosine 0.

    Raises:
        ValueError: for wrong shapes or ``k < 0``.
    """
    matrix, query = np.asarray(matrix), np.asarray(query)
    if matrix.ndim != 2:
        raise ValueError(f"knn: matrix must be [V, D], got {matrix.shape}")
    if query.shape != matrix.shape[1:]:
        raise ValueError(f"knn: query must be [D={matrix.shape[1]}], got {query.shape}")
    if k < 0:
        raise ValueError(f"knn: k must be >= 0, got {k}")
    norms = row_norms(matrix) if norms is None else np.asarray(norms)
    return nearest(cosines(matrix, unit(query), norms), k, exclude)


def close_spellings(word: str, words: Sequence[str], n: int = 3) -> list[str]:
    """Up to `n` of the first 200,000 `words` that look like `word`: for error messages."""
    lowered = word.lower()
    candidates: dict[str, str] = {}
    for other in words[:200_000]:
        other_lowered = other.lower()
        # The full comparison costs microseconds a word, so it sees plausible words only.
        if abs(len(other) - len(word)) <= 2 and other_lowered[:1] == lowered[:1]:
            candidates.setdefault(other_lowered, other)
    matches = difflib.get_close_matches(lowered, candidates, n=n, cutoff=0.7)
    return [candidates[match] for match in matches]


def other_form(word: str, known: Container[str]) -> str | None:
    """The same word in another Unicode normal form, if that is among the known ones."""
    if word.isascii():
        return None
    forms = (unicodedata.normalize(form, word) for form in ("NFC", "NFD", "NFKC", "NFKD"))
    return next((other for other in forms if other != word and other in known), None)


def unknown_word(word: str, words: Sequence[str], known: Container[str]) -> str:
    """What to say about a word that is not among the `words`: with its other form, or close ones.

    Args:
        known: the words once more, where they are found fast.
    """
    hint = ""
    if (other := other_form(word, known)) is not None:
        hint = f" (it is there in another Unicode form, {other!a}; this is {word!a})"
    elif close := close_spellings(word, words):
        hint = f" (did you mean {', '.join(close)}?)"
    return f"{word!r} is not among the {len(words):,} words{hint}"
