"""From the text's padded minibatches to texts as they are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lexforge.text.classification.batches import RaggedTexts

PADDING = 1  # the number of <pad>, the first reserved token of a Vocab


def texts_of(caller: str, tokens: Tensor, padding: int | None) -> RaggedTexts:
    """The texts of a minibatch [B, S].

    Args:
        caller: whom messages name.
        padding: the number that is no text where a row ends with it; None: all is text.

    Raises:
        TypeError, ValueError: no integers, or of another shape.
    """
    if tokens.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"{caller}: tokens must be int32 or int64, got {tokens.dtype}")
    if tokens.dim() != 2:
        raise ValueError(f"{caller}: tokens must be [B, S], got {tuple(tokens.shape)}")
    batch, length = tokens.shape
    if padding is None:
        bounds = torch.arange(batch + 1, device=tokens.device, dtype=torch.int32) * length
        return RaggedTexts(tokens.reshape(-1), bounds, length)
    # Whether a token of the text stands here or further right.
    there = (tokens != padding).flip(1).cumsum(1).flip(1) > 0
    bounds = functional.pad(there.sum(1).cumsum(0), (1, 0)).int()
    return RaggedTexts(tokens[there], bounds, length)
