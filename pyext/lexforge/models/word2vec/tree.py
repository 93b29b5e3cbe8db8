"""What hierarchical softmax makes of vectors: probabilities of words, scores of sentences."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from lexforge.ops.word2vec.word2vec_train import LONGEST_PATH
from lexforge.text.huffman import HuffmanTree

BLOCK = 1 << 22  # numbers of contexts' vectors that are held at a time


def tree_of_paths(lengths: np.ndarray, nodes: np.ndarray) -> HuffmanTree:
    """A tree that was not made of counts here, of its words' paths one after another.

    Args:
        lengths: Integers [V], of the paths.
        nodes: Integers [P], as in :class:`~lexforge.text.huffman.HuffmanTree`.

    Raises:
        ValueError: They are no binary tree over V words with inner nodes 0 to V - 2.
    """
    lengths, nodes = np.asarray(lengths, np.int64), np.asarray(nodes, np.int64)
    words, longest = len(lengths), int(lengths.max(initial=0))
    if words < 2 or lengths.min() < 1 or longest > LONGEST_PATH or lengths.sum() != len(nodes):
        raise ValueError(
            f"a tree needs two words or more with paths of 1 to {LONGEST_PATH} nodes, got {words} "
            f"words, {len(nodes)} nodes, and {longest} in the longest path"
        )
    ends = lengths.cumsum()
    # Where a path goes from each of its nodes: to the next one, at its end to the word.
    goes_to = np.append(nodes[1:] >> 1, 0)
    goes_to[ends - 1] = words - 1 + np.arange(words)
    turns, first = np.unique(nodes, return_index=True)
    number = np.searchsorted(turns, nodes)
    root, children = nodes[0] >> 1, np.sort(goes_to[first])
    if not (
        np.array_equal(turns, np.arange(2 * words - 2))
        and (nodes[ends - lengths] >> 1 == root).all()
        and np.array_equal(goes_to, goes_to[first][number])
        and np.array_equal(children, np.delete(np.arange(2 * words - 1), root))
    ):
        raise ValueError(f"the paths of {words} words are not those of a binary tree")
    return HuffmanTree(np.append(0, ends), nodes.astype(np.int32), longest)


def word_log_probabilities(
    tree: HuffmanTree, node_table: torch.Tensor, x: torch.Tensor
) -> torch.Tensor:
    """log P(w | x) = sum over w's path of log sigmoid(+-node x), minus where it turns right.

    Args:
        node_table: [V - 1, D] vectors of inner nodes.
        x: [D].

    Returns:
        float64 [V], whose exponentials sum to 1.
    """
    turns = torch.from_numpy(tree.nodes)
    scores = (node_table @ x).double()[turns >> 1] * _signs(turns)
    return torch.from_numpy(np.add.reduceat(logsigmoid(scores).numpy(), tree.offsets[:-1]))


def log_likelihoods(
    sentences: Iterable[list[int]],
    tree: HuffmanTree,
    in_table: torch.Tensor,
    node_table: torch.Tensor,
    sizes: torch.Tensor | None = None,
    *,
    window: int,
    skipgram: bool,
    mean: bool,
) -> torch.Tensor:
    """Of each sentence: log P(word | context) over its words, and skip-gram's single contexts.

    All words are kept and all windows are the largest. A word without a context adds nothing.

    Args:
        sentences: Word numbers.
        in_table: [V, D] vectors of words as contexts.
        node_table: [V - 1, D] vectors of inner nodes.
        sizes: int [V], of how many vectors each word's is the sum, which CBOW's mean is over.
        mean: CBOW's input is the contexts' mean; otherwise their sum.

    Returns:
        float64 [S].
    """
    lengths = torch.tensor([0, *map(len, sentences := list(sentences))])
    words = torch.tensor([word for sentence in sentences for word in sentence], dtype=torch.int64)
    begin, owner = lengths.cumsum(0), torch.arange(len(sentences)).repeat_interleave(lengths[1:])
    begins, nodes = torch.from_numpy(tree.offsets), torch.from_numpy(tree.nodes)
    reach = torch.cat([torch.arange(-window, 0), torch.arange(1, window + 1)])
    step = torch.arange(tree.longest)
    result = torch.zeros(len(sentences), dtype=torch.float64)
    for center in torch.arange(len(words)).split(
        max(1, BLOCK // (in_table.shape[1] * max(len(reach), tree.longest)))
    ):
        of = owner[center]
        at = center[:, None] + reach
        there = (at >= begin[of, None]) & (at < begin[of + 1, None])  # [B, 2 window]
        x = in_table[words[at * there]] * there[..., None]  # [B, 2 window, D]
        if not skipgram:
            x = x.sum(1, keepdim=True)
            if mean:
                weights = there if sizes is None else sizes[words[at * there]] * there
                x /= weights.sum(1).clamp(min=1)[:, None, None]
            there = there.any(1, keepdim=True)
        path = begins[words[center], None] + step  # [B, longest]
        on_path = path < begins[words[center] + 1, None]
        turns = nodes[path * on_path]
        scores = torch.bmm(x, node_table[turns >> 1].transpose(1, 2)).double()
        losses = logsigmoid(scores * _signs(turns)[:, None])
        losses *= there[..., None] & on_path[:, None]
        result.index_add_(0, of, losses.sum((1, 2)))
    return result


def _signs(turns: torch.Tensor) -> torch.Tensor:
    return 1 - 2 * (turns & 1).double()
