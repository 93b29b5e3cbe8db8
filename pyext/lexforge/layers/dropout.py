"""Dropout as a layer."""

from __future__ import annotations

from torch import Tensor, nn

from lexforge.ops.transformer.dropout import dropout


class Dropout(nn.Module):
    """:func:`lexforge.ops.dropout` while training; nothing in evaluation, as torch's.

    Args:
        p: share of the elements that become 0, in [0, 1].

    Raises:
        ValueError: another p.
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p must be in [0, 1], got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"
