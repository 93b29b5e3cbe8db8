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
    h = _sum(x, residual, x_bias, dropout_p, seed, keep)
    return _norm(h, weight, bias, eps)


def add_layer_norm_sum(
    x: Tensor,
    residual: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float = 1e-5,
    dropout_p: float = 0.0,
    seed: int = 0,
    x_bias: Tensor | None = None,
    keep: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``residual + dropout(x + x_bias)`` and its layer norm; arguments as above."""
    h = _sum(x, residual, x_bias, dropout_p, seed, keep)
    return h, _norm(h, weight, bias, eps)


def _sum(
    x: Tensor,
    residual: Tensor | None,
    x_bias: Tensor | None,
    dropout_p: float,
    seed: int,
    keep: Tensor | None,
) -> Tensor:
    h = x if x_bias is None else x + x_bias
    if dropout_p > 0:
        threshold = int(dropout_p * 65536 + 0.5)
        if keep is None:
            keep = dropout_keep(seed, dropout_p, x.shape).to(x.device)
        h = torch.where(keep, h, 0) * (65536 / (65536 - threshold) if threshold < 65536 else 0)
    return h if residual is None else residual + h


def _norm(h: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    mean = h.mean(-1, keepdim=True)
    variance = (h - mean).square().mean(-1, keepdim=True)
    return (h - mean) * torch.rsqrt(variance + eps) * weight + bias
