"""Minibatches of CBOW, from the windows of csrc/word2vec/skipgram_batch.h."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops.sampling.sampling import sample_noise
from lexforge.ops.word2vec.skipgram_batch import Examples, check_examples


class CbowMinibatch(NamedTuple):
    """A padded minibatch, on the CPU: the arguments of :func:`lexforge.ops.cbow_loss`."""

    contexts: Tensor  # int32 [B, C], 0 where the mask is 0
    context_mask: Tensor  # uint8 [B, C]
    centers_and_negatives: Tensor  # int32 [B, 1 + K]
    mask: Tensor  # uint8 [B, 1 + K], all 1
    label: Tensor  # uint8 [B, 1 + K], 1 on centres


def cbow_batch(examples: Examples, first: int, last: int) -> CbowMinibatch:
    """Examples [first, last) of an epoch as a padded minibatch.

    Args:
        examples: windows, order and noise table of the epoch.
        first, last: range within the order; the last one is exclusive.

    Returns:
        Contexts, C as many as the longest window has; each centre followed by K noise words, none
        of which is the centre (``ops.sample_noise``), unless no other word can be drawn.

    Raises:
        TypeError, ValueError: arguments that do not fit. IndexError: windows or order that name
        tokens which are not there. RuntimeError: a noise table with aliases outside [0, V).
    """
    op = "cbow_batch"
    check_examples(op, examples, first, last)
    tokens, positions, centers = examples.windows
    order = examples.order[first:last]
    _checks.ids(op, "order", order, centers.shape[0])
    rank, begin, end = centers[order].long().unbind(1)
    if bool(((begin < 0) | (rank < begin) | (end <= rank) | (end > tokens.shape[0])).any()):
        raise IndexError(f"{op}: centers must be windows of {tokens.shape[0]} tokens")
    slots = int((end - begin).max()) - 1 if last > first else 0
    at = begin[:, None] + torch.arange(slots)
    at += at >= rank[:, None]  # past the centre's own place
    mask = at < end[:, None]
    contexts = torch.where(mask, tokens[torch.where(mask, at, 0)], 0)
    center = tokens[rank]
    vocab_size = examples.noise.shape[0]
    _checks.ids(op, "kept_tokens", contexts, vocab_size)
    _checks.ids(op, "kept_tokens", center, vocab_size)
    noise, _ = sample_noise(
        examples.noise,
        center,
        torch.arange(last - first + 1),
        examples.negatives,
        seed=examples.seed,
        epoch=examples.epoch,
        positions=positions[rank],
    )
    targets = torch.cat((center[:, None], noise.view(last - first, examples.negatives)), 1)
    label = torch.zeros_like(targets, dtype=torch.uint8)
    label[:, 0] = 1
    return CbowMinibatch(contexts, mask.byte(), targets, torch.ones_like(label), label)
