"""The linear layer's three matrix products, by the fastest library at hand."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# From here on oneDNN's preparations cost less than they save (multiply-adds of one product).
_LEAST_WORK = 2**22
_LEAST_SIDE = 16

# oneDNN's float32 product: torch itself has F.linear call MKL, which is slower on many processors.
_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(
    torch.ops.mkldnn, "_linear_pointwise"
)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight^T + bias``, as :func:`torch.nn.functional.linear` gives it, in less time.

    On the CPU in float32 the forward product and both products of the backward go to oneDNN where
    the sizes make it worth while. Everything else, and all there is under ``torch.autocast``, is
    ``torch.nn.functional.linear`` itself.

    Args:
        x: [..., in], any floating dtype and device.
        weight: [out, in], of the dtype of ``x`` (any under autocast).
        bias: [out], or None.

    Returns:
        [..., out], differentiable in all three, any number of times; under autocast of its dtype.

    Raises:
        TypeError: differing dtypes. ValueError: shapes or devices that do not fit.

    Example:
        >>> linear(torch.randn(5, 7, 16), torch.randn(32, 16), torch.zeros(32)).shape
        torch.Size([5, 7, 32])
    """
    if weight.dim() != 2:
        raise ValueError(f"linear: weight must be [out, in], got {tuple(weight.shape)}")
    outputs, inputs = weight.shape
    if x.dim() == 0 or x.shape[-1] != inputs:
        raise ValueError(f"linear: x must be [..., {inputs}], got {tuple(x.shape)}")
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"linear: bias must be [{outputs}], got {tuple(bias.shape)}")
    autocast = torch.is_autocast_enabled(x.device.type)
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is None:
            continue
        if parameter.dtype != x.dtype and not autocast:
            raise TypeError(f"linear: {name} must be {x.dtype} like x, got {parameter.dtype}")
        if parameter.device != x.device:
            raise ValueError(f"linear: {name} must be on {x.device} like x, got {parameter.device}")
    if autocast or not _pays(x, outputs):
        return functional.linear(x, weight, bias)
    rows = torch.ops.lexforge.linear.default(x.reshape(-1, inputs), weight, bias)
    return rows.reshape(*x.shape[:-1], outputs)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight^T + bias`` for [T, in] and [out, in] by the fastest library, not recorded."""
    if not _pays(x, weight.shape[0]):
        return functional.linear(x, weight, bias)
    return _onednn(_strided(x), _strided(weight), bias)


def weight_gradient(grad_out: Tensor, x: Tensor) -> Tensor:
    """``grad_out^T x`` for [T, out] and [T, in], the same way."""
    if not _pays(x, grad_out.shape[1]):
        return grad_out.t() @ x
    g, x = _strided(grad_out), _strided(x)
    if g.shape[1] > x.shape[1]:  # the larger side is the inner one
        return _onednn(x.t(), g.t()).t().contiguous()
    return _onednn(g.t(), x.t())


def _pays(x: Tensor, outputs: int) -> bool:
    return (
        _HAS_ONEDNN
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and min(x.shape[-1], outputs) >= _LEAST_SIDE
        and x.numel() * outputs >= _LEAST_WORK
    )


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


def _strided(x: Tensor) -> Tensor:
    """The matrix itself where its rows or columns lie one after another, else a copy."""
    (rows, columns), (down, across) = x.shape, x.stride()
    if (across == 1 and down >= columns) or (down == 1 and across >= rows):
        return x
    return x.contiguous()


@torch.library.custom_op("lexforge::linear", mutates_args=(), device_types="cpu")
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return product(x, weight, bias)


@torch.library.custom_op("lexforge::linear_weight_gradient", mutates_args=(), device_types="cpu")
def _weight_gradient(grad_out: Tensor, x: Tensor) -> Tensor:
    return weight_gradient(grad_out, x)


@_linear.register_fake
def _(x, weight, bias):
    return x.new_empty(x.shape[0], weight.shape[0])


@_weight_gradient.register_fake
def _(grad_out, x):
    return x.new_empty(grad_out.shape[1], x.shape[1])


def _save(ctx, inputs, output):
    x, weight, _bias = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx, grad_out):
    x, weight = ctx.saved_tensors
    grad_x = grad_weight = grad_bias = None
    if ctx.needs_input_grad[0]:
        grad_x = torch.ops.lexforge.linear.default(grad_out, weight.t(), None)
    if ctx.needs_input_grad[1]:
        grad_weight = torch.ops.lexforge.linear_weight_gradient.default(grad_out, x)
    if ctx.needs_input_grad[2]:
        grad_bias = grad_out.sum(0)
    return grad_x, grad_weight, grad_bias


def _save_both(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward_of_gradient(ctx, grad):  # of g^T x: x grad^T and g grad
    g, x = ctx.saved_tensors
    product = torch.ops.lexforge.linear.default
    return product(x, grad, None), product(g, grad.t(), None)


_linear.register_autograd(_backward, setup_context=_save)
_weight_gradient.register_autograd(_backward_of_gradient, setup_context=_save_both)
