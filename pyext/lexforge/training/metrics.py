"""How well classes are told apart: figures from the counts of a confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lexforge._display import printable


@dataclass(frozen=True, eq=False)
class ClassScores:
    """What a classifier says of examples whose classes are known.

    Where nothing is of a class, or nothing is said to be, its precision and recall are 0.

    Attributes:
        confusion: int64 [C, C]; element (i, j) counts the examples of class i that were said to be
            of class j. Counts of several parts can be added.
        names: of the C classes.

    Raises:
        ValueError: `confusion` is not square, not of counts, or `names` are not as many.

    Example:
        >>> scores = ClassScores.of([0, 0, 1, 1], [0, 1, 1, 1], ("negative", "positive"))
        >>> scores.accuracy, scores.recall.tolist(), round(scores.macro_f1, 4)
        (0.75, [0.5, 1.0], 0.7333)
    """

    confusion: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        confusion = np.asarray(self.confusion)
        size = len(self.names)
        if confusion.shape != (size, size):
            raise ValueError(
                f"ClassScores: confusion must be [{size}, {size}], as there are {size} names, "
                f"got {list(confusion.shape)}"
            )
        if confusion.dtype.kind not in "iu" or confusion.min(initial=0) < 0:
            raise ValueError(
                "ClassScores: confusion must be of whole numbers, none negative, "
                f"got {confusion.dtype} with a minimum of {confusion.min(initial=0)}"
            )
        object.__setattr__(self, "confusion", confusion.astype(np.int64, copy=False))
        object.__setattr__(self, "names", tuple(self.names))

    @classmethod
    def of(cls, labels: Any, predictions: Any, names: Sequence[str]) -> ClassScores:
        """Counted from numbers of classes, int [N] each; arrays or tensors of the CPU.

        Raises:
            ValueError: lengths differ, or a number is not in 0..C-1.
        """
        labels, predictions = np.asarray(labels), np.asarray(predictions)
        size = len(names)
        if labels.ndim != 1 or labels.shape != predictions.shape:
            raise ValueError(
                "ClassScores.of: labels and predictions must be [N], "
                f"got {list(labels.shape)} and {list(predictions.shape)}"
            )
        for name, values in (("labels", labels), ("predictions", predictions)):
            if len(values) and not (values.min() >= 0 and values.max() < size):
                wrong = values[(values < 0) | (values >= size)][0]
                raise ValueError(f"ClassScores.of: {name} must be 0 to {size - 1}, got {wrong}")
        pairs = labels.astype(np.int64) * size + predictions.astype(np.int64)
        return cls(np.bincount(pairs, minlength=size * size).reshape(size, size), tuple(names))

    def __add__(self, other: ClassScores) -> ClassScores:
        """Those of both parts of the data."""
        if self.names != other.names:
            raise ValueError(f"ClassScores: names must be equal, got {self.names}, {other.names}")
        return ClassScores(self.confusion + other.confusion, self.names)

    def __len__(self) -> int:
        """N, examples."""
        return int(self.confusion.sum())

    @property
    def support(self) -> np.ndarray:
        """int64 [C]: examples of each class."""
        return self.confusion.sum(axis=1)

    @property
    def accuracy(self) -> float:
        """Share of the examples that are told right; 0 where there are none."""
        return float(_share(np.trace(self.confusion), self.confusion.sum()))

    @property
    def precision(self) -> np.ndarray:
        """float64 [C]: of what is said to be of a class, the share that is."""
        return _share(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def recall(self) -> np.ndarray:
        """float64 [C]: of a class, the share that is found."""
        return _share(np.diag(self.confusion), self.support)

    @property
    def f1(self) -> np.ndarray:
        """float64 [C]: the harmonic mean of precision and recall."""
        return _share(2 * np.diag(self.confusion), self.confusion.sum(axis=0) + self.support)

    @property
    def macro_f1(self) -> float:
        """The mean of `f1` over the classes that there are, or that are predicted."""
        present = (self.confusion.sum(axis=0) + self.support) > 0
        return float(self.f1[present].mean()) if present.any() else 0.0

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        keys = ("precision", "recall", "f1", "support")
        rows = zip(*(getattr(self, key).tolist() for key in keys), strict=True)
        return {
            "examples": len(self),
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "classes": {
                name: dict(zip(keys, row, strict=True))
                for name, row in zip(self.names, rows, strict=True)
            },
            "confusion": self.confusion.tolist(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> ClassScores:
        """What :meth:`to_json` gave.

        Raises:
            ValueError: it lacks the names of classes or the confusion matrix.
        """
        try:
            names, rows = list(found["classes"]), found["confusion"]
            confusion = np.array(rows, dtype=np.int64)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise ValueError(
                'scores must hold "classes" by name and a "confusion" matrix of counts'
            ) from None
        return cls(confusion, tuple(names))

    def table(self) -> str:
        """For a terminal: the figures of each class, and of all."""
        width = max(len("macro mean"), *(len(printable(name)) for name in self.names))
        lines = [f"{'class':<{width}}  precision  recall      f1  examples"]
        for name, precision, recall, f1, support in zip(
            self.names, self.precision, self.recall, self.f1, self.support, strict=True
        ):
            lines.append(
                f"{printable(name):<{width}}  {precision:9.4f}  {recall:6.4f}  {f1:6.4f}"
                f"  {support:8,}"
            )
        lines.append(f"{'macro mean':<{width}}  {'':9}  {'':6}  {self.macro_f1:6.4f}")
        lines.append(f"{'accuracy':<{width}}  {'':9}  {'':6}  {self.accuracy:6.4f}  {len(self):8,}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


def _share(part: Any, whole: Any) -> Any:
    """part / whole, 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) > 0)
