"""What stands on an encoder: pooling, heads that predict words, and whether a sentence follows."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from lexforge.layers.activation import activated
from lexforge.layers.initial import InitialConfig, initialise, unset
from lexforge.ops.transformer.add_layer_norm import add_layer_norm
from lexforge.ops.transformer.bias_activation import bias_activation
from lexforge.ops.transformer.linear import linear


class HeadConfig(InitialConfig, Protocol):
    """What a head asks of a model's configuration."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def norm_eps(self) -> float: ...
    @property
    def head_activation(self) -> str: ...
    @property
    def tied_head(self) -> bool: ...


class Pooler(nn.Linear):
    """The pooling layer: dense and tanh, of encoded first positions [B, H] to [B, H]."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., H] to [..., H]."""
        return bias_activation(linear(x, self.weight), self.bias, activation="tanh")


class MaskLM(nn.Module):
    """The masked-LM head: dense, activation, layer norm, and the output layer.

    Args:
        config: the shape.
        seed: of the first values; by default they come from torch's generator.
    """

    weight: nn.Parameter | None  # None if it is the token table

    def __init__(self, config: HeadConfig, *, seed: int | torch.Generator | None = None):
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.dense = unset(nn.Linear, width, width)
        self.norm = unset(nn.LayerNorm, width, config.norm_eps)
        if config.tied_head:
            self.register_parameter("weight", None)
        else:
            self.weight = nn.Parameter(torch.empty(config.vocab_size, width))
        self.bias = nn.Parameter(torch.empty(config.vocab_size))
        initialise(self, config, seed)

    def transform(self, rows: Tensor) -> Tensor:
        """What the output layer sees of encoded positions [P, H]: [P, H]."""
        x = linear(rows, self.dense.weight)
        x = activated(x, self.dense.bias, self.config.head_activation)
        return add_layer_norm(x, None, self.norm.weight, self.norm.bias, eps=self.norm.eps)

    def output_weight(self, token_table: Tensor | None) -> Tensor:
        """[V, H]: the head's own weight, or the token table if they are tied."""
        if self.weight is not None:
            return self.weight
        if token_table is None:
            raise ValueError("MaskLM: token_table must be given for a tied head, got None")
        return token_table

    def forward(self, rows: Tensor, token_table: Tensor | None = None) -> Tensor:
        """Logits [P, V] of encoded positions [P, H]; a tied head needs the token table [V, H]."""
        return linear(self.transform(rows), self.output_weight(token_table), self.bias)


class NextSentencePred(nn.Module):
    """The next-sentence head: one linear layer to two logits (``BertConfig.follows`` tells
    which is which).

    Args:
        config: the shape.
        seed: of the first values; by default they come from torch's generator.
    """

    def __init__(self, config: HeadConfig, *, seed: int | torch.Generator | None = None):
        super().__init__()
        self.output = unset(nn.Linear, config.hidden_size, 2)
        initialise(self, config, seed)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, 2] of pooled sequences [B, H]."""
        return linear(x, self.output.weight, self.output.bias)
