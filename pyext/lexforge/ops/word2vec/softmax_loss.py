"""The losses of word2vec's theory: the softmax over the whole vocabulary, and that of a tree.

The softmax is csrc/transformer/softmax_cross_entropy.h, a chunk of rows at a time; the tree's
sigmoids are csrc/word2vec/skipgram_loss.h.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lexforge.ops import _checks
from lexforge.ops.transformer.linear_cross_entropy import linear_cross_entropy
from lexforge.ops.word2vec.cbow_loss import check_rows, mean_of_rows
from lexforge.ops.word2vec.skipgram_loss import skipgram_loss
from lexforge.ops.word2vec.word2vec_train import HuffmanPaths

REDUCTIONS = ("mean", "sum")


def skipgram_softmax_loss(
    center: Tensor,
    context: Tensor,
    embed_v: Tensor,
    embed_u: Tensor,
    *,
    reduction: str = "mean",
    check_indices: bool = True,
) -> Tensor:
    """Skip-gram without approximation, for small vocabularies (Mikolov et al. 2013, eq. 1 and 2).

    ``-log P(o | c)`` of (centre c, context o) pairs, ``P(o | c) = exp(u_o . v_c) / sum_j exp(u_j .
    v_c)``. So the gradient of ``log P`` in ``v_c`` is ``u_o - sum_j P(j | c) u_j``. Time is in
    proportion to B V D; of the B x V scores a chunk of rows exists at a time.

    Args:
        center: int32 or int64 [B] or [B, 1], rows of ``embed_v``.
        context: the same, rows of ``embed_u``.
        embed_v, embed_u: float32 or float64 tables [Vv, D] and [V, D].
        reduction: ``"mean"`` or ``"sum"`` over the pairs.
        check_indices: on CUDA, the check of the row numbers waits for the device; leave it out
            when they are known to be good. The CPU always checks.

    Returns:
        The loss, of no dimension, differentiable with respect to both tables (once). That of no
        pairs is 0.

    Raises:
        TypeError: a wrong dtype. ValueError: shapes or devices that do not fit, or another
        reduction. IndexError: a row number out of range.

    Example:
        >>> v, u = (torch.nn.Parameter(torch.randn(100, 16)) for _ in range(2))
        >>> loss = skipgram_softmax_loss(torch.arange(4), torch.arange(4) + 1, v, u)
        >>> loss.backward()
    """
    op = "skipgram_softmax_loss"
    _check_tables(op, embed_v, embed_u=embed_u)
    _checks.choice(op, "reduction", reduction, REDUCTIONS)
    center, context = _pairs(op, embed_v, center=center, context=context)
    check_rows(op, check_indices, center=(center, embed_v), context=(context, embed_u))
    loss, _ = linear_cross_entropy(
        functional.embedding(center, embed_v), embed_u, None, context.to(torch.int64)
    )
    return loss if reduction == "mean" else loss * context.shape[0]


def cbow_softmax_loss(
    contexts: Tensor,
    mask: Tensor,
    center: Tensor,
    embed_v: Tensor,
    embed_u: Tensor,
    *,
    reduction: str = "mean",
    check_indices: bool = True,
) -> Tensor:
    """CBOW without approximation, for small vocabularies (Mikolov et al. 2013, section 3.1).

    ``-log P(c | contexts)``, ``P(c | contexts) = exp(u_c . m) / sum_j exp(u_j . m)`` with m the
    mean of the contexts' vectors (:func:`lexforge.ops.context_mean`): each of n contexts has the
    gradient ``(u_c - sum_j P(j) u_j) / n`` of ``log P``.

    Args:
        contexts: int32 or int64 [B, C], rows of ``embed_v``; masked slots too must hold valid rows
            (0, say).
        mask: [B, C], boolean, integer or float, >= 0. A row of zeros, a centre without contexts,
            does not count.
        center: int32 or int64 [B] or [B, 1], rows of ``embed_u``.
        embed_v, embed_u, reduction, check_indices: as for :func:`skipgram_softmax_loss`.

    Returns:
        The loss, of no dimension, differentiable with respect to both tables (once). That of no
        centres is 0.

    Raises:
        TypeError, ValueError, IndexError: as for :func:`skipgram_softmax_loss`.

    Example:
        >>> v, u = (torch.nn.Parameter(torch.randn(100, 16)) for _ in range(2))
        >>> contexts = torch.tensor([[1, 2, 4, 5], [2, 3, 5, 0]])
        >>> loss = cbow_softmax_loss(contexts, contexts > 0, torch.tensor([3, 4]), v, u)
        >>> loss.backward()
    """
    op = "cbow_softmax_loss"
    _check_tables(op, embed_v, embed_u=embed_u)
    _checks.choice(op, "reduction", reduction, REDUCTIONS)
    _checks.tensor(op, "contexts", contexts, _checks.IDS, ("B", "C"), embed_v)
    (center,) = _pairs(op, embed_v, contexts.shape[0], center=center)
    check_rows(op, check_indices, center=(center, embed_u))
    mean = mean_of_rows(op, contexts, mask, embed_v, check_indices)
    counted = (mask != 0).any(1).to(mean.dtype)
    loss, _ = linear_cross_entropy(mean, embed_u, None, center.to(torch.int64), weights=counted)
    return loss if reduction == "mean" else loss * counted.sum()


def hierarchical_softmax_loss(
    center: Tensor,
    context: Tensor,
    tree: HuffmanPaths,
    embed_v: Tensor,
    tree_table: Tensor,
    *,
    check_indices: bool = True,
) -> Tensor:
    """``-log P(o | c)`` of pairs, by the path of o in a binary tree (Mikolov et al. 2013, eq. 3).

    ``P(o | c) = prod_j sigmoid(s_j n_j . v_c)`` over the inner nodes on the path from the root to
    o, with s_j = 1 where it turns left and -1 where it turns right: as many products as the path
    is long, and the P of all words add up to 1. For CBOW the means of
    :func:`lexforge.ops.context_mean` are ``embed_v``, and ``center`` counts them.

    Args:
        center: int32 or int64 [B] or [B, 1], rows of ``embed_v``.
        context: the same, words of the tree.
        tree: the paths of V words, on the device of the tables.
        embed_v: float32 or float64 table [Vv, D].
        tree_table: the same, [V - 1, D], vectors n of the inner nodes.
        check_indices: as for :func:`skipgram_softmax_loss`.

    Returns:
        Tensor [B] of the tables' dtype, differentiable with respect to both tables (once).

    Raises:
        TypeError: a wrong dtype. ValueError: shapes or devices that do not fit. IndexError: a row
        number out of range.

    Example:
        >>> found = huffman_tree([10, 5, 2, 1])
        >>> tree = HuffmanPaths(*map(torch.from_numpy, found[:2]), found.longest)
        >>> v, nodes = torch.randn(4, 16), torch.randn(3, 16)
        >>> every = torch.arange(4)
        >>> loss = hierarchical_softmax_loss(every * 0, every, tree, v, nodes)
        >>> (-loss).exp().sum()  # 1
    """
    op = "hierarchical_softmax_loss"
    _check_tables(op, embed_v, tree_table=tree_table)
    words = tree_table.shape[0] + 1
    _checks.tensor(op, "tree.offsets", tree.offsets, torch.int64, (words + 1,), embed_v)
    _checks.tensor(op, "tree.nodes", tree.nodes, torch.int32, ("P",), embed_v)
    center, context = _pairs(op, embed_v, center=center, context=context)
    check_rows(op, check_indices, center=(center, embed_v), context=(context, tree.offsets[:-1]))
    begin, end = tree.offsets[context], tree.offsets[context + 1]
    at = begin[:, None] + torch.arange(tree.longest, device=begin.device)
    on_path = at < end[:, None]
    nodes = tree.nodes[torch.where(on_path, at, 0)]
    mean = skipgram_loss(
        center, nodes >> 1, on_path, 1 - (nodes & 1), embed_v, tree_table, check_indices=False
    )
    return mean * (end - begin)


def _check_tables(op: str, embed_v: Tensor, **other: Tensor) -> None:
    _checks.tensor(op, "embed_v", embed_v, _checks.WIDE, ("V", "D"))
    for name, table in other.items():
        _checks.tensor(op, name, table, embed_v.dtype, ("V", embed_v.shape[1]), embed_v)
        if table.shape[0] == 0:
            raise ValueError(f"{op}: {name} must have at least one row, got {[*table.shape]}")


def _pairs(op: str, table: Tensor, size: int | None = None, **ids: Tensor) -> list[Tensor]:
    """Row numbers [B] or [B, 1], the same B for all, as [B]."""
    for name, rows in ids.items():
        _checks.tensor(op, name, rows, _checks.IDS, like=table)
        if rows.dim() not in (1, 2) or (rows.dim() == 2 and rows.shape[1] != 1):
            raise ValueError(f"{op}: {name} must be [B] or [B, 1], got {[*rows.shape]}")
        size = rows.shape[0] if size is None else size
        if rows.shape[0] != size:
            raise ValueError(f"{op}: {name} must be [{size}] or [{size}, 1], got {[*rows.shape]}")
    return [rows.reshape(-1) for rows in ids.values()]
