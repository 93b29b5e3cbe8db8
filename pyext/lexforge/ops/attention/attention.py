"""Fused attention on packed or padded batches (csrc/attention/attention.h)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops._dropout import dropout_seed

MAX_HEAD_DIM = 256  # csrc/attention/attention.h, kMaxHeadDim


def varlen_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    *,
    causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    seed: int | torch.Generator | Tensor | None = None,
) -> Tensor:
    """Scaled dot-product attention within each sequence of a packed batch.

    ``softmax(scale q k^T) v`` for every sequence and head (Vaswani et al. 2017, eq. 1), without a
    matrix of scores in memory, forward or backward. Padding does not exist and costs nothing.

    Args:
        q, k, v: [T, H, D], float32, bfloat16 or float64, of one shape, dtype and device; D from 1
            to 256. Any strides, so ``q, k, v = qkv.view(T, 3, H, D).unbind(1)`` of a joint
            projection is read where it lies; the last dimension is copied if it is not contiguous.
        cu_seqlens: int32 [B + 1] on the device of ``q``: sequence b is tokens ``cu_seqlens[b]`` to
            ``cu_seqlens[b + 1]``. Starts at 0, ascends (empty sequences are fine), ends at T.
        max_seqlen: a bound of the lengths, below 2^27.
        causal: query i sees the keys 0 to i of its sequence only.
        dropout_p: share of the probabilities that are dropped, 0 to 1, in steps of 2^-16.
        scale: of the scores, positive; ``1 / sqrt(D)`` by default.
        seed: of the dropout: an integer or generator (see :func:`lexforge.ops.seed_from`),
            or an int64 tensor of one element on the device of ``q``. By default one is drawn from
            torch's generator of that device.

    Returns:
        [T, H, D], contiguous, of the dtype of ``q``; differentiable in q, k and v (once).

    Raises:
        TypeError: unsupported or differing dtypes. ValueError: shapes, devices, sequence bounds or
        numbers that do not fit.

    Notes:
        Results and gradients are bit-identical for any number of threads and from run to run. What
        is dropped depends on (seed, b, head, query, key) alone: the same on CPU and GPU, packed
        or padded. On CUDA the content of ``cu_seqlens`` is not looked at, since that would wait for
        the device. Wrong bounds there stay inside the tensors, but a sequence longer than
        ``max_seqlen`` is cut, and rows that no sequence covers are never written: they hold what
        was in memory before, perhaps NaN, in the result and in the gradients of q, k and v.

        Memory of the backward on CUDA beyond its results, in bfloat16 with D up to 128: none for
        ``max_seqlen`` up to 256 (128 with D above 64); up to 1024, 4 bytes for every element of
        ``q`` and every 256 (128) tokens of ``max_seqlen``, D rounded up to a multiple of 32;
        beyond, as in other dtypes, one number for every row of ``q``.

    Example:
        >>> qkv = torch.randn(7, 3, 2, 16)
        >>> bounds = torch.tensor([0, 3, 7], dtype=torch.int32)
        >>> varlen_attention(*qkv.unbind(1), bounds, 4).shape
        torch.Size([7, 2, 16])
    """
    op = "varlen_attention"
    _check_heads(op, "THD", q, k, v)
    check_bounds(op, cu_seqlens, max_seqlen, q)
    scale = _scale(op, q, scale)
    seed = dropout_seed(op, dropout_p, seed, q.device)
    return torch.ops.lexforge.attention.default(
        *(_checks.unit_stride(x) for x in (q, k, v)),
        cu_seqlens.contiguous(),
        None,
        seed,
        max_seqlen,
        causal,
        dropout_p,
        scale,
    )[0]


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    valid_lens: Tensor | None = None,
    *,
    causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    seed: int | torch.Generator | Tensor | None = None,
) -> Tensor:
    """Scaled dot-product attention on a padded batch; see :func:`varlen_attention`.

    Args:
        q, k, v: [B, H, S, D], float32, bfloat16 or float64, of one shape, dtype and device; any
            strides, as in :func:`varlen_attention`.
        valid_lens: int32 or int64, [B] or [B, S], 0 to S: keys at and beyond ``valid_lens[b]``, or
            for query i at and beyond ``valid_lens[b, i]``, are masked. A query that sees no key
            gets zeros, and gives no gradient. What [B, S] masks must be finite all the same.
        causal, dropout_p, scale, seed: as in :func:`varlen_attention`.

    Returns:
        [B, H, S, D] of the dtype of ``q``, a transposed view of a contiguous [B, S, H, D], so that
        ``out.transpose(1, 2).reshape(B, S, H * D)`` copies nothing; differentiable in q, k and v.

    Raises:
        TypeError, ValueError: as in :func:`varlen_attention`.

    Example:
        >>> q, k, v = torch.randn(3, 2, 4, 5, 16)
        >>> attention(q, k, v, torch.tensor([5, 3])).shape
        torch.Size([2, 4, 5, 16])
    """
    op = "attention"
    _check_heads(op, "BHSD", q, k, v)
    batch, _, length, _ = q.shape
    if length >= 2**27:
        raise ValueError(f"{op}: S must be below 2^27, got {length}")
    if valid_lens is not None:
        _checks.tensor(op, "valid_lens", valid_lens, _checks.IDS, like=q)
        if tuple(valid_lens.shape) not in {(batch,), (batch, length)}:
            raise ValueError(
                f"{op}: valid_lens must be [{batch}] or [{batch}, {length}], "
                f"got {[*valid_lens.shape]}"
            )
        if _checks.readable(valid_lens) and valid_lens.numel() > 0:
            low, high = (int(x) for x in torch.aminmax(valid_lens))
            if low < 0 or high > length:
                raise ValueError(
                    f"{op}: valid_lens must be 0 to {length}, got {low if low < 0 else high}"
                )
        valid_lens = valid_lens.to(torch.int32).contiguous()
    scale = _scale(op, q, scale)
    seed = dropout_seed(op, dropout_p, seed, q.device)
    return torch.ops.lexforge.attention.default(
        *(_checks.unit_stride(x.transpose(1, 2)) for x in (q, k, v)),
        None,
        valid_lens,
        seed,
        length,
        causal,
        dropout_p,
        scale,
    )[0].transpose(1, 2)


def _check_heads(op: str, layout: str, q: Tensor, k: Tensor, v: Tensor) -> None:
    _checks.tensor(op, "q", q, _checks.FLOATS, layout)
    _checks.whole(op, "head_dim", q.shape[-1], 1, MAX_HEAD_DIM)
    _checks.tensor(op, "k", k, q.dtype, q.shape, q)
    _checks.tensor(op, "v", v, q.dtype, q.shape, q)


def check_bounds(op: str, cu_seqlens: Tensor, max_seqlen: int, like: Tensor) -> None:
    """Refuse what does not tell the sequences of a tensor's rows; on CUDA content is not seen."""
    _checks.tensor(op, "cu_seqlens", cu_seqlens, torch.int32, ("B + 1",), like)
    if cu_seqlens.shape[0] < 1:
        raise ValueError(f"{op}: cu_seqlens must be [B + 1], got [0]")
    _checks.whole(op, "max_seqlen", max_seqlen, 0, 2**27 - 1)
    if _checks.readable(cu_seqlens):
        _checks.packed(op, "cu_seqlens", cu_seqlens, like.shape[0], max_seqlen)


