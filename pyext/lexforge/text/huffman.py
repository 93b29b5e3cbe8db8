"""A vocabulary's Huffman tree, for hierarchical softmax (csrc/text/huffman.h)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lexforge import _text


class HuffmanTree(NamedTuple):
    """The paths of V words from the root of a binary tree, whose inner nodes are 0 .. V - 2.

    Attributes:
        offsets: int64 [V + 1]; the path of word w is ``nodes[offsets[w]:offsets[w + 1]]``.
        nodes: int32 [P], from the root (V - 2) on, each ``2 * node + code``: the inner node, and 0
            where the path turns left there, 1 where it turns right.
        longest: length of the longest path, 1 to 90.
    """

    offsets: np.ndarray
    nodes: np.ndarray
    longest: int


def huffman_tree(counts: npt.ArrayLike) -> HuffmanTree:
    """The tree with the shortest paths, on average over a text with these counts (Huffman 1952).

    The two nodes with the smallest counts are merged, the first of them left, until one is left.
    Of a word and a merged node with equal counts the node is taken first; of two words the later
    one, of two nodes the earlier. A count of 0 counts as 1.

    Args:
        counts: int64 [V], of V >= 2 words, not rising.

    Raises:
        TypeError: no integers of 64 bits. ValueError: another shape, fewer than two or more than
            2^30 words, a negative count, counts that rise, or that add up to more than 2^63 - 1.

    Notes:
        O(V + P) time; 20 bytes a word are needed on the way.

    Example:
        >>> tree = huffman_tree([10, 5, 2, 1])
        >>> tree.nodes[tree.offsets[2] :][:3].tolist()  # nodes 2, 1, 0; left, left, right
        [4, 2, 1]
    """
    array = np.asarray(counts)
    if array.ndim != 1:
        raise ValueError(f"huffman_tree: counts must be [V], got {[*array.shape]}")
    if array.size and (array.dtype.kind not in "iu" or not np.can_cast(array.dtype, np.int64)):
        raise TypeError(f"huffman_tree: counts must be int64, got {array.dtype}")
    return HuffmanTree(*_text.huffman_tree(np.ascontiguousarray(array, np.int64)))
