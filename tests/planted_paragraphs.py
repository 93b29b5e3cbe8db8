"""Paragraphs with known structure: each keeps to one topic, and its words to their order."""

from __future__ import annotations

import numpy as np


def planted_paragraphs(
    topics: int = 8, paragraphs: int = 200, words: int = 6, seed: int = 0
) -> list[list[str]]:
    """Paragraphs of three sentences on one topic.

    A sentence is three to six neighbouring words of the topic's circle (t3w0 to t3w5): a masked
    word follows from its neighbours, and two sentences of a paragraph share their topic.
    """
    rng = np.random.default_rng(seed)
    return [
        [
            " ".join(f"t{topic}w{(start + i) % words}" for i in range(rng.integers(3, 7)))
            for start in rng.integers(words, size=3)
        ]
        for topic in rng.integers(topics, size=paragraphs)
    ]
