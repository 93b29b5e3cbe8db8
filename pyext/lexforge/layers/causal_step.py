"""A causal block as one node of the graph of gradients.

A small model's step is mostly the time between its ops: here they follow one another without
checks and records of their own, forward and backward. The numbers are those of
:class:`lexforge.layers.block.CausalBlock`, op by op.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lexforge.ops.transformer.bias_activation import ACTIVATIONS
from lexforge.ops.transformer.linear import parameter_gradients_, product

_ops = torch.ops.lexforge
# Ops that are not differentiated themselves need not ask whether they are: a third of their time.
_below_autograd = torch._C._AutoDispatchBelowAutograd


class Parameters(NamedTuple):
    """Of a block, in the order of its ops, and the norm that follows; some have no bias."""

    qkv: Tensor
    qkv_bias: Tensor | None
    projection: Tensor
    projection_bias: Tensor | None
    norm: Tensor
    norm_bias: Tensor | None
    expansion: Tensor
    expansion_bias: Tensor | None
    contraction: Tensor
    contraction_bias: Tensor | None
    following: Tensor
    following_bias: Tensor | None


class Numbers(NamedTuple):
    """What else the ops are told."""

    heads: int
    max_seqlen: int
    activation: str
    dropout: float
    eps: float
    following_eps: float


def causal_step(
    x: Tensor,
    normed: Tensor,
    cu_seqlens: Tensor,
    seeds: tuple[Tensor | None, ...],
    numbers: Numbers,
    parameters: Parameters,
) -> tuple[Tensor, Tensor]:
    """The sum and its norm after a block.

    Args:
        x, normed: [T, H], the residual stream and its norm, of the dtype of activations.
        cu_seqlens: int32 [B + 1]. seeds: of the three dropouts.
    """
    return _CausalStep.apply(x, normed, cu_seqlens, seeds, numbers, *parameters)


class _CausalStep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        normed: Tensor,
        cu_seqlens: Tensor,
        seeds: tuple[Tensor | None, ...],
        numbers: Numbers,
        *parameters: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        with _below_autograd():
            return _forward(ctx, x, normed, cu_seqlens, seeds, numbers, parameters)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor | None, grad_normed: Tensor | None) -> Any:
        with _below_autograd():
            return _backward(ctx, grad_out, grad_normed)


def _forward(
    ctx: Any,
    x: Tensor,
    normed: Tensor,
    cu_seqlens: Tensor,
    seeds: tuple[Tensor | None, ...],
    numbers: Numbers,
    parameters: tuple[Tensor | None, ...],
) -> tuple[Tensor, Tensor]:
    p = Parameters(*parameters)  # type: ignore[arg-type]  # weights are never None
    kind, width, dropout = x.dtype, x.shape[1], numbers.dropout
    weights = [w.to(kind) for w in (p.qkv, p.projection, p.expansion, p.contraction)]
    qkv_bias = None if p.qkv_bias is None else p.qkv_bias.to(kind)
    zeros = torch.zeros_like(p.norm) if p.norm_bias is None else None
    norm_bias, following_bias = (zeros if b is None else b for b in p[5::6])

    qkv = product(normed, weights[0], qkv_bias)
    q, k, v = qkv.view(len(x), 3, numbers.heads, -1).unbind(1)
    shape = (numbers.max_seqlen, True, dropout, 1 / math.sqrt(q.shape[-1]))
    attended, lse = _ops.attention.default(q, k, v, cu_seqlens, None, seeds[0], *shape)
    total, inner, *stats = _ops.add_layer_norm_sum.default(
        product(attended.view(-1, width), weights[1]),
        x,
        p.projection_bias,
        p.norm,
        norm_bias,
        seeds[1],
        numbers.eps,
        dropout,
    )
    expanded = product(inner, weights[2])
    activation = ACTIVATIONS[numbers.activation]
    active = _ops.bias_activation.default(expanded, p.expansion_bias, activation)
    out, normed_out, *out_stats = _ops.add_layer_norm_sum.default(
        product(active, weights[3]),
        total,
        p.contraction_bias,
        p.following,
        following_bias,
        seeds[2],
        numbers.following_eps,
        dropout,
    )
    ctx.numbers, ctx.shape, ctx.seeds = numbers, shape, seeds
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        *(normed, cu_seqlens, qkv, attended, lse, total, *stats, inner, expanded, active),
        *(out, *out_stats, *weights, *parameters),
    )
    return out, normed_out


def _backward(ctx: Any, grad_out: Tensor | None, grad_normed: Tensor | None) -> Any:
    normed, bounds, qkv, attended, lse, total, mean, rstd, inner, expanded, active, *rest = (
        ctx.saved_tensors
    )
    out, out_mean, out_rstd, *rest = rest
    weights, p = rest[:4], Parameters(*rest[4:])
    numbers, dropout = ctx.numbers, ctx.numbers.dropout
    width = out.shape[1]

    def unnormed(grad_sum, grad_y, h, bias, scale, mean, rstd, seed):
        """Gradients of x, residual, scale, its bias and x_bias."""
        grad_y = torch.zeros_like(h) if grad_y is None else grad_y.contiguous()
        grad_sum = None if grad_sum is None else grad_sum.contiguous()
        grad_x, grad_residual, *vectors = _ops.add_layer_norm_sum_backward.default(
            grad_sum, grad_y, h, bias is not None, scale, mean, rstd, seed, dropout
        )
        return (grad_x if dropout > 0 else grad_residual), grad_residual, *vectors

    def weighed(grad, x, weight, bias=None):
        """Gradients of a weight and a bias, of the parameters' dtype."""
        grad_weight = torch.empty_like(weight)
        grad_bias = None if bias is None else torch.empty_like(bias)
        parameter_gradients_(grad_weight, grad_bias, grad, x)
        return grad_weight, grad_bias

    grad, grad_total, following, following_bias, contraction_bias = unnormed(
        *(grad_out, grad_normed, out, p.contraction_bias, p.following),
        *(out_mean, out_rstd, ctx.seeds[2]),
    )
    contraction, _ = weighed(grad, active, p.contraction)
    grad, expansion_bias = _ops.bias_activation_backward.default(
        product(grad, weights[3].t()),
        expanded,
        p.expansion_bias,
        ACTIVATIONS[numbers.activation],
    )
    expansion, _ = weighed(grad, inner, p.expansion)
    grad, grad_x, norm, norm_bias, projection_bias = unnormed(
        *(grad_total, product(grad, weights[2].t()), total, p.projection_bias, p.norm),
        *(mean, rstd, ctx.seeds[1]),
    )
    attended = attended.view(-1, width)
    projection, _ = weighed(grad, attended, p.projection)
    q, k, v = qkv.view(len(out), 3, numbers.heads, -1).unbind(1)
    grads = _ops.attention_backward.default(
        *(product(grad, weights[1].t()).view_as(q), q, k, v, attended.view_as(q), lse),
        *(bounds, None, ctx.seeds[0], *ctx.shape),
    )
    grad = torch.stack(grads, 1).view(-1, 3 * width)
    wide, qkv_bias = weighed(grad, normed, p.qkv, p.qkv_bias)
    parameters = Parameters(
        qkv=wide,
        qkv_bias=qkv_bias,
        projection=projection,
        projection_bias=projection_bias,
        norm=norm,
        norm_bias=norm_bias,
        expansion=expansion,
        expansion_bias=expansion_bias,
        contraction=contraction,
        contraction_bias=contraction_bias,
        following=following,
        following_bias=following_bias,
    )
    given = (None if own is None else gradient for own, gradient in zip(p, parameters, strict=True))
    return grad_x, product(grad, weights[0].t()), None, None, None, *given
