"""Lookups in a table, and sums, means and maxima of bags (csrc/embedding/embedding_bag.h)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from lexforge.ops import _checks

MODES = ("sum", "mean", "max")
_LOOKUP, _BAG, _RENORM = "embedding", "embedding_bag", "embedding_renorm_"


def embedding(
    ids: Tensor,
    table: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
    *,
    check_indices: bool = True,
) -> Tensor:
    """The rows of a table by number, as :func:`torch.nn.functional.embedding`.

    Args:
        ids: int32 or int64, of any shape, rows of ``table``.
        table: float32, bfloat16 or float64 [V, D].
        padding_idx: a row that gets no gradient; negative numbers count from the end.
        max_norm: first renormalise the rows that are looked up, see :func:`embedding_renorm_`.
        norm_type: the p of that norm.
        scale_grad_by_freq: divide a row's gradient by how often it occurs in ``ids``.
        sparse: the gradient as an uncoalesced sparse tensor, an entry for each id that is not
            padding, in the order of ``ids``; without padding its values are the gradient of the
            result itself, not a copy.
        check_indices: on CUDA the check of the row numbers waits for the device; leave it out when
            they are known to be good: one without a row then gives NaN and no gradient. The CPU
            always checks. While a CUDA graph is captured, and in what ``torch.compile`` makes for
            CUDA, nothing is checked.

    Returns:
        [*ids.shape, D] of the table's dtype; differentiable in the table, twice unless
        ``scale_grad_by_freq``.

    Raises:
        TypeError: a wrong dtype. ValueError: shapes, devices or numbers that do not fit, or
        ``sparse`` with ``scale_grad_by_freq``. IndexError: a row number out of range, before
        anything is read or changed (RuntimeError in what ``torch.compile`` makes).

    Notes:
        A dense gradient is zeros but for the rows that occur; large ones on the CPU take memory
        only where there is a row. Every row has one writer that adds in the order of ``ids``, in
        parts of 512 (CUDA: 32): bit-identical for any number of threads and from run to run. Of
        bfloat16 tables it is summed in float32 and rounded once.

    Example:
        >>> table = torch.nn.Parameter(torch.randn(9, 4))
        >>> embedding(torch.tensor([[3, 8], [3, 0]]), table).shape
        torch.Size([2, 2, 4])
    """
    _check(_LOOKUP, ids, table, padding_idx, scale_grad_by_freq, sparse, check_indices)
    if max_norm is not None:
        _renormalise(_LOOKUP, table, ids, max_norm, norm_type)
    out = torch.ops.lexforge.embedding_bag.default(
        table.contiguous(),
        ids.to(torch.int32).reshape(-1, 1),
        None,
        None,
        "lookup",
        _row_of(padding_idx, table),
        scale_grad_by_freq,
        sparse,
    )[0]
    return out.view(*ids.shape, table.shape[1])


def embedding_bag(
    ids: Tensor,
    table: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
    *,
    check_indices: bool = True,
) -> Tensor:
    """Sum, mean or maximum of the rows of each bag: :func:`torch.nn.functional.embedding_bag`.

    No row is ever in memory by itself, forward or backward.

    Args:
        ids: int32 or int64, [N] with ``offsets``, or [B, L]: bags of L ids each.
        table: float32, bfloat16 or float64 [V, D].
        offsets: int32 or int64 [B], where each bag begins: 0, then ascending; equal ones make empty
            bags. With ``include_last_offset`` [B + 1], the last being the end of the last bag; ids
            after it are in no bag.
        max_norm, norm_type, sparse, check_indices: as of :func:`embedding`. Offsets are checked
            together with the row numbers.
        scale_grad_by_freq: divide a row's gradient by how often it occurs in the bags.
        mode: ``sum``, ``mean`` or ``max``. Of a number that occurs more than once in a bag, the
            first gets the gradient of the maximum.
        per_sample_weights: of the table's dtype, [N] or [B, L]: factors of the rows in a ``sum``.
        padding_idx: a row that is left out of sums, means (which divide by the number of the
            others) and maxima; negative numbers count from the end.

    Returns:
        [B, D] of the table's dtype, zeros for a bag without ids; differentiable in the table and
        in per_sample_weights. Twice in the table, without weights and frequencies, of sums and
        means.

    Raises:
        TypeError, IndexError: as of :func:`embedding`. ValueError: shapes, devices, modes or
        numbers that do not fit; offsets that do not begin with 0, decrease, or exceed N; weights
        without ``sum``; ``sparse`` or ``scale_grad_by_freq`` with ``max`` or with each other.

    Notes:
        Sums are float32 (float64 of float64). Gradients are as deterministic as those of
        :func:`embedding`.

    Example:
        >>> table = torch.nn.Parameter(torch.randn(9, 4))
        >>> embedding_bag(torch.tensor([3, 8, 3]), table, torch.tensor([0, 1])).shape
        torch.Size([2, 4])
    """
    _checks.choice(_BAG, "mode", mode, MODES)
    _check(_BAG, ids, table, padding_idx, scale_grad_by_freq, sparse, check_indices)
    if mode == "max" and (sparse or scale_grad_by_freq):
        name = "sparse" if sparse else "scale_grad_by_freq"
        raise ValueError(f"{_BAG}: {name} goes with mode sum or mean, got max")
    if per_sample_weights is not None:
        _checks.tensor(
            _BAG, "per_sample_weights", per_sample_weights, table.dtype, ids.shape, table
        )
        if mode != "sum":
            raise ValueError(f"{_BAG}: per_sample_weights go with mode sum, got {mode}")
        per_sample_weights = (
            per_sample_weights.to(_checks.stat_dtype(table)).reshape(-1).contiguous()
        )
    if ids.dim() not in (1, 2):
        raise ValueError(f"{_BAG}: ids must be [N] with offsets or [B, L], got {[*ids.shape]}")
    bounds = None
    if ids.dim() == 1:
        bounds = _bounds(ids, offsets, include_last_offset, check_indices)
    elif offsets is not None:
        raise ValueError(f"{_BAG}: offsets must be None with ids [B, L], got a tensor")
    if max_norm is not None:
        _renormalise(_BAG, table, ids, max_norm, norm_type)
    return torch.ops.lexforge.embedding_bag.default(
        table.contiguous(),
        ids.to(torch.int32).contiguous(),
        bounds,
        per_sample_weights,
        mode,
        _row_of(padding_idx, table),
        scale_grad_by_freq,
        sparse,
    )[0]


def embedding_renorm_(
    table: Tensor,
    ids: Tensor,
    max_norm: float,
    norm_type: float = 2.0,
    *,
    check_indices: bool = True,
) -> None:
    """Scale rows in place whose norm is above ``max_norm``, each once however often it is named.

    ``row *= max_norm / (norm + 1e-7)``; other rows are not written. No gradient is recorded, and a
    table that requires none is changed as well: freezing keeps an optimiser away, not this.

    Args:
        table: float32, bfloat16 or float64 [V, D].
        ids: int32 or int64, of any shape, rows of ``table``.
        max_norm: finite and above 0.
        norm_type: the p of the norm, above 0; ``math.inf`` for the greatest magnitude.
        check_indices: as of :func:`embedding`.

    Raises:
        TypeError: a wrong dtype. ValueError: shapes, devices or numbers that do not fit.
        IndexError: a row number out of range, before anything is changed.
    """
    _check(_RENORM, ids, table, None, False, False, check_indices)
    _renormalise(_RENORM, table, ids, max_norm, norm_type)


def _check(
    op: str,
    ids: Tensor,
    table: Tensor,
    padding_idx: int | None,
    scale_grad_by_freq: bool,
    sparse: bool,
    check_indices: bool,
) -> None:
    _checks.tensor(op, "table", table, _checks.FLOATS, ("V", "D"))
    _checks.tensor(op, "ids", ids, _checks.IDS, like=table)
    if padding_idx is not None:
        _checks.whole(op, "padding_idx", padding_idx, -table.shape[0], table.shape[0] - 1)
    if sparse and scale_grad_by_freq:
        raise ValueError(f"{op}: scale_grad_by_freq goes with dense gradients, got sparse")
    if _checks.looked_at(ids, check_indices):
        _checks.ids(op, "ids", ids, table.shape[0])


def _row_of(padding_idx: int | None, table: Tensor) -> int:
    if padding_idx is None:
        return -1
    return padding_idx + table.shape[0] if padding_idx < 0 else padding_idx


def _bounds(
    ids: Tensor, offsets: Tensor | None, include_last_offset: bool, check_indices: bool
) -> Tensor:
    """Where each bag begins and the last one ends: int64 [B + 1]."""
    count = ids.shape[0]
    if offsets is None:
        raise ValueError(f"{_BAG}: offsets must be given with ids [N], got None")
    _checks.tensor(_BAG, "offsets", offsets, _checks.IDS, ("B",), ids)
    if offsets.shape[0] == 0 and (include_last_offset or count > 0):
        raise ValueError(f"{_BAG}: offsets must not be empty with {count} ids")
    bounds = offsets.to(torch.int64).contiguous()
    if not include_last_offset:
        bounds = torch.nn.functional.pad(bounds, (0, 1), value=count)
    if _checks.looked_at(offsets, check_indices) and not bool(
        (bounds[0] == 0) & (bounds[-1] <= count) & (bounds.diff() >= 0).all()
    ):
        _refuse_offsets(offsets, count)
    return bounds


def _refuse_offsets(offsets: Tensor, count: int) -> None:
    values = offsets.tolist()
    if values[0] != 0:
        raise ValueError(f"{_BAG}: offsets must begin with 0, got {values[0]}")
    for position, (before, here) in enumerate(pairwise(values), 1):
        if here < before:
            raise ValueError(
                f"{_BAG}: offsets must not decrease, got {here} after {before} at position "
                f"{position}"
            )
    raise ValueError(
        f"{_BAG}: offsets must be at most {count}, the number of ids, got {values[-1]}"
    )


def _renormalise(op: str, table: Tensor, ids: Tensor, max_norm: float, norm_type: float) -> None:
    _checks.number(op, "max_norm", max_norm, above=0)
    if norm_type != math.inf:
        _checks.number(op, "norm_type", norm_type, above=0)
    rows = ids.to(torch.int32).reshape(-1)
    with torch.no_grad():
        if table.is_contiguous():
            torch.ops.lexforge.embedding_renorm_.default(table, rows, max_norm, norm_type)
            if not torch.compiler.is_compiling():
                torch.autograd.graph.increment_version(table)
            return
        rows = rows.unique()
        part = table[rows]
        every = torch.arange(rows.shape[0], dtype=torch.int32, device=rows.device)
        torch.ops.lexforge.embedding_renorm_.default(part, every, max_norm, norm_type)
        table[rows] = part


def lookup_gradient(grad_out: Tensor, ids: Tensor, rows: int) -> Tensor:
    """The gradient [rows, D] of a table: of each row the sum over its places in int32 ids [N]."""
    return torch.ops.lexforge.embedding_bag_backward.default(
        grad_out,
        ids[:, None],
        None,
        None,
        ids.new_empty(0, grad_out.shape[1]),
        grad_out.new_empty(0, dtype=_checks.stat_dtype(grad_out)),
        "lookup",
        -1,
        False,
        rows,
    )


@torch.library.register_fake("lexforge::embedding_bag")
def _(table, ids, offsets, per_sample_weights, mode, padding_idx, scale_grad_by_freq, sparse):
    bags = ids.shape[0] if offsets is None else offsets.shape[0] - 1
    dim = table.shape[1]
    return (
        table.new_empty(bags, dim),
        table.new_empty(bags if mode == "max" else 0, dim, dtype=torch.int32),
        table.new_empty(bags if mode == "mean" else 0, dtype=_checks.stat_dtype(table)),
    )


@torch.library.register_fake("lexforge::embedding_bag_backward")
def _(
    grad_out,
    ids,
    offsets,
    per_sample_weights,
    choice,
    scale,
    mode,
    padding_idx,
    scale_grad_by_freq,
    rows,
):
    return grad_out.new_empty(rows, grad_out.shape[1])


@torch.library.register_fake("lexforge::embedding_bag_weights_backward")
def _(grad_out, table, ids, offsets, padding_idx):
    return table.new_empty(ids.numel(), dtype=_checks.stat_dtype(table))


@torch.library.register_fake("lexforge::embedding_renorm_")
def _(table, ids, max_norm, norm_type):
    return None


def _setup_context(ctx, inputs, output):
    table, ids, offsets, weights, ctx.mode, ctx.padding_idx, ctx.by_frequency, ctx.sparse = inputs
    _, choice, scale = output
    ctx.rows = table.shape[0]
    # The table itself is wanted for the gradient of the weights alone: whoever changes it between
    # forward and backward, as another call with max_norm does, may.
    of_weights = table if ctx.needs_input_grad[3] else None
    ctx.save_for_backward(ids, offsets, weights, choice, scale, of_weights)
    ctx.mark_non_differentiable(choice, scale)


def _backward(ctx, grad_out, *_):
    ids, offsets, weights, choice, scale, table = ctx.saved_tensors
    grad_out = grad_out.contiguous()
    grad_table = grad_weights = None
    if ctx.needs_input_grad[0]:
        if ctx.sparse:
            grad_table = _sparse_gradient(ctx, grad_out, ids, offsets, weights, scale)
        else:
            grad_table = torch.ops.lexforge.embedding_bag_backward.default(
                grad_out,
                ids,
                offsets,
                weights,
                choice,
                scale,
                ctx.mode,
                ctx.padding_idx,
                ctx.by_frequency,
                ctx.rows,
            )
    if ctx.needs_input_grad[3]:
        grad_weights = torch.ops.lexforge.embedding_bag_weights_backward.default(
            grad_out, table, ids, offsets, ctx.padding_idx
        )
    return grad_table, None, None, grad_weights, None, None, None, None


def _sparse_gradient(ctx, grad_out, ids, offsets, weights, scale):
    """An entry for each id in a bag that is not padding; its row is that of its bag, weighted."""
    rows, bag = ids.reshape(-1), None
    if ctx.mode != "lookup":
        bag = torch.arange(grad_out.shape[0], dtype=torch.int32, device=ids.device)
        bag = bag.repeat_interleave(ids.shape[1] if offsets is None else offsets.diff())
        rows = rows[: bag.shape[0]]
        weights = None if weights is None else weights[: bag.shape[0]]
    if ctx.padding_idx >= 0:
        kept = (rows != ctx.padding_idx).nonzero()[:, 0]
        rows = rows[kept]
        bag = kept.to(torch.int32) if bag is None else bag[kept]
        weights = None if weights is None else weights[kept]
    if ctx.mode == "mean":
        weights = scale[bag]
    values = grad_out
    if bag is not None:
        values = torch.ops.lexforge.embedding_bag.default(
            grad_out, bag[:, None], None, weights, "sum", -1, False, False
        )[0]
    size = (ctx.rows, grad_out.shape[1])
    return torch.sparse_coo_tensor(rows[None].long(), values, size, check_invariants=False)


torch.library.register_autograd("lexforge::embedding_bag", _backward, setup_context=_setup_context)


def _setup_again(ctx, inputs, output):
    _, ids, offsets, weights, _, _, mode, ctx.padding_idx, by_frequency, _ = inputs
    ctx.mode = "sum" if mode == "lookup" else mode
    ctx.linear = weights is None and mode != "max" and not by_frequency
    ctx.save_for_backward(ids, offsets)


def _again(ctx, grad):
    """The gradient is the transpose of the sum of bags, and its gradient such a sum again."""
    if not ctx.linear:
        raise RuntimeError(
            f"{_BAG}: differentiable once with weights, scale_grad_by_freq or max, a gradient of "
            "its gradient was asked for"
        )
    again = torch.ops.lexforge.embedding_bag.default(
        grad.contiguous(), *ctx.saved_tensors, None, ctx.mode, ctx.padding_idx, False, False
    )[0]
    return again, *[None] * 9


torch.library.register_autograd(
    "lexforge::embedding_bag_backward", _again, setup_context=_setup_again
)
_checks.differentiable_once(_BAG, "embedding_bag_weights_backward")
