"""How good the predictions of a classifier are: precision and recall, at any threshold."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

_NOT_PREDICTED = -1.0  # the score of a true label that was not among the predictions


class Meter:
    """Predictions of examples with known labels.

    Args:
        labels: number of labels that there are.
        true_offsets: int64 [N + 1]; example i has labels ``true[true_offsets[i]:...[i + 1]]``.
        true: int [true_offsets[N]].
        offsets: int64 [N + 1], the same for predictions.
        predicted: int [offsets[N]], the predicted labels.
        scores: float [offsets[N]], their probabilities; those above 1 count as 1.
        missed: whether true labels that are not predicted are among `scored`, with a score of -1.

    Attributes:
        examples: N.
    """

    def __init__(
        self,
        labels: int,
        true_offsets: np.ndarray,
        true: np.ndarray,
        offsets: np.ndarray,
        predicted: np.ndarray,
        scores: np.ndarray,
        missed: bool = False,
    ):
        self.examples = len(offsets) - 1
        self._labels, self._missed = labels, missed
        self._true, self._predicted = true, predicted
        self._scores = np.minimum(np.asarray(scores, np.float32), np.float32(1))
        given = np.repeat(np.arange(self.examples), np.diff(true_offsets)) * labels + true
        said = np.repeat(np.arange(self.examples), np.diff(offsets)) * labels + predicted
        self._right = np.isin(said, given)
        self._found = np.isin(given, said)

    @cached_property
    def _counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """By label: true ones, predicted ones, predictions that are right."""
        right = self._predicted[self._right]
        return tuple(  # type: ignore[return-value]
            np.bincount(each, minlength=self._labels)
            for each in (self._true, self._predicted, right)
        )

    def _count(self, label: int | None) -> tuple[int, int, int]:
        if label is None:
            return len(self._true), len(self._predicted), int(self._right.sum())
        true, predicted, right = self._counts
        return int(true[label]), int(predicted[label]), int(right[label])

    def precision(self, label: int | None = None) -> float:
        """Which part of the predictions is right; NaN without any."""
        _, predicted, right = self._count(label)
        return right / predicted if predicted else math.nan

    def recall(self, label: int | None = None) -> float:
        """Which part of the true labels is predicted; NaN without any."""
        true, _, right = self._count(label)
        return right / true if true else math.nan

    def f1(self, label: int | None = None) -> float:
        """The harmonic mean of both; NaN without any."""
        true, predicted, right = self._count(label)
        return 2 * right / (predicted + true) if predicted + true else math.nan

    def scored(self, label: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Scores of predictions, and 1 for those that are right, 0 for the others.

        Returns:
            Two of float64 [n], by ascending score.
        """
        scores, right = self._scores.astype(np.float64), self._right.astype(np.float64)
        if label is not None:
            chosen = self._predicted == label
            scores, right = scores[chosen], right[chosen]
        if self._missed:
            missing = self._true[~self._found]
            count = len(missing) if label is None else int((missing == label).sum())
            scores = np.concatenate((np.full(count, _NOT_PREDICTED), scores))
            right = np.concatenate((np.ones(count), right))
        order = np.lexsort((right, scores))
        return scores[order], right[order]

    def curve(self, label: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Precision and recall at each threshold, from the highest on, until all are found.

        Returns:
            Two of float64 [n], whose last ones are 1 and 0; both are empty without predictions.
        """
        scores, right = (each[::-1] for each in self.scored(label))
        found = scores >= 0
        scores, right = scores[found], right[found]
        if not len(scores):
            return np.empty(0), np.empty(0)
        last = np.append(scores[1:] != scores[:-1], True)  # of those with the same score
        hits = np.cumsum(right)[last]
        misses = np.cumsum(1 - right)[last]
        true, _, _ = self._count(label)
        until = np.searchsorted(hits, true) + 1
        hits, misses = hits[:until], misses[:until]
        recall = hits / true if true else np.full(len(hits), math.nan)
        return np.append(hits / (hits + misses), 1.0), np.append(recall, 0.0)

    def precision_at_recall(self, recall: float, label: int | None = None) -> float:
        """The best precision at a threshold where the recall is at least that; 0 without one."""
        precisions, recalls = self.curve(label)
        return float(precisions[recalls >= recall].max(initial=0))

    def recall_at_precision(self, precision: float, label: int | None = None) -> float:
        """The best recall at a threshold where the precision is at least that; 0 without one."""
        precisions, recalls = self.curve(label)
        return float(recalls[precisions >= precision].max(initial=0))
