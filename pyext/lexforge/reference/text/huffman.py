"""A vocabulary's Huffman tree in plain Python (csrc/text/huffman.h)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


def huffman_paths(counts: Sequence[int]) -> list[list[tuple[int, int]]]:
    """The path of each word: (inner node, code) from the root on.

    Arguments as of :func:`lexforge.text.huffman.huffman_tree`.
    """
    paths: list[list[tuple[int, int]]] = [[] for _ in counts]
    # (count, the words below), those with the smallest counts first.
    words = deque((max(count, 1), [word]) for word, count in enumerate(counts))
    words.reverse()
    merged: deque[tuple[int, list[int]]] = deque()
    for node in range(len(counts) - 1):
        total, below = 0, []
        for code in (0, 1):
            from_merged = not words or (merged and merged[0][0] <= words[0][0])
            count, under = (merged if from_merged else words).popleft()
            for word in under:
                paths[word].insert(0, (node, code))
            total += count
            below += under
        merged.append((total, below))
    return paths
