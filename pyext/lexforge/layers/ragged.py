"""Texts of any lengths one behind the other, and how they come out of a padded batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Ragged(NamedTuple):
    """A batch of B texts of T tokens in all; text b is ``tokens[cu_seqlens[b]:cu_seqlens[b + 1]]``.

    A text may be empty.
    """

    tokens: Tensor  # int32 or int64 [T]
    cu_seqlens: Tensor  # int32 [B + 1], from 0 to T
    max_seqlen: int  # at least the longest one's length

    @property
    def size(self) -> int:
        """B."""
        return len(self.cu_seqlens) - 1

    @property
    def lengths(self) -> Tensor:
        """int32 [B]."""
        return self.cu_seqlens.diff()

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Ragged:
        """The batch on a device."""
        moved = (x.to(device, non_blocking=non_blocking) for x in self[:2])
        return Ragged(*moved, self.max_seqlen)


def ragged(padded: Tensor, padding: int | None) -> Ragged:
    """The texts of a batch [B, S]; those of `padding` that a row ends with belong to none.

    Args:
        padded: int32 or int64.
        padding: None: all that is there belongs to the texts.
    """
    batch, length = padded.shape
    if padding is None:
        bounds = torch.arange(0, batch * length + 1, max(length, 1), device=padded.device)
        return Ragged(padded.reshape(-1), bounds[: batch + 1].int(), length)
    # Whether a token of the text stands here or further right.
    kept = (padded != padding).flip(1).cumsum(1).flip(1) > 0
    bounds = functional.pad(kept.sum(1).cumsum(0), (1, 0)).int()
    return Ragged(padded[kept], bounds, length)


def padded(x: Tensor, texts: Ragged, length: int | None = None) -> tuple[Tensor, Tensor]:
    """What belongs to the tokens, [T, ...], as a batch with zeros behind the texts.

    Args:
        length: S; by default that of the longest text, and at least 1.

    Returns:
        [B, S, ...], and bool [B, S]: where there are tokens.
    """
    length = max(texts.max_seqlen, 1) if length is None else length
    there = torch.arange(length, device=x.device) < texts.lengths[:, None]
    place = there.flatten().nonzero().squeeze(1)
    rows = x.new_zeros(there.numel(), *x.shape[1:]).index_copy(0, place, x)
    return rows.unflatten(0, there.shape), there
