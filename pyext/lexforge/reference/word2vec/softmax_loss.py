"""Full and hierarchical softmax of skip-gram and CBOW in plain torch, as the theory writes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lexforge.reference.word2vec.cbow_loss import context_mean


def log_probabilities(v: Tensor, embed_u: Tensor) -> Tensor:
    """``log P(j | v)`` of every word j, [V], from v [D] and the words' vectors [V, D]."""
    scores = embed_u @ v
    return scores - torch.logsumexp(scores, 0)


def skipgram_softmax_losses(
    center: Tensor, context: Tensor, embed_v: Tensor, embed_u: Tensor
) -> list[Tensor]:
    """``-log P(o | c)`` of each pair; arguments as in ``lexforge.ops.skipgram_softmax_loss``."""
    pairs = zip(center.flatten().tolist(), context.flatten().tolist(), strict=True)
    return [-log_probabilities(embed_v[c], embed_u)[o] for c, o in pairs]


def cbow_softmax_losses(
    contexts: Tensor, mask: Tensor, center: Tensor, embed_v: Tensor, embed_u: Tensor
) -> list[Tensor]:
    """``-log P(c | contexts)`` of each centre that has contexts; arguments as in
    ``lexforge.ops.cbow_softmax_loss``."""
    means = context_mean(contexts, mask, embed_v)
    return [
        -log_probabilities(mean, embed_u)[c]
        for mean, c, some in zip(means, center.flatten().tolist(), mask.any(1), strict=True)
        if some
    ]


def hierarchical_probability(scores: Tensor, codes: Sequence[int]) -> Tensor:
    """``prod_j sigmoid(s_j scores[j])`` along a path, s = 1 where a code is 0 (left), else -1."""
    probability = scores.new_ones(())
    for score, code in zip(scores, codes, strict=True):
        probability = probability * torch.sigmoid(-score if code else score)
    return probability


def hierarchical_softmax(
    v: Tensor, tree_table: Tensor, paths: Sequence[Sequence[tuple[int, int]]]
) -> Tensor:
    """P of every word, [V], from v [D], the inner nodes' vectors [V - 1, D], and each word's path:
    (inner node, code) from the root on."""
    return torch.stack(
        [
            hierarchical_probability(
                torch.stack([tree_table[node] @ v for node, _ in path]), [code for _, code in path]
            )
            for path in paths
        ]
    )
