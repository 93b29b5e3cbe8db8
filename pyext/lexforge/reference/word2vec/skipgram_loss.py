"""The normalised skip-gram loss in plain torch (csrc/word2vec/skipgram_loss.h)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def skipgram_loss(
    center: Tensor,
    contexts_and_negatives: Tensor,
    mask: Tensor,
    label: Tensor,
    embed_v: Tensor,
    embed_u: Tensor,
) -> Tensor:
    """Loss [B] of each example: the mean over its unmasked slots of the binary cross-entropy.

    Arguments as in :func:`lexforge.ops.skipgram_loss`; differentiable by autograd.
    """
    v = embed_v[center.reshape(-1).long()]
    u = embed_u[contexts_and_negatives.long()]
    logits = torch.einsum("bd,bld->bl", v, u)
    mask = mask.to(embed_v.dtype)
    elements = functional.binary_cross_entropy_with_logits(
        logits, label.to(embed_v.dtype), weight=mask, reduction="none"
    )
    total = mask.sum(1)
    return elements.sum(1) / torch.where(total > 0, total, torch.ones_like(total))
