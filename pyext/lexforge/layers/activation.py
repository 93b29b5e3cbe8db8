"""The activations of layers: fused with the bias where there is a kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lexforge.ops.transformer.bias_activation import bias_activation

FUSED = ("gelu", "gelu_tanh", "relu", "tanh")
# What feed-forward layers may have.
ACTIVATIONS = ("gelu", "relu", "gelu_tanh", "silu")
# What transformers calls them.
HUGGING_FACE_ACTIVATIONS = {
    "gelu": ("gelu", "gelu_python"),
    "relu": ("relu",),
    "gelu_tanh": ("gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu_accurate"),
    "silu": ("silu", "swish"),
}


def own_activation(name: Any) -> Any:
    """The activation that transformers calls so; the name itself where it is another."""
    for ours, theirs in HUGGING_FACE_ACTIVATIONS.items():
        if name in theirs:
            return ours
    return name


def activated(x: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """``activation(x + bias)`` of x [..., H] and bias [H] or None; the dtype is that of x.

    Args:
        activation: ``"gelu"``, ``"relu"``, ``"tanh"``; ``"gelu_tanh"``, GELU by its approximation
            with tanh; ``"silu"``, x times its sigmoid, which is not fused.

    Raises:
        ValueError: another activation.
    """
    if activation in FUSED:
        return bias_activation(x, bias, activation=activation)
    total = x if bias is None else x.to(torch.promote_types(x.dtype, bias.dtype)) + bias
    if activation == "silu":
        return functional.silu(total).to(x.dtype)
    raise ValueError(f"activation must be one of {', '.join(FUSED)}, silu, got {activation!r}")
