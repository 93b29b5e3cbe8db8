"""Texts and pairs of texts as the sequences that BERT reads, without padding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lexforge.text.classification.batches import RaggedTexts

_SIZES = 16  # that batches are filled up to, from a number of tokens to twice as many


class Sequences(NamedTuple):
    """B sequences end to end, T tokens in all: what ``encode_packed`` takes."""

    tokens: Tensor  # int32 [T]
    segments: Tensor  # int32 [T]
    positions: Tensor  # int32 [T]
    cu_seqlens: Tensor  # int32 [B + 1]
    max_seqlen: int  # a bound of the lengths


def joined(
    first: RaggedTexts, second: RaggedTexts | None, *, cls_id: int, sep_id: int
) -> Sequences:
    """``<cls> a <sep>``, or ``<cls> a <sep> b <sep>`` where there are second texts.

    Args:
        first, second: as many texts each, on one device. A GPU is not waited for.

    Raises:
        ValueError: as many first texts as second ones there are not.
    """
    texts = [first] if second is None else [first, second]
    size, device = len(first.cu_seqlens) - 1, first.tokens.device
    if second is not None and len(second.cu_seqlens) - 1 != size:
        raise ValueError(
            f"joined: second must be {size} texts like first, got {len(second.cu_seqlens) - 1}"
        )
    special = 1 + len(texts)
    a, *b = (each.cu_seqlens.long().diff() for each in texts)
    bounds = functional.pad((sum(b, a) + special).cumsum(0), (1, 0))
    total = sum(len(each.tokens) for each in texts) + special * size
    text = torch.repeat_interleave(
        torch.arange(size, device=device), bounds.diff(), output_size=total
    )
    place = torch.arange(total, device=device) - bounds[text]
    # Where each token is among the two special ones and, behind them, those of the texts.
    index, begin, behind = (place > 0).long(), 2, place - 1
    for each, lengths in zip(texts, [a, *b], strict=True):
        inside = (behind >= 0) & (behind < lengths[text])
        index = torch.where(inside, begin + each.cu_seqlens[text] + behind, index)
        begin, behind = begin + len(each.tokens), behind - lengths[text] - 1
    special_tokens = [first.tokens.new_full((1,), number) for number in (cls_id, sep_id)]
    source = torch.cat([*special_tokens, *(each.tokens for each in texts)])
    return Sequences(
        source[index].int(),
        (place > a[text] + 1).int(),
        place.int(),
        bounds.int(),
        sum(each.max_seqlen for each in texts) + special,
    )


def filled(packed: Sequences) -> Sequences:
    """With sequences of token 0 at the end, so that batches are of few sizes; T grows by 1/16.

    oneDNN prepares its products anew for every size, which takes as long as a small batch. Results
    of the sequences before them are the same.
    """
    total = len(packed.tokens)
    unit = 1 << max((total // _SIZES).bit_length() - 1, 0)
    missing = -total % unit
    if not missing:
        return packed
    longest = max(packed.max_seqlen, 1)
    place = torch.arange(missing, dtype=torch.int32, device=packed.tokens.device)
    ends = torch.arange(longest, missing + longest, longest, device=packed.tokens.device)
    return Sequences(
        functional.pad(packed.tokens, (0, missing)),
        functional.pad(packed.segments, (0, missing)),
        torch.cat((packed.positions, place % longest)),
        torch.cat((packed.cu_seqlens, (total + ends.clamp(max=missing)).int())),
        packed.max_seqlen,
    )
