"""An activation of x + bias in plain torch (csrc/transformer/bias_activation.h)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": torch.relu,
    "tanh": torch.tanh,
}


def bias_activation(x: Tensor, bias: Tensor | None, *, activation: str = "gelu") -> Tensor:
    """As :func:`lexforge.ops.bias_activation`, rounding wherever torch does."""
    return ACTIVATIONS[activation](x if bias is None else x + bias.to(x.dtype))
