"""A causal block as one node of the graph of gradients.

A small model's step is mostly the time between its ops: here they follow one another without
checks and records of their own, forward and backward. The numbers are those of
:class:`lexforge.layers.block.CausalBlock`, op by op; narrow blocks on a CPU go through them some
rows at a time (csrc/transformer/causal_block.h).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lexforge import _library
from lexforge.ops.transformer.bias_activation import ACTIVATIONS
from lexforge.ops.transformer.linear import parameter_gradients_, product

_ops = torch.ops.lexforge
# Ops that are not differentiated themselves need not ask whether they are: a third of their time.
_below_autograd = torch._C._AutoDispatchBelowAutograd
# Widths whose packed weights stay in the cache beside the rows that they are multiplied with.
_LEAST_WIDTH, _MOST_WIDTH = 48, 192
_KEPT_BY_ROWS = 2  # tensors, of which one holds all activations


def _rows_pay() -> tuple[torch.dtype, ...]:
    """In which dtypes it pays to go through the ops some rows at a time."""
    if _library.emulated():
        return ()
    if _library.cpu_has_tiles():
        return (torch.float32, torch.bfloat16)
    if _library.cpu_capability() == "baseline":  # torch has wider registers
        return ()
    # Products are multiply-adds of float32; where the processor has those of bfloat16, torch does.
    return (torch.float32,) if _library.cpu_has_bf16() else (torch.float32, torch.bfloat16)


_ROWS_PAY = _rows_pay()


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


class Between(NamedTuple):
    """What the ops make between a block's input and its result, for their backward."""

    qkv: Tensor
    attended: Tensor
    lse: Tensor
    total: Tensor
    mean: Tensor
    rstd: Tensor
    inner: Tensor
    expanded: Tensor
    out_mean: Tensor
    out_rstd: Tensor
    active: Tensor
    qkv_weight: Tensor  # and the others, of the dtype of activations
    projection_weight: Tensor
    expansion_weight: Tensor
    contraction_weight: Tensor


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
        p = Parameters(*parameters)  # type: ignore[arg-type]  # weights are never None
        ctx.numbers, ctx.seeds = numbers, seeds
        ctx.set_materialize_grads(False)
        with _below_autograd():
            out, normed_out, kept = forward(x, normed, cu_seqlens, seeds, numbers, p)
        ctx.save_for_backward(normed, cu_seqlens, out, *kept, *parameters)
        return out, normed_out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor | None, grad_normed: Tensor | None) -> Any:
        split = len(ctx.saved_tensors) - len(Parameters._fields)
        normed, cu_seqlens, out, *kept = ctx.saved_tensors[:split]
        p = Parameters(*ctx.saved_tensors[split:])
        grad_normed = torch.zeros_like(out) if grad_normed is None else grad_normed.contiguous()
        grad_out = None if grad_out is None else grad_out.contiguous()
        rest = (kept, normed, cu_seqlens, ctx.seeds, ctx.numbers, p)
        with _below_autograd():
            grad_x, grad_normed, gradients = backward(grad_out, grad_normed, out, *rest)
        wanted = (None if own is None else each for own, each in zip(p, gradients, strict=True))
        return grad_x, grad_normed, None, None, None, *wanted


