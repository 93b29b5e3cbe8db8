"""Dropout in plain torch (csrc/transformer/dropout.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.reference._dropout import dropout_keep

_STREAM = 15  # csrc/common/philox.h, RandomStream::kDropout


def dropout(x: Tensor, dropout_p: float, *, seed: int = 0) -> Tensor:
    """As :func:`lexforge.ops.dropout`."""
    keep = dropout_keep(seed, dropout_p, tuple(x.shape), _STREAM).to(x.device)
    kept = 65536 - int(dropout_p * 65536 + 0.5)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    scale = torch.tensor(65536 / kept if kept else 0, dtype=torch.float32).to(wide)
    return torch.where(keep, wide * scale, 0).to(x.dtype)
