"""Sentence pairs with masked words, as BERT is pretrained on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PackedBatch(NamedTuple):
    """B sequences end to end, without padding: T tokens, P of them to be predicted.

    Attributes:
        tokens: int32 [T]; sequence b is tokens[cu_seqlens[b]:cu_seqlens[b + 1]], that is
            ``<cls> a <sep> b <sep>``, some of its words masked.
        segments: int32 [T]; 0 for ``<cls> a <sep>``, 1 for ``b <sep>``.
        positions: int32 [T]; 0, 1, ... within each sequence.
        cu_seqlens: int32 [B + 1]; ascending, from 0 to T.
        max_seqlen: length of the longest sequence.
        prediction_index: int64 [P]; the tokens to be predicted, ascending indices into `tokens`.
        labels: int64 [P]; what stood there, -100 where nothing is to be predicted.
        next_labels: int64 [B]; 1 where b follows a in the corpus, 0 where it was drawn at random,
            -100 where nothing is to be predicted.
    """

    tokens: Tensor
    segments: Tensor
    positions: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    prediction_index: Tensor
    labels: Tensor
    next_labels: Tensor

    @property
    def num_sequences(self) -> int:
        """B."""
        return self.cu_seqlens.numel() - 1

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PackedBatch:
        """The same batch on another device."""
        return PackedBatch(
            *(
                part.to(device, non_blocking=non_blocking) if isinstance(part, Tensor) else part
                for part in self
            )
        )