def forward(
    x: Tensor,
    normed: Tensor,
    cu_seqlens: Tensor,
    seeds: Sequence[Tensor | None],
    numbers: Numbers,
    p: Parameters,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The sum, its norm, and what the backward needs of what is between; not recorded."""
    found = _by_rows(x, normed, cu_seqlens, seeds, numbers, p) if _fits(x, cu_seqlens, p) else None
    out, normed_out, *kept = found or _by_ops(x, normed, cu_seqlens, seeds, numbers, p)
    return out, normed_out, kept


def backward(
    grad_out: Tensor | None,
    grad_normed: Tensor,
    out: Tensor,
    kept: list[Tensor],
    normed: Tensor,
    cu_seqlens: Tensor,
    seeds: Sequence[Tensor | None],
    numbers: Numbers,
    p: Parameters,
) -> tuple[Tensor, Tensor, Parameters]:
    """Gradients of x, its norm and the parameters (of biases that are not there, anything)."""
    rest = (normed, cu_seqlens, seeds, numbers, p)
    if len(kept) == _KEPT_BY_ROWS:
        found = _backward_by_rows(grad_out, grad_normed, out, kept[0], kept[1], *rest)
        if found is not None:
            return found
        kept = _between(kept[0], kept[1], numbers, p)
    return _backward_by_ops(grad_out, grad_normed, out, Between(*kept), *rest)


def _fits(x: Tensor, cu_seqlens: Tensor, p: Parameters) -> bool:
    """Whether it pays to go through the ops some rows at a time: sequences for every thread."""
    if x.dtype not in _ROWS_PAY or x.device.type != "cpu":
        return False
    sequences, threads = len(cu_seqlens) - 1, torch.get_num_threads()
    return (
        _LEAST_WIDTH <= x.shape[1] <= _MOST_WIDTH
        and p.expansion.shape[0] <= 4 * x.shape[1]
        and (sequences >= 4 * threads or (sequences > 0 and sequences % threads == 0))
        and all(
            each is None or (each.dtype == torch.float32 and each.is_contiguous()) for each in p
        )
    )


def _by_rows(
    x: Tensor,
    normed: Tensor,
    cu_seqlens: Tensor,
    seeds: Sequence[Tensor | None],
    numbers: Numbers,
    p: Parameters,
) -> tuple[Tensor, ...] | None:
    """Both results, and what the backward needs; None where tiles would lose a number."""
    rows, width = x.shape
    saved = x.new_empty(rows * (6 * width + p.expansion.shape[0]))
    statistics = x.new_empty(rows * (numbers.heads + 4), dtype=torch.float32)
    out, normed_out = torch.empty_like(x), torch.empty_like(x)
    done = _ops.causal_block_.default(
        *(out, normed_out, saved, statistics, x.contiguous(), normed.contiguous(), cu_seqlens),
        *(*seeds, *p, numbers.heads, numbers.max_seqlen, ACTIVATIONS[numbers.activation]),
        *(numbers.dropout, numbers.eps, numbers.following_eps),
    )
    return (out, normed_out, saved, statistics) if done else None


def _by_ops(
    x: Tensor,
    normed: Tensor,
    cu_seqlens: Tensor,
    seeds: Sequence[Tensor | None],
    numbers: Numbers,
    p: Parameters,
) -> tuple[Tensor, ...]:
    """The same, one op after another."""
    kind, width, dropout = x.dtype, x.shape[1], numbers.dropout
    weights = [w.to(kind) for w in (p.qkv, p.projection, p.expansion, p.contraction)]
    qkv_bias = None if p.qkv_bias is None else p.qkv_bias.to(kind)
    zeros = torch.zeros_like(p.norm) if p.norm_bias is None else None
    norm_bias, following_bias = (zeros if b is None else b for b in p[5::6])

    qkv = product(normed, weights[0], qkv_bias)
    q, k, v = qkv.view(len(x), 3, numbers.heads, -1).unbind(1)
    shape = _attention_shape(numbers, width)
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
    return (
        *(out, normed_out, qkv, attended.view(-1, width), lse, total, *stats, inner, expanded),
        *(*out_stats, active, *weights),
    )


def _attention_shape(numbers: Numbers, width: int) -> tuple[int, bool, float, float]:
    """What attention is told of its shape."""
    scale = 1 / math.sqrt(width // numbers.heads)
    return numbers.max_seqlen, True, numbers.dropout, scale


def _backward_by_rows(
    grad_out: Tensor | None,
    grad_normed: Tensor,
    out: Tensor,
    saved: Tensor,
    statistics: Tensor,
    normed: Tensor,
    cu_seqlens: Tensor,
    seeds: Sequence[Tensor | None],
    numbers: Numbers,
    p: Parameters,
) -> tuple[Tensor, Tensor, Parameters] | None:
    """Gradients of x, of its norm and of the parameters; None as in :func:`_by_rows`."""
    wide, narrow, width = p.qkv.numel(), p.contraction.numel(), out.shape[1]
    sizes = (
        *(wide, 3 * width, width * width, width, width, width),
        *(narrow, narrow // width, narrow, width, width, width),
    )
    grads = statistics.new_empty(sum(sizes))
    grad_x, grad_normed_in = torch.empty_like(out), torch.empty_like(out)
    done = _ops.causal_block_backward_.default(
        *(grad_x, grad_normed_in, grads, grad_out, grad_normed, out, saved, statistics),
        *(normed.contiguous(), cu_seqlens, *seeds, p.qkv, p.projection, p.norm, p.expansion),
        *(p.expansion_bias, p.contraction, p.following, numbers.heads, numbers.max_seqlen),
        *(ACTIVATIONS[numbers.activation], numbers.dropout),
    )
    if not done:
        return None
    # The order of csrc/transformer/causal_block.h.
    qkv, qkv_bias, projection, norm, norm_bias, projection_bias, *others = grads.split(sizes)
    expansion, expansion_bias, contraction, following, following_bias, contraction_bias = others
    gradients = Parameters(
        qkv=qkv.view_as(p.qkv),
        qkv_bias=qkv_bias,
        projection=projection.view_as(p.projection),
        projection_bias=projection_bias,
        norm=norm,
        norm_bias=norm_bias,
        expansion=expansion.view_as(p.expansion),
        expansion_bias=expansion_bias,
        contraction=contraction.view_as(p.contraction),
        contraction_bias=contraction_bias,
        following=following,
        following_bias=following_bias,
    )
    return grad_x, grad_normed_in, gradients


def _between(saved: Tensor, statistics: Tensor, numbers: Numbers, p: Parameters) -> list[Tensor]:
    """What was saved row by row, for the backward op by op."""
    inner_width, width = p.expansion.shape
    rows = len(saved) // (6 * width + inner_width)
    widths = (3 * width, width, width, width, inner_width)
    qkv, attended, total, inner, expanded = (
        each.view(rows, -1) for each in saved.split([rows * each for each in widths])
    )
    lse, *stats = statistics.split([rows * numbers.heads, *[rows] * 4])
    active = _ops.bias_activation.default(
        expanded, p.expansion_bias, ACTIVATIONS[numbers.activation]
    )
    weights = (each.to(saved.dtype) for each in (p.qkv, p.projection, p.expansion, p.contraction))
    return [
        *(qkv, attended, lse.view(rows, -1), total, *stats[:2], inner, expanded, *stats[2:]),
        *(active, *weights),
    ]


def _backward_by_ops(
    grad_out: Tensor | None,
    grad_normed: Tensor,
    out: Tensor,
    between: Between,
    normed: Tensor,
    cu_seqlens: Tensor,
    seeds: Sequence[Tensor | None],
    numbers: Numbers,
    p: Parameters,
) -> tuple[Tensor, Tensor, Parameters]:
    """The same, one op after another."""
    dropout, width, weights = numbers.dropout, out.shape[1], between[-4:]

    def unnormed(grad_sum, grad_y, h, bias, scale, mean, rstd, seed):
        """Gradients of x, residual, scale, its bias and x_bias."""
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
        *(between.out_mean, between.out_rstd, seeds[2]),
    )
    contraction, _ = weighed(grad, between.active, p.contraction)
    grad, expansion_bias = _ops.bias_activation_backward.default(
        product(grad, weights[3].t()),
        between.expanded,
        p.expansion_bias,
        ACTIVATIONS[numbers.activation],
    )
    expansion, _ = weighed(grad, between.inner, p.expansion)
    grad, grad_x, norm, norm_bias, projection_bias = unnormed(
        *(grad_total, product(grad, weights[2].t()), between.total, p.projection_bias, p.norm),
        *(between.mean, between.rstd, seeds[1]),
    )
    attended = between.attended
    projection, _ = weighed(grad, attended, p.projection)
    q, k, v = between.qkv.view(len(out), 3, numbers.heads, -1).unbind(1)
    grads = _ops.attention_backward.default(
        *(product(grad, weights[1].t()).view_as(q), q, k, v, attended.view_as(q), between.lse),
        *(cu_seqlens, None, seeds[0], *_attention_shape(numbers, width)),
    )
    grad = torch.stack(grads, 1).view(-1, 3 * width)
    wide, qkv_bias = weighed(grad, normed, p.qkv, p.qkv_bias)
    gradients = Parameters(
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
    return grad_x, product(grad, weights[0].t()), gradients
