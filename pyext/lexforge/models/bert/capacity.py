"""Packed batches filled up to sizes that come again: to one for a CUDA graph, else to a few."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch.nn import functional

from lexforge.models.bert.examples import PackedBatch
from lexforge.models.bert.model import IGNORED

# What batches are rounded up to. oneDNN prepares its products anew for every size, and blocks of
# ever new sizes leave the memory of a long run in pieces.
_TOKENS, _PREDICTIONS = 256, 64
_DEVIATIONS = 3.0  # above and below the mean size that a capacity serves: 99.7 % of batches


class BatchCapacity(NamedTuple):
    """The size that batches are filled up to.

    What fills them stands behind the real sequences and belongs to sequences of its own, without
    labels: losses, gradients and all results of the real ones are those of the batch as it was.
    """

    sequences: int
    tokens: int
    predictions: int
    max_len: int  # of a sequence

    @classmethod
    def of(cls, batches: Iterable[PackedBatch], sequences: int, max_len: int) -> BatchCapacity:
        """The capacity that serves nearly all batches like some given ones.

        Args:
            batches: Samples; at least two sequences together.
            sequences: Real ones in a full batch.
            max_len: Length of the longest sequence possible.
        """
        lengths, predictions = [], []
        for batch in batches:
            bounds = batch.cu_seqlens.long()
            lengths.append(bounds.diff())
            real = batch.prediction_index[batch.labels != IGNORED]
            predictions.append(torch.searchsorted(real, bounds).diff())
        low, high = _range(torch.cat(lengths), sequences)
        tokens = min(high, sequences * max_len)
        fillers = -(-(tokens - min(low, tokens)) // max_len)
        _, most = _range(torch.cat(predictions), sequences)
        return cls(sequences + fillers, tokens, max(most, 1), max_len)

    @classmethod
    def around(cls, batch: PackedBatch) -> BatchCapacity:
        """The next larger one of a few that serve all batches of as many sequences."""
        return cls(
            batch.num_sequences + -(-(_TOKENS - 1) // batch.max_seqlen),
            -(-len(batch.tokens) // _TOKENS) * _TOKENS,
            -(-len(batch.prediction_index) // _PREDICTIONS) * _PREDICTIONS,
            batch.max_seqlen,
        )

    def fits(self, batch: PackedBatch) -> bool:
        """Whether :meth:`fill` can bring it to this size."""
        room = self.tokens - len(batch.tokens)
        slots = self.sequences - batch.num_sequences
        missing = self.predictions - len(batch.prediction_index)
        return slots >= 0 and missing >= 0 and 0 <= room <= slots * self.max_len

    def fill(self, batch: PackedBatch) -> PackedBatch:
        """The batch with sequences of token 0 and predictions without a label at its end.

        The last sequences may be empty. ``max_seqlen`` is :attr:`max_len`.

        Raises:
            ValueError: It does not fit.
        """
        if not self.fits(batch):
            raise ValueError(
                f"BatchCapacity: batch must fit {tuple(self)}, got {batch.num_sequences} "
                f"sequences, {len(batch.tokens)} tokens, {len(batch.prediction_index)} predictions"
            )
        before = len(batch.tokens)
        room, slots = self.tokens - before, self.sequences - batch.num_sequences
        ends = torch.arange(1, slots + 1) * self.max_len
        bounds = (before + ends.clamp(max=room)).to(batch.cu_seqlens.dtype)
        places = (torch.arange(room) % self.max_len).to(batch.positions.dtype)
        missing = self.predictions - len(batch.prediction_index)
        return PackedBatch(
            tokens=functional.pad(batch.tokens, (0, room)),
            segments=functional.pad(batch.segments, (0, room)),
            positions=torch.cat((batch.positions, places)),
            cu_seqlens=torch.cat((batch.cu_seqlens, bounds)),
            max_seqlen=self.max_len,
            prediction_index=functional.pad(
                batch.prediction_index, (0, missing), value=self.tokens - 1
            ),
            labels=functional.pad(batch.labels, (0, missing), value=IGNORED),
            next_labels=functional.pad(batch.next_labels, (0, slots), value=IGNORED),
        )


def _range(sizes: torch.Tensor, count: int) -> tuple[int, int]:
    """Between which sums of `count` draws from the sizes lie, nearly always."""
    mean, spread = float(sizes.double().mean()), float(sizes.double().std())
    half = _DEVIATIONS * spread * math.sqrt(count)
    return max(math.floor(count * mean - half), 0), math.ceil(count * mean + half)
