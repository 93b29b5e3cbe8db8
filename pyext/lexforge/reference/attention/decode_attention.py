"""Attention of one new token over a cache in plain torch (csrc/attention/decode_attention.h)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def decode_attention_(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    lengths: Tensor,
    k: Tensor | None = None,
    v: Tensor | None = None,
    *,
    scale: float | None = None,
) -> Tensor:
    """One sequence after another; arguments as of :func:`lexforge.ops.decode_attention_`."""
    out = torch.zeros_like(q, memory_format=torch.contiguous_format)
    for b, length in enumerate(lengths.tolist()):
        keys = length
        if k is not None and v is not None:
            k_cache[b, :, length] = k[b]
            v_cache[b, :, length] = v[b]
            keys += 1
        if keys == 0:
            continue
        scores = torch.einsum("hd,hjd->hj", q[b], k_cache[b, :, :keys])
        weights = torch.softmax(scores * (scale or 1 / math.sqrt(q.shape[2])), -1)
        out[b] = torch.einsum("hj,hjd->hd", weights, v_cache[b, :, :keys])
    return out
