"""Cosine similarity on the rows of a matrix, without a normalised copy of it."""

from __future__ import annotations

import difflib
import unicodedata
import warnings
from collections.abc import Container, Iterable, Sequence

import numpy as np
import torch

# Norms below this count as it: a zero vector is then similar to nothing instead of NaN.
EPSILON = 1e-12
_BLOCK_ROWS = 65536
_READ_AS_THEY_ARE = (torch.float32, torch.float16, torch.bfloat16)


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
    matrix,
    query,
    k: int,
    exclude: Iterable = (),
    *,
    norms=None,
    first: int = 0,
    last: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` rows of `matrix` with the largest cosine to one query, or to each of many.

    Args:
        matrix: array or tensor [V, D]. float32, float16 and bfloat16 are read as they are, on the
            device where they lie; others are converted to float32.
        query: array or tensor [D], or [Q, D].
        k: how many rows.
        exclude: row numbers that are not returned, usually those the query was made of; for Q
            queries Q lists of them. Rows are excluded by number, so a duplicate of an excluded row
            is still found.
        norms: Euclidean norms of the rows [V], when at hand.
        first, last: the rows searched, first <= row < last; by default all.

    Returns:
        ``(indices int64 [k], cosines float32 [k])``, best first, equal cosines in row order, NaN
        last. Rows and queries of norm zero have cosine 0. One query gets fewer where fewer are
        left; Q queries get ``[Q, min(k, V)]``, with -1 and minus infinity there.

    Raises:
        ValueError: for wrong shapes, ``k < 0``, or a range that is not within the rows.
    """
    from lexforge.ops.similarity.cosine_top_k import cosine_top_k

    table, queries = _tensor(matrix), _tensor(query)
    if table.ndim != 2:
        raise ValueError(f"knn: matrix must be [V, D], got {tuple(table.shape)}")
    rows, dim = table.shape
    if queries.ndim not in (1, 2) or queries.shape[-1] != dim:
        raise ValueError(
            f"knn: query must be [D={dim}] or [Q, D={dim}], got {tuple(queries.shape)}"
        )
    if k < 0:
        raise ValueError(f"knn: k must be >= 0, got {k}")
    if one := queries.ndim == 1:
        queries, exclude = queries[None], [exclude]
    excluded = _excluded(list(exclude), len(queries), rows)
    ids, scores = (
        result.cpu().numpy()
        for result in cosine_top_k(
            table if table.dtype in _READ_AS_THEY_ARE else table.float(),
            queries.to(table.device, torch.float32),
            min(k, rows),
            norms=None if norms is None else _tensor(norms).to(table.device, torch.float32),
            excluded=torch.from_numpy(excluded).to(table.device),
            first=first,
            last=last,
        )
    )
    if not one:
        return ids, scores
    found = ids[0] >= 0
    return ids[0][found], scores[0][found]


def _tensor(values) -> torch.Tensor:
    """The same numbers as a tensor, on the same memory where that is possible."""
    if isinstance(values, torch.Tensor):
        return values.detach()
    array = np.asarray(values)
    if array.dtype not in (np.float32, np.float16) or min(array.strides, default=0) < 0:
        array = array.astype(np.float32)
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():  # nobody writes to it
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def _excluded(exclude: Sequence[Iterable[int]], count: int, rows: int) -> np.ndarray:
    """int64 [count, E]: those of the row numbers that there are, filled up with -1."""
    if exclude and len(exclude) != count:
        raise ValueError(f"knn: exclude must be {count} lists, one for each query")
    lists = [[row for row in set(each) if 0 <= row < rows] for each in exclude]
    excluded = np.full((count, max(map(len, lists), default=0)), -1, dtype=np.int64)
    for row, numbers in zip(excluded, lists, strict=False):
        row[: len(numbers)] = numbers
    return excluded


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
