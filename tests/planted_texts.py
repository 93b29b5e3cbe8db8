"""Texts with known classes: one word among others tells the class, in pairs one in each text."""

from __future__ import annotations

import numpy as np

from lexforge.text.classification import LabelledTexts

NAMES = ("bad", "good")


def planted_texts(
    size: int = 240, pairs: bool = False, words: int = 12, seed: int = 0
) -> LabelledTexts:
    """Texts of 3 to 10 words.

    A text with "great" is good, one with "awful" is bad. A pair is good where both texts have the
    same of the two.
    """
    rng = np.random.default_rng(seed)

    def text(good: int) -> str:
        found = [f"w{k}" for k in rng.integers(words, size=rng.integers(2, 10))]
        found.insert(int(rng.integers(len(found) + 1)), ("awful", "great")[good])
        return " ".join(found)

    labels = np.arange(size) % 2
    firsts = rng.integers(2, size=size) if pairs else labels
    seconds = [text(int(a == b)) for a, b in zip(firsts, labels, strict=True)] if pairs else None
    return LabelledTexts([text(int(good)) for good in firsts], seconds, labels, NAMES)
