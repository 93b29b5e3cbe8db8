"""Lookups, bags and renormalisation in plain torch (embedding_bag.h)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor


def embedding(
    ids: Tensor,
    table: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
) -> Tensor:
    """Differentiable by autograd; arguments as in :func:`lexforge.ops.embedding`."""
    if max_norm is not None:
        embedding_renorm_(table, ids, max_norm, norm_type)
    rows = table[ids.long()]
    if padding_idx is not None:
        padding = (ids == padding_idx % table.shape[0])[..., None]
        rows = torch.where(padding, rows.detach(), rows)
    return _by_frequency(rows, ids) if scale_grad_by_freq else rows


def embedding_bag(
    ids: Tensor,
    table: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """A bag at a time, differentiable by autograd; arguments as in the op."""
    if max_norm is not None:
        embedding_renorm_(table, ids, max_norm, norm_type)
    if offsets is None:
        bounds = [b * ids.shape[1] for b in range(ids.shape[0] + 1)]
    else:
        bounds = [*offsets.tolist(), *([] if include_last_offset else [ids.shape[0]])]
    ids = ids.reshape(-1)[: bounds[-1]]
    rows = table[ids.long()]
    if scale_grad_by_freq:
        rows = _by_frequency(rows, ids)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1)[: bounds[-1], None]
    kept = torch.ones_like(ids, dtype=torch.bool)
    if padding_idx is not None:
        kept = ids != padding_idx % table.shape[0]
    out = [table[:0]]
    for begin, end in pairwise(bounds):
        bag = rows[begin:end][kept[begin:end]]
        if bag.shape[0] == 0:
            out.append(table.new_zeros(1, table.shape[1]))
        elif mode == "max":
            choice = torch.zeros(table.shape[1], dtype=torch.int64, device=table.device)
            for i in range(bag.shape[0]):
                better = bag[i] > bag.gather(0, choice[None])[0]
                choice = torch.where(better, i, choice)
            out.append(bag.gather(0, choice[None]))
        else:
            total = bag.sum(0, keepdim=True)
            out.append(total / bag.shape[0] if mode == "mean" else total)
    return torch.cat(out)


def embedding_renorm_(table: Tensor, ids: Tensor, max_norm: float, norm_type: float = 2.0) -> None:
    """Row by row, in place."""
    with torch.no_grad():
        for row in ids.unique().tolist():
            x = table[row].abs()
            norm = x.max() if norm_type == math.inf else (x**norm_type).sum() ** (1 / norm_type)
            if norm > max_norm:
                table[row] *= max_norm / (norm + 1e-7)


def _by_frequency(rows: Tensor, ids: Tensor) -> Tensor:
    """The same rows, whose gradient is divided by how often each id occurs."""
    count = torch.bincount(ids.reshape(-1))[ids.long()][..., None]
    fixed = rows.detach()
    return fixed + (rows - fixed) / count
