"""The rows of a table nearest to queries by cosine (csrc/similarity/cosine_top_k.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks

_OP = "cosine_top_k"
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_CHUNK = 65536  # rows that exist as float32 at a time


def cosine_top_k(
    table: Tensor,
    queries: Tensor,
    k: int,
    *,
    norms: Tensor | None = None,
    excluded: Tensor | None = None,
    first: int = 0,
    last: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The rows with the largest cosine to each query, without the matrix of all cosines.

    Args:
        table: [V, D], float32, bfloat16 or float16. Rows may lie apart; a table whose numbers do
            not lie side by side is copied.
        queries: float32 [Q, D], of any length: they are scaled to 1.
        k: how many rows, at least 0; may be more than there are.
        norms: Euclidean lengths of the rows, float32 [V]. By default they are computed, which
            reads the table once more. Below 1e-12 they count as that, so that a row of zeros has
            cosine 0, as has a query of zeros.
        excluded: int64 [Q, E], for each query rows that are not among its answers; -1 for none.
        first, last: the rows searched, first <= row < last; by default all.

    Returns:
        ``(ids int64 [Q, k], scores float32 [Q, k])``, best first. Equal scores are in the order of
        rows. NaN (a row or a query that has one) comes after all numbers, in the order of rows.
        Where fewer than k rows are left, ids end with -1 and scores with minus infinity. Nothing
        here is differentiable.

    Raises:
        TypeError: a wrong dtype. ValueError: shapes, devices or numbers that do not fit.
        IndexError: an excluded row that is not in the table, on the CPU; on CUDA it is nobody's.

    Notes:
        Sums are float32. On one device, or instruction set of the CPU, a score has the same bits
        whatever other queries there are and on any number of threads. Memory beside the results
        is bounded: some 64 MB on the CPU or 2 k numbers a query and thread if that is more, some
        20 MB on CUDA. There a search is one pass over the table for every 128 of k.

    Example:
        >>> table = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]])
        >>> ids, scores = cosine_top_k(table, torch.tensor([[0.0, 5.0]]), 2)
        >>> ids.tolist(), [round(score, 6) for score in scores[0].tolist()]
        ([[2, 1]], [1.0, 0.8])
    """
    _checks.tensor(_OP, "table", table, _DTYPES, ("V", "D"))
    rows, dim = table.shape
    _checks.tensor(_OP, "queries", queries, torch.float32, ("Q", dim), table)
    _checks.whole(_OP, "k", k, 0, 2**31 - 1)
    last = rows if last is None else last
    _checks.span(_OP, "first and last", first, last, rows)
    if norms is not None:
        _checks.tensor(_OP, "norms", norms, torch.float32, (rows,), table)
    if excluded is not None:
        _checks.tensor(_OP, "excluded", excluded, torch.int64, (queries.shape[0], "E"), table)
        if _checks.readable(excluded):
            _check_excluded(excluded, rows)
    table = table.detach()
    if dim > 1 and table.stride(1) != 1:
        table = table.contiguous()
    norms = row_norms(table) if norms is None else norms.detach().contiguous()
    return torch.ops.lexforge.cosine_top_k.default(
        table,
        norms,
        queries.detach().contiguous(),
        None if excluded is None else excluded.contiguous(),
        first,
        last,
        k,
    )


def row_norms(table: Tensor) -> Tensor:
    """Euclidean lengths of the rows of a floating ``table`` [V, D] -> float32 [V].

    Of a two-byte table there is never a copy in float32.
    """
    norms = table.new_empty(table.shape[0], dtype=torch.float32)
    for rows, lengths in zip(table.split(_CHUNK), norms.split(_CHUNK), strict=True):
        torch.linalg.vector_norm(rows.float(), dim=1, out=lengths)
    return norms


def _check_excluded(excluded: Tensor, rows: int) -> None:
    if excluded.numel() == 0:
        return
    low, high = (int(x) for x in torch.aminmax(excluded))
    if low < -1 or high >= rows:
        query, column = ((excluded < -1) | (excluded >= rows)).nonzero()[0].tolist()
        raise IndexError(
            f"{_OP}: excluded must be in [0, {rows}) or -1, got {int(excluded[query, column])} "
            f"for query {query}"
        )


@torch.library.register_fake("lexforge::cosine_top_k")
def _(table, norms, queries, excluded, first, last, k):
    shape = (queries.shape[0], k)
    return queries.new_empty(shape, dtype=torch.int64), queries.new_empty(shape)
