"""Co-occurrence counting in plain Python, exact: the oracle of ops.cooccurrence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np


def unit(window: int, distance_weighting: bool = True) -> int:
    """What counts are in units of: a count of ``unit`` is a weight of 1."""
    return math.lcm(*range(1, window + 1)) if distance_weighting else 1


def cooccurrence(
    sentences: Iterable[Sequence[int]],
    window: int,
    *,
    symmetric: bool = True,
    distance_weighting: bool = True,
    first: int = 0,
    last: int | None = None,
) -> dict[tuple[int, int], int]:
    """Counts by (centre, context), in units of ``1 / unit(window, distance_weighting)``.

    Centres are the tokens [first, last) of all sentences put one behind the other.
    """
    weight = unit(window, distance_weighting)
    units = [weight // d if distance_weighting else 1 for d in range(1, window + 1)]
    counts: Counter[tuple[int, int]] = Counter()
    offset = 0
    for sentence in sentences:
        size = len(sentence)
        end = size if last is None else min(size, last - offset)
        for p in range(max(0, first - offset), end):
            for d, n in enumerate(units, 1):
                if p + d < size:
                    counts[sentence[p], sentence[p + d]] += n
                if symmetric and p >= d:
                    counts[sentence[p], sentence[p - d]] += n
        offset += size
    return dict(counts)


def index(
    sentences: Sequence[Sequence[int]], window: int, *, first: int, last: int, vocab_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The index of the centres [first, last): ``padded``, ``starts`` and ``positions``."""
    padded: list[int] = []
    centers: list[tuple[int, int]] = []
    offset = 0
    for sentence in sentences:
        end = offset + len(sentence)
        # An empty sentence between the first and the last one leaves its separators.
        if first < last and offset < last and (padded or end > first):
            padded += [vocab_size] * window
            for p in range(max(offset, first - window), min(end, last + window)):
                if first <= p < last:
                    centers.append((int(sentence[p - offset]), len(padded)))
                padded.append(int(sentence[p - offset]))
        offset = end
    if padded:
        padded += [vocab_size] * window
    centers.sort()
    starts = np.searchsorted([word for word, _ in centers], np.arange(vocab_size + 1))
    return (
        np.array(padded, np.int32),
        starts.astype(np.int64),
        np.array([place for _, place in centers], np.int32),
    )


def rows(
    counts: Mapping[tuple[int, int], int], first_row: int, last_row: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A dictionary of counts as compressed rows: ``row_size``, ``cols`` and ``counts``."""
    entries = sorted((key, n) for key, n in counts.items() if first_row <= key[0] < last_row)
    row_size = np.bincount(
        [row - first_row for (row, _), _ in entries], minlength=last_row - first_row
    )
    return (
        row_size.astype(np.int64),
        np.array([col for (_, col), _ in entries], np.int32),
        np.array([n for _, n in entries], np.int64),
    )
