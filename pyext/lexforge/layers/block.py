"""A block of a transformer: attention and a feed-forward layer over sequences without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from lexforge.layers.activation import activated
from lexforge.layers.initial import unset
from lexforge.ops.attention.attention import varlen_attention
from lexforge.ops.transformer.add_layer_norm import add_layer_norm
from lexforge.ops.transformer.linear import linear


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


class TransformerBlock(nn.Module):
    """Self-attention, then a feed-forward layer, each added to its input and normalised.

    Its parameters are not filled: whoever has the blocks calls ``initialise``.
    """

    def __init__(self, config: BlockConfig):
        super().__init__()
        self.config = config
        width, inner = config.hidden_size, config.intermediate_size
        self.qkv = unset(nn.Linear, width, 3 * width)
        self.projection = unset(nn.Linear, width, width)
        self.attention_norm = unset(nn.LayerNorm, width, config.norm_eps)
        self.expansion = unset(nn.Linear, width, inner)
        self.contraction = unset(nn.Linear, inner, width)
        self.output_norm = unset(nn.LayerNorm, width, config.norm_eps)

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
        heads = self.config.num_heads
        qkv = linear(x, self.qkv.weight, self.qkv.bias).view(len(x), 3, heads, -1)
        q, k, v = qkv.unbind(1)
        attended = varlen_attention(
            q,
            k,
            v,
            cu_seqlens,
            max_seqlen,
            dropout_p=self.config.attention_dropout if self.training else 0.0,
            seed=seeds[0],
        ).flatten(1)
        if rows is not None:
            x, attended = x.index_select(0, rows), attended.index_select(0, rows)
        x = self._add(x, attended, self.projection, self.attention_norm, seeds[1])
        inner = linear(x, self.expansion.weight)
        inner = activated(inner, self.expansion.bias, self.config.activation)
        return self._add(x, inner, self.contraction, self.output_norm, seeds[2])

    def _add(
        self, x: Tensor, inner: Tensor, layer: nn.Linear, norm: nn.LayerNorm, seed: Tensor | None
    ) -> Tensor:
        return add_layer_norm(
            linear(inner, layer.weight),
            x,
            norm.weight,
            norm.bias,
            eps=norm.eps,
            dropout_p=self.config.dropout if self.training else 0.0,
            seed=seed,
            x_bias=layer.bias,
        )
