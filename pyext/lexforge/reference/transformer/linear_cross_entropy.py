"""Projection to a vocabulary and weighted cross-entropy in plain torch, row by row."""

from __future__ import annotations

import torch
from torch import Tensor


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    ignore_index: int = -100,
) -> tuple[Tensor, Tensor]:
    """``(sum_i w_i l_i / max(sum_i w_i, tiny), correct)``; differentiable.

    Arguments as in :func:`lexforge.ops.linear_cross_entropy`. Logits are in
    the dtype of ``hidden``, everything after them in float32 at least.
    """
    stat = torch.promote_types(hidden.dtype, torch.float32)
    loss = (hidden.sum() + weight.sum()).to(stat) * 0
    total, correct = 0.0, 0
    for i, label in enumerate(labels.tolist()):
        share = 1.0 if weights is None else float(weights[i])
        if label == ignore_index or share == 0:
            continue
        logits = (weight.to(hidden.dtype) @ hidden[i]).to(stat)
        if bias is not None:
            logits = logits + bias.to(stat)
        loss = loss + share * (torch.logsumexp(logits, 0) - logits[label])
        total += share
        correct += int(logits.argmax()) == label
    loss = loss / max(total, torch.finfo(stat).tiny)
    return loss, torch.tensor(correct, device=hidden.device)
