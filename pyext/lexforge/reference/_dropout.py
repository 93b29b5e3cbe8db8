"""What dropout keeps of a tensor, in plain torch (csrc/common/dropout.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.reference.attention.attention import _philox


def dropout_keep(seed: int, dropout_p: float, shape: tuple[int, ...], stream: int) -> Tensor:
    """Which elements of a tensor of this shape an op keeps; ``stream`` as in philox.h."""
    index = torch.arange(torch.Size(shape).numel())
    quad, zero = index // 8, torch.zeros_like(index)
    words = torch.stack(_philox(seed, [quad & 0xFFFFFFFF, quad >> 32, zero, zero + (stream << 24)]))
    word = words.gather(0, (index % 8 // 2)[None])[0]
    bits = word >> 16 * (index % 2) & 0xFFFF
    return (bits >= int(dropout_p * 65536 + 0.5)).reshape(shape)
