"""Dropout that keeps no mask, as a layer."""

from __future__ import annotations

from torch import Tensor, nn

from lexforge.ops.transformer.dropout import dropout


class Dropout(nn.Dropout):
    """:class:`torch.nn.Dropout` by :func:`lexforge.ops.dropout`, whose seed torch's generator
    gives.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drops while it is in training mode."""
        return dropout(input, self.p) if self.training else input
