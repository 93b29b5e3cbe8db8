"""Huffman trees."""

from __future__ import annotations

from ctypes import byref, c_int64, c_void_p

import numpy as np

from lexforge._text.library import SPAN, checked, plain

_huffman_links = checked("huffman_links", *SPAN, *3 * (c_void_p,))
_huffman_paths = plain(None, "huffman_paths", c_int64, *3 * (c_void_p,))


def huffman_tree(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Where each word's path begins, int64 [V + 1], all paths, int32 [P], and the longest's length.

    Args:
        counts: contiguous int64 [V], not rising; see csrc/text/huffman.h.

    Raises:
        ValueError: counts of which no tree is made.
    """
    words, longest = counts.size, c_int64()
    links, offsets = np.empty(max(2 * words - 1, 0), np.int32), np.empty(words + 1, np.int64)
    _huffman_links(counts.ctypes, words, links.ctypes, offsets.ctypes, byref(longest))
    nodes = np.empty(offsets[-1], np.int32)
    _huffman_paths(words, links.ctypes, offsets.ctypes, nodes.ctypes)
    return offsets, nodes, longest.value
