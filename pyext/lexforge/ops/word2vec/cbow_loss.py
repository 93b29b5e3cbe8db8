"""The mean of a window's vectors, and the negative-sampling loss of CBOW on it.

A mean is a row like any other: the kernel that meets it is csrc/word2vec/skipgram_loss.h.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lexforge.ops import _checks
from lexforge.ops.word2vec.skipgram_loss import skipgram_loss


def context_mean(
    contexts: Tensor, mask: Tensor, embed_v: Tensor, *, check_indices: bool = True
) -> Tensor:
    """The mean of each window's vectors: CBOW's input (Mikolov et al. 2013, section 3.1).

    ``mean[b] = sum_c mask[b, c] * embed_v[contexts[b, c]] / sum_c mask[b, c]``. So the gradient of
    a context's vector is that of the mean, divided by the number of contexts.

    Args:
        contexts: int32 or int64 [B, C], rows of ``embed_v``; masked slots too must hold valid rows
            (0, say).
        mask: [B, C], boolean, integer or float, >= 0; the mean of a row of zeros is 0.
        embed_v: float32 or float64 [V, D].
        check_indices: on CUDA, the check of the row numbers waits for the device; leave it out
            when they are known to be good. The CPU always checks.

    Returns:
        Tensor [B, D] of the dtype of ``embed_v``, differentiable with respect to it.

    Raises:
        TypeError: a wrong dtype. ValueError: shapes or devices that do not fit. IndexError: a row
        number out of range.
    """
    return mean_of_rows("context_mean", contexts, mask, embed_v, check_indices)


def mean_of_rows(
    op: str, contexts: Tensor, mask: Tensor, embed_v: Tensor, check_indices: bool
) -> Tensor:
    """What :func:`context_mean` says, in the name of another op."""
    _checks.tensor(op, "embed_v", embed_v, _checks.WIDE, ("V", "D"))
    _checks.tensor(op, "contexts", contexts, _checks.IDS, ("B", "C"), embed_v)
    _checks.real(op, "mask", mask, contexts.shape, embed_v)
    check_rows(op, check_indices, contexts=(contexts, embed_v))
    mask = mask.to(embed_v.dtype)
    total = mask.sum(1, keepdim=True)
    share = mask / torch.where(total > 0, total, 1)
    windows, width = contexts.shape
    begins = torch.arange(windows, dtype=contexts.dtype, device=contexts.device) * width
    return functional.embedding_bag(
        contexts.reshape(-1), embed_v, begins, per_sample_weights=share.reshape(-1), mode="sum"
    )


def check_rows(op: str, wanted: bool, **rows: tuple[Tensor, Tensor]) -> None:
    """Refuse row numbers that a table does not have, by their names; on CUDA only where wanted."""
    for name, (ids, table) in rows.items():
        # A graph that is compiled has no values, and looking at them would break it.
        if not torch.compiler.is_compiling() and (wanted or table.device.type == "cpu"):
            _checks.ids(op, name, ids, table.shape[0])


def cbow_loss(
    contexts: Tensor,
    context_mask: Tensor,
    centers_and_negatives: Tensor,
    mask: Tensor,
    label: Tensor,
    embed_v: Tensor,
    embed_u: Tensor,
    *,
    check_indices: bool = True,
) -> Tensor:
    """Negative-sampling loss of CBOW for each example, normalised by its mask.

    That of :func:`skipgram_loss` with the mean of the contexts' vectors (:func:`context_mean`) in
    the place of the centre's, and the centre among the noise words.

    Args:
        contexts, context_mask: [B, C], as for :func:`context_mean`.
        centers_and_negatives: int32 or int64 [B, L], rows of ``embed_u``; masked slots too must
            hold valid rows.
        mask: [B, L], boolean, integer or float, >= 0; a row of zeros has loss 0 and no gradient.
        label: [B, L], 1 for the centre and 0 for noise words.
        embed_v, embed_u: float32 or float64 tables [Vv, D] and [Vu, D], any D.
        check_indices: as for :func:`skipgram_loss`.

    Returns:
        Tensor [B] of the tables' dtype, differentiable with respect to both tables (once).

    Raises:
        TypeError: a wrong dtype. ValueError: shapes that do not fit. IndexError: a row number out
        of range, before anything is computed.

    Notes:
        Bit-identical for any number of threads and from run to run, as ``skipgram_loss`` is.

    Example:
        >>> v, u = (torch.nn.Parameter(torch.randn(100, 16)) for _ in range(2))
        >>> contexts, targets = torch.randint(1, 100, (4, 10)), torch.randint(0, 100, (4, 6))
        >>> label = (torch.arange(6) == 0).expand(4, 6)
        >>> loss = cbow_loss(contexts, contexts > 9, targets, targets >= 0, label, v, u)
        >>> loss.sum().backward()
    """
    op, target = "cbow_loss", "centers_and_negatives"
    _checks.tensor(op, "embed_v", embed_v, _checks.WIDE, ("V", "D"))
    _checks.tensor(op, "embed_u", embed_u, embed_v.dtype, ("V", embed_v.shape[1]), embed_v)
    _checks.tensor(op, "contexts", contexts, _checks.IDS, ("B", "C"), embed_v)
    examples = contexts.shape[0]
    _checks.real(op, "context_mask", context_mask, contexts.shape, embed_v)
    _checks.tensor(op, target, centers_and_negatives, _checks.IDS, (examples, "L"), embed_v)
    for name, slots in (("mask", mask), ("label", label)):
        _checks.real(op, name, slots, centers_and_negatives.shape, embed_v)
    check_rows(op, check_indices, **{target: (centers_and_negatives, embed_u)})
    mean = mean_of_rows(op, contexts, context_mask, embed_v, check_indices)
    each = torch.arange(examples, dtype=torch.int32, device=embed_v.device)
    return skipgram_loss(
        each, centers_and_negatives, mask, label, mean, embed_u, check_indices=False
    )
