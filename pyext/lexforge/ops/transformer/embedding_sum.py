"""Token, segment and position embeddings in one pass (csrc/transformer/embedding_sum.h)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops._dropout import dropout_seed

_OP = "embedding_sum"


def embedding_sum(
    tokens: Tensor,
    segments: Tensor | None,
    positions: Tensor,
    token_table: Tensor,
    segment_table: Tensor | None,
    position_table: Tensor,
    *,
    norm_weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
    eps: float = 1e-12,
    dropout_p: float = 0.0,
    seed: int | torch.Generator | Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """The sum of three embeddings, then layer norm and dropout where wanted (Devlin et al. 2019).

    ``dropout(norm(token_table[tokens] + segment_table[segments] + position_table[positions]))``;
    no embedding is ever in memory by itself, forward or backward.

    Args:
        tokens: int32 or int64 [T], rows of ``token_table``; any order, repeats are usual.
        segments: the same of ``segment_table``, or None for none.
        positions: the same of ``position_table``.
        token_table, segment_table, position_table: [V, H], [S, H] or None, [P, H]; float32 or
            float64, of one dtype and device.
        norm_weight, norm_bias: [H] of the tables' dtype, for a layer norm (Ba et al. 2016) of each
            sum; both or neither.
        eps: added to the variance, at least 0.
        dropout_p: share of the results that are dropped, 0 to 1, in steps of 2^-16.
        seed: of the dropout: an integer or generator (see :func:`lexforge.ops.seed_from`),
            or an int64 tensor of one element on the device of the tables. By default one is drawn
            from torch's generator of that device.
        dtype: of the result: the tables' (default), or bfloat16 with float32 tables.

    Returns:
        [T, H] of ``dtype``; differentiable in the tables, norm_weight and norm_bias (once). Their
        gradients are dense and of their own dtype.

    Raises:
        TypeError: a wrong dtype. ValueError: shapes, devices or numbers that do not fit.
        IndexError: an id without a row, on the CPU: names the argument, the value and where it
        is. On CUDA ids are not looked at, since that would wait for the device; one that has no row
        gives NaN and changes no gradient of its table.

    Notes:
        All arithmetic is in the tables' dtype. Gradients are bit-identical for any number of
        threads and from run to run: table rows add their tokens in fixed parts, in order. What is
        dropped depends on (seed, t, h) alone.

    Example:
        >>> tables = torch.randn(9, 4), torch.randn(2, 4), torch.randn(5, 4)
        >>> tokens, segments = torch.tensor([3, 8, 3]), torch.tensor([0, 0, 1])
        >>> embedding_sum(tokens, segments, torch.arange(3), *tables).shape
        torch.Size([3, 4])
    """
    given = (tokens, segments, positions, token_table, segment_table, position_table)
    checked = arguments(*given, norm_weight, norm_bias, eps, dropout_p, seed, dtype)
    return torch.ops.lexforge.embedding_sum.default(*checked)[0]


def arguments(
    tokens: Tensor,
    segments: Tensor | None,
    positions: Tensor,
    token_table: Tensor,
    segment_table: Tensor | None,
    position_table: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    eps: float,
    dropout_p: float,
    seed: int | torch.Generator | Tensor | None,
    dtype: torch.dtype | None,
) -> tuple[Any, ...]:
    """What the op takes, of what :func:`embedding_sum` takes, checked."""
    _checks.both_or_neither(_OP, segments=segments, segment_table=segment_table)
    _checks.both_or_neither(_OP, norm_weight=norm_weight, norm_bias=norm_bias)
    _checks.tensor(_OP, "token_table", token_table, _checks.WIDE, ("V", "H"))
    width = token_table.shape[1]
    if width == 0:
        raise ValueError(
            f"{_OP}: token_table must be [V, H], H at least 1, got {[*token_table.shape]}"
        )
    _checks.tensor(_OP, "tokens", tokens, _checks.IDS, ("T",), token_table)
    ids = {"tokens": tokens, "positions": positions}
    tables = {"token_table": token_table, "position_table": position_table}
    if segments is not None and segment_table is not None:
        ids["segments"], tables["segment_table"] = segments, segment_table
    for name, table in tables.items():
        _checks.tensor(_OP, name, table, token_table.dtype, ("V", width), token_table)
    for name, rows in ids.items():
        _checks.tensor(_OP, name, rows, _checks.IDS, tokens.shape, token_table)
        if _checks.readable(rows):
            _checks.ids(_OP, name, rows, tables[f"{name.removesuffix('s')}_table"].shape[0])
    for name, vector in (("norm_weight", norm_weight), ("norm_bias", norm_bias)):
        if vector is not None:
            _checks.tensor(_OP, name, vector, token_table.dtype, (width,), token_table)
    _checks.number(_OP, "eps", eps)
    dtype = token_table.dtype if dtype is None else dtype
    if dtype != token_table.dtype and (dtype, token_table.dtype) != (torch.bfloat16, torch.float32):
        raise TypeError(
            f"{_OP}: dtype must be that of the tables, or bfloat16 with float32 tables, got {dtype}"
        )
    seed = dropout_seed(_OP, dropout_p, seed, token_table.device)
    ids = {name: x.to(torch.int32).contiguous() for name, x in ids.items()}
    tables = {name: x.contiguous() for name, x in tables.items()}
    return (
        ids["tokens"],
        ids.get("segments"),
        ids["positions"],
        tables["token_table"],
        tables.get("segment_table"),
        tables["position_table"],
        None if norm_weight is None else norm_weight.contiguous(),
        None if norm_bias is None else norm_bias.contiguous(),
        seed,
        eps,
        dropout_p,
        dtype,
    )


@torch.library.register_fake("lexforge::embedding_sum")
def _(
    tokens,
    segments,
    positions,
    token_table,
    segment_table,
    position_table,
    norm_weight,
    norm_bias,
    seed,
    eps,
    dropout_p,
    dtype,
):
    out = token_table.new_empty(tokens.shape[0], token_table.shape[1], dtype=dtype)
    size = 0 if norm_weight is None else tokens.shape[0]
    return out, token_table.new_empty(size), token_table.new_empty(size)


@torch.library.register_fake("lexforge::embedding_sum_backward")
def _(
    grad_out,
    tokens,
    segments,
    positions,
    token_table,
    segment_table,
    position_table,
    norm_weight,
    seed,
    mean,
    rstd,
    dropout_p,
):
    width = token_table.shape[1]
    segment_rows = 0 if segment_table is None else segment_table.shape[0]
    norm_width = 0 if norm_weight is None else width
    return (
        token_table.new_empty(token_table.shape),
        token_table.new_empty(segment_rows, width),
        token_table.new_empty(position_table.shape),
        token_table.new_empty(norm_width),
        token_table.new_empty(norm_width),
    )


def _setup_context(ctx, inputs, output):
    *tensors, norm_weight, _, seed, _, ctx.dropout_p, _ = inputs
    ctx.save_for_backward(*tensors, norm_weight, seed, *output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx, grad_out, *_):
    _, segments, *_, norm_weight, _, _, _ = ctx.saved_tensors
    tokens, segment, position, weight, bias = torch.ops.lexforge.embedding_sum_backward.default(
        grad_out.contiguous(), *ctx.saved_tensors, ctx.dropout_p
    )
    if segments is None:
        segment = None
    if norm_weight is None:
        weight = bias = None
    return None, None, None, tokens, segment, position, weight, bias, None, None, None, None


torch.library.register_autograd("lexforge::embedding_sum", _backward, setup_context=_setup_context)
_checks.differentiable_once(_OP, "embedding_sum_backward")
