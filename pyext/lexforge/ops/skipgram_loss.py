"""The normalised skip-gram loss of a minibatch (csrc/word2vec/skipgram_loss.h)."""

from __future__ import annotations

import torch
from torch import Tensor

_OP = "skipgram_loss"


def check_ids(op: str, name: str, ids: Tensor, rows: int) -> None:
    """Refuse row numbers outside [0, rows): IndexError. On CUDA this waits for the device."""
    if ids.numel() == 0:
        return
    low, high = (int(x) for x in torch.aminmax(ids))
    if low < 0 or high >= rows:
        raise IndexError(f"{op}: {name} must be in [0, {rows}), got {low if low < 0 else high}")


def check_minibatch(
    op: str, center: Tensor, contexts_and_negatives: Tensor, mask: Tensor, label: Tensor
) -> None:
    """Refuse wrong dtypes and shapes of the four tensors of a minibatch."""
    for name, ids in (("center", center), ("contexts_and_negatives", contexts_and_negatives)):
        if ids.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"{op}: {name} must be int32 or int64, got {ids.dtype}")
    if contexts_and_negatives.dim() != 2:
        raise ValueError(
            f"{op}: contexts_and_negatives must be [B, L], "
            f"got {tuple(contexts_and_negatives.shape)}"
        )
    batch = contexts_and_negatives.shape[0]
    if tuple(center.shape) not in {(batch,), (batch, 1)}:
        raise ValueError(
            f"{op}: center must be [{batch}] or [{batch}, 1], got {tuple(center.shape)}"
        )
    for name, slots in (("mask", mask), ("label", label)):
        if slots.dtype.is_complex:
            raise TypeError(f"{op}: {name} must be boolean, integer or float, got {slots.dtype}")
        if slots.shape != contexts_and_negatives.shape:
            raise ValueError(
                f"{op}: {name} must be {tuple(contexts_and_negatives.shape)}, "
                f"got {tuple(slots.shape)}"
            )


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
    check_minibatch(_OP, center, contexts_and_negatives, mask, label)
    for name, table in (("embed_v", embed_v), ("embed_u", embed_u)):
        if table.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{_OP}: {name} must be float32 or float64, got {table.dtype}")
        if table.dim() != 2:
            raise ValueError(f"{_OP}: {name} must be [V, D], got {tuple(table.shape)}")
    if embed_u.dtype != embed_v.dtype:
        raise TypeError(f"{_OP}: embed_u must be {embed_v.dtype}, got {embed_u.dtype}")
    if embed_u.shape[1] != embed_v.shape[1]:
        raise ValueError(
            f"{_OP}: embed_u must have rows of {embed_v.shape[1]}, got {embed_u.shape[1]}"
        )
    for name, tensor in (
        ("center", center),
        ("contexts_and_negatives", contexts_and_negatives),
        ("mask", mask),
        ("label", label),
        ("embed_u", embed_u),
    ):
        if tensor.device != embed_v.device:
            raise ValueError(f"{_OP}: {name} must be on {embed_v.device}, got {tensor.device}")
    if check_indices or embed_v.device.type == "cpu":
        check_ids(_OP, "center", center, embed_v.shape[0])
        check_ids(_OP, "contexts_and_negatives", contexts_and_negatives, embed_u.shape[0])
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


def _refuse(ctx, *gradients):
    raise RuntimeError(
        "skipgram_loss: differentiable once, a gradient of its gradient was asked for"
    )


torch.library.register_autograd("lexforge::skipgram_loss", _backward, setup_context=_setup_context)
# Without one, torch would only warn and give wrong second derivatives.
torch.library.register_autograd("lexforge::skipgram_loss_backward", _refuse)
