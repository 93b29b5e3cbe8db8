"""Residual, dropout and layer norm in one pass (csrc/transformer/add_layer_norm.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops._dropout import dropout_seed

_OP = "add_layer_norm"


def add_layer_norm(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    *,
    eps: float = 1e-5,
    dropout_p: float = 0.0,
    seed: int | torch.Generator | Tensor | None = None,
    x_bias: Tensor | None = None,
) -> Tensor:
    """Layer norm of ``residual + dropout(x + x_bias)`` over the last dimension (Ba et al. 2016).

    The sublayer connection of a post-norm transformer (Vaswani et al. 2017, section 5.4) in one
    pass over memory, forward and backward; no sum and no mask is kept.

    Args:
        x: [..., H], float32, bfloat16 or float64, H at least 1; usually the output of a projection
            without its bias. Copied if it is not contiguous.
        residual: of the shape, dtype and device of ``x``, or none.
        weight, bias: [H], float32 (float64 with a float64 ``x``); a norm may have no bias.
        eps: added to the variance (the mean of squares, over H).
        dropout_p: share of the elements of ``x + x_bias`` that are dropped, 0 to 1, in steps of
            2^-16; the others are divided by ``1 - dropout_p``.
        seed: of the dropout: an integer or generator (see :func:`lexforge.ops.seed_from`),
            or an int64 tensor of one element on the device of ``x``. By default one is drawn from
            torch's generator of that device.
        x_bias: [H] of the dtype of ``weight``, the bias of the projection before, or none.

    Returns:
        Of the shape and dtype of ``x``, contiguous; differentiable in x, residual, weight, bias and
        x_bias (once). Statistics and sums are float32 with bfloat16.

    Raises:
        TypeError: unsupported or differing dtypes. ValueError: shapes, devices or numbers that do
        not fit.

    Notes:
        Results and gradients are bit-identical for any number of threads and from run to run. What
        is dropped depends on the seed and on the element's place in ``x.flatten()`` alone: the same
        on CPU and GPU.

    Example:
        >>> x, residual = torch.randn(2, 7, 16)
        >>> weight, bias = torch.ones(16), torch.zeros(16)
        >>> add_layer_norm(x, residual, weight, bias, dropout_p=0.1).shape
        torch.Size([7, 16])
    """
    _checks.tensor(_OP, "x", x, _checks.FLOATS, (..., "H"))
    dim, stat = x.shape[-1], _checks.stat_dtype(x)
    if dim < 1:
        raise ValueError(f"{_OP}: x must be [..., H], H at least 1, got {[*x.shape]}")
    if residual is not None:
        _checks.tensor(_OP, "residual", residual, x.dtype, x.shape, x)
    _checks.tensor(_OP, "weight", weight, stat, (dim,), x)
    bias = torch.zeros_like(weight) if bias is None else bias
    _checks.tensor(_OP, "bias", bias, stat, (dim,), x)
    if x_bias is not None:
        _checks.tensor(_OP, "x_bias", x_bias, stat, (dim,), x)
    _checks.number(_OP, "eps", eps)
    y = torch.ops.lexforge.add_layer_norm.default(
        _rows(x),
        None if residual is None else _rows(residual),
        None if x_bias is None else x_bias.contiguous(),
        weight.contiguous(),
        bias.contiguous(),
        dropout_seed(_OP, dropout_p, seed, x.device),
        eps,
        dropout_p,
    )[0]
    return y if x.dim() == 2 else y.view(x.shape)


def add_layer_norm_sum(
    x: Tensor,
    residual: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    eps: float = 1e-5,
    dropout_p: float = 0.0,
    seed: int | torch.Generator | Tensor | None = None,
    x_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``residual + dropout(x + x_bias)`` and its layer norm, as :func:`add_layer_norm` has them."""
    total = x if x_bias is None else (x + x_bias).to(x.dtype)
    total = residual + torch.nn.functional.dropout(total, dropout_p)
    return total, add_layer_norm(total, None, weight, bias, eps=eps)


def _rows(x: Tensor) -> Tensor:
    return (x if x.dim() == 2 else x.reshape(-1, x.shape[-1])).contiguous()


@torch.library.register_fake("lexforge::add_layer_norm")
def _(x, residual, x_bias, weight, bias, seed, eps, dropout_p):
    stats = [x.new_empty(x.shape[0], dtype=_checks.stat_dtype(x)) for _ in range(2)]
    return x.new_empty(x.shape), *stats


@torch.library.register_fake("lexforge::add_layer_norm_backward")
def _(grad_y, x, residual, x_bias, weight, mean, rstd, seed, dropout_p):
    rows, dim = x.shape
    return (
        x.new_empty(rows, dim),
        x.new_empty(0 if residual is None else rows, dim),
        weight.new_empty(dim),
        weight.new_empty(dim),
        weight.new_empty(0 if x_bias is None else dim),
    )


def _setup_context(ctx, inputs, output):
    x, residual, x_bias, weight, _, seed, _, ctx.dropout_p = inputs
    ctx.save_for_backward(x, residual, x_bias, weight, *output[1:], seed)
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx, grad_y, _grad_mean, _grad_rstd):
    _, residual, x_bias, *_ = ctx.saved_tensors
    grads = torch.ops.lexforge.add_layer_norm_backward.default(
        grad_y.contiguous(), *ctx.saved_tensors, ctx.dropout_p
    )
    grad_x, grad_residual, grad_weight, grad_bias, grad_x_bias = grads
    return (
        grad_x,
        None if residual is None else grad_residual,
        None if x_bias is None else grad_x_bias,
        grad_weight,
        grad_bias,
        *[None] * 3,
    )


torch.library.register_autograd("lexforge::add_layer_norm", _backward, setup_context=_setup_context)
_checks.differentiable_once(_OP, "add_layer_norm_backward")
