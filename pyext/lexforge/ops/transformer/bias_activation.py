"""An activation of x + bias in one pass (csrc/transformer/bias_activation.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks

_OP = "bias_activation"
ACTIVATIONS = {
    "gelu": 0,
    "relu": 1,
    "tanh": 2,
    "gelu_tanh": 3,
}  # bias_activation.h, enum Activation


def bias_activation(x: Tensor, bias: Tensor | None, *, activation: str = "gelu") -> Tensor:
    """``activation(x + bias)`` in one pass, forward and backward.

    Args:
        x: [..., H], float32, bfloat16 or float64, such as the product of a linear layer that has
            not added its bias. Copied if it is not contiguous.
        bias: [H], float32 (float64 with float64 ``x``), or None.
        activation: "gelu" (by the error function, Hendrycks and Gimpel 2016), "gelu_tanh" (its
            approximation with tanh, as in GPT-2), "relu" or "tanh".

    Returns:
        The shape and dtype of ``x``; differentiable in x and bias (once).

    Raises:
        TypeError: unsupported dtypes. ValueError: shapes or devices that do not fit, an unknown
        activation.

    Notes:
        With bfloat16, arithmetic and the bias's gradient are float32. The backward computes from x
        and bias; nothing else is kept. Gradients are bit-identical for any number of threads and
        from run to run.

    Example:
        >>> bias_activation(torch.randn(7, 12), torch.zeros(12)).shape
        torch.Size([7, 12])
    """
    _checks.choice(_OP, "activation", activation, tuple(ACTIVATIONS))
    _checks.tensor(_OP, "x", x, _checks.FLOATS, (..., "H"))
    if bias is not None:
        _checks.tensor(_OP, "bias", bias, _checks.stat_dtype(x), x.shape[-1:], x)
        bias = bias.contiguous()
    rows = x.reshape(x.shape[:-1].numel(), x.shape[-1]).contiguous()
    return torch.ops.lexforge.bias_activation.default(rows, bias, ACTIVATIONS[activation]).view(
        x.shape
    )


@torch.library.register_fake("lexforge::bias_activation")
def _(x, bias, activation):
    return x.new_empty(x.shape)


@torch.library.register_fake("lexforge::bias_activation_backward")
def _(grad_out, x, bias, activation):
    if bias is None:
        return x.new_empty(x.shape), x.new_empty(0, dtype=_checks.stat_dtype(x))
    return x.new_empty(x.shape), bias.new_empty(bias.shape)


def _setup_context(ctx, inputs, output):
    x, bias, ctx.activation = inputs
    ctx.save_for_backward(x, bias)


def _backward(ctx, grad_out):
    x, bias = ctx.saved_tensors
    grad_x, grad_bias = torch.ops.lexforge.bias_activation_backward.default(
        grad_out.contiguous(), x, bias, ctx.activation
    )
    return grad_x, None if bias is None else grad_bias, None


torch.library.register_autograd(
    "lexforge::bias_activation", _backward, setup_context=_setup_context
)
_checks.differentiable_once(_OP, "bias_activation_backward")
