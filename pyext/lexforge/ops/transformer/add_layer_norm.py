"""Residual, dropout and layer norm in one pass (csrc/transformer/add_layer_norm.h)."""

from __future__ import annotations

import torch
from torch import Tensor

from lexforge.ops import _checks
from lexforge.ops._dropout import dropout_seed

_OP, _SUM_OP = "add_layer_norm", "add_layer_norm_sum"


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
    _check(_OP, x, residual, weight, bias, x_bias, eps)
    y = torch.ops.lexforge.add_layer_norm.default(
        _rows(x),
        None if residual is None else _rows(residual),
        None if x_bias is None else x_bias.contiguous(),
        weight.contiguous(),
        torch.zeros_like(weight) if bias is None else bias.contiguous(),
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
    """``residual + dropout(x + x_bias)`` and its layer norm, of which both are needed.

    The sublayer connection of a pre-norm transformer, such as GPT-2, with the norm of the sublayer
    that follows, in one pass over memory, forward and backward; of what goes in nothing is kept.

    Args:
        x, residual: [..., H], of one shape, dtype and device. The others as in
            :func:`add_layer_norm`.

    Returns:
        (sum, norm), both of the shape and dtype of ``x``; differentiable likewise. With bfloat16
        the rounded sum is what is normalised.

    Raises:
        TypeError, ValueError: as there.

    Example:
        >>> x, residual = torch.randn(2, 7, 16)
        >>> total, normed = add_layer_norm_sum(x, residual, torch.ones(16), torch.zeros(16))
    """
    _checks.tensor(_SUM_OP, "residual", residual)
    _check(_SUM_OP, x, residual, weight, bias, x_bias, eps)
    total, y, *_ = torch.ops.lexforge.add_layer_norm_sum.default(
        _rows(x),
        _rows(residual),
        None if x_bias is None else x_bias.contiguous(),
        weight.contiguous(),
        torch.zeros_like(weight) if bias is None else bias.contiguous(),
        dropout_seed(_SUM_OP, dropout_p, seed, x.device),
        eps,
        dropout_p,
    )
    return (total, y) if x.dim() == 2 else (total.view(x.shape), y.view(x.shape))


def _check(
    op: str,
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    x_bias: Tensor | None,
    eps: float,
) -> None:
    _checks.tensor(op, "x", x, _checks.FLOATS, (..., "H"))
    dim, stat = x.shape[-1], _checks.stat_dtype(x)
    if dim < 1:
        raise ValueError(f"{op}: x must be [..., H], H at least 1, got {[*x.shape]}")
    if residual is not None:
        _checks.tensor(op, "residual", residual, x.dtype, x.shape, x)
    _checks.tensor(op, "weight", weight, stat, (dim,), x)
    for name, vector in (("bias", bias), ("x_bias", x_bias)):
        if vector is not None:
            _checks.tensor(op, name, vector, stat, (dim,), x)
    _checks.number(op, "eps", eps)


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


@torch.library.register_fake("lexforge::add_layer_norm_sum")
def _(x, residual, x_bias, weight, bias, seed, eps, dropout_p):
    stats = [x.new_empty(x.shape[0], dtype=_checks.stat_dtype(x)) for _ in range(2)]
    return x.new_empty(x.shape), x.new_empty(x.shape), *stats


@torch.library.register_fake("lexforge::add_layer_norm_sum_backward")
def _(grad_sum, grad_y, sum, with_x_bias, weight, mean, rstd, seed, dropout_p):
    rows, dim = sum.shape
    return (
        sum.new_empty(rows if dropout_p > 0 else 0, dim),
        sum.new_empty(rows, dim),
        weight.new_empty(dim),
        weight.new_empty(dim),
        weight.new_empty(dim if with_x_bias else 0),
    )


def _setup_sum_context(ctx, inputs, output):
    _, _, x_bias, weight, _, seed, _, ctx.dropout_p = inputs
    total, _, mean, rstd = output
    ctx.with_x_bias = x_bias is not None
    ctx.save_for_backward(total, weight, mean, rstd, seed)
    ctx.mark_non_differentiable(mean, rstd)
    ctx.set_materialize_grads(False)  # the sum of the last block is not looked at


def _sum_backward(ctx, grad_sum, grad_y, *_):
    total, weight, mean, rstd, seed = ctx.saved_tensors
    grad_y = torch.zeros_like(total) if grad_y is None else grad_y.contiguous()
    grad_x, grad_residual, *vectors = torch.ops.lexforge.add_layer_norm_sum_backward.default(
        None if grad_sum is None else grad_sum.contiguous(),
        grad_y,
        total,
        ctx.with_x_bias,
        weight,
        mean,
        rstd,
        seed,
        ctx.dropout_p,
    )
    grad_weight, grad_bias, grad_x_bias = vectors
    return (
        grad_x if ctx.dropout_p > 0 else grad_residual,
        grad_residual,
        grad_x_bias if ctx.with_x_bias else None,
        grad_weight,
        grad_bias,
        *[None] * 3,
    )


torch.library.register_autograd(
    "lexforge::add_layer_norm_sum", _sum_backward, setup_context=_setup_sum_context
)
_checks.differentiable_once(_SUM_OP, "add_layer_norm_sum_backward")
