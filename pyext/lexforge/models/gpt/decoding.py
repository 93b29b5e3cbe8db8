"""A step of generation, op by op.

The numbers are those of :meth:`lexforge.models.gpt.model.GPT.encode`. A step of a small model is
mostly the time between its ops: here they follow one another without the checks that those of
:mod:`lexforge.ops` make, and without modules.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lexforge.layers.activation import FUSED, activated
from lexforge.layers.block import Heads
from lexforge.models.gpt.cache import KVCache
from lexforge.models.gpt.model import GPT
from lexforge.ops.transformer.bias_activation import ACTIVATIONS
from lexforge.ops.transformer.few_rows_linear import product_of

_ops = torch.ops.lexforge


class _Block(NamedTuple):
    """Parameters in the order of the ops, and those of the norm that follows."""

    qkv: Tensor
    qkv_bias: Tensor | None
    projection: Tensor
    projection_bias: Tensor | None
    norm: Tensor
    norm_bias: Tensor
    expansion: Tensor
    expansion_bias: Tensor | None
    contraction: Tensor
    contraction_bias: Tensor | None
    following: Tensor
    following_bias: Tensor


class Decoder:
    """What a model makes of one new token of every sequence.

    Args:
        model: in evaluation mode; its parameters are used as they are.
    """

    def __init__(self, model: GPT) -> None:
        self._config = model.config
        self._tables = model.token_embedding.weight, model.position_embedding.weight
        norms = [*(block.attention_norm for block in model.blocks), model.final_norm]
        zeros = torch.zeros_like(model.final_norm.weight)

        def parameters(norm: torch.nn.LayerNorm) -> tuple[Tensor, Tensor]:
            return norm.weight, zeros if norm.bias is None else norm.bias

        self._first = parameters(norms[0])
        self._blocks = [
            _Block(
                *(block.qkv.weight, block.qkv.bias),
                *(block.projection.weight, block.projection.bias),
                *parameters(block.output_norm),
                *(block.expansion.weight, block.expansion.bias),
                *(block.contraction.weight, block.contraction.bias),
                *parameters(following),
            )
            for block, following in zip(model.blocks, norms[1:], strict=True)
        ]

    def step(self, tokens: Tensor, cache: KVCache) -> Tensor:
        """The norm of the last block's output [B, C] for tokens [B], which the cache takes up.

        Nothing may be recorded: this is called under ``torch.inference_mode()``.
        """
        eps, activation = self._config.norm_eps, self._config.activation
        dtype = self._blocks[0].qkv.dtype
        linear = product_of(tokens.device, len(tokens))
        table, positions = self._tables
        x = functional.embedding(tokens, table) + functional.embedding(cache.lengths, positions)
        x = x.to(dtype)
        normed = _ops.add_layer_norm.default(x, None, None, *self._first, None, eps, 0.0)[0]
        for number, p in enumerate(self._blocks):
            qkv = linear(normed, p.qkv, p.qkv_bias).view(len(x), 3, self._config.n_head, -1)
            attended = cache.step(number, Heads(*qkv.unbind(1)), None)
            x, normed, *_ = _ops.add_layer_norm_sum.default(
                linear(attended, p.projection, None),
                x,
                p.projection_bias,
                *(p.norm, p.norm_bias, None, eps, 0.0),
            )
            inner = linear(normed, p.expansion, None)
            if activation in FUSED:
                kind = ACTIVATIONS[activation]
                inner = _ops.bias_activation.default(inner, p.expansion_bias, kind)
            else:
                inner = activated(inner, p.expansion_bias, activation)
            x, normed, *_ = _ops.add_layer_norm_sum.default(
                linear(inner, p.contraction, None),
                x,
                p.contraction_bias,
                *(p.following, p.following_bias, None, eps, 0.0),
            )
        cache.advance()
        return normed