def _scale(op: str, q: Tensor, scale: float | None) -> float:
    if scale is None:
        return 1.0 / math.sqrt(q.shape[-1])
    _checks.number(op, "scale", scale, above=0)
    return scale


@torch.library.register_fake("lexforge::attention")
def _(q, k, v, cu_seqlens, valid_lens, seed, max_seqlen, causal, dropout_p, scale):
    return q.new_empty(q.shape), q.new_empty(q.shape[:-1], dtype=_checks.stat_dtype(q))


@torch.library.register_fake("lexforge::attention_backward")
def _(
    grad_out, q, k, v, out, lse, cu_seqlens, valid_lens, seed, max_seqlen, causal, dropout_p, scale
):
    return q.new_empty(q.shape), q.new_empty(q.shape), q.new_empty(q.shape)


def _setup_context(ctx, inputs, output):
    q, k, v, cu_seqlens, valid_lens, seed, *ctx.numbers = inputs
    ctx.save_for_backward(q, k, v, *output, cu_seqlens, valid_lens, seed)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad_out, _grad_lse):
    grads = torch.ops.lexforge.attention_backward.default(
        _checks.unit_stride(grad_out), *ctx.saved_tensors, *ctx.numbers
    )
    return (*grads, *[None] * 7)


torch.library.register_autograd("lexforge::attention", _backward, setup_context=_setup_context)
