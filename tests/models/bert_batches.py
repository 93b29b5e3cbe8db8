"""Random batches of BERT, padded and packed alike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lexforge.models.bert.config import BertConfig
from lexforge.models.bert.examples import PackedBatch


class Padded(NamedTuple):
    """The text's form of a batch; padded positions hold ids that must never be looked at."""

    tokens: Tensor  # [B, S]
    segments: Tensor
    valid_lens: Tensor  # [B]
    positions: Tensor  # [B, P]
    weights: Tensor  # [B, P], 1 where a label is to be predicted
    labels: Tensor  # [B, P]
    next_labels: Tensor  # [B]

    @property
    def mask(self) -> Tensor:
        """[B, S]: which tokens are valid."""
        positions = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return positions < self.valid_lens[:, None]

    def to(self, device) -> Padded:
        return Padded(*(x.to(device) for x in self))

    def packed(self) -> PackedBatch:
        """The same sequences without padding, and without the predictions that weigh nothing."""
        mask, device = self.mask, self.tokens.device
        length = self.tokens.shape[1]
        positions = torch.arange(length, device=device).expand(self.tokens.shape)
        ends = self.valid_lens.cumsum(0)
        cu_seqlens = torch.nn.functional.pad(ends, (1, 0))
        wanted = self.weights > 0
        return PackedBatch(
            tokens=self.tokens[mask].int(),
            segments=self.segments[mask].int(),
            positions=positions[mask].int(),
            cu_seqlens=cu_seqlens.int(),
            max_seqlen=int(self.valid_lens.max()),
            prediction_index=(cu_seqlens[:-1, None] + self.positions)[wanted],
            labels=self.labels[wanted],
            next_labels=self.next_labels,
        )


def padded_batch(config: BertConfig, lengths: list[int], predictions: int = 3, seed: int = 0):
    """A batch of the given lengths, as long as the longest or one longer, ids from 1 on.

    Of a position that is drawn twice the label is the same, or no model could learn both.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high, *shape):
        return torch.randint(low, high, shape, generator=generator)

    batch, length = len(lengths), min(max(lengths) + 1, config.max_positions)
    valid_lens = torch.tensor(lengths)
    positions = (torch.rand(batch, predictions, generator=generator) * valid_lens[:, None]).long()
    same = (positions[:, :, None] == positions[:, None, :]).int().argmax(2)
    weights = draw(0, 2, batch, predictions)
    weights[0, 0] = 1
    return Padded(
        tokens=draw(1, config.vocab_size, batch, length),
        segments=draw(0, config.type_vocab_size, batch, length),
        valid_lens=valid_lens,
        positions=positions,
        weights=weights,
        labels=draw(1, config.vocab_size, batch, predictions).gather(1, same),
        next_labels=draw(0, 2, batch),
    )
