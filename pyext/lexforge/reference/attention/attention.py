"""Attention in plain torch (csrc/attention/attention.h)."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

_WEYL = (0x9E3779B9, 0xBB67AE85)
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_STREAM = 7  # RandomStream::kAttention
_WORD = 0xFFFFFFFF


def _philox(seed: int, counter: list[Tensor]) -> list[Tensor]:
    """Philox4x32-10 (csrc/common/philox.h) on int64 tensors that hold 32-bit words."""
    keys = [seed & _WORD, seed >> 32 & _WORD]
    for _ in range(10):
        high, low = zip(
            *(_multiply(x, m) for x, m in zip(counter[::2], _MULTIPLIERS, strict=True)), strict=True
        )
        counter = [high[1] ^ counter[1] ^ keys[0], low[1], high[0] ^ counter[3] ^ keys[1], low[0]]
        keys = [(key + weyl) & _WORD for key, weyl in zip(keys, _WEYL, strict=True)]
    return counter


def _multiply(x: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """High and low word of a 64-bit product, in halves that int64 holds."""
    small = x * (factor & 0xFFFF)
    middle = x * (factor >> 16) + (small >> 16)
    return middle >> 16, (middle & 0xFFFF) << 16 | small & 0xFFFF


def dropout_keep(
    seed: int, dropout_p: float, sequences: int, heads: int, queries: int, keys: int
) -> Tensor:
    """Which probabilities dropout keeps: bool [B, H, queries, keys]."""
    threshold = int(dropout_p * 65536 + 0.5)
    row = torch.arange(sequences * heads).reshape(sequences, heads, 1, 1)
    i, j = torch.arange(queries).reshape(-1, 1), torch.arange(keys)
    slot = 4 * (j // 32) + j % 8 // 2
    counter = torch.broadcast_tensors(i, row, torch.zeros_like(row), _STREAM << 24 | slot)
    words = torch.stack(_philox(seed, list(counter)))
    word = words.gather(0, (j % 32 // 8).expand_as(words[0])[None])[0]
    return (word >> 16 * (j % 2) & 0xFFFF) >= threshold


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    valid_lens: Tensor | None = None,
    *,
    causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    seed: int = 0,
    keep: Tensor | None = None,
) -> Tensor:
    """Scaled dot-product attention on [B, H, S, D] with the scores in memory.

    Arguments as in :func:`lexforge.ops.attention`; ``keep`` replaces the dropout mask.
    """
    batch, heads, length, dim = q.shape
    scores = (q @ k.transpose(-1, -2)) * (1 / math.sqrt(dim) if scale is None else scale)
    position = torch.arange(length, device=q.device)
    seen = torch.full((batch, 1, 1), length, device=q.device)
    if valid_lens is not None:
        seen = valid_lens.reshape(batch, -1, 1)
    visible = position < seen
    if causal:
        visible = visible & (position <= position[:, None])
    visible = visible[:, None].expand_as(scores)
    scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
    p = torch.softmax(scores, -1).masked_fill(~visible, 0)
    if dropout_p > 0:
        threshold = int(dropout_p * 65536 + 0.5)
        if keep is None:
            keep = dropout_keep(seed, dropout_p, batch, heads, length, length).to(q.device)
        p = p * keep * (65536 / (65536 - threshold) if threshold < 65536 else 0)
    return p @ v


def varlen_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    *,
    causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    seed: int = 0,
) -> Tensor:
    """The same on packed [T, H, D], one sequence after another.

    Arguments as in :func:`lexforge.ops.varlen_attention`.
    """
    bounds = cu_seqlens.tolist()
    pieces = [q[:0]]
    for b, (first, last) in enumerate(itertools.pairwise(bounds)):
        parts = [x[None, first:last].transpose(1, 2) for x in (q, k, v)]
        keep = None
        if dropout_p > 0:
            keep = dropout_keep(seed, dropout_p, b + 1, q.shape[1], last - first, last - first)
            keep = keep[b:].to(q.device)
        out = attention(*parts, causal=causal, dropout_p=dropout_p, scale=scale, keep=keep)
        pieces.append(out[0].transpose(0, 1))
    return torch.cat(pieces)
