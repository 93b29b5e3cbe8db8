"""Attention of one new token per sequence over a cache (csrc/attention/decode_attention.h)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops.attention.attention import MAX_HEAD_DIM

MAX_CAPACITY = 2**19  # csrc/attention/decode_attention.h, kMaxDecodeCapacity


def decode_attention_(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    lengths: Tensor,
    k: Tensor | None = None,
    v: Tensor | None = None,
    *,
    scale: float | None = None,
) -> Tensor:
    """Attention of one query per sequence over the first keys and values of a cache.

    ``softmax(scale q K^T) V`` for every sequence and head, K and V being the first ``lengths[b]``
    places of the caches. A new key and value, if given, are first written to place ``lengths[b]``,
    and the query sees them, too. This is what a step of generation does in every layer; it is for
    inference alone and has no gradient.

    Args:
        q: [B, H, D], float32, bfloat16 or float64; D from 1 to 256. Any strides, as for k and v, so
            that ``q, k, v = qkv.view(B, 3, H, D).unbind(1)`` is read where it lies; the last
            dimension is copied if it is not contiguous.
        k_cache, v_cache: [B, H, C, D], of the dtype and on the device of ``q``, contiguous; C up to
            2^19. What lies at and beyond a sequence's length is never read.
        lengths: int32 [B], on the device of ``q``: 0 to C, or to C - 1 with a new key. It stays
            as it is.
        k, v: [B, H, D], the new key and value of every sequence; both or neither.
        scale: of the scores, positive; ``1 / sqrt(D)`` by default.

    Returns:
        [B, H, D], contiguous, of the dtype of ``q``; zeros for a sequence without keys.

    Raises:
        TypeError: unsupported or differing dtypes. ValueError: shapes, devices or numbers that do
        not fit; caches that share memory with another argument; an argument that requires grad
        where gradients are recorded.

    Notes:
        A sequence's result has the same bits for any number of threads, from run to run, and
        whatever else is in the batch (on CUDA: for one C). On CUDA the content of ``lengths`` is
        not looked at, since that would wait for the device: one that does not fit is taken for the
        nearest that does, and a new key without a place is left out.

    Example:
        >>> k_cache, v_cache = torch.zeros(2, 3, 4, 10, 16)
        >>> lengths = torch.tensor([7, 0], dtype=torch.int32)
        >>> q, k, v = torch.randn(3, 3, 4, 16)
        >>> decode_attention_(q, k_cache, v_cache, lengths, k, v).shape
        torch.Size([3, 4, 16])
    """
    op = "decode_attention_"
    _checks.tensor(op, "q", q, _checks.FLOATS, "BHD")
    batch, heads, dim = q.shape
    _checks.whole(op, "head_dim", dim, 1, MAX_HEAD_DIM)
    _checks.tensor(op, "k_cache", k_cache, q.dtype, (batch, heads, "C", dim), q, contiguous=True)
    _checks.tensor(op, "v_cache", v_cache, q.dtype, k_cache.shape, q, contiguous=True)
    capacity = k_cache.shape[2]
    _checks.whole(op, "the capacity of the caches", capacity, 0, MAX_CAPACITY)
    _checks.tensor(op, "lengths", lengths, torch.int32, (batch,), q)
    _checks.both_or_neither(op, k=k, v=v)
    if k is not None and v is not None:
        _checks.tensor(op, "k", k, q.dtype, q.shape, q)
        _checks.tensor(op, "v", v, q.dtype, q.shape, q)
    if torch.is_grad_enabled():
        for name, x in (("q", q), ("k_cache", k_cache), ("v_cache", v_cache), ("k", k), ("v", v)):
            if x is not None and x.requires_grad:
                raise ValueError(
                    f"{op}: {name} requires grad, and this has no gradient; use no_grad()"
                )
    if _checks.readable(lengths) and batch > 0:
        most = capacity - (k is not None)
        low, high = (int(x) for x in torch.aminmax(lengths))
        if low < 0 or high > most:
            raise ValueError(
                f"{op}: lengths must be 0 to {most} for caches of {capacity} places, "
                f"got {low if low < 0 else high}"
            )
    if scale is None:
        scale = 1.0 / math.sqrt(dim)
    else:
        _checks.number(op, "scale", scale, above=0)
    return torch.ops.lexforge.decode_attention_.default(
        _unit_stride(q),
        None if k is None else _unit_stride(k),
        None if v is None else _unit_stride(v),
        k_cache,
        v_cache,
        lengths.contiguous(),
        scale,
    )


def _unit_stride(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


@torch.library.register_fake("lexforge::decode_attention_")
def _(q, k, v, k_cache, v_cache, lengths, scale):
    return q.new_empty(q.shape)
