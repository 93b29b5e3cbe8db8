"""The sum of three embeddings, layer norm and dropout in plain torch (embedding_sum.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.reference import _dropout

_STREAM = 9  # RandomStream::kEmbedding


def dropout_keep(seed: int, dropout_p: float, count: int, width: int) -> Tensor:
    """Which elements of [count, width] dropout keeps (csrc/common/dropout.h)."""
    return _dropout.dropout_keep(seed, dropout_p, (count, width), _STREAM)


def embedding_sum(
    tokens: Tensor,
    segments: Tensor | None,
    positions: Tensor,
    token_table: Tensor,
    segment_table: Tensor | None,
    position_table: Tensor,
    *,
    norm_weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
    eps: float = 1e-12,
    dropout_p: float = 0.0,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Each summand and each step a tensor, differentiable by autograd.

    Arguments as in :func:`lexforge.ops.embedding_sum`.
    """
    z = token_table[tokens.long()]
    if segments is not None and segment_table is not None:
        z = z + segment_table[segments.long()]
    z = z + position_table[positions.long()]
    if norm_weight is not None and norm_bias is not None:
        mean = z.mean(-1, keepdim=True)
        variance = (z - mean).square().mean(-1, keepdim=True)
        z = (z - mean) * torch.rsqrt(variance + eps) * norm_weight + norm_bias
    if dropout_p > 0:
        threshold = int(dropout_p * 65536 + 0.5)
        keep = dropout_keep(seed, dropout_p, *z.shape).to(z.device)
        z = torch.where(keep, z, 0) * (65536 / (65536 - threshold) if threshold < 65536 else 0)
    return z if dtype is None else z.to(dtype)
