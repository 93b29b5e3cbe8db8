"""The seed of an op with dropout (csrc/common/dropout.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks


def dropout_seed(
    op: str, dropout_p: float, seed: int | torch.Generator | Tensor | None, device: torch.device
) -> Tensor | None:
    """The seed as ops take it: int64 [1] on ``device``, none without dropout.

    Raises:
        TypeError, ValueError: dropout_p is not 0 to 1, or seed is none of what it may be.
    """
    if not 0.0 <= dropout_p <= 1.0:
        raise ValueError(f"{op}: dropout_p must be in [0, 1], got {dropout_p}")
    if dropout_p == 0.0:
        return None
    if seed is None:
        return torch.randint(0, 2**63 - 1, (1,), dtype=torch.int64, device=device)
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64 or seed.numel() != 1 or seed.device != device:
            raise ValueError(
                f"{op}: seed must be one int64 on {device}, "
                f"got {_checks.spelt(seed.dtype)} {[*seed.shape]} on {seed.device}"
            )
        return seed
    return torch.full((1,), _checks.seed(op, seed), dtype=torch.int64, device=device)
