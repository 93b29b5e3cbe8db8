"""The activations of layers: fused with the bias where there is a kernel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lexforge.ops.transformer.bias_activation import bias_activation

FUSED = ("gelu", "relu", "tanh")


def activated(x: Tensor, bias: Tensor, activation: str) -> Tensor:
    """``activation(x + bias)`` of x [..., H] and bias [H]; the dtype is that of x.

    Args:
        activation: ``"gelu"``, ``"relu"``, ``"tanh"``; ``"gelu_tanh"``, GELU by its approximation
            with tanh; ``"silu"``, x times its sigmoid.

    Raises:
        ValueError: another activation.
    """
    if activation in FUSED:
        return bias_activation(x, bias, activation=activation)
    total = x.to(torch.promote_types(x.dtype, bias.dtype)) + bias
    if activation == "gelu_tanh":
        return functional.gelu(total, approximate="tanh").to(x.dtype)
    if activation == "silu":
        return functional.silu(total).to(x.dtype)
    raise ValueError(
        f"activation must be one of {', '.join(FUSED)}, gelu_tanh, silu, got {activation!r}"
    )
