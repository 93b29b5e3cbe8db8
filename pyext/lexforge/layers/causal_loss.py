"""The loss of a causal model as one node of the graph of gradients.

What :mod:`lexforge.layers.causal_step` is for a block: embeddings, blocks, norms and the head
follow one another without records of their own. The numbers are those of the ops.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lexforge.layers import causal_step
from lexforge.layers.causal_step import Kept, Numbers, Parameters
from lexforge.ops.transformer import embedding_sum, linear_cross_entropy

_ops = torch.ops.lexforge
_below_autograd = torch._C._AutoDispatchBelowAutograd
_OF_BLOCK = len(Parameters._fields)


class Batch(NamedTuple):
    """What goes through the model; see :meth:`lexforge.gpt.GPT.loss`."""

    tokens: Tensor
    labels: Tensor
    positions: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    ignore_index: int


class Weights(NamedTuple):
    """Of a model: tables, the first norm, and of each block its own and the next norm's."""

    tokens: Tensor
    positions: Tensor
    norm: Tensor
    norm_bias: Tensor | None
    blocks: Sequence[Tensor | None]

    def each_block(self) -> Iterator[Parameters]:
        """Of a block and the norm that follows it."""
        for first in range(0, len(self.blocks), _OF_BLOCK):
            yield Parameters(*self.blocks[first : first + _OF_BLOCK])  # type: ignore[arg-type]


def _weights(flat: Sequence[Any]) -> Weights:
    tokens, positions, norm, norm_bias, *blocks = flat
    return Weights(tokens, positions, norm, norm_bias, blocks)


def causal_loss(
    batch: Batch,
    seeds: Sequence[Tensor | None],
    numbers: Sequence[Numbers],
    eps: float,
    dtype: torch.dtype,
    weights: Weights,
) -> tuple[Tensor, Tensor]:
    """The mean loss, differentiable once, and the hits.

    Args:
        seeds: of the dropout of the embeddings, then the three of each block.
        numbers: of each block. eps: of the first norm. dtype: of activations.

    Raises:
        TypeError, ValueError, IndexError: as :func:`lexforge.ops.embedding_sum` and
        :func:`lexforge.ops.linear_cross_entropy`.
    """
    table = weights.tokens
    embedded = embedding_sum.arguments(
        *(batch.tokens, None, batch.positions, table, None, weights.positions),
        *(None, None, 0.0, numbers[0].dropout, seeds[0], dtype),
    )
    head = table.new_empty(len(batch.tokens), table.shape[1], dtype=dtype)  # its shape is known
    linear_cross_entropy.check(head, table, None, batch.labels, None, batch.ignore_index)
    given = (batch, embedded, seeds, numbers, eps, torch.is_grad_enabled())
    return _CausalLoss.apply(given, *weights[:4], *weights.blocks)


class _CausalLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, given: tuple[Any, ...], *parameters: Tensor | None) -> Any:
        with _below_autograd():
            loss, correct = _forward(ctx, *given, *parameters)
        ctx.mark_non_differentiable(correct)
        ctx.set_materialize_grads(False)
        return loss, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor | None, _: None) -> Any:
        if grad_loss is None:
            return (None,) * len(ctx.needs_input_grad)
        with _below_autograd():
            return None, *_backward(ctx, grad_loss)


def _forward(
    ctx: Any,
    batch: Batch,
    embedded: tuple[Any, ...],
    seeds: Sequence[Tensor | None],
    numbers: Sequence[Numbers],
    eps: float,
    recorded: bool,
    *parameters: Tensor | None,
) -> tuple[Tensor, Tensor]:
    weights = _weights(parameters)
    x, *of_sum = _ops.embedding_sum.default(*embedded)
    bias = torch.zeros_like(weights.norm) if weights.norm_bias is None else weights.norm_bias
    normed, *stats = _ops.add_layer_norm.default(x, None, None, weights.norm, bias, None, eps, 0.0)
    of_ends = (*of_sum, x, *stats)
    x, normed, passed = causal_step.forward(
        x, normed, batch.cu_seqlens, seeds[1:], numbers, list(weights.each_block())
    )
    loss, correct, *gradients, _ = linear_cross_entropy.loss_and_gradients(
        *(normed, weights.tokens, None, batch.labels, None, batch.ignore_index),
        *(recorded, recorded, False),
    )
    if recorded:
        counts = [(each.blocks, len(each.tensors)) for each in passed]
        ctx.given = batch, embedded, seeds, numbers, counts
        kept = (tensor for each in passed for tensor in each.tensors)
        ctx.save_for_backward(*parameters, *gradients, *of_ends, *kept)
    return loss, correct


def _backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
    batch, embedded, seeds, numbers, counts = ctx.given
    saved = ctx.saved_tensors
    split = 4 + _OF_BLOCK * len(numbers)
    weights = _weights(saved[:split])
    grad_normed, grad_table, mean, rstd, x, *kept = saved[split:]
    if not linear_cross_entropy.is_given_away(grad_loss):
        grad_normed, grad_table = (
            (each * grad_loss).to(each.dtype) for each in (grad_normed, grad_table)
        )
    of_norm, left = kept[:2], iter(kept[2:])
    passed = [Kept(blocks, list(itertools.islice(left, count))) for blocks, count in counts]
    own = list(weights.each_block())
    grad_x, grad_normed, of_blocks = causal_step.backward(
        None, grad_normed, passed, batch.cu_seqlens, seeds[1:], numbers, own
    )
    grads = (
        None if p is None else g
        for block, found in zip(own, of_blocks, strict=True)
        for p, g in zip(block, found, strict=True)
    )
    _, grad_x, norm, norm_bias, _ = _ops.add_layer_norm_sum_backward.default(
        grad_x, grad_normed, x, False, weights.norm, *of_norm, None, 0.0
    )
    of_tokens, _, positions, *_ = _ops.embedding_sum_backward.default(
        grad_x, *embedded[:7], embedded[8], mean, rstd, embedded[10]
    )
    of_tokens += grad_table
    return of_tokens, positions, norm, None if weights.norm_bias is None else norm_bias, *grads
