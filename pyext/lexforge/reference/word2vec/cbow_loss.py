"""The mean of contexts, and CBOW's normalised loss on it, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.reference.word2vec.skipgram_loss import skipgram_loss


def context_mean(contexts: Tensor, mask: Tensor, embed_v: Tensor) -> Tensor:
    """Means [B, D]; arguments as in :func:`lexforge.ops.context_mean`."""
    means = []
    for ids, shares in zip(contexts.long(), mask.to(embed_v.dtype), strict=True):
        total = shares.sum()
        means.append((shares @ embed_v[ids]) / (total if total > 0 else 1))
    return torch.stack(means) if means else embed_v[:0]


def cbow_loss(
    contexts: Tensor,
    context_mask: Tensor,
    centers_and_negatives: Tensor,
    mask: Tensor,
    label: Tensor,
    embed_v: Tensor,
    embed_u: Tensor,
) -> Tensor:
    """Loss [B] of each example; arguments as in :func:`lexforge.ops.cbow_loss`."""
    means = context_mean(contexts, context_mask, embed_v)
    each = torch.arange(len(means), device=means.device)
    return skipgram_loss(each, centers_and_negatives, mask, label, means, embed_u)
