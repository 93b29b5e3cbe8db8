"""Attention maps of BERT, to be looked at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from lexforge._display import html_table
from lexforge._plot import plot_attention
from lexforge.models.bert.encoding import Text, prepare
from lexforge.text.tokenizers.published import as_tokenizer
from lexforge.training.network_job import evaluating

if TYPE_CHECKING:
    from lexforge.models.bert.model import BertModel
    from lexforge.text.tokenizers.base import Encoder

__all__ = ["AttentionMaps", "attention_maps", "plot_attention"]


class AttentionMaps(NamedTuple):
    """Attention probabilities of one text.

    ``weights[l, h, i, j]`` is how much token i takes from token j in head h of layer l; each row
    sums to 1.
    """

    weights: np.ndarray  # float32 [layers, heads, S, S]
    tokens: list[str]  # S, with <cls> and <sep>

    def __repr__(self) -> str:
        layers, heads, length, _ = self.weights.shape
        return f"AttentionMaps({layers} layers, {heads} heads, {length} tokens)"

    def _repr_html_(self) -> str:
        """What a notebook shows: what each token takes most from, in the mean of all heads."""
        strongest = self.weights.mean(axis=(0, 1)).argmax(axis=1)
        rows = [
            (token, self.tokens[other], float(self.weights[:, :, at, other].mean()))
            for at, (token, other) in enumerate(zip(self.tokens, strongest, strict=True))
        ]
        return html_table(rows, ["token", "looks most at", "share"], repr(self))


def attention_maps(
    model: BertModel, tokenizer: Encoder | None, a: Text, b: Text | None = None
) -> AttentionMaps:
    """What each token of a text, or of a pair, looks at.

    Computed plainly from the projections of each layer's input, in evaluation mode: the fused
    kernel never has these matrices.

    Args:
        model: the encoder. tokenizer: as for :func:`lexforge.bert.encode`; without one the tokens
            are named by their ids.
        a, b: strings, lists of words, or lists of ids; without ``<cls>`` and ``<sep>``.

    Returns:
        :class:`AttentionMaps`, of ``<cls> a <sep>`` or ``<cls> a <sep> b <sep>``.

    Raises:
        ValueError, TypeError: a text that the model cannot take.
    """
    size, vocab_size = model.config.max_positions, model.config.vocab_size
    text = a if b is None else (a, b)
    ids, segments = prepare("attention_maps", tokenizer, text, size, vocab_size)
    device = next(model.parameters()).device
    length, heads = len(ids), model.config.num_heads
    inputs = (ids, segments, range(length), (0, length))
    tokens, kinds, positions, bounds = (
        torch.tensor(values, dtype=torch.int32, device=device) for values in inputs
    )
    weights = []
    with evaluating(model), torch.inference_mode():
        layers = model.encode_packed(tokens, kinds, positions, bounds, length, all_layers=True)
        for block, x in zip(model.encoder.blocks, layers, strict=False):  # not the last output
            qkv = functional.linear(x, block.qkv.weight, block.qkv.bias)
            q, k, _ = qkv.view(length, 3, heads, -1).permute(1, 2, 0, 3)
            scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
            weights.append(scores.float().softmax(-1).cpu())
    if tokenizer is None:
        names = [str(number) for number in ids]
    else:
        names = as_tokenizer(tokenizer).convert_ids_to_tokens(ids)
    return AttentionMaps(torch.stack(weights).numpy(), names)
