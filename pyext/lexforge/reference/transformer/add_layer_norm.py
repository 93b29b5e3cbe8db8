"""Residual, dropout and layer norm in plain torch (csrc/transformer/add_layer_norm.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.reference import _dropout

_STREAM = 8  # RandomStream::kAddNorm


def dropout_keep(seed: int, dropout_p: float, shape: tuple[int, ...]) -> Tensor:
    """Which elements of a tensor of this shape dropout keeps (csrc/common/dropout.h)."""
    return _dropout.dropout_keep(seed, dropout_p, shape, _STREAM)


def add_layer_norm(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float = 1e-5,
    dropout_p: float = 0.0,
    seed: int = 0,
    x_bias: Tensor | None = None,
    keep: Tensor | None = None,
) -> Tensor:
    """Layer norm of ``residual + dropout(x + x_bias)``, every step a tensor.

    Arguments as in :func:`lexforge.ops.add_layer_norm`, but all in the dtype of
    ``x``; ``keep`` replaces the dropout mask.
    """
    h = x if x_bias is None else x + x_bias
    if dropout_p > 0:
        threshold = int(dropout_p * 65536 + 0.5)
        if keep is None:
            keep = dropout_keep(seed, dropout_p, x.shape).to(x.device)
        h = torch.where(keep, h, 0) * (65536 / (65536 - threshold) if threshold < 65536 else 0)
    if residual is not None:
        h = residual + h
    mean = h.mean(-1, keepdim=True)
    variance = (h - mean).square().mean(-1, keepdim=True)
    return (h - mean) * torch.rsqrt(variance + eps) * weight + bias
