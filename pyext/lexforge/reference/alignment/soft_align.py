"""Soft alignment of pairs of texts in plain torch (csrc/alignment/soft_align.h)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


def soft_align(
    f_a: Tensor, f_b: Tensor, a: Tensor, b: Tensor, cu_a: Tensor, cu_b: Tensor
) -> tuple[Tensor, Tensor]:
    """One pair after another, its scores in memory.

    Arguments as in :func:`lexforge.ops.soft_align`.
    """
    beta, alpha = [a[:0]], [b[:0]]
    pairs = zip(*(itertools.pairwise(cu.tolist()) for cu in (cu_a, cu_b)), strict=True)
    for of_a, of_b in pairs:
        rows, columns = slice(*of_a), slice(*of_b)
        scores = f_a[rows] @ f_b[columns].T
        if scores.numel() == 0:
            beta.append(torch.zeros_like(a[rows]))
            alpha.append(torch.zeros_like(b[columns]))
        else:
            beta.append(torch.softmax(scores, 1) @ b[columns])
            alpha.append(torch.softmax(scores, 0).T @ a[rows])
    return torch.cat(beta), torch.cat(alpha)
