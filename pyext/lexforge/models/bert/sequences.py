"""Texts and pairs of texts as the sequences that BERT reads, without padding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lexforge.layers.ragged import Ragged


class Sequences(NamedTuple):
    """B sequences end to end, T tokens in all: what ``encode_packed`` takes."""

    tokens: Tensor  # int32 [T]
    segments: Tensor  # int32 [T]
    positions: Tensor  # int32 [T]
    cu_seqlens: Tensor  # int32 [B + 1]
    max_seqlen: int


def joined(
    first: Ragged, second: Ragged | None, *, cls_id: int, sep_id: int, max_len: int
) -> Sequences:
    """``<cls> a <sep>``, or ``<cls> a <sep> b <sep>`` where there are second texts.

    Where a sequence would be longer than `max_len` its texts lose their last tokens, of a pair the
    longer one; the second where they are equal. A GPU is waited for only where that may happen.

    Args:
        first, second: as many texts each, on one device.
        max_len: at least the number of special tokens, 2 or 3.

    Raises:
        ValueError: as many first texts as second ones there are not.
    """
    device, special = first.tokens.device, 2 if second is None else 3
    if second is not None and first.size != second.size:
        raise ValueError(f"joined: second must be {first.size} texts like first, got {second.size}")
    a = first.lengths.long()
    b = torch.zeros_like(a) if second is None else second.lengths.long()
    longest = first.max_seqlen + (0 if second is None else second.max_seqlen) + special
    tokens = len(first.tokens) + (0 if second is None else len(second.tokens))
    total: int | None = tokens + special * len(a)
    if longest > max_len:
        room = max_len - special
        kept = torch.maximum(a.clamp(max=(room + 1) // 2), room - b)
        fitting = a + b <= room
        a, b = torch.where(fitting, a, kept), torch.where(fitting, b, room - kept)
        longest, total = max_len, None
    lengths = a + b + special
    bounds = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    text = torch.arange(len(a), device=device)
    text = torch.repeat_interleave(text, lengths, output_size=total)
    place = torch.arange(len(text), device=device) - bounds[text]
    # Where each token is among those of the texts and, behind them, the two special ones.
    a, b = a[text], b[text]
    source = [first.tokens, first.tokens.new_tensor([cls_id, sep_id])]
    origin = torch.where(place == 0, len(first.tokens), len(first.tokens) + 1)
    index = torch.where((place > 0) & (place <= a), first.cu_seqlens[text] + place - 1, origin)
    if second is not None:
        source.append(second.tokens.to(first.tokens.dtype))
        behind = place - a - 2
        index = torch.where(
            (behind >= 0) & (behind < b),
            len(first.tokens) + 2 + second.cu_seqlens[text] + behind,
            index,
        )
    return Sequences(
        torch.cat(source)[index].int(),
        (place > a + 1).int(),
        place.int(),
        bounds.int(),
        longest,
    )
