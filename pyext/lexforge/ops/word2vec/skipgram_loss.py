"""The normalised skip-gram loss of a minibatch (csrc/word2vec/skipgram_loss.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks

_OP = "skipgram_loss"


def check_minibatch(
    op: str,
    center: Tensor,
    contexts_and_negatives: Tensor,
    mask: Tensor,
    label: Tensor,
    table: Tensor,
) -> None:
    """Refuse wrong dtypes, shapes and devices of the four tensors of a minibatch."""
    target = "contexts_and_negatives"
    _checks.tensor(op, target, contexts_and_negatives, _checks.IDS, ("B", "L"), table)
    batch = contexts_and_negatives.shape[0]
    _checks.tensor(op, "center", center, _checks.IDS, like=table)
    if tuple(center.shape) not in {(batch,), (batch, 1)}:
        raise ValueError(f"{op}: center must be [{batch}] or [{batch}, 1], got {[*center.shape]}")
    for name, slots in (("mask", mask), ("label", label)):
        _checks.real(op, name, slots, contexts_and_negatives.shape, table)


def skipgram_loss(
    center: Tensor,
    contexts_and_negatives: Tensor,
    mask: Tensor,
    label: Tensor,
    embed_v: Tensor,
    embed_u: Tensor,
    *,
    sparse: bool = False,
    check_indices: bool = True,
) -> Tensor:
    """Negative-sampling loss of each example, normalised by its mask (Mikolov et al. 2013, eq. 4).

    ``loss[b] = sum_l mask[b, l] * bce(embed_v[center[b]] . embed_u[target[b, l]], label[b, l]) /
    sum_l mask[b, l]``, with lookup, dot products and cross-entropy in one kernel: no tensor of
    B x L x D elements exists, forward or backward.

    Args:
        center: int32 or int64, [B] or [B, 1], rows of ``embed_v``.
        contexts_and_negatives: int32 or int64 [B, L], rows of ``embed_u``; masked slots too must
            hold valid rows (0, say).
        mask: [B, L], boolean, integer or float, >= 0; a row of zeros has loss 0 and no gradient.
        label: [B, L], 1 for context words and 0 for noise words; anything between is allowed.
        embed_v, embed_u: float32 or float64 tables [Vv, D] and [Vu, D], any D.
        sparse: gradients of the tables as coalesced sparse tensors of the rows that occur.
        check_indices: on CUDA, the check of the row numbers waits for the device; leave it out
            when they are known to be good. The CPU always checks.

    Returns:
        Tensor [B] of the tables' dtype, differentiable with respect to both tables (once).

    Raises:
        TypeError: a wrong dtype. ValueError: shapes that do not fit. IndexError: a row number out
        of range, before anything is computed.

    Notes:
        Every gradient row has one writer that adds in batch order: the result is bit-identical for
        any number of threads and from run to run.

    Example:
        >>> v, u = (torch.nn.Parameter(torch.randn(100, 16)) for _ in range(2))
        >>> targets = torch.randint(0, 100, (4, 12))
        >>> loss = skipgram_loss(torch.arange(4), targets, targets > 0, targets % 2, v, u)
        >>> loss.sum().backward()
    """
    _checks.tensor(_OP, "embed_v", embed_v, _checks.WIDE, ("V", "D"))
    _checks.tensor(_OP, "embed_u", embed_u, embed_v.dtype, ("V", embed_v.shape[1]), embed_v)
    check_minibatch(_OP, center, contexts_and_negatives, mask, label, embed_v)
    if check_indices or embed_v.device.type == "cpu":
        _checks.ids(_OP, "center", center, embed_v.shape[0])
        _checks.ids(_OP, "contexts_and_negatives", contexts_and_negatives, embed_u.shape[0])
    arguments = (
        center.reshape(-1).to(torch.int32).contiguous(),
        contexts_and_negatives.to(torch.int32).contiguous(),
        mask.to(embed_v.dtype).contiguous(),
        label.to(embed_v.dtype).contiguous(),
        embed_v.contiguous(),
        embed_u.contiguous(),
    )
    if sparse:
        return _SparseLoss.apply(*arguments)
    return torch.ops.lexforge.skipgram_loss.default(*arguments)[0]


class _SparseLoss(torch.autograd.Function):
    """The same loss with row-sparse gradients, whose sizes depend on the data."""

    @staticmethod
    def forward(ctx, center, target, mask, label, embed_v, embed_u):
        loss, error = torch.ops.lexforge.skipgram_loss.default(
            center, target, mask, label, embed_v, embed_u
        )
        ctx.save_for_backward(error, center, target, embed_v, embed_u)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_loss):
        error, center, target, embed_v, embed_u = ctx.saved_tensors
        rows_v, values_v, rows_u, values_u = torch.ops.lexforge.skipgram_loss_backward_rows.default(
            grad_loss.contiguous(), error, center, target, embed_v, embed_u
        )
        grad_v = torch.sparse_coo_tensor(
            rows_v[None], values_v, embed_v.shape, is_coalesced=True, check_invariants=False
        )
        grad_u = torch.sparse_coo_tensor(
            rows_u[None], values_u, embed_u.shape, is_coalesced=True, check_invariants=False
        )
        return None, None, None, None, grad_v, grad_u


@torch.library.register_fake("lexforge::skipgram_loss")
def _(center, contexts_and_negatives, mask, label, embed_v, embed_u):
    return embed_v.new_empty(center.shape[0]), embed_v.new_empty(contexts_and_negatives.shape)


@torch.library.register_fake("lexforge::skipgram_loss_backward")
def _(grad_loss, error, center, contexts_and_negatives, embed_v, embed_u):
    return torch.empty_like(embed_v), torch.empty_like(embed_u)


@torch.library.register_fake("lexforge::skipgram_loss_backward_rows")
def _(grad_loss, error, center, contexts_and_negatives, embed_v, embed_u):
    rows_v, rows_u = (torch.library.get_ctx().new_dynamic_size() for _ in range(2))
    dim = embed_v.shape[1]
    return (
        center.new_empty(rows_v, dtype=torch.int64),
        embed_v.new_empty(rows_v, dim),
        center.new_empty(rows_u, dtype=torch.int64),
        embed_u.new_empty(rows_u, dim),
    )


def _setup_context(ctx, inputs, output):
    center, target, _, _, embed_v, embed_u = inputs
    ctx.save_for_backward(output[1], center, target, embed_v, embed_u)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad_loss, _grad_error):
    error, center, target, embed_v, embed_u = ctx.saved_tensors
    grad_v, grad_u = torch.ops.lexforge.skipgram_loss_backward.default(
        grad_loss.contiguous(), error, center, target, embed_v, embed_u
    )
    return None, None, None, None, grad_v, grad_u


torch.library.register_autograd("lexforge::skipgram_loss", _backward, setup_context=_setup_context)
_checks.differentiable_once(_OP, "skipgram_loss_backward")
