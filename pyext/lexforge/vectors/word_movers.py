"""Word Mover's Distance (Kusner et al. 2015), by the optimal transport of the POT library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lexforge.vectors.word_vectors import WordVectors


def word_movers_distance(
    kv: WordVectors, document1: Sequence[str], document2: Sequence[str], *, norm: bool
) -> float:
    """See :meth:`KeyedVectors.wmdistance`."""
    try:
        from ot import emd2
    except ImportError:
        raise ImportError(
            "wmdistance needs the optimal transport of POT: pip install 'lexforge[wmd]', or "
            "pip install pot"
        ) from None
    for name, document in (("document1", document1), ("document2", document2)):
        if isinstance(document, str):
            raise TypeError(f"wmdistance: {name} must be a list of words, got {document!r}")
    # Words and their shares of the document; a dict keeps the order of the words.
    first, second = (
        Counter(word for word in document if word in kv) for document in (document1, document2)
    )
    if not first or not second:
        return float("inf")
    costs = _distances(*(_vectors(kv, list(words), norm) for words in (first, second)))
    if not costs.any():  # the solver would look for the way of least cost among equals
        return 0.0
    return float(emd2(_shares(first), _shares(second), costs))


def _vectors(kv: WordVectors, words: list[str], norm: bool) -> np.ndarray:
    return np.stack([kv.get_vector(word, norm=norm) for word in words]).astype(np.float64)


def _shares(words: Counter[str]) -> np.ndarray:
    counts = np.array(list(words.values()), dtype=np.float64)
    return counts / counts.sum()


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean distances of rows [N, D] and [M, D], float64 [N, M], exact where they are equal."""
    distances = np.empty((len(first), len(second)))
    for row, vector in enumerate(first):
        distances[row] = np.linalg.norm(second - vector, axis=1)
    return distances
