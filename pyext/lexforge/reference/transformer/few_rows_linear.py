"""A linear layer in plain torch (csrc/transformer/few_rows_linear.h)."""

from __future__ import annotations

from torch import Tensor


def few_rows_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Arguments as of :func:`lexforge.ops.few_rows_linear`."""
    y = x @ weight.T
    return y if bias is None else y + bias
