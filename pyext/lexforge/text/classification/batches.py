"""Batches of texts of like lengths, without padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lexforge._arguments import whole
from lexforge.text.classification.encoded import EncodedTexts, take_ragged
from lexforge.text.classification.texts import shuffled

POOL = 32  # batches whose texts are sorted together, where nothing else is said


class RaggedTexts(NamedTuple):
    """B texts one after the other; text b is tokens[cu_seqlens[b]:cu_seqlens[b + 1]]."""

    tokens: Tensor  # int64 [T]
    cu_seqlens: Tensor  # int32 [B + 1]
    max_seqlen: int  # tokens of the longest, 0 where all are empty

    def to(self, device: torch.device | str) -> RaggedTexts:
        """The same on a device."""
        tokens = self.tokens.to(device, non_blocking=True)
        return RaggedTexts(tokens, self.cu_seqlens.to(device, non_blocking=True), self.max_seqlen)


@dataclass(frozen=True, eq=False)
class TextBatch:
    """A batch of B texts, or pairs of texts.

    Attributes:
        first: the texts, or the first of each pair.
        second: the second texts of pairs; None where there are none.
        labels: int64 [B], or None where they are not known.
        rows: int64 array [B]: which texts they are.
    """

    first: RaggedTexts
    second: RaggedTexts | None
    labels: Tensor | None
    rows: np.ndarray

    def __len__(self) -> int:
        """B."""
        return len(self.rows)

    @property
    def num_tokens(self) -> int:
        """Tokens of all texts."""
        second = 0 if self.second is None else self.second.tokens.numel()
        return self.first.tokens.numel() + second

    def to(self, device: torch.device | str) -> TextBatch:
        """The same on a device; what is pinned goes there while the CPU goes on."""
        second = None if self.second is None else self.second.to(device)
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        return TextBatch(self.first.to(device), second, labels, self.rows)


def length_buckets(
    lengths: np.ndarray,
    batch_size: int,
    seed: int | None = None,
    epoch: int = 0,
    *,
    pool: int = POOL,
) -> list[np.ndarray]:
    """Batches of an epoch: each text once, those of a batch of like lengths, in random order.

    Texts are shuffled, sorted by length within pools of so many batches, cut into batches, and
    these shuffled: with 32 nearly all that padding or waiting for the longest would cost is saved,
    and no two epochs have the same batches. With pools of one batch, batches are random.

    Args:
        lengths: [N], of the texts.
        batch_size: texts of a batch; one of them may hold fewer.
        seed, epoch: the result is a function of these and of the two above. Without a seed nothing
            is drawn: all texts by rising length, as suits evaluation.
        pool: batches whose texts are sorted together.

    Returns:
        int64 arrays of rows, each of 1 to `batch_size`.
    """
    batch_size = whole("length_buckets", "batch_size", batch_size)
    pool = whole("length_buckets", "pool", pool)
    lengths = np.asarray(lengths)
    size = len(lengths)
    if seed is None:
        order, together = np.arange(size), max(size, 1)
    else:
        order, together = shuffled(size, seed, 2 * epoch), pool * batch_size
    batches = []
    for first in range(0, size, together):
        rows = order[first : first + together]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    if seed is None:
        return batches
    return [batches[row] for row in shuffled(len(batches), seed, 2 * epoch + 1)]


def text_batch(texts: EncodedTexts, rows: np.ndarray, *, pin: bool = False) -> TextBatch:
    """The batch of these rows.

    Args:
        rows: int64 [B].
        pin: hold it in memory that a GPU copies from without waiting.
    """
    rows = np.asarray(rows, np.int64)
    second = None if texts.second is None else _ragged(texts.second, rows, pin)
    labels = None if texts.labels is None else _tensor(texts.labels[rows], pin)
    return TextBatch(_ragged(texts, rows, pin), second, labels, rows)


def batches(
    texts: EncodedTexts, rows: Iterable[np.ndarray], *, pin: bool = False
) -> Iterator[TextBatch]:
    """The batches of :func:`length_buckets`, one at a time."""
    for chosen in rows:
        yield text_batch(texts, chosen, pin=pin)


def _ragged(texts: EncodedTexts, rows: np.ndarray, pin: bool) -> RaggedTexts:
    starts = texts.offsets[rows]
    lengths = texts.offsets[rows + 1] - starts
    tokens, offsets = take_ragged(texts.tokens, starts, lengths)
    longest = int(lengths.max(initial=0))
    return RaggedTexts(
        _tensor(tokens.astype(np.int64), pin), _tensor(offsets.astype(np.int32), pin), longest
    )


def _tensor(values: np.ndarray, pin: bool) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor.pin_memory() if pin else tensor
