"""The rows nearest by cosine, from the matrix of all scores (csrc/similarity/cosine_top_k.h)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEAST_NORM = 1e-12


def cosines(table: Tensor, queries: Tensor, norms: Tensor | None = None) -> Tensor:
    """float64 [Q, V]: the cosine of every query with every row."""
    table, queries = table.double(), queries.double()
    norms = table.norm(dim=1) if norms is None else norms.double()
    units = queries / queries.norm(dim=1, keepdim=True).clamp(min=LEAST_NORM)
    return units @ table.T / norms.clamp(min=LEAST_NORM)


def ranked(scores: Tensor) -> Tensor:
    """Row numbers [V] by score [V], descending; equal scores, and NaN at the end, by row."""
    numbers = torch.where(scores.isnan(), -math.inf, scores)
    order = torch.sort(numbers, descending=True, stable=True).indices
    return torch.cat((order[~scores[order].isnan()], order[scores[order].isnan()]))


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
    """(ids int64 [Q, K], scores float64 [Q, K]).

    Arguments as in :func:`lexforge.ops.cosine_top_k`.
    """
    last = table.shape[0] if last is None else last
    ids = torch.full((queries.shape[0], k), -1)
    scores = torch.full((queries.shape[0], k), -math.inf, dtype=torch.float64)
    for q, of_query in enumerate(cosines(table, queries, norms).cpu()):
        without = set() if excluded is None else set(excluded[q].tolist())
        rows = (first + ranked(of_query[first:last])).tolist()
        best = torch.tensor([row for row in rows if row not in without][:k], dtype=torch.int64)
        ids[q, : len(best)], scores[q, : len(best)] = best, of_query[best]
    return ids.to(table.device), scores.to(table.device)
