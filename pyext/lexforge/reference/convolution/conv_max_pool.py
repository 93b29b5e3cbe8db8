"""Oracle of conv_max_pool: csrc/convolution/conv_max_pool.h, text by text, in plain torch."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional


def conv_max_pool(
    x: Tensor,
    cu_seqlens: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    index: Tensor | None = None,
    *,
    min_length: int | None = None,
    place: Tensor | None = None,
) -> Tensor:
    """The first greatest value over time of a convolution of each text, or that of a place: [B, C].

    Args:
        place: int [B, C], positions to take the values of instead.
    """
    tokens = x if index is None else x[index.long()]
    channels, _, taps = weight.shape
    out = [x.new_zeros(0, channels)]
    for b, (first, last) in enumerate(pairwise(cu_seqlens.tolist())):
        text = tokens[first:last]
        missing = max(0, (min_length or taps) - text.shape[0])
        text = functional.pad(text, (0, 0, 0, missing))
        windows = text.unfold(0, taps, 1).flatten(1)  # [positions, D K]
        sums = windows @ weight.flatten(1).t()
        best = first_greatest(sums) if place is None else place[b].long()
        out.append(sums.gather(0, best[None]))
    return torch.cat(out) if bias is None else torch.cat(out) + bias


def first_greatest(sums: Tensor) -> Tensor:
    """Where each column of [P, C] is greatest; a NaN is greater than any number."""
    place = torch.zeros(sums.shape[1], dtype=torch.int64, device=sums.device)
    for p in range(sums.shape[0]):
        best = sums.gather(0, place[None])[0]
        greater = (sums[p] > best) | (sums[p].isnan() & ~best.isnan())
        place = torch.where(greater, p, place)
    return place
