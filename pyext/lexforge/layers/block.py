"""Blocks of transformers: attention and a feed-forward layer over sequences without padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lexforge.layers.activation import FUSED, activated
from lexforge.layers.causal_step import Numbers, Parameters, causal_step
from lexforge.layers.initial import unset
from lexforge.ops.attention.attention import MAX_HEAD_DIM, varlen_attention
from lexforge.ops.transformer.add_layer_norm import add_layer_norm, add_layer_norm_sum
from lexforge.ops.transformer.linear import linear

BLOCK_BYTES = 2**15  # that a block's Python objects take, about


class BlockConfig(Protocol):
    """What a block asks of a model's configuration."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def num_heads(self) -> int: ...
    @property
    def norm_eps(self) -> float: ...
    @property
    def dropout(self) -> float: ...
    @property
    def attention_dropout(self) -> float: ...
    @property
    def activation(self) -> str: ...


def check_heads(owner: str, width: tuple[str, int], heads: tuple[str, int]) -> None:
    """ValueError if a width makes no heads of a size that attention has; both with their names."""
    if width[1] % heads[1]:
        raise ValueError(f"{owner}: {heads[0]} must divide {width[0]} {width[1]}, got {heads[1]}")
    if width[1] // heads[1] > MAX_HEAD_DIM:
        raise ValueError(
            f"{owner}: {width[0]} / {heads[0]} must be at most {MAX_HEAD_DIM}, "
            f"got {width[1] // heads[1]}"
        )


class Heads(NamedTuple):
    """What attention takes: [T, heads, dimensions] each, views of one joint projection."""

    q: Tensor
    k: Tensor
    v: Tensor


# [T, H] of what attention takes, and the seed of its dropout.
Attention = Callable[[Heads, Tensor | None], Tensor]


class _Block(nn.Module):
    """The layers of a block, whose parameters are not filled: whoever has it calls ``initialise``.

    Args:
        config: the shape.
        bias: whether linear layers and norms have one.
    """

    def __init__(self, config: BlockConfig, bias: bool = True):
        super().__init__()
        self.config = config
        width, inner = config.hidden_size, config.intermediate_size
        self.qkv = unset(nn.Linear, width, 3 * width, bias)
        self.projection = unset(nn.Linear, width, width, bias)
        self.attention_norm = unset(nn.LayerNorm, width, config.norm_eps, True, bias)
        self.expansion = unset(nn.Linear, width, inner, bias)
        self.contraction = unset(nn.Linear, inner, width, bias)
        self.output_norm = unset(nn.LayerNorm, width, config.norm_eps, True, bias)

    def heads(self, x: Tensor) -> Heads:
        """Queries, keys and values of [T, H]."""
        qkv = linear(x, self.qkv.weight, self.qkv.bias)
        return Heads(*qkv.view(len(x), 3, self.config.num_heads, -1).unbind(1))

    def expanded(self, x: Tensor) -> Tensor:
        """The feed-forward layer's inside [T, F] of [T, H]."""
        inner = linear(x, self.expansion.weight)
        return activated(inner, self.expansion.bias, self.config.activation)

    @property
    def _dropout(self) -> float:
        return self.config.dropout if self.training else 0.0


class TransformerBlock(_Block):
    """Self-attention, then a feed-forward layer, each added to its input and normalised."""

    def forward(
        self,
        x: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        seeds: Sequence[Tensor | None],
        rows: Tensor | None = None,
    ) -> Tensor:
        """[T, H] to [T, H]; the seeds are those of the three dropouts.

        Of int64 `rows` [P], if given, the results [P, H] alone: all tokens are looked at, and
        what comes after that is computed for those.
        """
        attended = varlen_attention(
            *self.heads(x),
            cu_seqlens,
            max_seqlen,
            dropout_p=self.config.attention_dropout if self.training else 0.0,
            seed=seeds[0],
        ).flatten(1)
        if rows is not None:
            x, attended = x.index_select(0, rows), attended.index_select(0, rows)
        x = self._add(x, attended, self.projection, self.attention_norm, seeds[1])
        return self._add(x, self.expanded(x), self.contraction, self.output_norm, seeds[2])

    def _add(
        self, x: Tensor, inner: Tensor, layer: nn.Linear, norm: nn.LayerNorm, seed: Tensor | None
    ) -> Tensor:
        return add_layer_norm(
            linear(inner, layer.weight),
            x,
            norm.weight,
            norm.bias,
            eps=norm.eps,
            dropout_p=self._dropout,
            seed=seed,
            x_bias=layer.bias,
        )


class CausalBlock(_Block):
    """The block of GPT-2: tokens see themselves and earlier ones; norms come first.

    ``x + attention(norm(x))``, then the same with the feed-forward layer. Sums are normalised in
    the pass that makes them, so the block takes its input normalised by ``attention_norm`` too, and
    normalises its output by what follows it; ``output_norm`` is that of the attention's.
    """

    def forward(
        self,
        x: Tensor,
        normed: Tensor,
        attend: Attention,
        seeds: Sequence[Tensor | None],
        following: nn.LayerNorm,
    ) -> tuple[Tensor, Tensor]:
        """[T, H] and its norm to the same.

        Args:
            attend: [T, H] of queries, keys and values, and the seed of its dropout.
            seeds: of the three dropouts.
            following: the norm of the output.
        """
        attended = attend(self.heads(normed), seeds[0])
        x, normed = self._add(x, attended, self.projection, self.output_norm, seeds[1])
        return self._add(x, self.expanded(normed), self.contraction, following, seeds[2])

    def step(
        self,
        x: Tensor,
        normed: Tensor,
        cu_seqlens: Tensor,
        max_seqlen: int,
        seeds: Sequence[Tensor | None],
        following: nn.LayerNorm,
    ) -> tuple[Tensor, Tensor]:
        """The same with attention within sequences, as one node of the graph of gradients.

        Activations that are not fused, and compilers, get the ops one by one.
        """
        dropout = self._dropout
        if not self.is_fused:

            def attend(heads: Heads, seed: Tensor | None) -> Tensor:
                return varlen_attention(
                    *heads, cu_seqlens, max_seqlen, causal=True, dropout_p=dropout, seed=seed
                ).flatten(1)

            return self(x, normed, attend, seeds, following)
        numbers, parameters = self.fused(max_seqlen, following)
        return causal_step(x, normed, cu_seqlens, tuple(seeds), numbers, parameters)

    @property
    def is_fused(self) -> bool:
        """Whether a step may be one node."""
        return self.config.activation in FUSED and not torch.compiler.is_compiling()

    def fused(self, max_seqlen: int, following: nn.LayerNorm) -> tuple[Numbers, Parameters]:
        """What that takes of the block."""
        norm, config = self.output_norm, self.config
        numbers = Numbers(
            config.num_heads, max_seqlen, config.activation, self._dropout, norm.eps, following.eps
        )
        layers = (self.qkv, self.projection, norm, self.expansion, self.contraction, following)
        return numbers, Parameters(
            *(each for layer in layers for each in (layer.weight, layer.bias))
        )

    def _add(
        self, x: Tensor, inner: Tensor, layer: nn.Linear, norm: nn.LayerNorm, seed: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return add_layer_norm_sum(
            linear(inner, layer.weight),
            x,
            norm.weight,
            norm.bias,
            eps=norm.eps,
            dropout_p=self._dropout,
            seed=seed,
            x_bias=layer.bias,
        )
