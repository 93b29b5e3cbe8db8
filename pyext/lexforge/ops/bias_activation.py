"""An activation of x + bias in one pass (csrc/transformer/bias_activation.h)."""

from __future__ import annotations

import torch
from torch import Tensor

_OP = "bias_activation"
_DTYPES = (torch.float32, torch.bfloat16, torch.float64)
_ACTIVATIONS = {"gelu": 0, "relu": 1, "tanh": 2}  # bias_activation.h, enum Activation


def bias_activation(x: Tensor, bias: Tensor | None, *, activation: str = "gelu") -> Tensor:
    """``activation(x + bias)`` in one pass, forward and backward.

    Args:
        x: [..., H], float32, bfloat16 or float64, such as the product of a linear layer that has
            not added its bias. Copied if it is not contiguous.
        bias: [H], float32 (float64 with float64 ``x``), or None.
        activation: "gelu" (by the error function, Hendrycks and Gimpel 2016), "relu" or "tanh".

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
    if activation not in _ACTIVATIONS:
        raise ValueError(f"{_OP}: activation must be gelu, relu or tanh, got {activation!r}")
    if x.dtype not in _DTYPES:
        raise TypeError(f"{_OP}: x must be float32, bfloat16 or float64, got {x.dtype}")
    if x.dim() < 1:
        raise ValueError(f"{_OP}: x must be [..., H], got a number")
    if bias is not None:
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        if bias.dtype != dtype:
            raise TypeError(f"{_OP}: bias must be {dtype} with x {x.dtype}, got {bias.dtype}")
        if bias.shape != x.shape[-1:]:
            raise ValueError(f"{_OP}: bias must be [{x.shape[-1]}], got {tuple(bias.shape)}")
        if bias.device != x.device:
            raise ValueError(f"{_OP}: bias must be on {x.device}, got {bias.device}")
        bias = bias.contiguous()
    rows = x.reshape(x.shape[:-1].numel(), x.shape[-1]).contiguous()
    return torch.ops.lexforge.bias_activation.default(rows, bias, _ACTIVATIONS[activation]).view(
        x.shape
    )


@torch.library.register_fake("lexforge::bias_activation")
def _(x, bias, activation):
    return x.new_empty(x.shape)


@torch.library.register_fake("lexforge::bias_activation_backward")
def _(grad_out, x, bias, activation):
    if bias is None:
        stat = torch.float64 if x.dtype == torch.float64 else torch.float32
        return x.new_empty(x.shape), x.new_empty(0, dtype=stat)
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


def _refuse(ctx, *_):
    raise RuntimeError(f"{_OP}: differentiable once, a gradient of its gradient was asked for")


torch.library.register_autograd(
    "lexforge::bias_activation", _backward, setup_context=_setup_context
)
# Without one, torch would only warn and give wrong second derivatives.
torch.library.register_autograd("lexforge::bias_activation_backward", _refuse)
