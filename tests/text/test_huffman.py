"""The Huffman tree of a vocabulary."""

from __future__ import annotations

import heapq
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexforge.reference.text.huffman import huffman_paths
from lexforge.text.huffman import HuffmanTree, huffman_tree

COUNTS = st.lists(st.integers(0, 20) | st.integers(0, 2**40), min_size=2, max_size=60).map(
    lambda counts: sorted(counts, reverse=True)
)


def paths(tree: HuffmanTree) -> list[list[tuple[int, int]]]:
    """(inner node, code) from the root on, of each word."""
    ends = zip(tree.offsets[:-1].tolist(), tree.offsets[1:].tolist(), strict=True)
    return [[(node >> 1, node & 1) for node in tree.nodes[a:b].tolist()] for a, b in ends]


def codes(tree: HuffmanTree) -> list[str]:
    return ["".join(str(code) for _, code in path) for path in paths(tree)]


def lowest_cost(counts: list[int]) -> int:
    """Sum over the words of count times length, of the best tree: the sum of all merged counts."""
    heap, cost = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        heapq.heappush(heap, merged)
        cost += merged
    return cost


def test_the_codes_and_nodes_of_the_text():
    tree = huffman_tree(np.array([10, 5, 2, 1]))
    assert codes(tree) == ["1", "01", "001", "000"]
    nodes = [[node for node, _ in path] for path in paths(tree)]
    assert nodes == [[2], [2, 1], [2, 1, 0], [2, 1, 0]]
    assert tree.offsets.tolist() == [0, 1, 3, 6, 9] and tree.longest == 3
    assert tree.nodes.tolist() == [5, 4, 3, 4, 2, 1, 4, 2, 0]
    assert (tree.offsets.dtype, tree.nodes.dtype) == (np.int64, np.int32)
    assert tree.offsets.flags.writeable and tree.nodes.flags.writeable  # as torch wants them


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([6, 5, 4, 3, 2], ["11", "10", "00", "011", "010"]),
        ([1, 1], ["1", "0"]),
        ([3, 2], ["1", "0"]),
        ([1, 1, 1], ["0", "11", "10"]),
        ([2, 1, 1], ["1", "01", "00"]),  # the merged node, of count 2, is taken before the word
        ([1, 1, 1, 1], ["11", "10", "01", "00"]),
        ([9, 0], ["1", "0"]),
    ],
)
def test_ties_and_small_trees(counts, expected):
    assert codes(huffman_tree(counts)) == expected


@given(COUNTS)
def test_any_counts(counts):
    tree = huffman_tree(counts)
    assert paths(tree) == huffman_paths(counts)
    lengths = np.diff(tree.offsets).tolist()
    assert tree.longest == max(lengths) and tree.offsets[0] == 0
    assert sum(2 ** (tree.longest - length) for length in lengths) == 2**tree.longest  # Kraft
    counted = [max(count, 1) for count in counts]
    cost = sum(count * length for count, length in zip(counted, lengths, strict=True))
    assert cost == lowest_cost(counted)
    assert len(set(codes(tree))) == len(counts)
    # Each inner node has two children, and the root is the last one.
    children = {node for path in paths(tree) for node in path}
    assert children == {(node, code) for node in range(len(counts) - 1) for code in (0, 1)}
    assert {path[0][0] for path in paths(tree)} == {len(counts) - 2}


@given(COUNTS, st.integers(0, 2**32 - 1))
def test_the_probabilities_of_all_words_add_up_to_one(counts, seed):
    """Hierarchical softmax: P(w | c) = product of sigmoid(s u.v), s = +1 left and -1 right."""
    rng = np.random.default_rng(seed)
    node_vectors, v = rng.normal(0, 1, (len(counts) - 1, 3)), rng.normal(0, 1, 3)
    right = 1 / (1 + np.exp(node_vectors @ v))
    probability = [
        np.prod([right[node] if code else 1 - right[node] for node, code in path])
        for path in paths(huffman_tree(counts))
    ]
    assert sum(probability) == pytest.approx(1, abs=1e-12)


def test_the_deepest_tree():
    """Of Fibonacci counts, as many as add up to 63 bits: no path is longer than kernels allow."""
    counts = [1, 1, 1]
    while sum(counts) + sum(counts[:-1]) < 2**63:
        counts.append(sum(counts[:-1]))
    tree = huffman_tree(counts[::-1])
    assert tree.longest == len(counts) - 1 == 90
    assert paths(tree) == huffman_paths(counts[::-1])


def test_words_that_never_come_do_not_make_a_chain():
    """Equal counts of 0 were merged with the node just made, again and again."""
    assert huffman_tree(np.zeros(1024, np.int64)).longest == 10
    assert huffman_tree([5, 3, *[0] * 1000]).longest == 10


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_other_integers_and_strides(dtype):
    counts = np.repeat(np.array([10, 5, 2, 1], dtype), 2)
    assert codes(huffman_tree(counts[::2])) == ["1", "01", "001", "000"]


@pytest.mark.parametrize(
    ("counts", "error", "message"),
    [
        ([], ValueError, r"counts must be of 2 to 2\^30 words, got 0"),
        ([7], ValueError, r"counts must be of 2 to 2\^30 words, got 1"),
        ([[2, 1]], ValueError, r"counts must be \[V\], got \[1, 2\]"),
        (5, ValueError, r"counts must be \[V\], got \[\]"),
        ([3, 4], ValueError, "counts must not rise, got 4 after 3 at 1"),
        ([3, 3, -1], ValueError, "counts must be >= 0, got -1 at 2"),
        ([2**63 - 1, 0], ValueError, r"counts must add up to <= 2\^63 - 1"),
        ([2**62, 2**62], ValueError, r"counts must add up to <= 2\^63 - 1"),
        ([2.0, 1.0], TypeError, "counts must be int64, got float64"),
        (["b", "a"], TypeError, "counts must be int64, got <U1"),
        ([True, False], TypeError, "counts must be int64, got bool"),
        (np.array([2, 1], np.uint64), TypeError, "counts must be int64, got uint64"),
    ],
)
def test_what_is_refused(counts, error, message):
    with pytest.raises(error, match="huffman_tree: " + message):
        huffman_tree(counts)


def test_a_million_words():
    """By Zipf's law; some 0.1 s."""
    counts = np.maximum(10**9 // np.arange(1, 10**6 + 1), 1)
    started = time.perf_counter()
    tree = huffman_tree(counts)
    assert time.perf_counter() - started < 2
    lengths = np.diff(tree.offsets)
    assert np.ldexp(1.0, -lengths).sum() == 1
    assert (np.diff(lengths) >= 0).all()
