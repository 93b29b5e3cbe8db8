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
    _checks.tensor(op, "cu_seqlens", cu_seqlens, torch.int32, ("B + 1",), q)
    if cu_seqlens.shape[0] < 1:
        raise ValueError(f"{op}: cu_seqlens must be [B + 1], got [0]")
    _checks.whole(op, "max_seqlen", max_seqlen, 0, 2**27 - 1)
    if _checks.readable(cu_seqlens):
