"""Attention maps of BERT, to be looked at."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from lexforge._arguments import whole
from lexforge._files import replacement
from lexforge.models.bert.encoding import Text, prepare
from lexforge.training.network_job import evaluating

if TYPE_CHECKING:
    from lexforge.models.bert.model import BertModel
    from lexforge.text.tokenizers.base import Tokenizer

_COLUMNS = 4  # of heads in a plot
_NAMED_TOKENS = 64  # more names beside a map would be illegible


class AttentionMaps(NamedTuple):
    """Attention probabilities of one text.

    ``weights[l, h, i, j]`` is how much token i takes from token j in head h of layer l; each row
    sums to 1.
    """

    weights: np.ndarray  # float32 [layers, heads, S, S]
    tokens: list[str]  # S, with <cls> and <sep>


def attention_maps(
    model: BertModel, tokenizer: Tokenizer, a: Text, b: Text | None = None
) -> AttentionMaps:
    """What each token of a text, or of a pair, looks at.

    Computed plainly from the projections of each layer's input, in evaluation mode: the fused
    kernel never has these matrices.

    Args:
        model: the encoder. tokenizer: of its vocabulary.
        a, b: strings, lists of words, or lists of ids; without ``<cls>`` and ``<sep>``.

    Returns:
        :class:`AttentionMaps`, of ``<cls> a <sep>`` or ``<cls> a <sep> b <sep>``.

    Raises:
        ValueError, TypeError: a text that the model cannot take.
    """
    ids, segments = prepare(
        "attention_maps", tokenizer, a if b is None else (a, b), model.config.max_positions
    )
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
    return AttentionMaps(torch.stack(weights).numpy(), tokenizer.convert_ids_to_tokens(ids))


def plot_attention(
    maps: AttentionMaps,
    *,
    path: str | os.PathLike,
    layer: int = -1,
    heads: int | Sequence[int] | None = None,
) -> None:
    """Draw the maps of a layer's heads side by side, rows look at columns.

    Args:
        maps: of :func:`attention_maps`.
        path: file to write; its suffix is the format (png, pdf, svg; png without one).
        layer: which layer, 0 the first, -1 the last.
        heads: which heads; all by default.

    Raises:
        ImportError: matplotlib is missing. ValueError: no such layer, head or format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install lexforge[plot]") from error
    num_layers, num_heads, length, _ = maps.weights.shape
    layer = whole("plot_attention", "layer", layer, -num_layers, num_layers - 1) % num_layers
    if heads is None:
        heads = range(num_heads)
    elif not isinstance(heads, Sequence):
        heads = [heads]
    heads = [whole("plot_attention", "heads", head, 0, num_heads - 1) for head in heads]
    if not heads:
        raise ValueError("plot_attention: heads must name at least one head, got none")
    columns = min(len(heads), _COLUMNS)
    rows = math.ceil(len(heads) / columns)
    named = length <= _NAMED_TOKENS
    side = 1.5 + (0.17 * length if named else 4)
    figure = Figure(figsize=(side * columns, side * rows), layout="constrained")
    figure.suptitle(f"attention, layer {layer}")
    for place, head in enumerate(heads, 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(maps.weights[layer, head], vmin=0, cmap="Blues")
        axes.set_title(f"head {head}", fontsize=9)
        if named:
            # A dollar sign would begin a formula.
            names = [token.replace("$", r"\$") for token in maps.tokens]
            axes.set_xticks(range(length), names, rotation=90, fontsize=7)
            axes.set_yticks(range(length), names, fontsize=7)
    with replacement(path) as temporary:
        figure.savefig(temporary, format=Path(path).suffix[1:] or "png", dpi=150)
