"""Causal blocks as one node of the graph of gradients.

A small model's step is mostly the time between its ops: here they follow one another without
checks and records of their own, forward and backward. The numbers are those of
:class:`lexforge.layers.block.CausalBlock`, op by op; narrow blocks on a CPU go through them some
rows at a time, and one block after another on each thread (csrc/transformer/causal_block.h).
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
# Of what blocks keep that go by rows together, and of the other threads' gradients: below the 32 MB
# from which on glibc returns memory after each use, to have each page faulted in anew.
_BYTES_AT_ONCE = 24 * 2**20
_OF_BLOCK = 3  # seeds


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


class Kept(NamedTuple):
    """What the forward of some blocks keeps for their backward: the norm that enters, then

    by rows: the sums [N, T, H], their norms, and `saved` and `statistics` [N, ...] of
    csrc/transformer/causal_block.h. By ops, of one block: its sum, and :class:`Between`.
    """

    blocks: int
    tensors: list[Tensor]

    @property
    def is_by_rows(self) -> bool:
        return len(self.tensors) == _KEPT_BY_ROWS

    def singly(self) -> list[Kept]:
        """The same of each block, where they went by rows."""
        normed, *of_all = self.tensors
        entering = [normed, *of_all[1]]
        return [
            Kept(1, [entering[i], *(each[i : i + 1] for each in of_all)])
            for i in range(self.blocks)
        ]


_KEPT_BY_ROWS = 5


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
            out, normed_out, (kept,) = forward(x, normed, cu_seqlens, seeds, [numbers], [p])
        ctx.save_for_backward(cu_seqlens, *kept.tensors, *parameters)
        return out, normed_out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor | None, grad_normed: Tensor | None) -> Any:
        split = len(ctx.saved_tensors) - len(Parameters._fields)
        cu_seqlens, *kept = ctx.saved_tensors[:split]
        p = Parameters(*ctx.saved_tensors[split:])
        grad_normed = torch.zeros_like(kept[0]) if grad_normed is None else grad_normed.contiguous()
        grad_out = None if grad_out is None else grad_out.contiguous()
        rest = ([Kept(1, kept)], cu_seqlens, ctx.seeds, [ctx.numbers], [p])
        with _below_autograd():
            grad_x, grad_normed, (gradients,) = backward(grad_out, grad_normed, *rest)
        wanted = (None if own is None else each for own, each in zip(p, gradients, strict=True))
        return grad_x, grad_normed, None, None, None, *wanted


def forward(
    x: Tensor,
    normed: Tensor,
    cu_seqlens: Tensor,
    seeds: Sequence[Tensor | None],
    numbers: Sequence[Numbers],
    p: Sequence[Parameters],
) -> tuple[Tensor, Tensor, list[Kept]]:
    """The sum and its norm after some blocks, and what their backward needs; not recorded.

    Args:
        seeds: three of each block.
    """
    return _forward(x, normed, cu_seqlens, seeds, numbers, p, _at_once(x, cu_seqlens, numbers, p))


def _forward(
    x: Tensor,
    normed: Tensor,
    cu_seqlens: Tensor,
    seeds: Sequence[Tensor | None],
    numbers: Sequence[Numbers],
    p: Sequence[Parameters],
    at_once: int,
) -> tuple[Tensor, Tensor, list[Kept]]:
    """The same with so many blocks by rows at a time; 0: by ops."""
    passed: list[Kept] = []
    step = max(1, at_once)
    for first in range(0, len(p), step):
        last = first + step
        some = (
            *(cu_seqlens, seeds[_OF_BLOCK * first : _OF_BLOCK * last]),
            *(numbers[first:last], p[first:last]),
        )
        kept = _by_rows(x, normed, *some) if at_once > 0 else None
        if kept is not None:
            x, normed = kept.tensors[1][-1], kept.tensors[2][-1]
            passed.append(kept)
        elif at_once > 1:
            x, normed, each = _forward(x, normed, *some, 1)
            passed += each
        else:
            x, following, *between = _by_ops(x, normed, *some[:2], numbers[first], p[first])
            passed.append(Kept(1, [normed, x, *between]))
            normed = following
    return x, normed, passed


def backward(
    grad_out: Tensor | None,
    grad_normed: Tensor,
    passed: list[Kept],
    cu_seqlens: Tensor,
    seeds: Sequence[Tensor | None],
    numbers: Sequence[Numbers],
    p: Sequence[Parameters],
) -> tuple[Tensor | None, Tensor, list[Parameters]]:
    """Gradients of x, its norm and each block's parameters (of biases that are not there,
    anything). Takes what was kept out of `passed`."""
    gradients: list[Parameters] = []
    last = len(p)
    while passed:
        kept = passed.pop()
        first = last - kept.blocks
        rest = (cu_seqlens, seeds[_OF_BLOCK * first : _OF_BLOCK * last])
        found = None
        if kept.is_by_rows:
            some = (*rest, numbers[first:last], p[first:last])
            found = _backward_by_rows(grad_out, grad_normed, kept, *some)
            if found is None and kept.blocks > 1:
                passed += kept.singly()
                continue
        if found is None:
            one = (*rest, numbers[first], p[first])
            found = _backward_by_ops(grad_out, grad_normed, kept, *one)
        grad_out, grad_normed, of_parameters = found
        gradients[:0] = of_parameters
        last = first
    return grad_out, grad_normed, gradients


def _at_once(
    x: Tensor, cu_seqlens: Tensor, numbers: Sequence[Numbers], p: Sequence[Parameters]
) -> int:
    """How many blocks go by rows together: 0 where that does not pay."""
    if not all(_fits(x, cu_seqlens, each) for each in p):
        return 0
    if len({(each[:4], own.expansion.shape) for each, own in zip(numbers, p, strict=True)}) > 1:
        return 1
    kept = _numbers_kept(x, p[0]) * x.element_size()
    summed = (torch.get_num_threads() - 1) * _gradient_numbers(p[0]) * 4
    return max(1, _BYTES_AT_ONCE // max(kept, summed))


def _numbers_kept(x: Tensor, p: Parameters) -> int:
    """By a block that goes by rows, of the dtype of activations."""
    rows, width = x.shape
    return rows * (6 * width + p.expansion.shape[0])


def _gradient_numbers(p: Parameters) -> int:
    """Of the parameters of a block, biases or not."""
    inner, width = p.expansion.shape
    return width * (4 * width + 2 * inner + 9) + inner


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
    numbers: Sequence[Numbers],
    p: Sequence[Parameters],
) -> Kept | None:
    """What the backward needs, both results in it; None where tiles would lose a number."""
    (rows, width), blocks, (heads, longest, activation, dropout, *_) = x.shape, len(p), numbers[0]
    out, normed_out = x.new_empty(blocks, rows, width), x.new_empty(blocks, rows, width)
    saved = x.new_empty(blocks, _numbers_kept(x, p[0]))
    statistics = x.new_empty(blocks, rows * (heads + 4), dtype=torch.float32)
    x, normed = x.contiguous(), normed.contiguous()
    done = _ops.causal_block_.default(
        *(out, normed_out, saved, statistics, x, normed, cu_seqlens, seeds),
        *([each for own in p for each in own], heads, longest, ACTIVATIONS[activation], dropout),
        [eps for each in numbers for eps in each[4:]],
    )
    return Kept(blocks, [normed, out, normed_out, saved, statistics]) if done else None


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
    kept: Kept,
    cu_seqlens: Tensor,
    seeds: Sequence[Tensor | None],
    numbers: Sequence[Numbers],
    p: Sequence[Parameters],
) -> tuple[Tensor, Tensor, list[Parameters]] | None:
    """Gradients of x, of its norm and of the parameters; None as in :func:`_by_rows`."""
    normed, *of_all = kept.tensors
    heads, longest, activation, dropout, *_ = numbers[0]
    size = _gradient_numbers(p[0])
    grads = normed.new_empty(kept.blocks, size, dtype=torch.float32)
    grad_x, grad_normed_in = torch.empty_like(normed), torch.empty_like(normed)
    done = _ops.causal_block_backward_.default(
        *(grad_x, grad_normed_in, grads, grad_out, grad_normed, *of_all, normed, cu_seqlens),
        *(seeds, [each for own in p for each in own]),
        *(heads, longest, ACTIVATIONS[activation], dropout),
    )
    if not done:
        return None
    found = [_gradients(grads, i * size, own) for i, own in enumerate(p)]
    return grad_x, grad_normed_in, found


def _gradients(grads: Tensor, start: int, p: Parameters) -> Parameters:
    """Of a block, as causal_block.h lays them out from `start` on; None where there is no bias."""
    inner, width = p.expansion.shape

    def next_one(own: Tensor | None, *shape: int) -> Any:
        nonlocal start
        first, start = start, start + math.prod(shape)
        return None if own is None else grads.as_strided(shape, (*shape[1:], 1), first)

    return Parameters(  # in order
        qkv=next_one(p.qkv, 3 * width, width),
        qkv_bias=next_one(p.qkv_bias, 3 * width),
        projection=next_one(p.projection, width, width),
        norm=next_one(p.norm, width),
        norm_bias=next_one(p.norm_bias, width),
        projection_bias=next_one(p.projection_bias, width),
        expansion=next_one(p.expansion, inner, width),
        expansion_bias=next_one(p.expansion_bias, inner),
        contraction=next_one(p.contraction, width, inner),
        following=next_one(p.following, width),
        following_bias=next_one(p.following_bias, width),
        contraction_bias=next_one(p.contraction_bias, width),
    )


def _between(kept: Kept, numbers: Numbers, p: Parameters) -> tuple[Tensor, Between]:
    """The sum of one block, and what the backward op by op needs of it."""
    if not kept.is_by_rows:
        return kept.tensors[1], Between(*kept.tensors[2:])
    _, out, _, saved, statistics = kept.tensors
    inner_width, width = p.expansion.shape
    rows = out.shape[1]
    widths = (3 * width, width, width, width, inner_width)
    qkv, attended, total, inner, expanded = (
        each.view(rows, -1) for each in saved[0].split([rows * each for each in widths])
    )
    lse, *stats = statistics[0].split([rows * numbers.heads, *[rows] * 4])
    active = _ops.bias_activation.default(
        expanded, p.expansion_bias, ACTIVATIONS[numbers.activation]
    )
    weights = (each.to(saved.dtype) for each in (p.qkv, p.projection, p.expansion, p.contraction))
    return out[0], Between(
        *(qkv, attended, lse.view(rows, -1), total, *stats[:2], inner, expanded, *stats[2:]),
        *(active, *weights),
    )


def _backward_by_ops(
    grad_out: Tensor | None,
    grad_normed: Tensor,
    kept: Kept,
    cu_seqlens: Tensor,
    seeds: Sequence[Tensor | None],
    numbers: Numbers,
    p: Parameters,
) -> tuple[Tensor, Tensor, list[Parameters]]:
    """The same of one block, one op after another."""
    normed, (out, between) = kept.tensors[0], _between(kept, numbers, p)
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
    return grad_x, product(grad, weights[0].t()), [gradients]
