"""A corpus with known structure: pairs of synonyms, each pair with contexts of its own."""

from __future__ import annotations

import numpy as np


def planted_corpus(
    pairs: int = 20, sentences: int = 4000, seed: int = 0, contexts: int = 6
) -> list[list[str]]:
    """Sentences "context word context context" about one of `pairs` topics.

    Topic i has the synonyms a<i> and b<i>, which take turns at random, and `contexts` words of its
    own around them, so the two have the same neighbours and never meet.
    """
    rng = np.random.default_rng(seed)
    corpus = []
    for topic in rng.integers(pairs, size=sentences):
        around = [f"c{topic}_{k}" for k in rng.integers(contexts, size=5)]
        word = f"{'ab'[rng.integers(2)]}{topic}"
        corpus.append([*around[:2], word, *around[2:4], f"x{rng.integers(50)}"])
    return corpus


def synonym_score(vectors, pairs: int = 20) -> float:
    """Share of the 2 `pairs` words whose nearest neighbour is their synonym."""
    found = 0
    for i in range(pairs):
        for word, synonym in ((f"a{i}", f"b{i}"), (f"b{i}", f"a{i}")):
            found += vectors.most_similar(word, topn=1)[0][0] == synonym
    return found / (2 * pairs)
