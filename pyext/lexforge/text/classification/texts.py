"""Texts, or pairs of texts, with their classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lexforge._arguments import real, whole

# Those of natural language inference, in the order in which the text numbers them.
INFERENCE = ("entailment", "contradiction", "neutral")


@dataclass(frozen=True, eq=False)
class LabelledTexts:
    """Texts, or pairs of texts, with their classes; without classes, what is to be predicted.

    An empty text is legal here: :func:`~lexforge.text.classification.read_labelled` leaves those of
    labelled files out.

    Attributes:
        first: N texts, or the first of each pair (the premise).
        second: N texts, or None where they are no pairs.
        labels: int64 [N], numbers of classes; None where they are not known.
        names: of the C classes, in the order of their numbers; () without labels.

    Raises:
        TypeError: something else than str in place of a text.
        ValueError: lengths differ, a label is not in 0..C-1, a name is empty or comes twice.

    Example:
        >>> texts = LabelledTexts.of(["so great", "so bad"], labels=["positive", "negative"])
        >>> texts.names, texts.labels.tolist()
        (('negative', 'positive'), [1, 0])
    """

    first: Sequence[str]
    second: Sequence[str] | None = None
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, texts in (("first", self.first), ("second", self.second)):
            if isinstance(texts, str):
                raise TypeError(f"LabelledTexts: {name} must be a sequence of texts, got one text")
            for text in texts or ():
                if not isinstance(text, str):
                    kind = type(text).__name__
                    raise TypeError(f"LabelledTexts: {name} must hold str, got {kind} {text!r:.60}")
        if self.second is not None and len(self.second) != len(self):
            raise ValueError(
                f"LabelledTexts: second must hold {len(self):,} texts, as many as first, "
                f"got {len(self.second):,}"
            )
        object.__setattr__(self, "names", class_names("LabelledTexts", self.names))
        if self.labels is None:
            return
        labels = np.asarray(self.labels)
        if labels.shape != (len(self),) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"LabelledTexts: labels must be [{len(self)}] whole numbers, "
                f"got {list(labels.shape)} of {labels.dtype}"
            )
        labels = labels.astype(np.int64, copy=False)
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.names)):
            wrong = labels[(labels < 0) | (labels >= len(self.names))][0]
            raise ValueError(
                f"LabelledTexts: labels must be 0 to {len(self.names) - 1}, the numbers of names, "
                f"got {wrong}"
            )
        object.__setattr__(self, "labels", labels)

    @classmethod
    def of(
        cls,
        first: Iterable[str],
        second: Iterable[str] | None = None,
        labels: Iterable[str | int] | None = None,
        names: Sequence[str] | None = None,
    ) -> LabelledTexts:
        """From Python's lists, with labels that are names of classes, or what stands for them.

        Args:
            first, second: texts, or pairs of them.
            labels: of each, of which str() is the name.
            names: of the classes in order; by default as :func:`ordered_names` has them.

        Raises:
            ValueError: a label is none of the names; as the class.
        """
        held = list(first), None if second is None else list(second)
        if labels is None:
            return cls(*held, None, tuple(names or ()))
        said = [str(label) for label in labels]
        names = class_names("LabelledTexts.of", names or ordered_names(said))
        number = {name: row for row, name in enumerate(names)}
        for place, label in enumerate(said):
            if label not in number:
                raise ValueError(
                    f"LabelledTexts.of: labels must be of {', '.join(names)}, "
                    f"got {label!r} at {place}"
                )
        return cls(*held, np.array([number[label] for label in said], np.int64), names)

    def __len__(self) -> int:
        """N."""
        return len(self.first)

    def __getitem__(self, index: slice | Sequence[int] | np.ndarray) -> LabelledTexts:
        """Some of them: by a slice, or by int [n] or bool [N] arrays."""
        rows = np.arange(len(self))[index]
        if rows.ndim != 1:
            raise TypeError(f"LabelledTexts: index must be a slice or an array, got {index!r}")
        return LabelledTexts(
            [self.first[row] for row in rows],
            None if self.second is None else [self.second[row] for row in rows],
            None if self.labels is None else self.labels[rows],
            self.names,
        )

    def __repr__(self) -> str:
        kind = "texts" if self.second is None else "pairs"
        classes = "unlabelled" if self.labels is None else ", ".join(
            f"{count:,} {name}" for name, count in zip(self.names, self.counts, strict=True)
        )  # fmt: skip
        return f"LabelledTexts({len(self):,} {kind}: {classes})"

    @property
    def counts(self) -> np.ndarray:
        """int64 [C]: the texts of each class; zeros without labels."""
        labels = np.empty(0, np.int64) if self.labels is None else self.labels
        return np.bincount(labels, minlength=len(self.names))

    def split(self, share: float, seed: int = 0) -> tuple[LabelledTexts, LabelledTexts]:
        """A part taken out at random, of every class the same share: a dev split.

        Args:
            share: of the texts, in (0, 1); of each class the nearest whole number is taken.
            seed: what is taken is a function of it.

        Returns:
            The others, and that part; both in the order in which they were.

        Raises:
            ValueError: one of the two would be empty.
        """
        share = real("split", "share", share, 0, 1, above=0)
        classes = np.zeros(len(self), np.int64) if self.labels is None else self.labels
        order = shuffled(len(self), seed)
        taken = np.zeros(len(self), bool)
        for label in np.unique(classes):
            rows = order[classes[order] == label]
            taken[rows[: round(share * len(rows))]] = True
        if taken.all() or not taken.any():
            raise ValueError(
                f"split: share must leave texts in both parts, got {share:g} of {len(self):,} texts"
            )
        return self[~taken], self[taken]

    def require(self, argument: str, *, classes: int = 1) -> None:
        """ValueError, beginning with `argument`, if they cannot serve to train or to evaluate.

        Args:
            argument: what they were given for, such as "train_classifier: dev".
            classes: so many must have texts: 2 to train.
        """
        if not len(self):
            raise ValueError(f"{argument} must hold texts, and is empty")
        if self.labels is None:
            raise ValueError(f"{argument} must have labels, and has none")
        present = np.flatnonzero(self.counts)
        if len(present) < classes:
            found = ", ".join(repr(self.names[row]) for row in present)
            raise ValueError(
                f"{argument} must have texts of at least {classes} classes, got {len(self):,} "
                f"of {found} alone"
            )


def class_names(owner: str, names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes as a tuple.

    Raises:
        TypeError, ValueError: no names, an empty one, or one that comes twice.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{owner}: names must be a sequence of str, got {names!r}")
    if "" in names:
        raise ValueError(f"{owner}: names must not be empty, got {list(names)!r}")
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise ValueError(f"{owner}: names must be distinct, got {twice!r} twice")
    return tuple(names)


def ordered_names(labels: Iterable[str]) -> tuple[str, ...]:
    """The classes that are there, in an order of their own.

    Those of natural language inference are entailment, contradiction, neutral, as in the text, even
    where one is missing; numbers go by size; all others are sorted.
    """
    found = set(labels)
    if found and found <= set(INFERENCE):
        return INFERENCE
    if all(label.isascii() and label.isdigit() for label in found):
        return tuple(sorted(found, key=lambda label: (len(label.lstrip("0")), label)))
    return tuple(sorted(found))


def shuffled(size: int, *key: int) -> np.ndarray:
    """int64 [size]: 0 .. size-1 in an order that is a function of one or two keys."""
    words = [whole("shuffled", "seed", word, -(2**63), 2**64 - 1) % 2**64 for word in key]
    draws: Any = np.random.Philox(key=np.array([*words, 0][:2], np.uint64))
    return np.argsort(draws.random_raw(size), kind="stable")
